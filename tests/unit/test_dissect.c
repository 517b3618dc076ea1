/* test_dissect.c - packets of every kind, whole, cut off and damaged, to what they say */
#include "packets.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <cmocka.h>

#define A4 "10.9.0.1"
#define B4 "10.9.0.2"
#define A6 "fd00::1"
#define B6 "fd00::2"

#define FLAG(name) APPTAP_DIS_##name
#define IP_PORTS (FLAG(IP) | FLAG(PORTS))

static void assert_addr(const struct apptap_addr *a, const char *text)
{
	struct apptap_addr want = addr_of(text);

	assert_memory_equal(a, &want, sizeof(want));
}

static void assert_ports(const struct apptap_dissect *d, uint16_t sport, uint16_t dport)
{
	assert_true(d->flags & FLAG(PORTS));
	assert_int_equal(d->sport, sport);
	assert_int_equal(d->dport, dport);
}

static void test_tcp_v4(void **state)
{
	struct packet p = { 0 };
	struct apptap_dissect d;

	(void)state;
	add_ipv4(&p, IPPROTO_TCP, A4, B4, 0x4000, 1); /* don't fragment */
	add_tcp(&p, 40000, 443, 0xdeadbeef, TCP_SYN);
	d = dissect(&p, ETH_IPV4);
	assert_int_equal(d.flags, IP_PORTS | FLAG(TCP_SYN));
	assert_int_equal(d.family, AF_INET);
	assert_int_equal(d.proto, IPPROTO_TCP);
	assert_ports(&d, 40000, 443);
	assert_addr(&d.src, A4);
	assert_addr(&d.dst, B4);
	assert_int_equal(d.tcp_seq, 0xdeadbeef);
	assert_int_equal(d.payload_len, 0);
	assert_int_equal(d.inner_proto, 0);
}

static void test_tcp_flags_and_payload(void **state)
{
	static const struct {
		uint8_t bits;
		uint32_t flags;
	} all[] = {
		{ TCP_SYN | TCP_ACK, FLAG(TCP_SYN) | FLAG(TCP_ACK) },
		{ TCP_FIN | TCP_ACK, FLAG(TCP_FIN) | FLAG(TCP_ACK) },
		{ TCP_RST, FLAG(TCP_RST) },
		{ 0xe8, 0 }, /* PSH, URG, ECE, CWR say nothing to us */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct packet p = { 0 };
		struct apptap_dissect d;

		add_ipv6(&p, IPPROTO_TCP, A6, B6);
		add_tcp(&p, 1, 2, 3, all[i].bits);
		add_bytes(&p, NULL, 100);
		p.b[40 + 12] = 0x80; /* three words of options */
		d = dissect(&p, ETH_IPV6);
		assert_int_equal(d.flags, IP_PORTS | all[i].flags);
		assert_int_equal(d.payload_len, 88);
		assert_addr(&d.src, A6);
	}
}

static void test_udp_behind_options_and_padding(void **state)
{
	struct packet p = { 0 };
	struct apptap_dissect d;
	size_t len;

	(void)state;
	add_ipv4(&p, IPPROTO_UDP, A4, B4, 0, 1);
	p.b[0] = 0x4f; /* 40 bytes of options */
	add_bytes(&p, NULL, 40);
	add_udp(&p, 5353, 53, 11);
	len = p.len;
	memset(p.b + p.len, 0xff, 18); /* what Ethernet fills up with is none of it */
	p.len += 18;
	d = dissect(&p, ETH_IPV4);
	assert_int_equal(d.flags, IP_PORTS);
	assert_ports(&d, 5353, 53);
	assert_int_equal(d.payload_len, 11);
	/* A length beyond what is there, or none at all (BIG TCP), is not followed. */
	p.len = len;
	apptap_put_be16(p.b + 2, 60000);
	assert_int_equal(dissect(&p, ETH_IPV4).payload_len, 11);
	apptap_put_be16(p.b + 2, 0);
	assert_int_equal(dissect(&p, ETH_IPV4).payload_len, 11);
}

static void test_every_protocol_with_ports(void **state)
{
	static const uint8_t protos[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, IPPROTO_SCTP,
					  IPPROTO_DCCP };
	struct apptap_dissect d;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(protos); i++) {
		struct packet p = { 0 };

		add_ipv4(&p, protos[i], A4, B4, 0, 1);
		add_udp(&p, 7, 9, 0);
		d = dissect(&p, ETH_IPV4);
		assert_int_equal(d.proto, protos[i]);
		assert_ports(&d, 7, 9);
		p.len = 20 + 3;
		d = dissect(&p, ETH_IPV4);
		assert_int_equal(d.flags, FLAG(IP));
		assert_int_equal(d.sport, 0);
	}
	for (int proto = 0; proto < 256; proto++) {
		struct packet p = { 0 };

		if (memchr(protos, proto, sizeof(protos)))
			continue;
		add_ipv4(&p, (uint8_t)proto, A4, B4, 0, 1);
		add_bytes(&p, "\x63\x63\x63\x63\x63\x63\x63\x63\x63\x63", 10);
		assert_int_equal(dissect(&p, ETH_IPV4).flags, FLAG(IP));
	}
}

static void test_vlan_tags_are_stepped_over(void **state)
{
	struct packet p = { 0 };

	(void)state;
	add_vlan(&p, 7, ETH_VLAN);
	add_vlan(&p, 8, ETH_VLAN);
	add_vlan(&p, 9, ETH_VLAN);
	add_vlan(&p, 10, ETH_IPV6);
	add_ipv6(&p, IPPROTO_UDP, A6, B6);
	add_udp(&p, 7, 9, 0);
	assert_int_equal(dissect(&p, ETH_QINQ).flags, IP_PORTS);
	assert_int_equal(dissect(&p, ETH_VLAN).dport, 9);
	p.len = 4 * 4 - 1; /* within the last tag */
	assert_int_equal(dissect(&p, ETH_QINQ).flags, 0);
}

static void test_not_ip(void **state)
{
	struct packet p = { 0 };

	(void)state;
	add_ipv4(&p, IPPROTO_UDP, A4, B4, 0, 1);
	add_udp(&p, 7, 9, 0);
	assert_int_equal(dissect(&p, 0x0806).flags, 0);
	assert_int_equal(dissect(&p, ETH_IPV6).flags, 0); /* says it is version 4 */
	p.b[0] = 0x44; /* a header of 16 bytes */
	assert_int_equal(dissect(&p, ETH_IPV4).flags, 0);
	p.b[0] = 0x65;
	assert_int_equal(dissect(&p, ETH_IPV4).flags, 0);
	p.len = 0;
	assert_int_equal(dissect(&p, ETH_IPV4).flags, 0);
	assert_int_equal(dissect(&p, ETH_IPV6).flags, 0);
}

static void test_fragments_v4(void **state)
{
	struct packet first = { 0 }, later = { 0 };
	struct apptap_dissect d;

	(void)state;
	add_ipv4(&first, IPPROTO_UDP, A4, B4, FRAG_MORE, 0xbeef);
	add_udp(&first, 7000, 53, 100);
	d = dissect(&first, ETH_IPV4);
	assert_int_equal(d.flags, IP_PORTS | FLAG(FRAG_FIRST));
	assert_int_equal(d.frag_id, 0xbeef);
	/* Its bytes look like ports, and are none. */
	for (int more = 0; more < 2; more++) {
		later.len = 0;
		later.b[0] = 0;
		add_ipv4(&later, IPPROTO_UDP, A4, B4, (uint16_t)(185 | (more ? FRAG_MORE : 0)),
			 0xbeef);
		add_udp(&later, 7000, 53, 100);
		d = dissect(&later, ETH_IPV4);
		assert_int_equal(d.flags, FLAG(IP) | FLAG(FRAG_LATER));
		assert_int_equal(d.proto, IPPROTO_UDP);
		assert_int_equal(d.sport, 0);
		assert_int_equal(d.payload_len, 108);
	}
}

static void test_fragments_v6(void **state)
{
	struct packet first = { 0 }, later = { 0 }, atomic = { 0 };
	struct apptap_dissect d;

	(void)state;
	add_ipv6(&first, IPPROTO_HOPOPTS, A6, B6);
	add_extension(&first, IPPROTO_FRAGMENT, 0);
	add_fragment(&first, IPPROTO_DSTOPTS, 0, true, 0xdeadbeef);
	add_extension(&first, IPPROTO_UDP, 1);
	add_udp(&first, 7000, 53, 100);
	d = dissect(&first, ETH_IPV6);
	assert_int_equal(d.flags, IP_PORTS | FLAG(FRAG_FIRST));
	assert_ports(&d, 7000, 53);
	assert_int_equal(d.frag_id, 0xdeadbeef);
	add_ipv6(&later, IPPROTO_FRAGMENT, A6, B6);
	add_fragment(&later, IPPROTO_UDP, 20, false, 0xdeadbeef);
	add_udp(&later, 7000, 53, 100);
	d = dissect(&later, ETH_IPV6);
	assert_int_equal(d.flags, FLAG(IP) | FLAG(FRAG_LATER));
	assert_int_equal(d.frag_id, 0xdeadbeef);
	/* A fragment that is the whole of it (RFC 6946) is none. */
	add_ipv6(&atomic, IPPROTO_FRAGMENT, A6, B6);
	add_fragment(&atomic, IPPROTO_UDP, 0, false, 1);
	add_udp(&atomic, 7000, 53, 100);
	assert_int_equal(dissect(&atomic, ETH_IPV6).flags, IP_PORTS);
}

static void test_extension_headers(void **state)
{
	static const uint8_t kinds[] = { IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_DSTOPTS };
	struct packet p = { 0 }, ah = { 0 }, many = { 0 };
	struct apptap_dissect d;

	(void)state;
	add_ipv6(&p, kinds[0], A6, B6);
	for (size_t i = 1; i < ARRAY_SIZE(kinds); i++)
		add_extension(&p, kinds[i], (uint8_t)i);
	add_extension(&p, IPPROTO_TCP, 4);
	add_tcp(&p, 40000, 443, 5, TCP_SYN);
	d = dissect(&p, ETH_IPV6);
	assert_int_equal(d.flags, IP_PORTS | FLAG(TCP_SYN));
	assert_int_equal(d.tcp_seq, 5);
	/* AH counts in words of four. */
	add_ipv6(&ah, IPPROTO_AH, A6, B6);
	add_bytes(&ah, (uint8_t[]){ IPPROTO_UDP, 4 }, 2);
	add_bytes(&ah, NULL, 22);
	add_udp(&ah, 7, 9, 0);
	d = dissect(&ah, ETH_IPV6);
	assert_ports(&d, 7, 9);
	/* More than anybody needs: whose addresses it has is all that is told. */
	add_ipv6(&many, IPPROTO_DSTOPTS, A6, B6);
	for (int i = 0; i < 20; i++)
		add_extension(&many, IPPROTO_DSTOPTS, 0);
	add_extension(&many, IPPROTO_UDP, 0);
	add_udp(&many, 7, 9, 0);
	d = dissect(&many, ETH_IPV6);
	assert_int_equal(d.flags, FLAG(IP));
	assert_addr(&d.dst, B6);
}

/* The bytes of a header that claims to be longer than the packet must not pass for ports. */
static void test_extension_beyond_the_packet(void **state)
{
	struct packet p = { 0 };
	struct apptap_dissect d;

	(void)state;
	add_ipv6(&p, IPPROTO_DSTOPTS, A6, B6);
	add_extension(&p, IPPROTO_UDP, 2);
	p.b[40 + 1] = 200;
	d = dissect(&p, ETH_IPV6);
	assert_int_equal(d.flags, FLAG(IP));
	assert_int_equal(d.sport, 0);
	assert_int_equal(d.dport, 0);
}

static void test_echo(void **state)
{
	static const struct {
		uint8_t proto, type;
		uint32_t flags;
	} all[] = {
		{ IPPROTO_ICMP, 8, IP_PORTS },
		{ IPPROTO_ICMP, 0, IP_PORTS | FLAG(ECHO_REPLY) },
		{ IPPROTO_ICMP, 13, FLAG(IP) }, /* timestamp: no ping socket's */
		{ IPPROTO_ICMPV6, 128, IP_PORTS },
		{ IPPROTO_ICMPV6, 129, IP_PORTS | FLAG(ECHO_REPLY) },
		{ IPPROTO_ICMPV6, 135, FLAG(IP) },
		{ IPPROTO_ICMPV6, 8, FLAG(IP) },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		bool v6 = all[i].proto == IPPROTO_ICMPV6;
		struct packet p = { 0 };
		struct apptap_dissect d;

		if (v6)
			add_ipv6(&p, all[i].proto, A6, B6);
		else
			add_ipv4(&p, all[i].proto, A4, B4, 0, 1);
		add_icmp(&p, all[i].type, 0x1234);
		d = dissect(&p, v6 ? ETH_IPV6 : ETH_IPV4);
		assert_int_equal(d.flags, all[i].flags);
		if (d.flags & FLAG(PORTS))
			assert_ports(&d, 0x1234, 0x1234);
	}
}

static void test_icmp_errors_quote(void **state)
{
	struct packet p = { 0 }, six = { 0 }, later = { 0 };
	struct apptap_dissect d;
	struct apptap_flow f;

	(void)state;
	add_ipv4(&p, IPPROTO_ICMP, B4, A4, 0, 1);
	add_icmp(&p, 3, 0);
	add_ipv4(&p, IPPROTO_UDP, A4, "10.9.0.9", 0, 2);
	add_udp(&p, 7000, 53, 0);
	d = dissect(&p, ETH_IPV4);
	assert_int_equal(d.flags, FLAG(IP) | FLAG(ICMP_ERROR));
	assert_true(d.inner_ports);
	assert_int_equal(d.inner_proto, IPPROTO_UDP);
	apptap_dissect_inner_flow(&d, true, &f);
	assert_int_equal(f.lport, 7000);
	assert_int_equal(f.rport, 53);
	assert_int_equal(f.proto, IPPROTO_UDP);
	assert_addr(&f.laddr, A4);
	assert_addr(&f.raddr, "10.9.0.9");
	add_ipv6(&six, IPPROTO_ICMPV6, B6, A6);
	add_icmp(&six, 1, 0);
	add_ipv6(&six, IPPROTO_DSTOPTS, A6, B6);
	add_extension(&six, IPPROTO_TCP, 0);
	add_tcp(&six, 40000, 443, 1, TCP_SYN);
	d = dissect(&six, ETH_IPV6);
	assert_int_equal(d.flags, FLAG(IP) | FLAG(ICMP_ERROR)); /* the quoted SYN is no SYN */
	assert_int_equal(d.inner_dport, 443);
	/* A later fragment is quoted: nobody can tell its ports. */
	add_ipv4(&later, IPPROTO_ICMP, B4, A4, 0, 1);
	add_icmp(&later, 11, 0);
	add_ipv4(&later, IPPROTO_UDP, A4, B4, 185, 2);
	add_udp(&later, 7000, 53, 0);
	d = dissect(&later, ETH_IPV4);
	assert_int_equal(d.flags, FLAG(IP) | FLAG(ICMP_ERROR));
	assert_false(d.inner_ports);
	assert_int_equal(d.inner_sport, 0);
}

static void test_icmp_errors_that_quote_nothing(void **state)
{
	struct packet p = { 0 }, mixed = { 0 };

	(void)state;
	add_ipv4(&p, IPPROTO_ICMP, B4, A4, 0, 1);
	add_icmp(&p, 3, 0);
	assert_int_equal(dissect(&p, ETH_IPV4).flags, FLAG(IP));
	add_bytes(&p, "\x45", 1);
	assert_int_equal(dissect(&p, ETH_IPV4).flags, FLAG(IP));
	/* Of the other family. */
	add_ipv4(&mixed, IPPROTO_ICMP, B4, A4, 0, 1);
	add_icmp(&mixed, 3, 0);
	add_ipv6(&mixed, IPPROTO_UDP, A6, B6);
	add_udp(&mixed, 7000, 53, 0);
	assert_int_equal(dissect(&mixed, ETH_IPV4).flags, FLAG(IP));
}

static void test_multicast(void **state)
{
	static const struct {
		const char *dst;
		bool yes;
	} all[] = {
		{ "224.0.0.251", true }, { "239.255.255.255", true }, { "255.255.255.255", true },
		{ "240.0.0.1", false },	 { "10.9.0.255", false },     { "ff02::fb", true },
		{ "fe80::1", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		bool v6 = strchr(all[i].dst, ':') != NULL;
		struct packet p = { 0 };

		if (v6)
			add_ipv6(&p, IPPROTO_UDP, A6, all[i].dst);
		else
			add_ipv4(&p, IPPROTO_UDP, A4, all[i].dst, 0, 1);
		add_udp(&p, 5353, 5353, 0);
		assert_int_equal(dissect(&p, v6 ? ETH_IPV6 : ETH_IPV4).flags,
				 IP_PORTS | (all[i].yes ? FLAG(MULTICAST) : 0));
	}
}

/* Cut anywhere: nothing is read beyond (AddressSanitizer), ports come whole or not at all. */
static void test_cut_anywhere(void **state)
{
	struct packet p = { 0 };
	size_t len;

	(void)state;
	add_ipv6(&p, IPPROTO_HOPOPTS, A6, B6);
	add_extension(&p, IPPROTO_FRAGMENT, 1);
	add_fragment(&p, IPPROTO_TCP, 0, true, 9);
	add_tcp(&p, 40000, 443, 0xdeadbeef, TCP_SYN);
	len = p.len;
	for (p.len = 0; p.len <= len; p.len++) {
		struct apptap_dissect d = dissect(&p, ETH_IPV6);
		bool ports = p.len >= len - 16;

		assert_int_equal(!!(d.flags & FLAG(IP)), p.len >= 40);
		assert_int_equal(!!(d.flags & FLAG(PORTS)), ports);
		assert_int_equal(d.sport, ports ? 40000 : 0);
		assert_int_equal(!!(d.flags & FLAG(TCP_SYN)), p.len == len);
		assert_int_equal(!!(d.flags & FLAG(FRAG_FIRST)), p.len >= 40 + 16 + 8);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tcp_v4),
		cmocka_unit_test(test_tcp_flags_and_payload),
		cmocka_unit_test(test_udp_behind_options_and_padding),
		cmocka_unit_test(test_every_protocol_with_ports),
		cmocka_unit_test(test_vlan_tags_are_stepped_over),
		cmocka_unit_test(test_not_ip),
		cmocka_unit_test(test_fragments_v4),
		cmocka_unit_test(test_fragments_v6),
		cmocka_unit_test(test_extension_headers),
		cmocka_unit_test(test_extension_beyond_the_packet),
		cmocka_unit_test(test_echo),
		cmocka_unit_test(test_icmp_errors_quote),
		cmocka_unit_test(test_icmp_errors_that_quote_nothing),
		cmocka_unit_test(test_multicast),
		cmocka_unit_test(test_cut_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
