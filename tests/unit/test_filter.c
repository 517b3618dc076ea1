/* test_filter.c - the kernel runs the filters: which packets pass, sent out of va into vb */
#include "tier/filter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "net.h"
#include "packets.h"

#define SNAPLEN 160
#define A6 "fd00::1"
#define B6 "fd00::2"
#define MARK 0xa77a /* in the IPv4 identification, the IPv6 flow label: it is one of ours */

/* Where a packet was heard. */
#define OUT 1 /* leaving va, or through the loopback on its way out */
#define IN 2 /* coming in at vb, or in again on the loopback */
#define BOTH (OUT | IN)

static int sender = -1;
static int witness = -1; /* hears all; opened first, so the kernel serves it last */
static int tap = -1; /* hears through the filter */

static int open_tap(void)
{
	return socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL));
}

static int setup(void **state)
{
	if (net_enter(state) < 0)
		return -1;
	if (geteuid() != 0)
		return 0;
	net_cable();
	sender = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	witness = open_tap();
	return sender < 0 || witness < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	if (sender >= 0)
		close(sender);
	if (witness >= 0)
		close(witness);
	if (tap >= 0)
		close(tap);
	return net_leave(state);
}

/* The filter comes before the packets: nothing is heard without it. */
static void listen_through(struct apptap_filter *f)
{
	struct sockaddr_ll all = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	struct sock_fprog prog = apptap_filter_prog(f);

	if (tap >= 0)
		close(tap);
	tap = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(tap >= 0);
	assert_int_equal(setsockopt(tap, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)), 0);
	assert_int_equal(bind(tap, (struct sockaddr *)&all, sizeof(all)), 0);
}

/* All that waits at @fd, if it is one of ours. */
static int heard(int fd, size_t *len)
{
	uint8_t bytes[2048] = { 0 };
	struct sockaddr_ll from = { 0 };
	int where = 0;
	ssize_t n;

	for (;;) {
		socklen_t from_len = sizeof(from);
		bool v4, v6;

		n = recvfrom(fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&from, &from_len);
		if (n < 0)
			break;
		v4 = from.sll_protocol == htons(ETH_P_IP) && n >= 20;
		v6 = from.sll_protocol == htons(ETH_P_IPV6) && n >= 40;
		if ((v4 && apptap_get_be16(bytes + 4) != MARK) ||
		    (v6 && apptap_get_be16(bytes + 2) != MARK))
			continue; /* the kernel's own, of neighbours and routers */
		where |= from.sll_pkttype == PACKET_OUTGOING ? OUT : IN;
		*len = (size_t)n;
	}
	assert_int_equal(errno, EAGAIN);
	return where;
}

/* Sends it, and says where it passed the filter, and with how many bytes. */
static int pass_on(const char *ifname, const char *mac, const struct packet *p, uint16_t protocol,
		   size_t *len)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET,
				  .sll_protocol = htons(protocol),
				  .sll_ifindex = (int)if_nametoindex(ifname),
				  .sll_halen = 6 };
	size_t ignored;
	int seen = 0;

	memcpy(to.sll_addr, mac, 6);
	heard(witness, &ignored);
	heard(tap, &ignored);
	assert_int_equal(sendto(sender, p->b, p->len, 0, (struct sockaddr *)&to, sizeof(to)),
			 p->len);
	while (seen != BOTH) {
		assert_true(net_readable(witness, 2000));
		seen |= heard(witness, &ignored);
	}
	return heard(tap, len);
}

static int pass(const struct packet *p, uint16_t protocol)
{
	size_t len;

	return pass_on("va", NET_B_MAC, p, protocol, &len);
}

static int pass4(const struct packet *p)
{
	return pass(p, ETH_P_IP);
}

static int pass6(const struct packet *p)
{
	return pass(p, ETH_P_IPV6);
}

static struct packet v4(uint8_t proto, uint16_t frag)
{
	struct packet p = { 0 };

	add_ipv4(&p, proto, NET_A, NET_B, frag, MARK);
	return p;
}

static struct packet v6(uint8_t next)
{
	struct packet p = { 0 };

	add_ipv6(&p, next, "fd00::1", "fd00::2");
	apptap_put_be16(p.b + 2, MARK);
	return p;
}

static struct packet udp4(uint16_t sport, uint16_t dport)
{
	struct packet p = v4(IPPROTO_UDP, 0);

	add_udp(&p, sport, dport, 300);
	return p;
}

static void listen_trigger(const struct apptap_filter_config *cfg)
{
	struct apptap_filter f;

	net_need_own();
	apptap_filter_trigger(&f, cfg, SNAPLEN);
	listen_through(&f);
}

static const struct apptap_filter_config everything = { .all_interfaces = true };

static void test_tcp_begins(void **state)
{
	static const struct {
		uint8_t flags;
		bool passes;
	} all[] = {
		{ TCP_SYN, true },
		{ TCP_SYN | 0xc0, true }, /* with ECN */
		{ TCP_SYN | TCP_ACK, false },
		{ TCP_ACK, false },
		{ TCP_FIN | TCP_ACK, false },
		{ TCP_RST, false },
	};

	(void)state;
	listen_trigger(&everything);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct packet p = v4(IPPROTO_TCP, 0), q = v6(IPPROTO_TCP);
		struct packet options = v4(IPPROTO_TCP, 0);

		add_tcp(&p, 40000, 443, 1, all[i].flags);
		assert_int_equal(pass4(&p), all[i].passes ? BOTH : 0);
		add_tcp(&q, 40000, 443, 1, all[i].flags);
		assert_int_equal(pass6(&q), all[i].passes ? BOTH : 0);
		options.b[0] = 0x46; /* the header is not always 20 bytes long */
		add_bytes(&options, "\x94\x04\0\0", 4);
		add_tcp(&options, 40000, 443, 1, all[i].flags);
		assert_int_equal(pass4(&options), all[i].passes ? BOTH : 0);
	}
}

static void test_udp_and_its_quiet_ports(void **state)
{
	static const uint16_t quiet[] = { 7000, 7001 };
	struct apptap_filter_config cfg = everything;
	struct packet p = udp4(7001, 53), q = udp4(53, 7001), r = udp4(7002, 7003);
	struct packet six = v6(IPPROTO_UDP), lite = v4(IPPROTO_UDPLITE, 0);
	size_t len;

	(void)state;
	listen_trigger(&cfg);
	add_udp(&six, 7001, 53, 0);
	add_udp(&lite, 7001, 53, 0);
	assert_int_equal(pass_on("va", NET_B_MAC, &p, ETH_P_IP, &len), BOTH);
	assert_int_equal(len, SNAPLEN);
	assert_int_equal(pass6(&six), BOTH);
	assert_int_equal(pass4(&lite), BOTH);
	cfg.quiet_ports = quiet;
	cfg.quiet_count = ARRAY_SIZE(quiet);
	listen_trigger(&cfg);
	assert_int_equal(pass4(&p), IN); /* its local port is quiet, its peer's is not */
	assert_int_equal(pass4(&q), OUT);
	assert_int_equal(pass4(&r), BOTH);
	assert_int_equal(pass6(&six), IN);
	assert_int_equal(pass4(&lite), IN);
}

static void test_most_quiet_ports(void **state)
{
	uint16_t ports[APPTAP_FILTER_PORTS_MAX];
	struct apptap_filter_config cfg = { .all_interfaces = true,
					    .quiet_ports = ports,
					    .quiet_count = ARRAY_SIZE(ports) };
	struct packet p, q = v6(IPPROTO_UDP);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ports); i++)
		ports[i] = (uint16_t)(7000 + i);
	listen_trigger(&cfg);
	p = udp4(7063, 53);
	assert_int_equal(pass4(&p), IN);
	p = udp4(7064, 53);
	assert_int_equal(pass4(&p), BOTH);
	add_udp(&q, 53, 7063, 0);
	assert_int_equal(pass6(&q), OUT);
}

static void test_fragments(void **state)
{
	struct packet first = v4(IPPROTO_UDP, FRAG_MORE), later = v4(IPPROTO_UDP, 185);
	struct packet six = v6(IPPROTO_FRAGMENT);

	(void)state;
	listen_trigger(&everything);
	add_udp(&first, 7000, 53, 0);
	add_udp(&later, 7000, 53, 0);
	add_fragment(&six, IPPROTO_UDP, 0, true, 1);
	add_udp(&six, 7000, 53, 0);
	assert_int_equal(pass4(&first), BOTH);
	assert_int_equal(pass4(&later), 0);
	assert_int_equal(pass6(&six), BOTH);
}

static void test_icmp_and_others(void **state)
{
	static const uint8_t silent6[] = { 129, 1, 135 };
	static const uint8_t silent4[] = { 0, 3, 11 };
	struct packet ask4 = v4(IPPROTO_ICMP, 0), ask6 = v6(IPPROTO_ICMPV6);
	struct packet gre = v4(47, 0), igmp = v4(IPPROTO_IGMP, 0), arp = { 0 };

	(void)state;
	listen_trigger(&everything);
	add_icmp(&ask4, 8, 1);
	add_icmp(&ask6, 128, 1);
	assert_int_equal(pass4(&ask4), OUT); /* the kernel answers what comes in */
	assert_int_equal(pass6(&ask6), OUT);
	for (size_t i = 0; i < ARRAY_SIZE(silent4); i++) {
		struct packet p = v4(IPPROTO_ICMP, 0), q = v6(IPPROTO_ICMPV6);

		add_icmp(&p, silent4[i], 1);
		add_icmp(&q, silent6[i], 1);
		assert_int_equal(pass4(&p), 0);
		assert_int_equal(pass6(&q), 0);
	}
	add_bytes(&gre, NULL, 8);
	add_bytes(&igmp, NULL, 8);
	add_bytes(&arp, NULL, 28);
	assert_int_equal(pass4(&gre), BOTH);
	assert_int_equal(pass4(&igmp), 0);
	assert_int_equal(pass(&arp, ETH_P_ARP), 0);
}

static void test_extension_headers_pass(void **state)
{
	static const uint8_t kinds[] = { IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_DSTOPTS };

	(void)state;
	listen_trigger(&everything);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct packet p = v6(kinds[i]);

		add_extension(&p, IPPROTO_TCP, 0);
		add_tcp(&p, 40000, 443, 1, TCP_ACK);
		assert_int_equal(pass6(&p), BOTH);
	}
}

/* Too short for what the filter looks at: it drops them, and nothing else happens. */
static void test_cut_off(void **state)
{
	struct packet tcp = v4(IPPROTO_TCP, 0), udp = v6(IPPROTO_UDP);
	static const uint16_t quiet[] = { 7000 };
	struct apptap_filter_config cfg = { .all_interfaces = true,
					    .quiet_ports = quiet,
					    .quiet_count = 1 };

	(void)state;
	listen_trigger(&cfg);
	add_bytes(&tcp, NULL, 12);
	add_bytes(&udp, NULL, 1);
	assert_int_equal(pass4(&tcp), 0);
	assert_int_equal(pass6(&udp), 0);
}

static void test_not_for_us(void **state)
{
	struct packet p = udp4(7000, 53);
	size_t len;

	(void)state;
	listen_trigger(&everything);
	/* To another station: it comes in at vb only because somebody listens promiscuously. */
	assert_int_equal(pass_on("va", "\x02\x00\x00\x00\x00\x09", &p, ETH_P_IP, &len), OUT);
}

static void test_loopback_once(void **state)
{
	struct packet p = udp4(7000, 53);
	struct apptap_filter f;
	size_t len;

	(void)state;
	listen_trigger(&everything);
	assert_int_equal(pass_on("lo", "\0\0\0\0\0\0", &p, ETH_P_IP, &len), OUT);
	apptap_filter_ring(&f, &everything);
	listen_through(&f);
	assert_int_equal(pass_on("lo", "\0\0\0\0\0\0", &p, ETH_P_IP, &len), OUT);
	assert_int_equal(len, p.len); /* whole */
	assert_int_equal(pass_on("va", NET_B_MAC, &p, ETH_P_IP, &len), BOTH);
	assert_int_equal(len, p.len);
}

static void test_named_interfaces(void **state)
{
	int32_t named[APPTAP_FILTER_IFACES_MAX] = { 0 };
	struct apptap_filter_config cfg = { .ifindexes = named, .ifindex_count = 1 };
	struct packet p = udp4(7000, 53);
	struct apptap_filter f;
	size_t len;

	(void)state;
	net_need_own();
	named[0] = (int32_t)if_nametoindex("va");
	apptap_filter_ring(&f, &cfg);
	listen_through(&f);
	assert_int_equal(pass4(&p), OUT);
	assert_int_equal(pass_on("lo", "\0\0\0\0\0\0", &p, ETH_P_IP, &len), 0);
	named[0] = (int32_t)if_nametoindex("vb");
	listen_trigger(&cfg);
	assert_int_equal(pass4(&p), IN);
	/* First and last of as many as there may be. */
	for (size_t i = 0; i < ARRAY_SIZE(named); i++)
		named[i] = (int32_t)(1000 + i);
	named[0] = (int32_t)if_nametoindex("va");
	named[ARRAY_SIZE(named) - 1] = 1;
	cfg.ifindex_count = ARRAY_SIZE(named);
	apptap_filter_ring(&f, &cfg);
	listen_through(&f);
	assert_int_equal(pass4(&p), OUT);
	assert_int_equal(pass_on("lo", "\0\0\0\0\0\0", &p, ETH_P_IP, &len), OUT);
	/* None there now: nothing is heard, rather than all. */
	cfg.ifindex_count = 0;
	apptap_filter_ring(&f, &cfg);
	listen_through(&f);
	assert_int_equal(pass4(&p), 0);
}

static void test_none(void **state)
{
	struct packet p = udp4(7000, 53);
	struct apptap_filter f;

	(void)state;
	net_need_own();
	apptap_filter_none(&f);
	listen_through(&f);
	assert_int_equal(pass4(&p), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tcp_begins),
		cmocka_unit_test(test_udp_and_its_quiet_ports),
		cmocka_unit_test(test_most_quiet_ports),
		cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_icmp_and_others),
		cmocka_unit_test(test_extension_headers_pass),
		cmocka_unit_test(test_cut_off),
		cmocka_unit_test(test_not_for_us),
		cmocka_unit_test(test_loopback_once),
		cmocka_unit_test(test_named_interfaces),
		cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
