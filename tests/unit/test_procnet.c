/* test_procnet.c - lines of /proc/net, those that the kernel writes and those that it never would
 */
#include "tier/procnet.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "net.h"
#include "packets.h"

static bool parse(const char *text, int family, struct apptap_procnet_line *out)
{
	size_t len = strlen(text);
	uint8_t *copy = malloc(len ? len : 1);
	bool ok;

	assert_non_null(copy);
	memcpy(copy, text, len); /* without its end: who reads beyond is seen */
	ok = apptap_procnet_parse((struct apptap_view){ copy, len }, family, out);
	free(copy);
	return ok;
}

/* As the kernel prints an address: each 32 bits of memory as a number of this machine. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LOOPBACK4 "0100007F"
#define LOOPBACK6 "00000000000000000000000001000000"
#else
#define LOOPBACK4 "7F000001"
#define LOOPBACK6 "00000000000000000000000000000001"
#endif

static void test_lines(void **state)
{
	struct apptap_procnet_line l;
	struct apptap_addr loopback4 = addr_of("127.0.0.1"), loopback6 = addr_of("::1");

	(void)state;
	assert_true(parse("   7: " LOOPBACK4 ":1F90 00000000:0000 0A 00000000:00000001 00:00000000 "
			  "00000000  5001        0 14790761 2 0000000040b975f0 100 0 0 10 0\n",
			  AF_INET, &l));
	assert_memory_equal(&l.laddr, &loopback4, sizeof(loopback4));
	assert_int_equal(l.lport, 0x1f90);
	assert_true(apptap_addr_is_any(&l.raddr));
	assert_int_equal(l.rport, 0);
	assert_int_equal(l.state, TCP_LISTEN);
	assert_int_equal(l.uid, 5001);
	assert_int_equal(l.inode, 14790761);
	assert_true(
		parse("12345: " LOOPBACK6 ":DB68 " LOOPBACK6 ":1F90 01 00000000:00000000 "
		      "02:000001FF 00000000 4294967294        0 18446744073709 2 0 20 0 0 10 -1\n",
		      AF_INET6, &l));
	assert_memory_equal(&l.raddr, &loopback6, sizeof(loopback6));
	assert_int_equal(l.lport, 0xdb68);
	assert_int_equal(l.state, TCP_ESTABLISHED);
	assert_int_equal(l.uid, 4294967294U);
	assert_int_equal(l.inode, 18446744073709ULL);
}

static void test_no_lines(void **state)
{
	static const char *const all[] = {
		"",
		"\n",
		"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid\n",
		"   7: 0100007F:1F90 00000000:0000 0A 00000000:00000001 00:00000000\n",
		"   7: 0100007F:1F90 00000000:0000 0A 0:1 00:0 0 5001 0\n", /* no inode */
		"   7: 0100007F:1F90 00000000:0000 0A 0:1 00:0 0 4294967296 0 5\n", /* no UID */
		"   7: 0100007F:1F90 00000000:0000 0A 0:1 00:0 0 -1 0 5\n",
		"   7: 0100007F 00000000:0000 0A 0:1 00:0 0 5001 0 5\n",
		"   7: 010000XF:1F90 00000000:0000 0A 0:1 00:0 0 5001 0 5\n",
		"   7 0100007F:1F90 00000000:0000 0A 0:1 00:0 0 5001 0 5\n",
		"    : 0100007F:1F90 00000000:0000 0A 0:1 00:0 0 5001 0 5\n",
	};
	struct apptap_procnet_line l;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		assert_false(parse(all[i], AF_INET, &l));
	/* A line of the other family. */
	assert_false(
		parse("7: 0100007F:1F90 00000000:0000 0A 0:1 00:0 0 5001 0 5\n", AF_INET6, &l));
}

/* Cut anywhere: no line, or one whose inode lacks digits; nothing is read beyond. */
static void test_cut_anywhere(void **state)
{
	char line[] =
		"7: 0100007F:1F90 00000000:0000 0A 00000000:00000001 00:00000000 0 5001 0 123";
	struct apptap_procnet_line l;

	(void)state;
	for (size_t len = sizeof(line) - 1; len-- > 0;) {
		line[len] = '\0';
		assert_int_equal(parse(line, AF_INET, &l), len >= sizeof(line) - 3);
	}
}

static void assert_sight(struct apptap_flow f, enum apptap_sight sight, uid_t uid)
{
	struct apptap_sighting s;

	memset(&s, 0xff, sizeof(s));
	apptap_procnet_ask(&f, &s);
	assert_int_equal(s.sight, sight);
	assert_int_equal(s.uid, uid);
	assert_true(apptap_flow_equal(&s.flow, &f));
	assert_true(s.asked_ns > 0);
	assert_false(s.is_syn);
	assert_false(s.group);
	if (sight == APPTAP_SIGHT_OWNED)
		assert_true(s.cookie > 0);
}

static void test_udp_and_tcp(void **state)
{
	int wildcard, connected, six, listener, client, server;
	uint16_t port;

	(void)state;
	net_need_own();
	wildcard = net_socket(5001, SOCK_DGRAM, "0.0.0.0", 7000);
	connected = net_connected(5002, SOCK_DGRAM, "127.0.0.1", 7000);
	six = net_socket(5003, SOCK_DGRAM, "::", 7001); /* both families */
	assert_sight(flow_of(IPPROTO_UDP, "127.0.0.1", 7000, "10.1.1.1", 9), APPTAP_SIGHT_OWNED,
		     5001);
	assert_sight(flow_of(IPPROTO_UDP, "127.0.0.1", net_port(connected), "127.0.0.1", 7000),
		     APPTAP_SIGHT_OWNED, 5002);
	/* Not from another peer: it is connected. */
	assert_sight(flow_of(IPPROTO_UDP, "127.0.0.1", net_port(connected), "127.0.0.1", 7002),
		     APPTAP_SIGHT_NONE, APPTAP_UID_NONE);
	assert_sight(flow_of(IPPROTO_UDP, "127.0.0.1", 7001, "127.0.0.1", 9), APPTAP_SIGHT_OWNED,
		     5003);
	assert_sight(flow_of(IPPROTO_UDP, "::1", 7001, "::1", 9), APPTAP_SIGHT_OWNED, 5003);
	assert_sight(flow_of(IPPROTO_UDP, "127.0.0.1", 7777, "127.0.0.1", 9), APPTAP_SIGHT_NONE,
		     APPTAP_UID_NONE);
	assert_sight(flow_of(IPPROTO_TCP, "127.0.0.1", 7000, "127.0.0.1", 9), APPTAP_SIGHT_NONE,
		     APPTAP_UID_NONE);
	listener = net_socket(5001, SOCK_STREAM, "127.0.0.1", 7000);
	assert_sight(flow_of(IPPROTO_TCP, "127.0.0.1", 7000, "127.0.0.1", 9), APPTAP_SIGHT_PENDING,
		     5001);
	client = net_connected(5002, SOCK_STREAM, "127.0.0.1", 7000);
	server = net_accept(5001, listener);
	port = net_port(client);
	assert_sight(flow_of(IPPROTO_TCP, "127.0.0.1", port, "127.0.0.1", 7000), APPTAP_SIGHT_OWNED,
		     5002);
	assert_sight(flow_of(IPPROTO_TCP, "127.0.0.1", 7000, "127.0.0.1", port), APPTAP_SIGHT_OWNED,
		     5001);
	net_close_acked(client); /* which leaves an orphan in FIN_WAIT2 */
	assert_sight(flow_of(IPPROTO_TCP, "127.0.0.1", port, "127.0.0.1", 7000),
		     APPTAP_SIGHT_ORPHAN, APPTAP_UID_NONE);
	close(server);
	close(listener);
	close(six);
	close(connected);
	close(wildcard);
}

static int raw(uid_t uid, int proto)
{
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, proto);

	assert_true(fd >= 0);
	assert_int_equal(fchown(fd, uid, (gid_t)-1), 0);
	return fd;
}

static void test_raw(void **state)
{
	struct apptap_flow f = flow_of(253, "127.0.0.1", 0, "127.0.0.1", 0);
	int one, same, other;

	(void)state;
	net_need_own();
	assert_sight(f, APPTAP_SIGHT_NONE, APPTAP_UID_NONE);
	one = raw(5001, 253);
	assert_sight(f, APPTAP_SIGHT_OWNED, 5001);
	same = raw(5001, 253);
	assert_sight(f, APPTAP_SIGHT_OWNED, 5001);
	other = raw(5002, 253); /* any of them may have sent it */
	assert_sight(f, APPTAP_SIGHT_ORPHAN, APPTAP_UID_NONE);
	f.proto = 254;
	assert_sight(f, APPTAP_SIGHT_NONE, APPTAP_UID_NONE);
	close(one);
	close(same);
	close(other);
}

struct count {
	uint16_t lport;
	int seen;
	int stop_after;
};

static int count(const struct apptap_procnet_line *line, void *arg)
{
	struct count *c = arg;

	c->seen += line->lport == c->lport;
	return c->stop_after && c->seen >= c->stop_after ? -ECANCELED : 0;
}

/* More lines than one read brings. */
static void test_every_line(void **state)
{
	struct count c = { .lport = 7000 };
	struct apptap_error err;
	int fds[300];

	(void)state;
	net_need_own();
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = net_socket(5001, SOCK_DGRAM, "127.0.0.1", 7000);
	assert_int_equal(apptap_procnet_each(IPPROTO_UDP, AF_INET, count, &c, &err), 0);
	assert_int_equal(c.seen, ARRAY_SIZE(fds));
	c = (struct count){ .lport = 7000, .stop_after = 3 };
	assert_int_equal(apptap_procnet_each(IPPROTO_UDP, AF_INET, count, &c, &err), -ECANCELED);
	assert_int_equal(c.seen, 3);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),	     cmocka_unit_test(test_no_lines),
		cmocka_unit_test(test_cut_anywhere), cmocka_unit_test(test_udp_and_tcp),
		cmocka_unit_test(test_raw),	     cmocka_unit_test(test_every_line),
	};

	return cmocka_run_group_tests(tests, net_enter, net_leave);
}
