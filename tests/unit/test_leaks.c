/* test_leaks.c - ways in which a stranger's packet was once taken for the app's */
#include "owners_room.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

static struct apptap_flow udp(uint16_t lport)
{
	return flow_of(IPPROTO_UDP, lport, 53);
}

static struct apptap_flow tcp(uint16_t lport)
{
	return flow_of(IPPROTO_TCP, lport, 443);
}

/* app's socket 1, stranger's socket 2 in between (never asked about), app's socket 3 */
static void leak_between_two_of_ours(void **state)
{
	struct room *r = *state;
	say_owned(r, udp(7000), 1, APP, MS(1), MS(1) + 10);
	die(r, udp(7000), 1, MS(2));
	die(r, udp(7000), 2, MS(6)); /* stranger: bound 3, sent 5, closed 6; trigger skipped */
	say_owned(r, udp(7000), 3, APP, MS(10), MS(10) + 10);
	assert_sent_no_leak(r, udp(7000), MS(5), MS(60));
}

/* stranger bound to 10.9.0.1:7000, the app to 10.9.0.9:7000 (unconnected): port evidence */
static void leak_other_local_address(void **state)
{
	struct room *r = *state;
	struct apptap_flow app = flow_of(IPPROTO_UDP, 7000, 60), stranger = udp(7000);
	app.laddr.b[15] = 9;
	for (int i = 0; i < 2; i++)
		say(r, (struct word){ .flow = app,
				      .sight = APPTAP_SIGHT_OWNED,
				      .uid = APP,
				      .cookie = 1,
				      .pkt = MS(1 + 20 * i),
				      .asked = MS(1 + 20 * i) + 10,
				      .wildcard = true });
	die(r, stranger, 2, MS(6));
	say_none(r, stranger, MS(8)); /* asked when it had closed */
	assert_sent_no_leak(r, stranger, MS(5), MS(60));
}

/* a stranger's refused SYN waits; the app's SYN on the same flow comes 5 ms later */
static void leak_refused_then_ours(void **state)
{
	struct room *r = *state;
	pass_syn(r, tcp(7000), 1, MS(5));
	say_none(r, tcp(7000), MS(5) + 10);
	assert_sent(r, tcp(7000), MS(5), MS(6), WAIT);
	die(r, tcp(7000), 1, MS(7));
	say_syn(r, tcp(7000), 2, APP, 2, MS(10));
	pass_syn(r, tcp(7000), 2, MS(10));
	assert_sent_no_leak(r, tcp(7000), MS(5), MS(11));
	assert_sent_no_leak(r, tcp(7000), MS(5), MS(60));
}

/* the same, the app's connection found only by the reader, the stranger's fd still open */
static void leak_refused_then_ours_late(void **state)
{
	struct room *r = *state;
	pass_syn(r, tcp(7000), 1, MS(5));
	say_none(r, tcp(7000), MS(5) + 10);
	pass_syn(r, tcp(7000), 2, MS(10));
	say_owned(r, tcp(7000), 2, APP, NO_PACKET, MS(12));
	assert_sent_no_leak(r, tcp(7000), MS(5), MS(60));
}

/* app's listener takes a port whose stranger's connection was reset and never asked about */
static void leak_listener_later(void **state)
{
	struct room *r = *state;
	pass_syn(r, tcp(7000), 1, MS(1)); /* an outgoing SYN of the stranger's; trigger skipped */
	die(r, tcp(7000), 1, MS(5));
	say_pending(r, tcp(7000), APP, NO_PACKET, MS(8)); /* app bound and listens at 6 */
	assert_sent_no_leak(r, tcp(7000), MS(1), MS(8));
	assert_sent_no_leak(r, tcp(7000), MS(1), MS(200));
}

/* gap: the stranger's SYN was lost, its connection is gone when asked */
static void leak_after_gap(void **state)
{
	struct room *r = *state;
	struct word gap = { .flow = tcp(7000), .asked = MS(10), .pkt = NO_PACKET };
	say_syn(r, tcp(7000), 1, APP, 1, MS(1));
	pass_syn(r, tcp(7000), 1, MS(1));
	die(r, tcp(7000), 1, MS(5));
	apptap_owners_gap(r->owners, sighting_of(&gap).asked_ns);
	assert_sent(r, tcp(7000), MS(12), MS(20), ASK);
	die(r, tcp(7000), 2, MS(15));
	say_none(r, tcp(7000), MS(20));
	assert_sent_no_leak(r, tcp(7000), MS(12), MS(60));
}

/* ring lost the stranger's SYN, the trigger did not: its answer is at hand but not believed */
static void leak_trigger_saw_the_syn(void **state)
{
	struct room *r = *state;
	say_syn(r, tcp(7000), 1, APP, 1, MS(1));
	pass_syn(r, tcp(7000), 1, MS(1));
	say_syn(r, tcp(7000), 2, STRANGER, 2, MS(5));
	assert_sent_no_leak(r, tcp(7000), MS(6), MS(20));
}

/* the death comes in after GRACE counted from the packet, before GRACE from the answer */
static void leak_grace_from_packet(void **state)
{
	struct room *r = *state;
	/* stranger sends at 0.1, closes at 19.5; app binds, is seen at 19.9; event read at 21 */
	say_owned(r, udp(7000), 2, APP, MS(19) + 900, MS(19) + 910);
	assert_sent_no_leak(r, udp(7000), 100, MS(20) + 150);
	die(r, udp(7000), 1, MS(21));
	assert_sent_no_leak(r, udp(7000), 100, MS(22));
}

/* same with NONE: app's socket died at 2, stranger's lived 3..19.5, reader asks at 20.1 */
static void leak_grace_from_gone(void **state)
{
	struct room *r = *state;
	say_owned(r, udp(7000), 1, APP, MS(1), MS(1) + 10);
	die(r, udp(7000), 1, MS(2));
	say_none(r, udp(7000), MS(24));
	assert_sent_no_leak(r, udp(7000), MS(4), MS(24) + 100); /* its death is read at 25 */
}

/* an inode of the app's ping socket equals the cookie of a stranger's UDP socket */
static void leak_inode_is_cookie(void **state)
{
	struct room *r = *state;
	say_owned(r, flow_of(IPPROTO_ICMP, 9, 9), 4242, APP, MS(1), MS(1) + 10); /* inode 4242 */
	say_owned(r, udp(7000), 1, APP, MS(1), MS(1) + 10);
	die(r, udp(7000), 1, MS(2));
	die(r, udp(7000), 4242, MS(6)); /* stranger's cookie 4242, never asked about */
	say_none(r, udp(7000), MS(9));
	assert_sent_no_leak(r, udp(7000), MS(5), MS(60));
}

/* spans full; a late answer pushes out the stranger's own, which was the only witness */
static void leak_spans_overflow(void **state)
{
	struct room *r = *state;
	say_owned(r, udp(7000), 1, STRANGER, MS(10), MS(10) + 10);
	for (uint64_t i = 2; i < 5; i++)
		say_owned(r, udp(7000), i, APP, MS(10 * i), MS(10 * i) + 10);
	say_owned(r, udp(7000), 9, APP, MS(5), MS(5) + 10);
	assert_sent_no_leak(r, udp(7000), MS(10), MS(60));
}

/* a live connection whose answer carries another sequence number is asked for ever */
static void stuck_asking(void **state)
{
	struct room *r = *state;
	say_syn(r, tcp(7000), 1, APP, 1, MS(1));
	pass_syn(r, tcp(7000), 1, MS(1));
	/* IPv6 extension header: trigger takes a data segment for a SYN (trigger.c: is_syn = tcp)
	 */
	say_syn(r, tcp(7000), 1, APP, 5555, MS(3));
	say_owned(r, tcp(7000), 1, APP, NO_PACKET, MS(50));
	assert_got_by(r, tcp(7000), MS(4), MS(60), APP);
}

static void stuck_lost_syn(void **state)
{
	struct room *r = *state;
	struct word gap = { .flow = tcp(7000), .asked = MS(10), .pkt = NO_PACKET };
	uid_t uid;
	say_syn(r, tcp(7000), 1, APP, 1, MS(1));
	pass_syn(r, tcp(7000), 1, MS(1));
	say_syn(r, tcp(7000), 2, APP, 2, MS(5)); /* ring lost it */
	apptap_owners_gap(r->owners, sighting_of(&gap).asked_ns);
	for (uint64_t ms = 20; ms < 2000; ms += 4) {
		if (judge(r, tcp(7000), false, MS(12), MS(ms), &uid) != APPTAP_VERDICT_ASK)
			return;
		say_owned(r, tcp(7000), 2, APP, NO_PACKET, MS(ms));
	}
	fail_msg("asked for 2 s, still ASK");
}

/* L14 (working tree's judge_given): a stranger's socket is given to the app by fchown() */
static void leak_given_to_us(void **state)
{
	struct room *r = *state;
	say_syn(r, tcp(7000), 1, STRANGER, 1, MS(1));
	pass_syn(r, tcp(7000), 1, MS(1));
	say_owned(r, tcp(7000), 1, APP, NO_PACKET, MS(60)); /* given at 59 */
	assert_sent_no_leak(r, tcp(7000), MS(20), MS(61));
}
/* A stranger gets a datagram and closes; the app takes the port before the question is answered. */
static void leak_taken_over_before_a_prompt_answer(void **state)
{
	struct room *r = *state;
	say(r, (struct word){ .flow = udp(7000),
			      .sight = APPTAP_SIGHT_OWNED,
			      .uid = APP,
			      .cookie = 2,
			      .pkt = MS(5),
			      .asked = MS(5) + 40 });
	assert_got(r, udp(7000), MS(5), MS(6), WAIT);
	die(r, udp(7000), 1, MS(5) + 150);
	assert_got_no_leak(r, udp(7000), MS(5), MS(60));
	/* the same without a stranger is the app's */
	say(r, (struct word){ .flow = udp(7001),
			      .sight = APPTAP_SIGHT_OWNED,
			      .uid = APP,
			      .cookie = 3,
			      .pkt = MS(5),
			      .asked = MS(5) + 40 });
	assert_got_by(r, udp(7001), MS(5), MS(60), APP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		room_test(leak_between_two_of_ours),
		room_test(leak_other_local_address),
		room_test(leak_refused_then_ours),
		room_test(leak_refused_then_ours_late),
		room_test(leak_listener_later),
		room_test(leak_after_gap),
		room_test(leak_trigger_saw_the_syn),
		room_test(leak_grace_from_packet),
		room_test(leak_grace_from_gone),
		room_test(leak_inode_is_cookie),
		room_test(leak_spans_overflow),
		room_test(leak_given_to_us),
		room_test(leak_taken_over_before_a_prompt_answer),
		room_test(stuck_asking),
		room_test(stuck_lost_syn),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
