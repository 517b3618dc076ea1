/* test_owners.c - whose was a datagram: ports that change hands, sockets that are gone when asked
 */
#include "owners_room.h"
#include "tier/evidence.h"

#include <netinet/in.h>

static struct apptap_flow udp(uint16_t lport)
{
	return flow_of(IPPROTO_UDP, lport, 53);
}

static void say_wildcard(struct room *r, struct apptap_flow f, uint64_t cookie, uid_t uid,
			 uint64_t pkt, uint64_t asked)
{
	say(r, (struct word){ .flow = f,
			      .sight = APPTAP_SIGHT_OWNED,
			      .uid = uid,
			      .cookie = cookie,
			      .pkt = pkt,
			      .asked = asked,
			      .wildcard = true });
}

static void lose(struct room *r, struct apptap_flow f, uint64_t at)
{
	struct word w = { .flow = f, .asked = at, .pkt = NO_PACKET };

	apptap_deaths_lost(r->deaths, sighting_of(&w).asked_ns);
}

/* ---- one socket ---- */

static void test_asks_first(void **state)
{
	struct room *r = *state;

	assert_sent(r, udp(7000), MS(1), MS(2), ASK);
	assert_got(r, udp(7000), MS(1), END, ASK);
}

static void test_prompt_answer_holds_for_its_packet(void **state)
{
	struct room *r = *state;

	say_owned(r, udp(7000), 1, APP, MS(1), MS(1) + 10);
	assert_sent_by(r, udp(7000), MS(1), MS(1) + 20, APP);
	assert_sent_by(r, udp(7000), MS(1) + 5, END, APP);
	/* Another flow, another question. */
	assert_sent(r, udp(7001), MS(1), MS(2), ASK);
	assert_sent(r, flow6_of(IPPROTO_UDP, 7000, 53), MS(1), MS(2), ASK);
}

/* An answer that took long says nothing of its packet by itself: the port may be another's now. */
static void test_late_answer_waits_for_deaths(void **state)
{
	struct room *r = *state;

	say_owned(r, udp(7000), 1, APP, MS(1), MS(5));
	assert_sent(r, udp(7000), MS(1), MS(6), WAIT);
	assert_sent_by(r, udp(7000), MS(1), MS(60), APP);
	die(r, udp(7000), 99, MS(70)); /* somebody of whom we know nothing */
	assert_sent(r, udp(7000), MS(1), MS(80), UNKNOWN);
	assert_sent_by(r, udp(7000), MS(5), MS(80), APP);
}

static void test_two_answers_enclose(void **state)
{
	struct room *r = *state;

	say_owned(r, udp(7000), 1, APP, MS(1), MS(1) + 10);
	assert_sent(r, udp(7000), MS(400), MS(401), ASK);
	say_owned(r, udp(7000), 1, APP, NO_PACKET, MS(401));
	for (uint64_t ms = 1; ms <= 401; ms += 40)
		assert_sent_by(r, udp(7000), MS(ms), MS(402), APP);
	/* Even where events were lost, and where others die elsewhere. */
	lose(r, udp(7000), MS(402));
	die(r, udp(7001), 5, MS(200));
	assert_sent_by(r, udp(7000), MS(200), MS(402), APP);
}

static void test_sightings_in_any_order(void **state)
{
	struct room *r = *state;

	say_owned(r, udp(7000), 1, APP, MS(30), MS(30) + 10);
	say_owned(r, udp(7000), 1, APP, MS(10), MS(10) + 10);
	say_owned(r, udp(7000), 1, APP, MS(20), MS(20) + 10);
	assert_sent_by(r, udp(7000), MS(10), MS(31), APP);
	assert_sent_by(r, udp(7000), MS(25), MS(31), APP);
	say_owned(r, udp(7000), 2, STRANGER, MS(5), MS(5) + 10);
	assert_sent_by(r, udp(7000), MS(5), MS(50), STRANGER);
	assert_sent_by(r, udp(7000), MS(10), MS(50), APP);
	assert_sent(r, udp(7000), MS(7), MS(50), UNKNOWN);
}

/* A packet's own stamp may be later than the answer's by some microseconds. */
static void test_packet_later_than_its_answer(void **state)
{
	struct room *r = *state;

	say_owned(r, udp(7000), 1, APP, MS(1) + 50, MS(1));
	assert_sent_by(r, udp(7000), MS(1), MS(2), APP);
	assert_sent(r, udp(7000), MS(1) + 50, MS(2), ASK);
}

static void test_strangers_are_asked_seldom(void **state)
{
	struct room *r = *state;

	say_owned(r, udp(7000), 1, STRANGER, MS(1), MS(1) + 10);
	assert_sent_by(r, udp(7000), MS(900), MS(901), STRANGER);
	assert_sent(r, udp(7000), SEC(2), SEC(2) + 1, ASK);
	die(r, udp(7000), 1, SEC(2));
	assert_sent(r, udp(7000), MS(900), SEC(2), ASK);
}

/* ---- closed before the reader asks ---- */

static void test_reply_after_close(void **state)
{
	struct room *r = *state;

	say_owned(r, udp(7000), 1, APP, MS(1), MS(1) + 10);
	die(r, udp(7000), 1, MS(2));
	assert_got(r, udp(7000), MS(3), MS(4), ASK);
	say_none(r, udp(7000), MS(4));
	assert_got(r, udp(7000), MS(3), MS(4), WAIT);
	assert_got_by(r, udp(7000), MS(3), MS(60), APP);
	/* A long time after it could be an answer to anybody's. */
	say_none(r, udp(7000), SEC(60));
	assert_got(r, udp(7000), SEC(59), SEC(61), UNKNOWN);
}

static void test_reply_after_close_to_a_strangers_port(void **state)
{
	struct room *r = *state;

	say_owned(r, udp(7000), 1, APP, MS(1), MS(1) + 10);
	die(r, udp(7000), 1, MS(2));
	die(r, udp(7000), 2, MS(4)); /* never seen alive */
	say_none(r, udp(7000), MS(6));
	assert_sent(r, udp(7000), MS(3), MS(60), UNKNOWN);
	assert_got(r, udp(7000), MS(5), END, UNKNOWN);
	/* Its own packet was answered at once: that stays. */
	assert_sent_by(r, udp(7000), MS(1), MS(60), APP);
}

/*
 * No socket at all had the port right after the packet: so it was for the last that had it, not for
 * the next, who came later still.
 */
static void test_reply_just_after_close(void **state)
{
	struct room *r = *state;

	say_owned(r, udp(7000), 1, APP, MS(1), MS(1) + 10);
	say_none(r, udp(7000), MS(2) + 20);
	say_owned(r, udp(7000), 2, STRANGER, MS(2) + 300, MS(2) + 310);
	die(r, udp(7000), 1, MS(2) + 100);
	assert_got(r, udp(7000), MS(2), MS(3), WAIT);
	assert_got_by(r, udp(7000), MS(2), MS(5), APP);
	die(r, udp(7000), 2, MS(6)); /* who came later may die later */
	assert_got_by(r, udp(7000), MS(2), MS(7), APP);
	die(r, udp(7000), 3, MS(6)); /* of this one nobody knows when it came */
	assert_got(r, udp(7000), MS(2), MS(7), UNKNOWN);
}

static void test_reply_to_a_stranger_just_closed(void **state)
{
	struct room *r = *state;

	say_owned(r, udp(7000), 1, APP, MS(1), MS(1) + 10);
	say_owned(r, udp(7000), 2, STRANGER, MS(2) - 90, MS(2) - 80);
	say_none(r, udp(7000), MS(2) + 20);
	say_owned(r, udp(7000), 3, APP, MS(2) + 300, MS(2) + 310);
	assert_got_by(r, udp(7000), MS(2), MS(60), STRANGER);
	/* The stranger seen on another flow of the same port, while it was there. */
	say_owned(r, udp(7001), 11, APP, MS(1), MS(1) + 10);
	say_owned(r, flow_of(IPPROTO_UDP, 7001, 99), 12, STRANGER, MS(2) - 90, MS(2) - 80);
	die(r, udp(7001), 12, MS(3));
	say_none(r, udp(7001), MS(2) + 20);
	assert_got(r, udp(7001), MS(2), MS(60), UNKNOWN);
}

/* Who got a packet runs on while we ask, on another CPU; who sent it does not. */
static void test_prompt_means_sooner_for_who_gets_it(void **state)
{
	struct room *r = *state;
	struct word w = { .flow = udp(7000),
			  .sight = APPTAP_SIGHT_OWNED,
			  .uid = APP,
			  .cookie = 1,
			  .pkt = MS(1),
			  .asked = MS(1) + 200,
			  .outgoing = true };

	say(r, w);
	die(r, udp(7000), 9, MS(2));
	assert_sent_by(r, udp(7000), MS(1), MS(60), APP);
	w.flow = udp(7001);
	w.outgoing = false;
	say(r, w);
	die(r, udp(7001), 9, MS(2));
	assert_got(r, udp(7001), MS(1), MS(60), UNKNOWN);
}

static void test_strangers_death_is_told_by_foresight(void **state)
{
	struct room *r = *state;
	struct word later = { .flow = udp(7000),
			      .sight = APPTAP_SIGHT_OWNED,
			      .uid = APP,
			      .cookie = 2,
			      .pkt = MS(8),
			      .asked = MS(8) + 10 };
	struct apptap_sighting s = sighting_of(&later);

	say_owned(r, udp(7000), 1, APP, MS(1), MS(1) + 10);
	say_none(r, udp(7000), MS(7));
	die(r, udp(7000), 1, MS(2));
	die(r, udp(7000), 2, MS(9));
	assert_sent(r, udp(7000), MS(5), MS(60), UNKNOWN);
	/* The one that died is the app's too, says an answer whose turn has not come yet. */
	apptap_owners_foresee(r->owners, &s);
	assert_sent_by(r, udp(7000), MS(5), MS(60), APP);
	/* Being told that it is a stranger's makes it nobody's. */
	s.uid = STRANGER;
	apptap_owners_foresee(r->owners, &s);
	assert_sent(r, udp(7000), MS(5), MS(60), UNKNOWN);
}

static void test_foresight_of_others_is_not_believed(void **state)
{
	struct room *r = *state;
	struct word w = { .flow = udp(7000),
			  .sight = APPTAP_SIGHT_OWNED,
			  .uid = APP,
			  .cookie = 2 + 65536, /* shares its place with cookie 2 */
			  .pkt = MS(8),
			  .asked = MS(8) + 10 };
	struct apptap_sighting s = sighting_of(&w);

	say_owned(r, udp(7000), 1, APP, MS(1), MS(1) + 10);
	say_none(r, udp(7000), MS(6));
	die(r, udp(7000), 2, MS(9));
	apptap_owners_foresee(r->owners, &s);
	assert_sent(r, udp(7000), MS(5), MS(60), UNKNOWN);
	/* Nor an answer about a group, or one that names no owner. */
	s.cookie = 2;
	s.group = true;
	apptap_owners_foresee(r->owners, &s);
	assert_sent(r, udp(7000), MS(5), MS(60), UNKNOWN);
	s.group = false;
	s.sight = APPTAP_SIGHT_PENDING;
	apptap_owners_foresee(r->owners, &s);
	assert_sent(r, udp(7000), MS(5), MS(60), UNKNOWN);
}

static void test_lost_events_leave_nothing_certain(void **state)
{
	struct room *r = *state;

	say_owned(r, udp(7000), 1, APP, MS(10), MS(10) + 10);
	lose(r, udp(7000), MS(12));
	say_none(r, udp(7000), MS(16));
	assert_got(r, udp(7000), MS(11), MS(60), UNKNOWN);
	say_owned(r, udp(7001), 2, APP, MS(20), MS(20) + 10);
	say_none(r, udp(7001), MS(26));
	assert_got_by(r, udp(7001), MS(25), MS(60), APP);
}

static void test_more_deaths_than_remembered(void **state)
{
	struct room *r = *state;

	say_owned(r, udp(7000), 1, APP, MS(1), MS(1) + 10);
	for (uint64_t i = 0; i <= APPTAP_DEATHS_A_PORT; i++)
		die(r, udp(7000), 1, MS(2) + i);
	say_none(r, udp(7000), MS(6));
	assert_got(r, udp(7000), MS(5), MS(60), UNKNOWN);
}

/* ---- a port handed over ---- */

static void test_port_handed_over(void **state)
{
	struct room *r = *state;

	say_owned(r, udp(7000), 1, APP, MS(1), MS(1) + 10);
	say_owned(r, udp(7000), 2, STRANGER, MS(5), MS(5) + 10);
	assert_sent_by(r, udp(7000), MS(1), MS(60), APP);
	assert_sent_by(r, udp(7000), MS(5), MS(60), STRANGER);
	assert_got(r, udp(7000), MS(3), MS(60), UNKNOWN);
	/* Once its answer is in, the end of the app's span is certain. */
	say_owned(r, udp(7000), 1, APP, NO_PACKET, MS(4));
	assert_got_by(r, udp(7000), MS(3), MS(60), APP);
}

/* What comes in before the new owner's first answer: his, if the old one was told dead by then. */
static void test_port_taken_over_before_the_answer(void **state)
{
	struct room *r = *state;

	say_owned(r, udp(7000), 1, STRANGER, MS(1), MS(1) + 10);
	die(r, udp(7000), 1, MS(2));
	say_owned(r, udp(7000), 2, APP, NO_PACKET, MS(3) + 80);
	assert_got(r, udp(7000), MS(3), MS(4), WAIT);
	assert_got_by(r, udp(7000), MS(3), MS(60), APP);
	assert_got(r, udp(7000), MS(2) - 1, MS(60), UNKNOWN);
}

static void test_port_taken_over_at_an_unknown_time(void **state)
{
	struct room *r = *state;

	/* told dead only after the packet: it may have got it */
	say_owned(r, udp(7000), 1, STRANGER, MS(1), MS(1) + 10);
	die(r, udp(7000), 1, MS(3) + 20);
	say_owned(r, udp(7000), 2, APP, NO_PACKET, MS(3) + 80);
	assert_got(r, udp(7000), MS(3), MS(60), UNKNOWN);
	/* not told dead at all */
	say_owned(r, udp(7001), 3, STRANGER, MS(1), MS(1) + 10);
	say_owned(r, udp(7001), 4, APP, NO_PACKET, MS(3) + 80);
	assert_got(r, udp(7001), MS(3), MS(60), UNKNOWN);
	/* a third, that nobody asked about, left between them */
	say_owned(r, udp(7002), 5, STRANGER, MS(1), MS(1) + 10);
	die(r, udp(7002), 5, MS(2));
	say_owned(r, udp(7002), 7, APP, NO_PACKET, MS(3) + 80);
	die(r, udp(7002), 6, MS(3) + 60);
	assert_got(r, udp(7002), MS(3), MS(60), UNKNOWN);
	/* shortly before the answer nobody had it */
	say_owned(r, udp(7004), 10, STRANGER, MS(1), MS(1) + 10);
	die(r, udp(7004), 10, MS(2));
	say_none(r, udp(7004), MS(3) + 30);
	say_owned(r, udp(7004), 11, APP, NO_PACKET, MS(3) + 80);
	assert_got_no_leak(r, udp(7004), MS(3), MS(60));
	/* too long before the answer for that to be all that happened */
	say_owned(r, udp(7003), 8, STRANGER, MS(1), MS(1) + 10);
	die(r, udp(7003), 8, MS(2));
	say_owned(r, udp(7003), 9, APP, NO_PACKET, MS(5));
	assert_got(r, udp(7003), MS(3), MS(60), UNKNOWN);
}

static void test_port_taken_over_from_a_stranger(void **state)
{
	struct room *r = *state;

	say_owned(r, udp(7000), 1, STRANGER, MS(1), MS(1) + 10);
	die(r, udp(7000), 1, MS(3));
	say_owned(r, udp(7000), 2, APP, MS(5), MS(5) + 10);
	assert_sent_by(r, udp(7000), MS(1), MS(60), STRANGER);
	assert_got_no_leak(r, udp(7000), MS(2), MS(60));
	assert_got_no_leak(r, udp(7000), MS(4), MS(60));
	assert_sent_by(r, udp(7000), MS(5), MS(60), APP);
}

static void test_between_users_of_one_scope(void **state)
{
	struct room *r = *state;

	say_owned(r, udp(7000), 1, APP, MS(1), MS(1) + 10);
	die(r, udp(7000), 1, MS(2));
	say_owned(r, udp(7000), 2, APP_TOO, MS(5), MS(5) + 10);
	assert_sent_by(r, udp(7000), MS(1), MS(60), APP);
	assert_sent_by(r, udp(7000), MS(5), MS(60), APP_TOO);
	assert_got_by(r, udp(7000), MS(3), MS(60), APP); /* either's: in scope */
}

static void test_between_strangers(void **state)
{
	struct room *r = *state;

	say_owned(r, udp(7000), 1, STRANGER, MS(1), MS(1) + 10);
	say_owned(r, udp(7000), 2, STRANGER + 1, MS(5), MS(5) + 10);
	assert_got_by(r, udp(7000), MS(3), MS(60), STRANGER);
}

/* Seen first when the app has it; before, a stranger's that nobody asked about was there. */
static void test_first_seen_after_a_stranger_died(void **state)
{
	struct room *r = *state;

	say_owned(r, udp(7000), 2, APP, NO_PACKET, MS(9));
	assert_sent(r, udp(7000), MS(5), MS(10), WAIT);
	die(r, udp(7000), 1, MS(11));
	assert_sent(r, udp(7000), MS(5), MS(60), UNKNOWN);
	assert_sent(r, udp(7000), MS(5), END, UNKNOWN);
	/* Who died before the packet passed does not matter. */
	say_owned(r, udp(7001), 3, APP, NO_PACKET, MS(19));
	die(r, udp(7001), 4, MS(11));
	assert_sent_by(r, udp(7001), MS(12), END, APP);
}

static void test_changed_owner_of_one_socket(void **state)
{
	struct room *r = *state;

	say_owned(r, udp(7000), 1, APP, MS(1), MS(1) + 10);
	say_owned(r, udp(7000), 1, STRANGER, MS(5), MS(5) + 10); /* fchown() */
	assert_sent_by(r, udp(7000), MS(1), MS(60), APP);
	assert_sent_by(r, udp(7000), MS(5), MS(60), STRANGER);
	assert_sent(r, udp(7000), MS(3), MS(60), UNKNOWN);
	say_owned(r, udp(7000), 1, STRANGER, NO_PACKET, MS(9));
	assert_sent_by(r, udp(7000), MS(7), MS(60), STRANGER);
	say_owned(r, udp(7000), 1, APP, NO_PACKET, MS(20));
	assert_sent_by(r, udp(7000), MS(8), MS(60), STRANGER);
	assert_sent(r, udp(7000), MS(15), MS(60), UNKNOWN);
}

static void test_many_owners_of_one_flow(void **state)
{
	struct room *r = *state;

	for (uint64_t i = 0; i < 20; i++) {
		uid_t uid = i % 2 ? STRANGER : APP;

		say_owned(r, udp(7000), i + 1, uid, MS(i * 10), MS(i * 10) + 10);
		die(r, udp(7000), i + 1, MS(i * 10) + 5);
		assert_sent_by(r, udp(7000), MS(i * 10), MS(i * 10) + 20, uid);
	}
	/* What no longer has a place is not guessed. */
	for (uint64_t i = 0; i < 20 - APPTAP_SPANS; i++)
		assert_sent_no_leak(r, udp(7000), MS(i * 10), MS(400));
	assert_sent_by(r, udp(7000), MS(180), MS(400), APP);
	assert_sent_by(r, udp(7000), MS(190), MS(400), STRANGER);
}

/* ---- sockets that have every peer's flow ---- */

static void test_port_evidence(void **state)
{
	struct room *r = *state;

	say_wildcard(r, udp(7000), 1, APP, MS(1), MS(1) + 10);
	say_wildcard(r, flow_of(IPPROTO_UDP, 7000, 54), 1, APP, MS(9), MS(9) + 10);
	/* A third peer's datagram, asked about when the socket was gone. */
	assert_got(r, flow_of(IPPROTO_UDP, 7000, 55), MS(5), MS(20), ASK);
	say_none(r, flow_of(IPPROTO_UDP, 7000, 55), MS(20));
	assert_got_by(r, flow_of(IPPROTO_UDP, 7000, 55), MS(5), MS(60), APP);
	assert_got_by(r, flow_of(IPPROTO_UDP, 7000, 55), MS(15), MS(60), APP);
	/* Of another port, protocol or family it says nothing. */
	say_none(r, flow_of(IPPROTO_UDP, 7001, 55), MS(20));
	say_none(r, flow_of(IPPROTO_UDPLITE, 7000, 55), MS(20));
	say_none(r, flow6_of(IPPROTO_UDP, 7000, 55), MS(20));
	assert_sent(r, flow_of(IPPROTO_UDP, 7001, 55), MS(5), MS(60), UNKNOWN);
	assert_sent(r, flow_of(IPPROTO_UDPLITE, 7000, 55), MS(5), MS(60), UNKNOWN);
	assert_sent(r, flow6_of(IPPROTO_UDP, 7000, 55), MS(5), MS(60), UNKNOWN);
}

static void test_port_evidence_and_a_strangers_death(void **state)
{
	struct room *r = *state;

	say_wildcard(r, udp(7000), 1, APP, MS(1), MS(1) + 10);
	die(r, udp(7000), 1, MS(2));
	die(r, udp(7000), 2, MS(4));
	say_none(r, flow_of(IPPROTO_UDP, 7000, 55), MS(20));
	assert_got(r, flow_of(IPPROTO_UDP, 7000, 55), MS(3), MS(60), UNKNOWN);
}

static void test_connected_socket_is_no_port_evidence(void **state)
{
	struct room *r = *state;

	say_owned(r, udp(7000), 1, APP, MS(1), MS(1) + 10);
	say_owned(r, udp(7000), 1, APP, MS(30), MS(30) + 10);
	say_none(r, flow_of(IPPROTO_UDP, 7000, 55), MS(20));
	assert_sent(r, flow_of(IPPROTO_UDP, 7000, 55), MS(5), MS(60), UNKNOWN);
}

/* ---- nobody's, and the end ---- */

static void test_nobodys(void **state)
{
	struct room *r = *state;

	say_none(r, udp(7000), MS(5));
	assert_got(r, udp(7000), MS(1), MS(6), WAIT);
	assert_got(r, udp(7000), MS(1), MS(60), NOBODY);
	/* Who sent it is gone; what comes back is its too, whoever it was. */
	say_none(r, udp(7001), MS(5));
	assert_sent(r, udp(7001), MS(1), MS(60), UNKNOWN);
	assert_got(r, udp(7001), MS(2), MS(60), UNKNOWN);
	assert_got(r, udp(7001), MS(60), MS(61), ASK); /* a later one needs a later word */
}

static void test_orphan_owner_is_not_guessed(void **state)
{
	struct room *r = *state;

	say_orphan(r, flow_of(253, 0, 0), 1, MS(5));
	assert_sent(r, flow_of(253, 0, 0), MS(1), MS(60), UNKNOWN);
	assert_sent(r, flow_of(253, 0, 0), MS(5), END, UNKNOWN);
}

static void test_the_end_decides(void **state)
{
	struct room *r = *state;

	say_owned(r, udp(7000), 1, APP, MS(1), MS(1) + 10);
	assert_sent_by(r, udp(7000), MS(1), END, APP);
	say_none(r, udp(7000), MS(5));
	assert_got_by(r, udp(7000), MS(3), END, APP);
	say_none(r, udp(7001), MS(5));
	assert_sent(r, udp(7001), MS(3), END, UNKNOWN);
	assert_got(r, udp(7002), MS(3), END, ASK);
}

static void test_strangers_are_forgotten_first(void **state)
{
	struct room *r = *state;

	room_shrink(r, 4);
	say_owned(r, udp(7000), 1, APP, MS(1), MS(1) + 10);
	say_owned(r, udp(7001), 2, APP_TOO, MS(1), MS(1) + 10);
	for (uint16_t i = 0; i < 100; i++)
		say_owned(r, udp((uint16_t)(8000 + i)), 100 + i, STRANGER, MS(2), MS(2) + 10);
	assert_sent_by(r, udp(7000), MS(1), MS(60), APP);
	assert_sent_by(r, udp(7001), MS(1), MS(60), APP_TOO);
	assert_sent_by(r, udp(8099), MS(2), MS(60), STRANGER);
	assert_sent(r, udp(8000), MS(2), MS(60), ASK);
	/* The app's own, when there is nobody else: the longest unused. */
	for (uint16_t i = 0; i < 4; i++) {
		assert_sent_by(r, udp(7000), MS(1), MS(60), APP);
		say_owned(r, udp((uint16_t)(9000 + i)), 300 + i, APP, MS(3), MS(3) + 10);
	}
	assert_sent_by(r, udp(7000), MS(1), MS(60), APP);
	assert_sent(r, udp(7001), MS(1), MS(60), ASK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		room_test(test_asks_first),
		room_test(test_prompt_answer_holds_for_its_packet),
		room_test(test_late_answer_waits_for_deaths),
		room_test(test_two_answers_enclose),
		room_test(test_sightings_in_any_order),
		room_test(test_packet_later_than_its_answer),
		room_test(test_strangers_are_asked_seldom),
		room_test(test_reply_after_close),
		room_test(test_reply_after_close_to_a_strangers_port),
		room_test(test_reply_just_after_close),
		room_test(test_reply_to_a_stranger_just_closed),
		room_test(test_prompt_means_sooner_for_who_gets_it),
		room_test(test_strangers_death_is_told_by_foresight),
		room_test(test_foresight_of_others_is_not_believed),
		room_test(test_lost_events_leave_nothing_certain),
		room_test(test_more_deaths_than_remembered),
		room_test(test_port_handed_over),
		room_test(test_port_taken_over_before_the_answer),
		room_test(test_port_taken_over_at_an_unknown_time),
		room_test(test_port_taken_over_from_a_stranger),
		room_test(test_between_users_of_one_scope),
		room_test(test_between_strangers),
		room_test(test_first_seen_after_a_stranger_died),
		room_test(test_changed_owner_of_one_socket),
		room_test(test_many_owners_of_one_flow),
		room_test(test_port_evidence),
		room_test(test_port_evidence_and_a_strangers_death),
		room_test(test_connected_socket_is_no_port_evidence),
		room_test(test_nobodys),
		room_test(test_orphan_owner_is_not_guessed),
		room_test(test_the_end_decides),
		room_test(test_strangers_are_forgotten_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
