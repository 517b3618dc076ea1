/* test_owners_tcp.c - whose was a TCP packet: connections one after another, accepted, orphaned */
#include "owners_room.h"

#include <netinet/in.h>

static struct apptap_flow tcp(uint16_t lport)
{
	return flow_of(IPPROTO_TCP, lport, 443);
}

static void say_plain(struct room *r, uint64_t cookie, uid_t uid, uint64_t asked)
{
	say_owned(r, tcp(7000), cookie, uid, NO_PACKET, asked);
}

/* A connection of the app's whose SYN everybody saw. */
static void open_connection(struct room *r, uint64_t cookie, uid_t uid, uint32_t isn, uint64_t at)
{
	say_syn(r, tcp(7000), cookie, uid, isn, at);
	pass_syn(r, tcp(7000), isn, at);
}

static void test_one_connection(void **state)
{
	struct room *r = *state;

	assert_sent(r, tcp(7000), MS(1), MS(2), ASK);
	open_connection(r, 1, APP, 77, MS(1));
	assert_sent_by(r, tcp(7000), MS(1), MS(2), APP);
	assert_got_by(r, tcp(7000), MS(200), MS(201), APP);
	/* From time to time it is asked again. */
	assert_got(r, tcp(7000), MS(300), MS(301), ASK);
	say_plain(r, 1, APP, MS(301));
	assert_got_by(r, tcp(7000), MS(300), MS(301), APP);
	assert_got_by(r, tcp(7000), MS(500), MS(501), APP);
}

static void test_strangers_connection_is_asked_seldom(void **state)
{
	struct room *r = *state;

	open_connection(r, 1, STRANGER, 77, MS(1));
	assert_sent_by(r, tcp(7000), MS(200), MS(201), STRANGER);
	assert_sent(r, tcp(7000), SEC(2), SEC(2), ASK);
}

/* Linger 0, SIGKILL, TIME_WAIT: the socket has gone, the connection's packets are still its. */
static void test_packets_after_close(void **state)
{
	struct room *r = *state;

	open_connection(r, 1, APP, 77, MS(1));
	die(r, tcp(7000), 1, MS(2));
	assert_got_by(r, tcp(7000), MS(200), MS(201), APP);
	assert_got(r, tcp(7000), MS(400), MS(401), ASK);
	say_none(r, tcp(7000), MS(401));
	assert_got_by(r, tcp(7000), MS(400), MS(401), APP);
}

static void test_port_reused_by_a_stranger(void **state)
{
	struct room *r = *state;

	open_connection(r, 1, APP, 77, MS(1));
	assert_sent_by(r, tcp(7000), MS(4), MS(5), APP);
	open_connection(r, 2, STRANGER, 88, MS(5));
	assert_sent_by(r, tcp(7000), MS(5), MS(6), STRANGER);
	assert_got_by(r, tcp(7000), MS(9), MS(10), STRANGER);
	open_connection(r, 3, APP, 99, MS(15));
	assert_got_by(r, tcp(7000), MS(15), MS(16), APP);
}

/* Its SYN was seen, but not asked about: what was known ends there. */
static void test_syn_ends_what_was_known(void **state)
{
	struct room *r = *state;

	open_connection(r, 1, APP, 77, MS(1));
	pass_syn(r, tcp(7000), 88, MS(5));
	assert_sent(r, tcp(7000), MS(5), MS(6), ASK);
	say_none(r, tcp(7000), MS(6));
	assert_sent(r, tcp(7000), MS(5), MS(6), WAIT);
	assert_sent(r, tcp(7000), MS(5), MS(60), UNKNOWN);
	assert_got(r, tcp(7000), MS(6), MS(60), UNKNOWN); /* a reset of the unknown's */
}

static void test_syn_sent_again_is_none_new(void **state)
{
	struct room *r = *state;

	open_connection(r, 1, APP, 77, MS(1));
	pass_syn(r, tcp(7000), 77, MS(200));
	assert_sent_by(r, tcp(7000), MS(200), MS(201), APP);
	assert_sent_by(r, tcp(7000), MS(1), MS(201), APP);
}

/* The answer about the next SYN is heard before its packet is taken from the ring. */
static void test_answer_ahead_of_its_syn(void **state)
{
	struct room *r = *state;

	open_connection(r, 1, APP, 77, MS(1));
	say_syn(r, tcp(7000), 2, STRANGER, 88, MS(5));
	assert_sent_by(r, tcp(7000), MS(5) - 50, MS(6), APP);
	pass_syn(r, tcp(7000), 88, MS(5));
	assert_sent_by(r, tcp(7000), MS(5), MS(6), STRANGER);
	/* And the other way round. */
	say_syn(r, tcp(7000), 3, APP, 99, MS(8));
	assert_sent_by(r, tcp(7000), MS(8) - 50, MS(9), STRANGER);
	pass_syn(r, tcp(7000), 99, MS(8));
	assert_sent_by(r, tcp(7000), MS(8), MS(9), APP);
}

/* Each tap has its own stamp for a packet: the answer's may be the later one. */
static void test_stamps_of_two_taps(void **state)
{
	struct room *r = *state;

	say_syn(r, tcp(7000), 1, APP, 77, MS(1) + 30);
	pass_syn(r, tcp(7000), 77, MS(1));
	assert_sent_by(r, tcp(7000), MS(1), MS(2), APP);
	assert_got_by(r, tcp(7000), MS(1) + 20, MS(2), APP);
}

static void test_found_only_later(void **state)
{
	struct room *r = *state;

	pass_syn(r, tcp(7000), 77, MS(1));
	assert_sent(r, tcp(7000), MS(1), MS(4), ASK);
	say_plain(r, 1, APP, MS(4));
	assert_sent(r, tcp(7000), MS(1), MS(4), WAIT);
	assert_sent_by(r, tcp(7000), MS(1), MS(60), APP);
	assert_sent_by(r, tcp(7000), MS(5), MS(6), APP);
	die(r, tcp(7000), 2, MS(70)); /* it may have been that one's */
	assert_sent(r, tcp(7000), MS(1), MS(80), UNKNOWN);
	/* Deaths on other flows of the port, a listener's perhaps, say nothing. */
	pass_syn(r, flow_of(IPPROTO_TCP, 7000, 444), 78, MS(1));
	say_owned(r, flow_of(IPPROTO_TCP, 7000, 444), 5, APP, NO_PACKET, MS(4));
	assert_sent_by(r, flow_of(IPPROTO_TCP, 7000, 444), MS(1), MS(80), APP);
}

static void test_given_away(void **state)
{
	struct room *r = *state;

	open_connection(r, 1, APP, 77, MS(1));
	assert_sent(r, tcp(7000), MS(300), MS(301), ASK);
	say_plain(r, 1, STRANGER, MS(301)); /* fchown(), or accept() by another */
	assert_sent_by(r, tcp(7000), MS(302), MS(303), STRANGER);
	assert_sent_by(r, tcp(7000), MS(1), MS(303), APP);
	say_plain(r, 1, STRANGER, MS(400));
	assert_got_by(r, tcp(7000), MS(350), MS(401), STRANGER);
}

/* ---- in the accept queue ---- */

static void test_accepted_by_the_listeners_owner(void **state)
{
	struct room *r = *state;

	say_pending(r, tcp(7000), APP, MS(1), MS(1) + 10);
	pass_syn(r, tcp(7000), 77, MS(1));
	assert_got(r, tcp(7000), MS(1), MS(2), WAIT); /* it may be another who accepts */
	assert_got(r, tcp(7000), MS(3), MS(6), ASK);
	assert_got(r, tcp(7000), MS(8), MS(9), ASK);
	say_plain(r, 1, APP, MS(9));
	assert_got(r, tcp(7000), MS(8), MS(9), WAIT);
	assert_got_by(r, tcp(7000), MS(8), MS(60), APP);
	assert_got_by(r, tcp(7000), MS(10), MS(11), APP);
}

static void test_accepted_by_the_app_from_a_strangers_listener(void **state)
{
	struct room *r = *state;

	say_pending(r, tcp(7000), STRANGER, MS(1), MS(1) + 10);
	pass_syn(r, tcp(7000), 77, MS(1));
	assert_got(r, tcp(7000), MS(1), MS(2), WAIT);
	assert_got(r, tcp(7000), MS(1), MS(6), ASK);
	say_plain(r, 1, APP, MS(7));
	assert_got_by(r, tcp(7000), MS(1), MS(60), APP);
}

static void test_a_strangers_listener(void **state)
{
	struct room *r = *state;

	say_pending(r, tcp(7000), STRANGER, MS(1), MS(1) + 10);
	pass_syn(r, tcp(7000), 77, MS(1));
	assert_got_by(r, tcp(7000), MS(1), END, STRANGER);
	say_none(r, tcp(7000), MS(6));
	assert_got(r, tcp(7000), MS(1), MS(7), WAIT);
	assert_got_by(r, tcp(7000), MS(1), MS(150), STRANGER);
}

static void test_closed_before_it_was_seen_accepted(void **state)
{
	struct room *r = *state;

	say_pending(r, tcp(7000), APP, MS(1), MS(1) + 10);
	pass_syn(r, tcp(7000), 77, MS(1));
	say_orphan(r, tcp(7000), 3, MS(9));
	assert_got(r, tcp(7000), MS(1), MS(10), WAIT);
	assert_got_by(r, tcp(7000), MS(1), MS(60), APP);
	assert_got_by(r, tcp(7000), MS(8), MS(60), APP);
	/* The next connection is another matter. */
	pass_syn(r, tcp(7000), 88, MS(20));
	assert_got(r, tcp(7000), MS(20), MS(21), ASK);
}

/* Of a port where others accept than who listens, what nobody saw accepted is nobody's. */
static void test_closed_unseen_where_others_accept(void **state)
{
	struct room *r = *state;
	struct apptap_flow second = flow_of(IPPROTO_TCP, 7000, 444);

	say_pending(r, tcp(7000), APP, MS(1), MS(1) + 10);
	pass_syn(r, tcp(7000), 77, MS(1));
	say_plain(r, 1, STRANGER, MS(9));
	say_pending(r, second, APP, MS(20), MS(20) + 10);
	pass_syn(r, second, 78, MS(20));
	say_orphan(r, second, 3, MS(29));
	assert_got(r, second, MS(20), MS(90), UNKNOWN);
	assert_got(r, second, MS(20), END, UNKNOWN);
}

/* ---- before the capture, orphans, gaps ---- */

static void test_cold_start(void **state)
{
	struct room *r = *state;
	struct word w = { .flow = tcp(7001), .asked = MS(10), .pkt = NO_PACKET };

	say_plain(r, 1, APP, MS(9)); /* from the list of sockets that were there */
	say_orphan(r, tcp(7002), 2, MS(9));
	assert_got(r, tcp(7001), MS(5), MS(6), ASK);
	say_none(r, tcp(7001), MS(6));
	assert_sent(r, tcp(7001), MS(5), MS(60), UNKNOWN); /* not all are listed yet */
	apptap_owners_warm(r->owners, sighting_of(&w).asked_ns);
	assert_sent_by(r, tcp(7000), MS(5), MS(60), APP);
	assert_sent_by(r, tcp(7000), MS(11), MS(60), APP);
	assert_sent(r, tcp(7001), MS(5), MS(60), NOBODY);
	assert_sent(r, tcp(7002), MS(11), MS(60), UNKNOWN);
}

static void test_orphan_of_the_app(void **state)
{
	struct room *r = *state;

	open_connection(r, 1, APP, 77, MS(1));
	say_orphan(r, tcp(7000), 1, MS(300)); /* FIN_WAIT2 still has its cookie */
	assert_got_by(r, tcp(7000), MS(290), MS(301), APP);
	assert_got_by(r, tcp(7000), MS(310), MS(311), APP);
	/* Forgotten first, known later. */
	say_orphan(r, tcp(7001), 5, MS(1));
	say_owned(r, tcp(7001), 5, APP, NO_PACKET, MS(3));
	assert_got_by(r, tcp(7001), MS(2), MS(60), APP);
}

static void test_orphan_of_nobody_known(void **state)
{
	struct room *r = *state;

	pass_syn(r, tcp(7000), 77, MS(1));
	say_orphan(r, tcp(7000), 1, MS(5));
	assert_sent(r, tcp(7000), MS(1), MS(60), UNKNOWN);
	assert_sent(r, tcp(7000), MS(6), MS(60), UNKNOWN);
}

static void test_gap_asks_anew(void **state)
{
	struct room *r = *state;
	struct word gap = { .flow = tcp(7000), .asked = MS(10), .pkt = NO_PACKET };

	open_connection(r, 1, APP, 77, MS(1));
	apptap_owners_gap(r->owners, sighting_of(&gap).asked_ns);
	assert_sent(r, tcp(7000), MS(9), MS(20), ASK); /* when it was lost is not known */
	assert_sent(r, tcp(7000), MS(11), MS(20), ASK);
	say_plain(r, 2, STRANGER, MS(20)); /* a SYN was lost */
	assert_sent_by(r, tcp(7000), MS(21), MS(22), STRANGER);
	assert_sent(r, tcp(7000), MS(9), MS(60), UNKNOWN);
	/* The same one as before: all is well. */
	say_syn(r, tcp(7001), 3, APP, 78, MS(1));
	assert_sent(r, tcp(7001), MS(11), MS(20), ASK);
	say_owned(r, tcp(7001), 3, APP, NO_PACKET, MS(20));
	assert_sent_by(r, tcp(7001), MS(11), MS(20), APP);
}

static void test_the_end_decides(void **state)
{
	struct room *r = *state;

	open_connection(r, 1, APP, 77, MS(1));
	assert_sent_by(r, tcp(7000), MS(2), END, APP);
	say_pending(r, tcp(7001), APP, MS(1), MS(1) + 10);
	assert_got_by(r, tcp(7001), MS(900), END, APP);
	say_none(r, tcp(7002), MS(5));
	assert_sent(r, tcp(7002), MS(1), END, UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		room_test(test_one_connection),
		room_test(test_strangers_connection_is_asked_seldom),
		room_test(test_packets_after_close),
		room_test(test_port_reused_by_a_stranger),
		room_test(test_syn_ends_what_was_known),
		room_test(test_syn_sent_again_is_none_new),
		room_test(test_answer_ahead_of_its_syn),
		room_test(test_stamps_of_two_taps),
		room_test(test_found_only_later),
		room_test(test_given_away),
		room_test(test_accepted_by_the_listeners_owner),
		room_test(test_accepted_by_the_app_from_a_strangers_listener),
		room_test(test_a_strangers_listener),
		room_test(test_closed_before_it_was_seen_accepted),
		room_test(test_closed_unseen_where_others_accept),
		room_test(test_cold_start),
		room_test(test_orphan_of_the_app),
		room_test(test_orphan_of_nobody_known),
		room_test(test_gap_asks_anew),
		room_test(test_the_end_decides),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
