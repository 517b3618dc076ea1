/* test_attribution.c - packets made by hand, judged by the real sockets of a network of our own */
#include "tier/attribution.h"

#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "net.h"
#include "packets.h"

#define APP 5001
#define STRANGER 5002
#define ELSEWHERE "10.9.0.77"
#define SECOND APPTAP_NSEC_PER_SEC

struct room {
	struct apptap_scope scope;
	struct apptap_diag *diag;
	struct apptap_links *links;
	struct apptap_deaths *deaths;
	struct apptap_attribution *a;
	uid_t uid; /* that the last packet was found to have */
};

static int group_setup(void **state)
{
	if (net_enter(state) < 0)
		return -1;
	if (geteuid() == 0)
		net_veth();
	return 0;
}

static int setup(void **state)
{
	struct room *r = calloc(1, sizeof(*r));
	struct apptap_error err;

	if (!r || apptap_scope_add(&r->scope, APP, &err, "app") < 0 ||
	    apptap_diag_open(&r->diag, &err) < 0 || apptap_links_open(&r->links, &err) < 0 ||
	    apptap_deaths_new(&r->deaths) < 0 ||
	    apptap_attribution_new(&r->a, &r->scope, r->diag, r->links, r->deaths, &err) < 0)
		return -1;
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct room *r = *state;

	apptap_attribution_free(r->a);
	apptap_attribution_free(NULL);
	apptap_deaths_free(r->deaths);
	apptap_links_close(r->links);
	apptap_diag_close(r->diag);
	free(r);
	return 0;
}

/* A packet that passed @age_ns ago, and its way to a verdict. */
struct judged {
	struct packet *p;
	int32_t ifindex; /* 0: va's */
	uint8_t pkttype;
	bool may_not_ask;
	bool at_the_end;
	uint64_t age_ns;
};

static enum apptap_attributed judge(struct room *r, struct judged j)
{
	uint64_t now_ns = apptap_clock_ns(CLOCK_REALTIME);
	struct apptap_packet pkt = { .data = j.p->b,
				     .len = (uint32_t)j.p->len,
				     .wire_len = (uint32_t)j.p->len,
				     .ts_ns = now_ns - j.age_ns,
				     .ifindex =
					     j.ifindex ? j.ifindex : (int32_t)if_nametoindex("va"),
				     .protocol = j.p->b[0] >> 4 == 6 ? ETH_IPV6 : ETH_IPV4,
				     .pkttype = j.pkttype,
				     .uid = APPTAP_UID_NONE };
	enum apptap_attributed result;
	struct apptap_dissect d;
	uint64_t first_ns;

	apptap_attribution_note(r->a, &pkt, &d, &first_ns);
	result = apptap_attribution_judge(r->a, &pkt, &d, &first_ns,
					  j.at_the_end ? UINT64_MAX : now_ns, !j.may_not_ask);
	/* An answer got just now is leaned on when deaths before it would have been told. */
	if (result == APPTAP_ATTR_HOLD && j.age_ns >= SECOND && !j.at_the_end)
		result = apptap_attribution_judge(r->a, &pkt, &d, &first_ns,
						  apptap_clock_ns(CLOCK_REALTIME) + SECOND / 10,
						  !j.may_not_ask);
	r->uid = pkt.uid;
	return result;
}

/* Old enough for every witness to have spoken. */
static enum apptap_attributed pass(struct room *r, struct packet p, uint8_t pkttype)
{
	return judge(r, (struct judged){ .p = &p, .pkttype = pkttype, .age_ns = SECOND });
}

#define assert_out(r, p, what) assert_int_equal(pass(r, p, PACKET_OUTGOING), APPTAP_ATTR_##what)
#define assert_in(r, p, what) assert_int_equal(pass(r, p, PACKET_HOST), APPTAP_ATTR_##what)

static struct packet udp(const char *src, uint16_t sport, const char *dst, uint16_t dport)
{
	struct packet p = { 0 };

	add_ipv4(&p, IPPROTO_UDP, src, dst, 0, 1);
	add_udp(&p, sport, dport, 8);
	return p;
}

static void test_whose(void **state)
{
	struct room *r = *state;
	int app, stranger;

	net_need_own();
	app = net_socket(APP, SOCK_DGRAM, "0.0.0.0", 7000);
	stranger = net_socket(STRANGER, SOCK_DGRAM, "0.0.0.0", 7001);
	assert_out(r, udp(NET_A, 7000, ELSEWHERE, 53), KEEP);
	assert_int_equal(r->uid, APP);
	assert_in(r, udp(ELSEWHERE, 53, NET_A, 7000), KEEP);
	assert_out(r, udp(NET_A, 7001, ELSEWHERE, 53), FOREIGN);
	assert_int_equal(r->uid, APPTAP_UID_NONE);
	assert_in(r, udp(ELSEWHERE, 53, NET_A, 7001), FOREIGN);
	assert_in(r, udp(ELSEWHERE, 53, NET_A, 7002), FOREIGN); /* nobody's */
	assert_out(r, udp(NET_A, 7002, ELSEWHERE, 53), UNKNOWN); /* somebody sent it */
	close(stranger);
	close(app);
}

/* Whatever sockets would match: neither end of these is on this machine, or they are not for it. */
static void test_packets_of_others(void **state)
{
	struct room *r = *state;
	struct packet p = udp(ELSEWHERE, 53, NET_A, 7000);
	int app;

	net_need_own();
	app = net_socket(APP, SOCK_DGRAM, "0.0.0.0", 7000);
	assert_in(r, udp("192.0.2.1", 7000, "192.0.2.2", 7000), FOREIGN); /* to be forwarded */
	assert_out(r, udp("192.0.2.1", 7000, "192.0.2.2", 7000), FOREIGN);
	assert_int_equal(pass(r, p, PACKET_OTHERHOST), APPTAP_ATTR_FOREIGN);
	assert_int_equal(apptap_attribution_lookups(r->a), 0);
	p.b[0] = 0x15; /* neither IPv4 nor IPv6 */
	assert_in(r, p, NOT_IP);
	close(app);
}

/* On the loopback each packet is seen once, with both ends here: one of them is enough. */
static void test_loopback(void **state)
{
	struct room *r = *state;
	struct packet to = udp("127.0.0.1", 7001, "127.0.0.1", 7000);
	struct packet from = udp("127.0.0.1", 7000, "127.0.0.1", 7001);
	struct packet other = udp("127.0.0.1", 7001, "127.0.0.1", 7002);
	struct judged j = { .ifindex = 1, .pkttype = PACKET_OUTGOING, .age_ns = SECOND };
	int app, stranger;

	net_need_own();
	app = net_socket(APP, SOCK_DGRAM, "127.0.0.1", 7000);
	stranger = net_socket(STRANGER, SOCK_DGRAM, "127.0.0.1", 7001);
	j.p = &to;
	assert_int_equal(judge(r, j), APPTAP_ATTR_KEEP);
	assert_int_equal(r->uid, APP);
	j.p = &from;
	assert_int_equal(judge(r, j), APPTAP_ATTR_KEEP);
	j.p = &other;
	assert_int_equal(judge(r, j), APPTAP_ATTR_FOREIGN);
	close(stranger);
	close(app);
}

static void test_icmp(void **state)
{
	struct room *r = *state;
	struct packet error = { 0 }, strangers = { 0 }, sent = { 0 }, reply = { 0 }, ns = { 0 };
	uint64_t lookups;
	int app;

	net_need_own();
	app = net_socket(APP, SOCK_DGRAM, "0.0.0.0", 7000);
	/* Comes in, about what the app sent. */
	add_ipv4(&error, IPPROTO_ICMP, ELSEWHERE, NET_A, 0, 1);
	add_icmp(&error, 3, 0);
	add_ipv4(&error, IPPROTO_UDP, NET_A, ELSEWHERE, 0, 2);
	add_udp(&error, 7000, 53, 0);
	assert_in(r, error, KEEP);
	assert_int_equal(r->uid, APP);
	add_ipv4(&strangers, IPPROTO_ICMP, ELSEWHERE, NET_A, 0, 1);
	add_icmp(&strangers, 3, 0);
	add_ipv4(&strangers, IPPROTO_UDP, NET_A, ELSEWHERE, 0, 2);
	add_udp(&strangers, 7001, 53, 0);
	assert_int_not_equal(pass(r, strangers, PACKET_HOST), APPTAP_ATTR_KEEP);
	/* Goes out, about what the app got. */
	add_ipv4(&sent, IPPROTO_ICMP, NET_A, ELSEWHERE, 0, 1);
	add_icmp(&sent, 3, 0);
	add_ipv4(&sent, IPPROTO_UDP, ELSEWHERE, NET_A, 0, 2);
	add_udp(&sent, 53, 7000, 0);
	assert_out(r, sent, KEEP);
	/* The kernel's own: nobody is asked. */
	lookups = apptap_attribution_lookups(r->a);
	add_ipv4(&reply, IPPROTO_ICMP, NET_A, ELSEWHERE, 0, 1);
	add_icmp(&reply, 0, 7000);
	assert_out(r, reply, FOREIGN);
	add_ipv6(&ns, IPPROTO_ICMPV6, "fe80::1", "fe80::2");
	add_icmp(&ns, 135, 0);
	assert_in(r, ns, FOREIGN);
	assert_int_equal(apptap_attribution_lookups(r->a), lookups);
	close(app);
}

static struct packet fragment(bool first, uint16_t id)
{
	struct packet p = { 0 };

	add_ipv4(&p, IPPROTO_UDP, NET_A, ELSEWHERE, first ? FRAG_MORE : 185, id);
	add_udp(&p, first ? 7000 : 7001, 53, 8); /* a later one's bytes are no ports */
	return p;
}

static void test_fragments(void **state)
{
	struct room *r = *state;
	struct packet later = fragment(false, 8);
	struct judged early = { .p = &later, .pkttype = PACKET_OUTGOING };
	int app;

	net_need_own();
	app = net_socket(APP, SOCK_DGRAM, "0.0.0.0", 7000);
	assert_out(r, fragment(true, 7), KEEP);
	assert_out(r, fragment(false, 7), KEEP);
	/* Its first may still come, for a while. */
	assert_int_equal(judge(r, early), APPTAP_ATTR_HOLD);
	early.age_ns = SECOND;
	assert_int_equal(judge(r, early), APPTAP_ATTR_UNKNOWN);
	early.age_ns = 0;
	early.at_the_end = true;
	assert_int_equal(judge(r, early), APPTAP_ATTR_UNKNOWN);
	assert_out(r, fragment(true, 8), KEEP);
	early.at_the_end = false;
	early.age_ns = SECOND;
	assert_int_equal(judge(r, early), APPTAP_ATTR_KEEP);
	close(app);
}

static void test_cut_off(void **state)
{
	struct room *r = *state;
	struct packet p = udp(NET_A, 7000, ELSEWHERE, 53);

	net_need_own();
	p.len = 20 + 3;
	assert_out(r, p, UNKNOWN);
	assert_int_equal(apptap_attribution_lookups(r->a), 0);
}

static void test_may_not_ask(void **state)
{
	struct room *r = *state;
	struct packet p = udp(NET_A, 7000, ELSEWHERE, 53);
	struct judged j = {
		.p = &p, .pkttype = PACKET_OUTGOING, .age_ns = SECOND, .may_not_ask = true
	};
	int app;

	net_need_own();
	app = net_socket(APP, SOCK_DGRAM, "0.0.0.0", 7000);
	assert_int_equal(judge(r, j), APPTAP_ATTR_HOLD);
	assert_int_equal(apptap_attribution_lookups(r->a), 0);
	j.at_the_end = true;
	assert_int_equal(judge(r, j), APPTAP_ATTR_UNKNOWN);
	j.at_the_end = false;
	j.may_not_ask = false;
	assert_int_equal(judge(r, j), APPTAP_ATTR_KEEP);
	assert_int_equal(apptap_attribution_lookups(r->a), 1);
	close(app);
}

static void test_cold_start(void **state)
{
	struct room *r = *state;
	struct packet p = { 0 };
	struct apptap_error err;
	int listener, client, server;

	net_need_own();
	listener = net_socket(STRANGER, SOCK_STREAM, NET_A, 7000);
	client = net_connected(APP, SOCK_STREAM, "::ffff:" NET_A, 7000);
	server = net_accept(STRANGER, listener);
	assert_int_equal(apptap_attribution_warm(r->a, &err), 0);
	add_ipv4(&p, IPPROTO_TCP, NET_A, NET_A, 0, 1);
	add_tcp(&p, net_port(client), 7000, 1, TCP_ACK);
	assert_int_equal(judge(r, (struct judged){ .p = &p, .ifindex = 1 }), APPTAP_ATTR_KEEP);
	assert_int_equal(r->uid, APP);
	assert_int_equal(apptap_attribution_lookups(r->a), 0);
	close(server);
	close(client);
	close(listener);
}

static void test_groups(void **state)
{
	struct room *r = *state;
	struct packet p = udp(ELSEWHERE, 9, "239.1.1.1", 7000);
	struct packet other = udp(ELSEWHERE, 9, "239.1.1.1", 7001);
	struct packet tcp = { 0 };
	int app;

	net_need_own();
	app = net_socket(APP, SOCK_DGRAM, "0.0.0.0", 7000);
	assert_int_equal(pass(r, p, PACKET_MULTICAST), APPTAP_ATTR_KEEP);
	assert_int_equal(r->uid, APP);
	assert_int_equal(pass(r, other, PACKET_MULTICAST), APPTAP_ATTR_FOREIGN);
	add_ipv4(&tcp, IPPROTO_TCP, ELSEWHERE, "255.255.255.255", 0, 1);
	add_tcp(&tcp, 1, 7000, 1, TCP_SYN);
	assert_int_equal(pass(r, tcp, PACKET_BROADCAST), APPTAP_ATTR_FOREIGN);
	/* What the app sends to a group goes by its socket, as all that goes out. */
	assert_out(r, udp(NET_A, 7000, "239.1.1.1", 9), KEEP);
	close(app);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_whose, setup, teardown),
		cmocka_unit_test_setup_teardown(test_packets_of_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_loopback, setup, teardown),
		cmocka_unit_test_setup_teardown(test_icmp, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fragments, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cut_off, setup, teardown),
		cmocka_unit_test_setup_teardown(test_may_not_ask, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cold_start, setup, teardown),
		cmocka_unit_test_setup_teardown(test_groups, setup, teardown),
	};

	return cmocka_run_group_tests(tests, group_setup, net_leave);
}
