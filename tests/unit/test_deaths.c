/* test_deaths.c - the log of destroyed sockets: what it remembers, and when it must not tell */
#include "tier/deaths.h"

#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "net.h"
#include "packets.h"

static struct apptap_flow flow(uint8_t proto, uint16_t lport, uint16_t rport)
{
	return (struct apptap_flow){ .laddr = addr_of("10.9.0.1"),
				     .raddr = addr_of("10.9.0.2"),
				     .lport = lport,
				     .rport = rport,
				     .proto = proto,
				     .family = AF_INET };
}

static int setup(void **state)
{
	struct apptap_deaths *d;

	if (apptap_deaths_new(&d) < 0)
		return -1;
	*state = d;
	return 0;
}

static int teardown(void **state)
{
	apptap_deaths_free(*state);
	return 0;
}

static void add(struct apptap_deaths *d, struct apptap_flow f, uint64_t cookie, uint64_t ns)
{
	apptap_deaths_add(d, &f, cookie, ns);
}

static int since(const struct apptap_deaths *d, struct apptap_flow f, uint64_t ns,
		 uint64_t cookies[APPTAP_DEATHS_A_PORT])
{
	return apptap_deaths_since(d, &f, ns, cookies);
}

static void assert_since(const struct apptap_deaths *d, struct apptap_flow f, uint64_t ns, int want)
{
	uint64_t cookies[APPTAP_DEATHS_A_PORT];

	assert_int_equal(since(d, f, ns, cookies), want);
}

static void test_by_port(void **state)
{
	struct apptap_flow f = flow(IPPROTO_UDP, 7000, 53);
	struct apptap_flow g = flow(IPPROTO_UDP, 7001, 53);
	uint64_t cookies[APPTAP_DEATHS_A_PORT];

	assert_since(*state, f, 1, 0);
	add(*state, f, 11, 100);
	add(*state, flow(IPPROTO_UDP, 7000, 99), 12, 200); /* any peer's */
	assert_int_equal(since(*state, f, 100, cookies), 2);
	assert_int_equal(cookies[0] + cookies[1], 23);
	assert_int_equal(since(*state, f, 101, cookies), 1);
	assert_int_equal(cookies[0], 12);
	assert_since(*state, f, 201, 0);
	assert_since(*state, g, 1, 0);
	assert_true(apptap_deaths_has(*state, &f, 11));
	assert_false(apptap_deaths_has(*state, &f, 13));
	assert_false(apptap_deaths_has(*state, &g, 11));
	assert_false(apptap_deaths_has(*state, &g, 0)); /* an empty place is nobody's death */
}

static void test_protocols_apart(void **state)
{
	add(*state, flow(IPPROTO_UDP, 7000, 53), 1, 100);
	assert_since(*state, flow(IPPROTO_TCP, 7000, 53), 1, 0);
	assert_since(*state, flow(IPPROTO_UDPLITE, 7000, 53), 1, 0);
}

/* A listener's port has many connections: only the very flow counts. */
static void test_tcp_by_flow(void **state)
{
	struct apptap_flow f = flow(IPPROTO_TCP, 80, 40000);
	struct apptap_flow other = f;
	int same = 0;

	add(*state, f, 1, 100);
	assert_since(*state, f, 1, 1);
	for (int i = 1; i < 64; i++) {
		uint64_t cookies[APPTAP_DEATHS_A_PORT];

		other.rport = (uint16_t)(40000 + i);
		same += since(*state, other, 1, cookies);
		other.rport = f.rport;
		other.raddr.b[15] = (uint8_t)(2 + i);
		same += since(*state, other, 1, cookies);
		other.raddr = f.raddr;
		other.laddr.b[15] = (uint8_t)(1 + i);
		same += since(*state, other, 1, cookies);
		other.laddr = f.laddr;
		other.lport = (uint16_t)(80 + i);
		same += since(*state, other, 1, cookies);
		other.lport = f.lport;
	}
	assert_in_range(same, 0, 2); /* places may collide, seldom */
	other = f;
	other.family = AF_INET6; /* of a socket of IPv6 that talks IPv4 */
	assert_since(*state, other, 1, 1);
}

static void test_overflow_cannot_tell(void **state)
{
	struct apptap_flow f = flow(IPPROTO_UDP, 7000, 53);

	for (uint64_t i = 1; i <= APPTAP_DEATHS_A_PORT; i++)
		add(*state, f, i, 100 * i);
	assert_since(*state, f, 100, APPTAP_DEATHS_A_PORT);
	add(*state, f, 99, 10000);
	assert_since(*state, f, 100, -1); /* more than the answer has room for */
	assert_since(*state, f, 101, APPTAP_DEATHS_A_PORT);
	assert_true(apptap_deaths_has(*state, &f, 1));
}

/* So many elsewhere that the log has been written over: it says what it no longer knows. */
static void test_log_goes_round(void **state)
{
	struct apptap_flow f = flow(IPPROTO_UDP, 7000, 53);
	const uint64_t log = 1 << 18;

	add(*state, f, 1, 100);
	add(*state, f, 2, 200);
	for (uint64_t i = 0; i < log - 1; i++)
		add(*state, flow(IPPROTO_UDP, 7001, 53), 1000 + i, 300 + i);
	assert_since(*state, f, 201, 0);
	assert_since(*state, f, 200, -1); /* what is forgotten may be as young as the oldest kept */
	assert_false(apptap_deaths_has(*state, &f, 1));
	assert_true(apptap_deaths_has(*state, &f, 2));
	add(*state, flow(IPPROTO_UDP, 7001, 53), 1, log + 300);
	assert_since(*state, f, 301, 0);
	assert_since(*state, f, 300, -1);
	add(*state, f, 3, log + 400);
	assert_since(*state, f, 302, 1);
	assert_true(apptap_deaths_has(*state, &f, 3));
}

static void test_losses(void **state)
{
	struct apptap_flow f = flow(IPPROTO_UDP, 7000, 53);

	apptap_deaths_lost(*state, 500);
	assert_since(*state, f, 499, -1);
	assert_since(*state, f, 500, -1);
	assert_since(*state, f, 501, 0);
	apptap_deaths_lost(*state, UINT64_MAX); /* no events here at all */
	assert_since(*state, f, UINT64_MAX - 1, -1);
}

/* ---- the kernel's own word ---- */

static size_t left_count;

static void left(void *arg, uint16_t port)
{
	if (port == *(uint16_t *)arg)
		left_count++;
}

/* Reads until @f has had a death, for one second at most. */
static bool await_death(struct apptap_deaths *d, struct apptap_obituaries *o, struct apptap_flow f,
			uint64_t cookie)
{
	uint16_t port = f.lport;

	left_count = 0;
	for (int i = 0; i < 10 && !apptap_deaths_has(d, &f, cookie); i++) {
		net_readable(apptap_obituaries_fd(o), 100);
		assert_true(apptap_obituaries_read(o, d, left, &port) >= 0);
	}
	return apptap_deaths_has(d, &f, cookie);
}

static void test_kernel_tells(void **state)
{
	static const struct {
		int type;
		uint8_t proto;
		const char *addr;
	} all[] = {
		{ SOCK_DGRAM, IPPROTO_UDP, "127.0.0.1" },
		{ SOCK_DGRAM, IPPROTO_UDP, "::1" },
		{ SOCK_STREAM, IPPROTO_TCP, "127.0.0.1" },
		{ SOCK_STREAM, IPPROTO_TCP, "::1" },
	};
	struct apptap_obituaries *o;
	struct apptap_error err;

	net_need_own();
	assert_int_equal(apptap_obituaries_open(&o, &err), 0);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct apptap_flow f = { .proto = all[i].proto, .laddr = addr_of(all[i].addr) };
		uint64_t before = apptap_clock_ns(CLOCK_REALTIME);
		uint64_t cookies[APPTAP_DEATHS_A_PORT];
		uint64_t cookie;
		int fd = net_socket(getuid(), all[i].type, all[i].addr, 0);

		f.family = strchr(all[i].addr, ':') ? AF_INET6 : AF_INET;
		if (f.family == AF_INET)
			f.raddr = addr_of("0.0.0.0");
		f.lport = net_port(fd);
		cookie = net_cookie(fd);
		close(fd);
		assert_true(await_death(*state, o, f, cookie));
		assert_int_equal(since(*state, f, before, cookies), 1);
		assert_int_equal(cookies[0], cookie);
		assert_int_equal(left_count, all[i].proto == IPPROTO_UDP);
	}
	apptap_obituaries_close(o);
	apptap_obituaries_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_by_port, setup, teardown),
		cmocka_unit_test_setup_teardown(test_protocols_apart, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tcp_by_flow, setup, teardown),
		cmocka_unit_test_setup_teardown(test_overflow_cannot_tell, setup, teardown),
		cmocka_unit_test_setup_teardown(test_log_goes_round, setup, teardown),
		cmocka_unit_test_setup_teardown(test_losses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kernel_tells, setup, teardown),
	};

	return cmocka_run_group_tests(tests, net_enter, net_leave);
}
