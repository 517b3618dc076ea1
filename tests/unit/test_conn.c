/* test_conn.c - the connection table, fed with dissections made by hand */
#include "flow/conn.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define APP 5001

#define SYN APPTAP_DIS_TCP_SYN
#define ACK APPTAP_DIS_TCP_ACK
#define FIN APPTAP_DIS_TCP_FIN
#define RST APPTAP_DIS_TCP_RST

static struct apptap_addr addr(const char *text)
{
	struct apptap_addr a;
	uint8_t b[16];
	int family = strchr(text, ':') ? AF_INET6 : AF_INET;

	assert_int_equal(inet_pton(family, text, b), 1);
	apptap_addr_set(&a, family, b);
	return a;
}

static struct apptap_dissect packet(uint8_t proto, const char *src, uint16_t sport, const char *dst,
				    uint16_t dport, uint32_t flags)
{
	return (struct apptap_dissect){
		.flags = APPTAP_DIS_IP | APPTAP_DIS_PORTS | flags,
		.family = strchr(src, ':') ? AF_INET6 : AF_INET,
		.proto = proto,
		.src = addr(src),
		.dst = addr(dst),
		.sport = sport,
		.dport = dport,
	};
}

static struct apptap_dissect tcp(const char *src, uint16_t sport, const char *dst, uint16_t dport,
				 uint32_t flags)
{
	return packet(IPPROTO_TCP, src, sport, dst, dport, flags);
}

static struct apptap_dissect udp(const char *src, uint16_t sport, const char *dst, uint16_t dport)
{
	return packet(IPPROTO_UDP, src, sport, dst, dport, 0);
}

/* 100 bytes on the wire, as the app's. */
static int feed(struct apptap_conn_table *t, struct apptap_dissect d, bool outgoing, uint64_t ts_ns)
{
	return apptap_conn_table_packet(t, &d, outgoing, 100, ts_ns, APP, NULL);
}

static struct apptap_conn_table *new_table(size_t max)
{
	struct apptap_conn_table *t = NULL;

	assert_int_equal(apptap_conn_table_new(&t, max), 0);
	return t;
}

static void assert_packets(const struct apptap_conn_table *t, size_t i, uint64_t out, uint64_t in)
{
	const struct apptap_conn *c = apptap_conn_table_get(t, i);

	assert_non_null(c);
	assert_int_equal(c->packets_out, out);
	assert_int_equal(c->packets_in, in);
	assert_int_equal(c->bytes_out, out * 100);
	assert_int_equal(c->bytes_in, in * 100);
}

static void test_both_directions_are_one(void **state)
{
	struct apptap_conn_table *t = new_table(10);
	struct apptap_dissect d = tcp("10.0.0.1", 4000, "10.0.0.2", 80, SYN);
	const struct apptap_conn *c = NULL;
	struct apptap_addr here = addr("10.0.0.1");

	(void)state;
	assert_int_equal(apptap_conn_table_packet(t, &d, true, 60, 1000, APP, &c), 1);
	assert_non_null(c);
	assert_int_equal(c->uid, APP);
	assert_memory_equal(&c->flow.laddr, &here, sizeof(here));
	assert_int_equal(c->flow.lport, 4000);
	assert_int_equal(c->flow.rport, 80);
	assert_int_equal(c->tcp_flags, APPTAP_CONN_SYN);
	d = tcp("10.0.0.2", 80, "10.0.0.1", 4000, SYN | ACK);
	assert_int_equal(apptap_conn_table_packet(t, &d, false, 44, 3000, APP, &c), 0);
	d = tcp("10.0.0.1", 4000, "10.0.0.2", 80, FIN | ACK);
	assert_int_equal(apptap_conn_table_packet(t, &d, true, 40, 2000, APP, &c), 0);
	assert_ptr_equal(c, apptap_conn_table_get(t, 0));
	assert_int_equal(c->packets_out, 2);
	assert_int_equal(c->bytes_out, 100);
	assert_int_equal(c->packets_in, 1);
	assert_int_equal(c->bytes_in, 44);
	assert_int_equal(c->first_ns, 1000);
	assert_int_equal(c->last_ns, 3000);
	assert_int_equal(c->tcp_flags, APPTAP_CONN_SYN | APPTAP_CONN_FIN);
	assert_int_equal(apptap_conn_table_count(t), 1);
	assert_int_equal(apptap_conn_table_total(t), 1);
	assert_null(apptap_conn_table_get(t, 1));
	apptap_conn_table_free(t);
}

static uint8_t news(struct apptap_conn_table *t, uint32_t flags, bool outgoing)
{
	const char *from = outgoing ? "10.0.0.1" : "10.0.0.2";
	const char *to = outgoing ? "10.0.0.2" : "10.0.0.1";
	struct apptap_dissect d = tcp(from, outgoing ? 4000 : 80, to, outgoing ? 80 : 4000, flags);
	const struct apptap_conn *c = NULL;

	apptap_conn_table_packet(t, &d, outgoing, 60, 1, APP, &c);
	return c ? c->news : 0xff;
}

static void test_beginning_and_end_are_told_once(void **state)
{
	struct apptap_conn_table *t = new_table(10);

	(void)state;
	assert_int_equal(news(t, SYN, true), APPTAP_CONN_BEGAN);
	assert_int_equal(news(t, SYN | ACK, false), 0);
	assert_int_equal(news(t, FIN | ACK, true), 0);
	assert_int_equal(news(t, FIN | ACK, true), 0); /* sent again: still one end's */
	assert_int_equal(news(t, FIN | ACK, false), APPTAP_CONN_ENDED);
	assert_int_equal(news(t, FIN | ACK, false), 0);
	assert_int_equal(news(t, APPTAP_DIS_TCP_RST, true), 0); /* it had ended already */
	assert_int_equal(news(t, SYN, true), APPTAP_CONN_BEGAN); /* the same ports anew */
	assert_int_equal(news(t, APPTAP_DIS_TCP_RST, false), APPTAP_CONN_ENDED);
	apptap_conn_table_free(t);
	t = new_table(10);
	assert_int_equal(news(t, APPTAP_DIS_TCP_RST, true), APPTAP_CONN_BEGAN | APPTAP_CONN_ENDED);
	apptap_conn_table_free(t);
}

/* A protocol without an end has one after a minute's silence; what comes then begins again. */
static void test_silence_is_an_end(void **state)
{
	const struct apptap_dissect d = udp("10.0.0.1", 5000, "10.0.0.2", 53);
	struct apptap_conn_table *t = new_table(10);
	const struct apptap_conn *c = NULL;
	size_t i = 0;

	(void)state;
	apptap_conn_table_tick(t, 100);
	news(t, SYN, true); /* TCP tells its own end */
	feed(t, d, true, 1);
	apptap_conn_table_tick(t, 100 + APPTAP_CONN_QUIET_S - 1);
	assert_null(apptap_conn_table_quiet(t, &i, false));
	apptap_conn_table_tick(t, 100 + APPTAP_CONN_QUIET_S);
	i = 0;
	assert_ptr_equal(apptap_conn_table_quiet(t, &i, false), apptap_conn_table_get(t, 1));
	assert_null(apptap_conn_table_quiet(t, &i, false));
	i = 0;
	assert_null(apptap_conn_table_quiet(t, &i, true)); /* told once */
	assert_int_equal(apptap_conn_table_packet(t, &d, true, 100, 2, APP, &c), 0);
	assert_int_equal(c->news, APPTAP_CONN_BEGAN); /* of the same record */
	assert_packets(t, 1, 2, 0);
	feed(t, d, true, 3);
	assert_int_equal(c->news, 0);
	i = 0;
	assert_null(apptap_conn_table_quiet(t, &i, false));
	i = 0;
	assert_ptr_equal(apptap_conn_table_quiet(t, &i, true), c); /* the capture ends */
	assert_null(apptap_conn_table_quiet(t, &i, true));
	apptap_conn_table_free(t);
}

static void test_inbound_first(void **state)
{
	struct apptap_conn_table *t = new_table(10);

	(void)state;
	assert_int_equal(feed(t, tcp("2001:db8::2", 999, "2001:db8::1", 22, SYN), false, 1), 1);
	assert_int_equal(feed(t, tcp("2001:db8::1", 22, "2001:db8::2", 999, SYN | ACK), true, 2),
			 0);
	assert_packets(t, 0, 1, 1);
	assert_int_equal(apptap_conn_table_get(t, 0)->flow.lport, 22);
	assert_int_equal(apptap_conn_table_get(t, 0)->flow.rport, 999);
	apptap_conn_table_free(t);
}

static void test_what_sets_flows_apart(void **state)
{
	struct apptap_conn_table *t = new_table(10);

	(void)state;
	assert_int_equal(feed(t, tcp("10.0.0.1", 53, "10.0.0.2", 53, 0), true, 1), 1);
	assert_int_equal(feed(t, udp("10.0.0.1", 53, "10.0.0.2", 53), true, 2), 1);
	assert_int_equal(feed(t, udp("10.0.0.1", 53, "10.0.0.3", 53), true, 3), 1);
	assert_int_equal(feed(t, udp("10.0.0.1", 54, "10.0.0.2", 53), true, 4), 1);
	assert_int_equal(feed(t, udp("10.0.0.1", 53, "10.0.0.2", 54), true, 5), 1);
	assert_int_equal(apptap_conn_table_count(t), 5);
	apptap_conn_table_free(t);
}

/* Both ends are the app's, so each packet was sent by one of them: the first sender is local. */
static void test_loopback(void **state)
{
	struct apptap_conn_table *t = new_table(10);

	(void)state;
	assert_int_equal(feed(t, tcp("127.0.0.1", 4000, "127.0.0.1", 80, SYN), true, 1), 1);
	assert_int_equal(feed(t, tcp("127.0.0.1", 80, "127.0.0.1", 4000, SYN | ACK), true, 2), 0);
	assert_int_equal(feed(t, tcp("127.0.0.1", 4000, "127.0.0.1", 80, ACK), true, 3), 0);
	assert_int_equal(apptap_conn_table_count(t), 1);
	assert_packets(t, 0, 2, 1);
	assert_int_equal(apptap_conn_table_get(t, 0)->flow.lport, 4000);
	assert_int_equal(feed(t, udp("::1", 5353, "::1", 53), true, 4), 1);
	assert_int_equal(feed(t, udp("::1", 53, "::1", 5353), true, 5), 0);
	assert_packets(t, 1, 1, 1);
	assert_int_equal(apptap_conn_table_get(t, 1)->flow.lport, 5353);
	apptap_conn_table_free(t);
}

/* A stranger talks to the app's server on loopback: the server's end is local. */
static void test_loopback_server(void **state)
{
	struct apptap_conn_table *t = new_table(10);

	(void)state;
	assert_int_equal(feed(t, tcp("127.0.0.1", 4000, "127.0.0.1", 80, SYN), false, 1), 1);
	assert_int_equal(feed(t, tcp("127.0.0.1", 80, "127.0.0.1", 4000, SYN | ACK), true, 2), 0);
	assert_int_equal(feed(t, tcp("127.0.0.1", 4000, "127.0.0.1", 80, ACK), false, 3), 0);
	assert_int_equal(apptap_conn_table_count(t), 1);
	assert_packets(t, 0, 1, 2);
	assert_int_equal(apptap_conn_table_get(t, 0)->flow.lport, 80);
	apptap_conn_table_free(t);
}

/* Two addresses of one machine: not loopback by their looks, and both directions are outgoing. */
static void test_own_addresses(void **state)
{
	struct apptap_conn_table *t = new_table(10);

	(void)state;
	assert_int_equal(feed(t, udp("10.0.0.1", 4000, "10.0.0.9", 53), true, 1), 1);
	assert_int_equal(feed(t, udp("10.0.0.9", 53, "10.0.0.1", 4000), true, 2), 0);
	assert_packets(t, 0, 1, 1);
	assert_int_equal(feed(t, udp("10.0.0.1", 4000, "10.0.0.1", 53), true, 1), 1);
	assert_int_equal(feed(t, udp("10.0.0.1", 53, "10.0.0.1", 4000), true, 2), 0);
	assert_packets(t, 1, 1, 1);
	assert_int_equal(apptap_conn_table_get(t, 1)->flow.lport, 4000);
	apptap_conn_table_free(t);
}

static void test_syn_after_end_begins_anew(void **state)
{
	static const uint32_t ends[] = { FIN | ACK, RST };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		struct apptap_conn_table *t = new_table(10);

		assert_int_equal(feed(t, tcp("10.0.0.1", 4000, "10.0.0.2", 80, SYN), true, 1), 1);
		/* a SYN sent again is no new connection */
		assert_int_equal(feed(t, tcp("10.0.0.1", 4000, "10.0.0.2", 80, SYN), true, 2), 0);
		assert_int_equal(feed(t, tcp("10.0.0.2", 80, "10.0.0.1", 4000, ends[i]), false, 3),
				 0);
		/* nor is what follows the end */
		assert_int_equal(feed(t, tcp("10.0.0.1", 4000, "10.0.0.2", 80, ACK), true, 4), 0);
		assert_int_equal(
			feed(t, tcp("10.0.0.2", 80, "10.0.0.1", 4000, SYN | ACK), false, 5), 0);
		assert_int_equal(feed(t, tcp("10.0.0.1", 4000, "10.0.0.2", 80, SYN), true, 6), 1);
		assert_int_equal(feed(t, tcp("10.0.0.1", 4000, "10.0.0.2", 80, ACK), true, 7), 0);
		assert_int_equal(apptap_conn_table_count(t), 2);
		assert_packets(t, 0, 3, 2);
		assert_packets(t, 1, 2, 0);
		assert_int_equal(apptap_conn_table_get(t, 1)->first_ns, 6);
		apptap_conn_table_free(t);
	}
}

/* The peer may call back on the same ports: on loopback the local end then changes sides. */
static void test_anew_from_the_other_side(void **state)
{
	struct apptap_conn_table *t = new_table(10);

	(void)state;
	feed(t, tcp("127.0.0.1", 4000, "127.0.0.1", 80, SYN), true, 1);
	feed(t, tcp("127.0.0.1", 80, "127.0.0.1", 4000, RST), true, 2);
	assert_int_equal(feed(t, tcp("127.0.0.1", 80, "127.0.0.1", 4000, SYN), true, 3), 1);
	assert_int_equal(apptap_conn_table_get(t, 1)->flow.lport, 80);
	apptap_conn_table_free(t);
}

static struct apptap_dissect icmp_error(const char *src, const char *dst,
					const struct apptap_dissect *quoted)
{
	struct apptap_dissect d = packet(IPPROTO_ICMP, src, 0, dst, 0, APPTAP_DIS_ICMP_ERROR);

	d.flags &= ~(uint32_t)APPTAP_DIS_PORTS;
	d.inner_proto = quoted->proto;
	d.inner_ports = true;
	d.inner_src = quoted->src;
	d.inner_dst = quoted->dst;
	d.inner_sport = quoted->sport;
	d.inner_dport = quoted->dport;
	return d;
}

static void test_icmp_error_follows_its_quote(void **state)
{
	struct apptap_conn_table *t = new_table(10);
	struct apptap_dissect sent = udp("10.0.0.1", 4000, "10.0.0.2", 7);
	struct apptap_dissect got = udp("10.0.0.5", 99, "10.0.0.1", 7000);
	struct apptap_dissect looped = udp("127.0.0.1", 4000, "127.0.0.1", 9);
	struct apptap_dissect unseen = udp("10.0.0.1", 4001, "10.0.0.2", 7);

	(void)state;
	feed(t, sent, true, 1);
	/* from a router on the way, not from the peer */
	assert_int_equal(feed(t, icmp_error("10.9.9.9", "10.0.0.1", &sent), false, 2), 0);
	assert_packets(t, 0, 1, 1);
	assert_int_equal(apptap_conn_table_get(t, 0)->tcp_flags, 0);
	feed(t, got, false, 3);
	assert_int_equal(feed(t, icmp_error("10.0.0.1", "10.0.0.5", &got), true, 4), 0);
	assert_packets(t, 1, 1, 1);
	feed(t, looped, true, 5);
	assert_int_equal(feed(t, icmp_error("127.0.0.1", "127.0.0.1", &looped), true, 6), 0);
	assert_packets(t, 2, 1, 1);
	assert_int_equal(feed(t, icmp_error("10.9.9.9", "10.0.0.1", &unseen), false, 7), 1);
	assert_packets(t, 3, 0, 1);
	assert_int_equal(apptap_conn_table_get(t, 3)->flow.proto, IPPROTO_ICMP);
	apptap_conn_table_free(t);
}

static void test_echo_by_identifier(void **state)
{
	struct apptap_conn_table *t = new_table(10);

	(void)state;
	assert_int_equal(feed(t, packet(IPPROTO_ICMP, "10.0.0.1", 7, "10.0.0.2", 7, 0), true, 1),
			 1);
	assert_int_equal(feed(t, packet(IPPROTO_ICMP, "10.0.0.2", 7, "10.0.0.1", 7, 0), false, 2),
			 0);
	assert_int_equal(feed(t, packet(IPPROTO_ICMP, "10.0.0.1", 8, "10.0.0.2", 8, 0), true, 3),
			 1);
	assert_packets(t, 0, 1, 1);
	assert_packets(t, 1, 1, 0);
	apptap_conn_table_free(t);
}

static struct apptap_dissect later(const char *src, const char *dst, uint32_t id)
{
	struct apptap_dissect d = packet(IPPROTO_UDP, src, 0, dst, 0, APPTAP_DIS_FRAG_LATER);

	d.flags &= ~(uint32_t)APPTAP_DIS_PORTS;
	d.frag_id = id;
	return d;
}

static struct apptap_dissect first(const char *src, uint16_t sport, const char *dst, uint16_t dport,
				   uint32_t id)
{
	struct apptap_dissect d =
		packet(IPPROTO_UDP, src, sport, dst, dport, APPTAP_DIS_FRAG_FIRST);

	d.frag_id = id;
	return d;
}

static void test_fragments_follow_their_first(void **state)
{
	struct apptap_conn_table *t = new_table(10);

	(void)state;
	feed(t, first("10.0.0.1", 4000, "10.0.0.2", 53, 0x10001), true, 1);
	feed(t, first("10.0.0.1", 4001, "10.0.0.2", 53, 0x20001), true, 2);
	assert_int_equal(feed(t, later("10.0.0.1", "10.0.0.2", 0x10001), true, 3), 0);
	assert_int_equal(feed(t, later("10.0.0.1", "10.0.0.2", 0x10001), true, 4), 0);
	assert_int_equal(feed(t, later("10.0.0.1", "10.0.0.2", 0x20001), true, 5), 0);
	assert_packets(t, 0, 3, 0);
	assert_packets(t, 1, 2, 0);
	/* the same number from the peer is another datagram: a record without ports */
	assert_int_equal(feed(t, later("10.0.0.2", "10.0.0.1", 0x10001), false, 6), 1);
	assert_int_equal(apptap_conn_table_get(t, 2)->flow.lport, 0);
	/* and so it is from another sender */
	assert_int_equal(feed(t, later("10.0.0.3", "10.0.0.2", 0x10001), false, 6), 1);
	assert_packets(t, 0, 3, 0);
	/* a number is used again after a while: what is older than reassembly is not followed */
	assert_int_equal(
		feed(t, later("10.0.0.1", "10.0.0.2", 0x10001), true, 61 * APPTAP_NSEC_PER_SEC), 0);
	assert_packets(t, 0, 3, 0);
	assert_packets(t, 2, 1, 1);
	apptap_conn_table_free(t);
}

static void test_loopback_fragments_keep_their_direction(void **state)
{
	struct apptap_conn_table *t = new_table(10);

	(void)state;
	feed(t, first("127.0.0.1", 4000, "127.0.0.1", 53, 1), true, 1);
	feed(t, later("127.0.0.1", "127.0.0.1", 1), true, 2);
	feed(t, first("127.0.0.1", 53, "127.0.0.1", 4000, 2), true, 3);
	feed(t, later("127.0.0.1", "127.0.0.1", 2), true, 4);
	assert_packets(t, 0, 2, 2);
	apptap_conn_table_free(t);
}

/* A stranger's flood of first fragments costs nothing but its own memory of them. */
static void test_fragment_flood(void **state)
{
	struct apptap_conn_table *t = new_table(2);

	(void)state;
	for (uint32_t id = 0; id < 100000; id++)
		feed(t, first("10.0.0.1", 4000, "10.0.0.2", 53, id), true, 1);
	assert_int_equal(feed(t, later("10.0.0.1", "10.0.0.2", 99999), true, 2), 0);
	assert_packets(t, 0, 100001, 0);
	assert_int_equal(apptap_conn_table_count(t), 1);
	apptap_conn_table_free(t);
}

static void test_growth_finds_all(void **state)
{
	struct apptap_conn_table *t = new_table(65536);

	(void)state;
	for (uint32_t i = 0; i < 65536; i++)
		assert_int_equal(feed(t, udp("10.0.0.1", (uint16_t)i, "10.0.0.2", 53), true, i), 1);
	for (uint32_t i = 0; i < 65536; i++)
		assert_int_equal(feed(t, udp("10.0.0.2", 53, "10.0.0.1", (uint16_t)i), false, i),
				 0);
	assert_int_equal(apptap_conn_table_count(t), 65536);
	for (uint32_t i = 0; i < 65536; i++) {
		assert_int_equal(apptap_conn_table_get(t, i)->flow.lport, i);
		assert_packets(t, i, 1, 1);
	}
	apptap_conn_table_free(t);
}

static void test_beyond_max(void **state)
{
	struct apptap_conn_table *t = new_table(3);
	struct apptap_conn_others others;

	(void)state;
	for (uint16_t port = 1; port <= 1003; port++) {
		int began = feed(t, udp("10.0.0.1", port, "10.0.0.2", 53), true, port);

		assert_int_equal(began, port <= 3);
		assert_int_equal(feed(t, udp("10.0.0.2", 53, "10.0.0.1", port), false, port), 0);
		assert_int_equal(feed(t, udp("10.0.0.1", port, "10.0.0.2", 53), true, port), 0);
	}
	assert_int_equal(apptap_conn_table_count(t), 3);
	assert_int_equal(apptap_conn_table_total(t), 1003);
	apptap_conn_table_others(t, &others);
	assert_int_equal(others.connections, 1000);
	feed(t, udp("10.0.0.1", 9, "10.0.0.3", 53), true, 1);
	feed(t, udp("10.0.0.4", 53, "10.0.0.1", 9), false, 1);
	assert_int_equal(apptap_conn_table_total(t), 1005);
	/* on loopback nobody remembers which end was local: still one connection */
	feed(t, udp("127.0.0.1", 9, "127.0.0.2", 53), true, 1);
	feed(t, udp("127.0.0.2", 53, "127.0.0.1", 9), true, 1);
	assert_int_equal(apptap_conn_table_total(t), 1006);
	assert_int_equal(others.packets_out, 2000);
	assert_int_equal(others.packets_in, 1000);
	assert_int_equal(others.bytes_out, 200000);
	assert_int_equal(others.bytes_in, 100000);
	assert_packets(t, 2, 2, 1);
	apptap_conn_table_free(t);
}

/* The ports of a listed connection are used again when the table is full. */
static void test_reuse_beyond_max(void **state)
{
	struct apptap_conn_table *t = new_table(1);
	struct apptap_conn_others others;

	(void)state;
	for (int i = 0; i < 5; i++) {
		feed(t, tcp("10.0.0.1", 4000, "10.0.0.2", 80, SYN), true, 1);
		feed(t, tcp("10.0.0.2", 80, "10.0.0.1", 4000, FIN | ACK), false, 2);
		feed(t, tcp("10.0.0.1", 4001, "10.0.0.2", 80, SYN), true, 3);
		feed(t, tcp("10.0.0.2", 80, "10.0.0.1", 4001, RST), false, 4);
	}
	assert_packets(t, 0, 1, 1);
	assert_int_equal(apptap_conn_table_total(t), 10);
	apptap_conn_table_others(t, &others);
	assert_int_equal(others.packets_out, 9);
	assert_int_equal(others.packets_in, 9);
	apptap_conn_table_free(t);
}

static void test_empty_table(void **state)
{
	struct apptap_conn_table *t = new_table(0);

	(void)state;
	assert_int_equal(feed(t, udp("10.0.0.1", 1, "10.0.0.2", 53), true, 1), 0);
	assert_int_equal(apptap_conn_table_count(t), 0);
	assert_int_equal(apptap_conn_table_total(t), 1);
	assert_null(apptap_conn_table_get(t, 0));
	apptap_conn_table_free(t);
	apptap_conn_table_free(NULL);
}

static void test_uid_learned_later(void **state)
{
	struct apptap_conn_table *t = new_table(4);
	struct apptap_dissect d = udp("10.0.0.1", 1, "10.0.0.2", 53);

	(void)state;
	apptap_conn_table_packet(t, &d, true, 1, 1, APPTAP_UID_NONE, NULL);
	assert_true(apptap_conn_table_get(t, 0)->uid == APPTAP_UID_NONE);
	feed(t, d, true, 2);
	assert_int_equal(apptap_conn_table_get(t, 0)->uid, APP);
	apptap_conn_table_packet(t, &d, true, 1, 1, 77, NULL);
	assert_int_equal(apptap_conn_table_get(t, 0)->uid, APP);
	apptap_conn_table_free(t);
}

static void test_not_ip_counts_nowhere(void **state)
{
	struct apptap_conn_table *t = new_table(4);
	struct apptap_dissect d = { 0 };

	(void)state;
	assert_int_equal(feed(t, d, true, 1), 0);
	assert_int_equal(apptap_conn_table_total(t), 0);
	apptap_conn_table_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_directions_are_one),
		cmocka_unit_test(test_beginning_and_end_are_told_once),
		cmocka_unit_test(test_silence_is_an_end),
		cmocka_unit_test(test_inbound_first),
		cmocka_unit_test(test_what_sets_flows_apart),
		cmocka_unit_test(test_loopback),
		cmocka_unit_test(test_loopback_server),
		cmocka_unit_test(test_own_addresses),
		cmocka_unit_test(test_syn_after_end_begins_anew),
		cmocka_unit_test(test_anew_from_the_other_side),
		cmocka_unit_test(test_icmp_error_follows_its_quote),
		cmocka_unit_test(test_echo_by_identifier),
		cmocka_unit_test(test_fragments_follow_their_first),
		cmocka_unit_test(test_loopback_fragments_keep_their_direction),
		cmocka_unit_test(test_fragment_flood),
		cmocka_unit_test(test_growth_finds_all),
		cmocka_unit_test(test_beyond_max),
		cmocka_unit_test(test_reuse_beyond_max),
		cmocka_unit_test(test_empty_table),
		cmocka_unit_test(test_uid_learned_later),
		cmocka_unit_test(test_not_ip_counts_nowhere),
	};

	return cmocka_run_group_tests_name("conn", tests, NULL, NULL);
}
