/* test_diag.c - real sockets of several users, and what the kernel says of each */
#include "tier/diag.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <cmocka.h>

#include "net.h"
#include "packets.h"

#define ACCEPTED 2000

static struct apptap_diag *diag;

static int setup(void **state)
{
	struct apptap_error err;

	(void)state;
	return apptap_diag_open(&diag, &err);
}

static int teardown(void **state)
{
	(void)state;
	apptap_diag_close(diag);
	apptap_diag_close(NULL);
	return 0;
}

static struct apptap_sighting ask(struct apptap_flow f, int ifindex)
{
	uint64_t before_ns = apptap_clock_ns(CLOCK_REALTIME);
	struct apptap_sighting s;

	memset(&s, 0xff, sizeof(s));
	apptap_diag_ask(diag, &f, ifindex, &s);
	assert_true(apptap_flow_equal(&s.flow, &f));
	assert_true(s.asked_ns >= before_ns);
	assert_false(s.group);
	assert_false(s.is_syn);
	return s;
}

static struct apptap_sighting assert_sight(struct apptap_flow f, enum apptap_sight sight, uid_t uid)
{
	struct apptap_sighting s = ask(f, 1);

	assert_int_equal(s.sight, sight);
	assert_int_equal(s.uid, uid);
	return s;
}

#define assert_none(f) assert_sight(f, APPTAP_SIGHT_NONE, APPTAP_UID_NONE)

static void test_udp(void **state)
{
	static const struct {
		const char *bound, *local, *remote;
	} all[] = {
		{ "127.0.0.1", "127.0.0.1", "127.0.0.1" },
		{ "0.0.0.0", "127.0.0.2", "127.0.0.1" },
		{ "::1", "::1", "::1" },
		{ "::", "::1", "::1" },
		{ "::", "127.0.0.1", "127.0.0.1" }, /* both families, IPv4 on the wire */
		{ "::ffff:127.0.0.1", "127.0.0.1", "127.0.0.1" },
	};

	(void)state;
	net_need_own();
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		int fd = net_socket(5001, SOCK_DGRAM, all[i].bound, 7000);
		int peer = net_connected(5002, SOCK_DGRAM, all[i].local, 7000);
		uint16_t port = net_port(peer);
		struct apptap_sighting s;

		s = assert_sight(flow_of(IPPROTO_UDP, all[i].local, 7000, all[i].remote, port),
				 APPTAP_SIGHT_OWNED, 5001);
		assert_true(s.wildcard);
		assert_int_equal(s.cookie, net_cookie(fd));
		/* The other end of the same packet. */
		s = assert_sight(flow_of(IPPROTO_UDP, all[i].remote, port, all[i].local, 7000),
				 APPTAP_SIGHT_OWNED, 5002);
		assert_false(s.wildcard);
		assert_int_equal(s.cookie, net_cookie(peer));
		assert_none(flow_of(IPPROTO_UDP, all[i].local, 7001, all[i].remote, port));
		close(peer);
		close(fd);
		assert_none(flow_of(IPPROTO_UDP, all[i].local, 7000, all[i].remote, port));
	}
}

static void test_tcp_by_state(void **state)
{
	int listener, client, server;
	struct apptap_flow out, in;
	struct apptap_sighting s;
	uint64_t cookie;
	uint16_t port;

	(void)state;
	net_need_own();
	listener = net_socket(5001, SOCK_STREAM, "127.0.0.1", 7000);
	/* Any stranger's port finds it: an inbound SYN is its. */
	s = assert_sight(flow_of(IPPROTO_TCP, "127.0.0.1", 7000, "127.0.0.1", 9),
			 APPTAP_SIGHT_PENDING, 5001);
	assert_int_equal(s.cookie, 0);
	client = net_connected(5002, SOCK_STREAM, "127.0.0.1", 7000);
	port = net_port(client);
	cookie = net_cookie(client);
	out = flow_of(IPPROTO_TCP, "127.0.0.1", port, "127.0.0.1", 7000);
	in = flow_of(IPPROTO_TCP, "127.0.0.1", 7000, "127.0.0.1", port);
	assert_int_equal(assert_sight(out, APPTAP_SIGHT_OWNED, 5002).cookie, cookie);
	assert_sight(in, APPTAP_SIGHT_PENDING, 5001);
	server = net_accept(5003, listener); /* by another user than the listener's */
	assert_int_equal(assert_sight(in, APPTAP_SIGHT_OWNED, 5003).cookie, net_cookie(server));
	assert_int_equal(fchown(server, 5004, (gid_t)-1), 0);
	assert_int_equal(assert_sight(in, APPTAP_SIGHT_OWNED, 5004).cookie, net_cookie(server));
	net_close_acked(client); /* FIN_WAIT2, without a file */
	assert_sight(out, APPTAP_SIGHT_ORPHAN, APPTAP_UID_NONE);
	assert_sight(in, APPTAP_SIGHT_OWNED, 5004); /* CLOSE_WAIT */
	close(server); /* TIME_WAIT */
	assert_sight(out, APPTAP_SIGHT_ORPHAN, APPTAP_UID_NONE);
	close(listener);
	assert_none(in);
}

static void test_refused_is_nobodys(void **state)
{
	(void)state;
	net_need_own();
	assert_none(flow_of(IPPROTO_TCP, "127.0.0.1", 7000, "127.0.0.1", 9));
	assert_none(flow_of(IPPROTO_TCP, "::1", 7000, "::1", 9));
}

/* A socket bound to a device is found only with the packet's interface. */
static void test_bound_to_a_device(void **state)
{
	int fd;
	struct apptap_flow f = flow_of(IPPROTO_UDP, "127.0.0.1", 7000, "127.0.0.1", 9);

	(void)state;
	net_need_own();
	fd = net_socket(5001, SOCK_DGRAM, "0.0.0.0", 7000);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3), 0);
	assert_int_equal(ask(f, 1).uid, 5001);
	assert_int_equal(ask(f, 77).sight, APPTAP_SIGHT_NONE);
	close(fd);
}

static void test_raw_from_procnet(void **state)
{
	struct apptap_flow f = flow_of(253, "127.0.0.1", 0, "127.0.0.1", 0);
	int fd;

	(void)state;
	net_need_own();
	assert_none(f);
	fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, 253);
	assert_int_equal(fchown(fd, 5001, (gid_t)-1), 0);
	assert_sight(f, APPTAP_SIGHT_OWNED, 5001);
	close(fd);
}

/* ---- lists ---- */

struct found {
	uint16_t lport;
	int count;
	struct apptap_sighting last;
	int answer;
};

static int find(const struct apptap_sighting *s, void *arg)
{
	struct found *f = arg;

	if (s->flow.lport != f->lport)
		return 0;
	f->count++;
	f->last = *s;
	return f->answer;
}

static struct found list(int proto, uint16_t lport)
{
	struct found f = { .lport = lport };
	struct apptap_error err;

	assert_int_equal(apptap_diag_dump(diag, proto, find, &f, &err), 0);
	return f;
}

/* As a flow on the wire has it: IPv4 through a socket of IPv6 is IPv4. */
static void test_list_has_flows_of_the_wire(void **state)
{
	int listener, client, udp;
	struct found f;
	struct apptap_flow want;

	(void)state;
	net_need_own();
	listener = net_socket(5001, SOCK_STREAM, "127.0.0.1", 7000);
	client = net_connected(5002, SOCK_STREAM, "::ffff:127.0.0.1", 7000);
	f = list(IPPROTO_TCP, net_port(client));
	want = flow_of(IPPROTO_TCP, "127.0.0.1", net_port(client), "127.0.0.1", 7000);
	assert_int_equal(f.count, 1);
	assert_true(apptap_flow_equal(&f.last.flow, &want));
	assert_int_equal(f.last.uid, 5002);
	assert_int_equal(f.last.cookie, net_cookie(client));
	udp = net_connected(5003, SOCK_DGRAM, "::1", 53);
	f = list(IPPROTO_UDP, net_port(udp));
	want = flow_of(IPPROTO_UDP, "::1", net_port(udp), "::1", 53);
	assert_int_equal(f.count, 1);
	assert_true(apptap_flow_equal(&f.last.flow, &want));
	assert_int_equal(list(IPPROTO_TCP, net_port(udp)).count, 0);
	close(udp);
	close(client);
	close(listener);
}

static void test_list_stops_when_told(void **state)
{
	struct found f = { .lport = 7000, .answer = -ECANCELED };
	struct apptap_error err;
	int a, b;

	(void)state;
	net_need_own();
	a = net_socket(5001, SOCK_DGRAM, "127.0.0.1", 7000);
	b = net_socket(5001, SOCK_DGRAM, "127.0.0.2", 7000);
	assert_int_equal(apptap_diag_dump(diag, IPPROTO_UDP, find, &f, &err), -ECANCELED);
	assert_int_equal(f.count, 1);
	f = list(IPPROTO_UDP, 7000); /* what was left over of that answer is none of this one's */
	assert_int_equal(f.count, 2);
	assert_sight(flow_of(IPPROTO_UDP, "127.0.0.2", 7000, "127.0.0.1", 9), APPTAP_SIGHT_OWNED,
		     5001);
	close(a);
	close(b);
}

static struct apptap_sighting ask_group(const char *group, uint16_t port)
{
	struct apptap_scope scope = { .uid_count = 2,
				      .uids = { { .uid = 5001 }, { .uid = 5011 } } };
	struct apptap_flow f = flow_of(IPPROTO_UDP, group, port, "10.9.0.2", 9);
	struct apptap_sighting s;

	apptap_diag_ask_group(diag, &f, &scope, &s);
	assert_true(s.group);
	assert_true(apptap_flow_equal(&s.flow, &f));
	return s;
}

static void test_groups(void **state)
{
	int stranger, app;

	(void)state;
	net_need_own();
	stranger = net_socket(5002, SOCK_DGRAM, "0.0.0.0", 7000);
	assert_int_equal(ask_group("239.1.1.1", 7000).sight, APPTAP_SIGHT_NONE);
	app = net_socket(5011, SOCK_DGRAM, "0.0.0.0", 7000);
	assert_int_equal(ask_group("239.1.1.1", 7000).sight, APPTAP_SIGHT_OWNED);
	assert_int_equal(ask_group("239.1.1.1", 7000).uid, 5011);
	assert_int_equal(ask_group("239.1.1.1", 7001).uid, APPTAP_UID_NONE);
	close(app);
	assert_int_equal(ask_group("239.1.1.1", 7000).sight, APPTAP_SIGHT_NONE);
	app = net_socket(5001, SOCK_DGRAM, "239.1.1.1", 7000); /* bound to that group alone */
	assert_int_equal(ask_group("239.1.1.1", 7000).uid, 5001);
	assert_int_equal(ask_group("239.1.1.2", 7000).uid, APPTAP_UID_NONE);
	close(app);
	close(stranger);
}

static void *accept_as_another(void *listener)
{
	struct sockaddr_in peer;
	socklen_t len = sizeof(peer);

	syscall(SYS_setfsuid, 5002); /* this thread's alone */
	return (void *)(intptr_t)accept4(*(int *)listener, (struct sockaddr *)&peer, &len,
					 SOCK_CLOEXEC);
}

/* Asked about all the time while it is accepted by another user than the listener's. */
static void test_accepted_while_asked(void **state)
{
	int listener = net_socket(5001, SOCK_STREAM, "127.0.0.1", 7000);

	(void)state;
	net_need_own();
	for (int i = 0; i < ACCEPTED; i++) {
		int peer = net_connected(5003, SOCK_STREAM, "127.0.0.1", 7000);
		struct apptap_flow f =
			flow_of(IPPROTO_TCP, "127.0.0.1", 7000, "127.0.0.1", net_port(peer));
		struct apptap_sighting s;
		pthread_t thread;
		void *fd;

		assert_int_equal(pthread_create(&thread, NULL, accept_as_another, &listener), 0);
		do
			s = ask(f, 0);
		while (s.sight == APPTAP_SIGHT_PENDING);
		pthread_join(thread, &fd);
		assert_int_equal(s.sight, APPTAP_SIGHT_OWNED);
		assert_int_equal(s.uid, 5002);
		close((int)(intptr_t)fd);
		close(peer);
	}
	close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_udp, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tcp_by_state, setup, teardown),
		cmocka_unit_test_setup_teardown(test_accepted_while_asked, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused_is_nobodys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bound_to_a_device, setup, teardown),
		cmocka_unit_test_setup_teardown(test_raw_from_procnet, setup, teardown),
		cmocka_unit_test_setup_teardown(test_list_has_flows_of_the_wire, setup, teardown),
		cmocka_unit_test_setup_teardown(test_list_stops_when_told, setup, teardown),
		cmocka_unit_test_setup_teardown(test_groups, setup, teardown),
	};

	return cmocka_run_group_tests(tests, net_enter, net_leave);
}
