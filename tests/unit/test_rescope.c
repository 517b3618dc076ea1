/* test_rescope.c - users that come to the scope of a running capture, through every tier there is
 */
#include "tier/tier.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "net.h"

#define FIRST 5001
#define LATER 5002
#define STRANGER 5003
#define WAIT_MS 2000

struct counting {
	struct apptap_consumer base;
	unsigned first, later, others;
};

static int take(struct apptap_consumer *c, const struct apptap_packet *pkt,
		struct apptap_error *err)
{
	struct counting *n = apptap_container_of(c, struct counting, base);

	(void)err;
	if (pkt->uid == FIRST)
		n->first++;
	else if (pkt->uid == LATER)
		n->later++;
	else
		n->others++;
	return 0;
}

static int flush(struct apptap_consumer *c, struct apptap_error *err)
{
	(void)c;
	(void)err;
	return 0;
}

/* A datagram to itself, from a socket of the user's. */
static void talk(int fd)
{
	net_send(fd, "127.0.0.1", net_port(fd));
}

static void run_until(struct apptap_tier *t, struct counting *n, const unsigned *count,
		      unsigned want)
{
	uint64_t end = apptap_clock_ns(CLOCK_MONOTONIC) + WAIT_MS * APPTAP_NSEC_PER_MSEC;
	struct apptap_error err = { 0 };

	while (*count < want && apptap_clock_ns(CLOCK_MONOTONIC) < end) {
		struct pollfd p = { .fd = t->fd, .events = POLLIN };

		poll(&p, 1, 100);
		assert_int_equal(t->ops->dispatch(t, &n->base, &err), 0);
	}
	assert_int_equal(*count, want);
}

static void check(const struct apptap_tier_ops *ops)
{
	struct counting n = { .base = { take, flush } };
	struct apptap_scope *scope = calloc(1, sizeof(*scope));
	struct apptap_tier_config cfg = { .scope = scope, .snaplen = 256, .ring_bytes = 8u << 20 };
	int before = net_socket(LATER, SOCK_DGRAM, "127.0.0.1", 0);
	int stranger = net_socket(STRANGER, SOCK_DGRAM, "127.0.0.1", 0);
	int first = net_socket(FIRST, SOCK_DGRAM, "127.0.0.1", 0);
	struct apptap_error err = { 0 };
	struct apptap_tier *t;
	int after;

	assert_int_equal(apptap_scope_add(scope, FIRST, &err, "the first"), 0);
	assert_int_equal(ops->open(&t, &cfg, &err), 0);
	talk(before);
	talk(first);
	run_until(t, &n, &n.first, 1);
	assert_int_equal(n.later, 0);

	assert_int_equal(apptap_scope_add(scope, LATER, &err, "the later"), 0);
	assert_int_equal(ops->rescope(t, &err), 0);
	after = net_socket(LATER, SOCK_DGRAM, "127.0.0.1", 0);
	talk(stranger);
	talk(before); /* a socket that was there when its user came */
	talk(after);
	talk(first);
	run_until(t, &n, &n.first, 2);
	run_until(t, &n, &n.later, 2);
	assert_int_equal(ops->drain(t, &n.base, &err), 0);
	assert_int_equal(n.others, 0);
	ops->close(t);
	close(before);
	close(after);
	close(stranger);
	close(first);
	free(scope);
}

static void test_users_come(void **state)
{
	(void)state;
	net_need_own();
	for (size_t i = 0; apptap_tiers[i]; i++) {
		struct apptap_error err = { 0 };

		assert_non_null(apptap_tiers[i]->rescope);
		if (apptap_tiers[i]->probe(&err) < 0) {
			print_message("%s does not work here: %s\n", apptap_tiers[i]->name,
				      err.msg);
			continue;
		}
		print_message("%s\n", apptap_tiers[i]->name);
		check(apptap_tiers[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_users_come),
	};

	return cmocka_run_group_tests(tests, net_enter, net_leave);
}
