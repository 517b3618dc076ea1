/* test_api.c - the library's inside: options checked, records unpacked, Community IDs */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "api/queue.h"
#include "api/start.h"

static struct apptap_connection connection(uint8_t proto, const char *from, uint16_t from_port,
					   const char *to, uint16_t to_port)
{
	int family = strchr(from, ':') ? AF_INET6 : AF_INET;
	struct apptap_connection c = {
		.family = family == AF_INET ? 4 : 6,
		.protocol = proto,
		.local_port = from_port,
		.remote_port = to_port,
	};

	assert_int_equal(inet_pton(family, from, c.local), 1);
	assert_int_equal(inet_pton(family, to, c.remote), 1);
	return c;
}

/* Of the specification's baseline: github.com/corelight/community-id-spec. */
static void community_ids_are_the_published_ones(void **state)
{
	static const struct {
		uint8_t proto;
		const char *from;
		uint16_t from_port;
		const char *to;
		uint16_t to_port;
		const char *id;
	} cases[] = {
		{ IPPROTO_TCP, "128.232.110.120", 34855, "66.35.250.204", 80,
		  "1:LQU9qZlK+B5F3KDmev6m5PMibrg=" },
		{ IPPROTO_UDP, "192.168.1.52", 54585, "8.8.8.8", 53,
		  "1:d/FP5EW3wiY1vCndhwleRRKHowQ=" },
		{ IPPROTO_SCTP, "192.168.170.8", 7, "192.168.170.56", 7,
		  "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs=" },
		{ IPPROTO_TCP, "2001:470:e5bf:dead:4957:2174:e82c:4887", 63943,
		  "2607:f8b0:400c:c03::1a", 25, "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4=" },
		{ IPPROTO_TCP, "fe80::200:86ff:fe05:80da", 1022, "fe80::260:97ff:fe07:69ea", 22,
		  "1:gS2aYcRwGJWe7UratL8/84dclq4=" },
		{ IPPROTO_ICMP, "192.168.0.89", 8, "192.168.0.1", 0,
		  "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=" },
		{ IPPROTO_ICMPV6, "fe80::200:86ff:fe05:80da", 135, "fe80::260:97ff:fe07:69ea", 0,
		  "1:dGHyGvjMfljg6Bppwm3bg0LO8TY=" },
	};
	char id[32];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct apptap_connection c =
			connection(cases[i].proto, cases[i].from, cases[i].from_port, cases[i].to,
				   cases[i].to_port);

		assert_int_equal(apptap_community_id(&c, id), 30);
		assert_string_equal(id, cases[i].id);
		if (c.protocol == IPPROTO_ICMP || c.protocol == IPPROTO_ICMPV6)
			continue;
		c = connection(cases[i].proto, cases[i].to, cases[i].to_port, cases[i].from,
			       cases[i].from_port);
		apptap_community_id(&c, id);
		assert_string_equal(id, cases[i].id); /* from the other end */
	}
	assert_int_equal(apptap_community_id(&(struct apptap_connection){ .family = 5 }, id),
			 -EINVAL);
}

static int plan_of(const struct apptap_options *o, struct apptap_plan *plan)
{
	struct apptap_error err = { 0 };
	int r = apptap_plan_make(plan, o, &err);

	if (r < 0)
		assert_true(err.msg[0] && err.code == -r);
	return r;
}

static void take_nothing(void *arg, const struct apptap_event *ev)
{
	(void)arg;
	(void)ev;
}

static void options_become_a_start(void **state)
{
	static const uint32_t uids[] = { 0, 10123 };
	static const char *const interfaces[] = { "wlan0", "lo" };
	struct apptap_options o = {
		.size = sizeof(o),
		.uids = uids,
		.uid_count = 2,
		.breadth = APPTAP_BREADTH_APP,
		.tier = APPTAP_TIER_SOCKDIAG,
		.interfaces = interfaces,
		.interface_count = 2,
		.snaplen = 96,
		.output = "x.pcapng",
		.event = take_nothing,
		.events_of_connections = 1,
	};
	struct apptap_plan plan;

	(void)state;
	assert_int_equal(plan_of(&o, &plan), 0);
	assert_int_equal(plan.start.uid_count, 2);
	assert_int_equal(plan.start.uids[1], 10123);
	assert_string_equal(plan.start.interfaces[1], "lo");
	assert_string_equal(plan.start.breadth, "app");
	assert_string_equal(plan.start.format, "pcapng"); /* by the ending */
	assert_int_equal(plan.start.snaplen_bytes, 96);
	assert_true(plan.start.live_connections);
	assert_false(plan.start.live_packets);
	apptap_plan_free(&plan);
	o.snaplen = 0;
	o.format = APPTAP_FORMAT_PCAP_NANO;
	o.events_of_connections = 0;
	assert_int_equal(plan_of(&o, &plan), 0);
	assert_int_equal(plan.start.snaplen_bytes, APPTAP_SNAPLEN_MAX);
	assert_string_equal(plan.start.format, "pcap-nano");
	assert_false(plan.start.live_connections);
	apptap_plan_free(&plan);
}

/* What a plan made of good options is changed to, and how that is refused. */
static void assert_refused(const struct apptap_options *o)
{
	struct apptap_plan plan;

	assert_int_equal(plan_of(o, &plan), -EINVAL);
	assert_true(!plan.output && !plan.command); /* no leak */
}

#define GOOD(...)                  \
	(&(struct apptap_options){ \
		.size = sizeof(struct apptap_options), .output = "x.pcap", __VA_ARGS__ })

static void targets_that_make_no_sense_are_refused(void **state)
{
	static const uint32_t nobody[] = { UINT32_MAX };
	static const char *const none[] = { NULL };
	static const char *const command[] = { "true", NULL };
	char long_name[300];

	(void)state;
	memset(long_name, 'x', sizeof(long_name));
	long_name[sizeof(long_name) - 1] = '\0';
	assert_refused(GOOD(.user = NULL));
	assert_refused(GOOD(.user = "x", .target = "y"));
	assert_refused(GOOD(.user = ""));
	assert_refused(GOOD(.user = long_name));
	assert_refused(GOOD(.pid = -1));
	assert_refused(GOOD(.uid_count = 1));
	assert_refused(GOOD(.uids = nobody, .uid_count = 1));
	assert_refused(GOOD(.uids = nobody, .uid_count = 257));
	assert_refused(GOOD(.user = "x", .tree = 1)); /* of no PID */
	assert_refused(GOOD(.pid = 1, .tree = 1, .process_only = 1));
	assert_refused(GOOD(.user = "x", .android_user = "0"));
	assert_refused(GOOD(.command = none));
	assert_refused(GOOD(.command = command, .ssh = "x"));
}

static void options_that_make_no_sense_are_refused(void **state)
{
	static const char *const unnamed[] = { NULL };
	static const struct apptap_link empty = { .size = sizeof(empty) };

	(void)state;
	assert_refused(GOOD(.user = "x", .interface_count = 1));
	assert_refused(GOOD(.user = "x", .interfaces = unnamed, .interface_count = 1));
	assert_refused(GOOD(.user = "x", .interfaces = unnamed, .interface_count = 17));
	assert_refused(GOOD(.user = "x", .snaplen = APPTAP_SNAPLEN_MAX + 1));
	assert_refused(GOOD(.user = "x", .buffer_bytes = 1));
	assert_refused(GOOD(.user = "x", .nflog_group = 65536));
	assert_refused(GOOD(.user = "x", .output_fd = 1)); /* beside output */
	assert_refused(GOOD(.user = "x", .sudo = 7));
	assert_refused(GOOD(.user = "x", .device = "", .ssh = "x"));
	assert_refused(GOOD(.user = "x", .link = &empty));
	assert_refused(GOOD(.user = "x", .breadth = "much too long for the name of a breadth"));
	assert_refused(
		&(struct apptap_options){ .size = sizeof(struct apptap_options), .user = "x" });
	assert_refused(&(struct apptap_options){
		.size = sizeof(struct apptap_options), .user = "x", .output_fd = -1 });
}

static void a_caller_of_another_size_is_told_from_a_mistake(void **state)
{
	const struct apptap_options good = { .size = sizeof(good), .user = "x", .output = "y" };
	struct {
		struct apptap_options o;
		uint64_t more;
	} newer = { .o = good };
	struct apptap_options small = good;
	struct apptap_plan plan;

	(void)state;
	assert_int_equal(plan_of(&good, &plan), 0);
	apptap_plan_free(&plan);
	small.size = 0;
	assert_refused(&small);
	small.size = sizeof(size_t); /* a pointer's size, as a mistake would have it */
	assert_refused(&small);
	/* A caller that is newer than the library: fine, as long as it does not use what is new. */
	newer.o.size = sizeof(newer);
	assert_int_equal(plan_of(&newer.o, &plan), 0);
	apptap_plan_free(&plan);
	newer.more = 1;
	assert_refused(&newer.o);
}

static void a_command_is_copied(void **state)
{
	char word[] = "echo";
	const char *const argv[] = { word, "", "a b", NULL };
	struct apptap_options o = { .size = sizeof(o), .command = argv, .output = "x" };
	struct apptap_plan plan;

	(void)state;
	assert_int_equal(plan_of(&o, &plan), 0);
	word[0] = 'x';
	assert_string_equal(plan.command[0], "echo");
	assert_string_equal(plan.command[1], "");
	assert_string_equal(plan.command[2], "a b");
	assert_null(plan.command[3]);
	apptap_plan_free(&plan);
}

static void an_older_caller_is_served(void **state)
{
	struct apptap_options o = { .target = "x", .output = "never looked at" };
	struct apptap_plan plan;

	(void)state;
	o.size = offsetof(struct apptap_options, output);
	assert_int_equal(plan_of(&o, &plan), -EINVAL); /* it had no output then */
	o.size = offsetof(struct apptap_options, format);
	assert_int_equal(plan_of(&o, &plan), 0);
	apptap_plan_free(&plan);
}

static size_t put_packet(uint8_t *p, const char *payload, int32_t ifindex, const char *comm)
{
	struct apptap_packet_record r = {
		.len = 20 + (uint32_t)strlen(payload),
		.wire_len = 1000,
		.uid = 5001,
		.ts_ns = 77,
		.kind = APPTAP_PACKET_RECORD_PACKET,
		.network = 20,
		.ifindex = ifindex,
		.pid = 12,
	};
	uint8_t *data;

	memcpy(r.comm, comm, strnlen(comm, sizeof(r.comm)));
	data = apptap_packet_record_put(p, &r);
	memset(data, 0, 20);
	apptap_put_be16(data, 0x0800);
	data[10] = 4; /* PACKET_OUTGOING */
	memcpy(data + 20, payload, strlen(payload));
	return apptap_packet_record_size(r.len);
}

static size_t put_interface(uint8_t *p, const char *name, int32_t ifindex)
{
	struct apptap_packet_record r = {
		.len = (uint32_t)strlen(name),
		.kind = APPTAP_PACKET_RECORD_INTERFACE,
		.ifindex = ifindex,
	};

	memcpy(apptap_packet_record_put(p, &r), name, strlen(name));
	return apptap_packet_record_size(r.len);
}

static void packets_come_out_as_they_went_in(void **state)
{
	static uint8_t bytes[1024] __attribute__((aligned(8)));
	struct apptap_unpacker *u;
	struct apptap_packet pkt;
	struct apptap_view v;
	size_t len;

	(void)state;
	len = put_interface(bytes, "wlan0", 3);
	len += put_packet(bytes + len, "hello", 3, "curl");
	len += put_packet(bytes + len, "", 4, "\x1b[2J");
	len += put_interface(bytes + len, "a name that is too long", 4);
	len += put_packet(bytes + len, "eightby!", 4, "a-name-of-16-chr");
	assert_int_equal(apptap_unpacker_new(&u, NULL), 0);
	v = (struct apptap_view){ bytes, len };
	assert_int_equal(apptap_unpacker_next(u, &v, &pkt, NULL), 1);
	assert_int_equal(pkt.len, 25);
	assert_int_equal(pkt.wire_len, 1000);
	assert_memory_equal(pkt.data + pkt.network, "hello", 5);
	assert_string_equal(pkt.interface, "wlan0");
	assert_string_equal(pkt.command, "curl");
	assert_int_equal(pkt.direction, APPTAP_OUT);
	assert_int_equal(pkt.protocol, 0x0800);
	assert_int_equal(pkt.pid, 12);
	assert_int_equal(apptap_unpacker_next(u, &v, &pkt, NULL), 1);
	assert_string_equal(pkt.interface, ""); /* nobody told its name yet */
	assert_string_equal(pkt.command, "?[2J"); /* fit for a terminal */
	assert_int_equal(apptap_unpacker_next(u, &v, &pkt, NULL), 1);
	assert_string_equal(pkt.interface, "a name that is ");
	assert_string_equal(pkt.command, "a-name-of-16-ch");
	assert_int_equal(apptap_unpacker_next(u, &v, &pkt, NULL), 0);
	for (size_t cut = 1; cut < len; cut += 8) { /* no record is cut unnoticed */
		int r;

		v = (struct apptap_view){ bytes, len - cut };
		while ((r = apptap_unpacker_next(u, &v, &pkt, NULL)) > 0)
			;
		assert_true(r == -EPROTO || v.left == 0);
	}
	apptap_unpacker_free(u);
}

static void a_packet_within_a_vlan_tells_its_own_protocol(void **state)
{
	static uint8_t bytes[128] __attribute__((aligned(8)));
	struct apptap_packet_record r = { .len = 24, .kind = 1, .network = 24 };
	struct apptap_view v = { bytes, apptap_packet_record_size(24) };
	struct apptap_unpacker *u;
	struct apptap_packet pkt;
	uint8_t *data = apptap_packet_record_put(bytes, &r);

	(void)state;
	apptap_put_be16(data, 0x8100);
	apptap_put_be16(data + 22, 0x86dd);
	assert_int_equal(apptap_unpacker_new(&u, NULL), 0);
	assert_int_equal(apptap_unpacker_next(u, &v, &pkt, NULL), 1);
	assert_int_equal(pkt.protocol, 0x86dd);
	assert_int_equal(pkt.direction, APPTAP_IN);
	apptap_unpacker_free(u);
}

static void names_have_a_bound(void **state)
{
	static uint8_t bytes[128] __attribute__((aligned(8)));
	struct apptap_unpacker *u;
	struct apptap_packet pkt;
	const char *first = NULL;
	char comm[16];

	(void)state;
	assert_int_equal(apptap_unpacker_new(&u, NULL), 0);
	for (int i = 0; i < 20000; i++) {
		struct apptap_view v = { bytes, 0 };

		snprintf(comm, sizeof(comm), "c%d", i);
		v.left = put_packet(bytes, "", 1, comm);
		assert_int_equal(apptap_unpacker_next(u, &v, &pkt, NULL), 1);
		if (i == 0)
			first = pkt.command;
		if (i < 3000)
			assert_string_equal(pkt.command, comm);
		if (i > 4096)
			assert_string_equal(pkt.command, "");
	}
	assert_string_equal(first, "c0"); /* stays in its place */
	apptap_unpacker_free(u);
}

static void what_was_queued_is_read_also_after_the_end(void **state)
{
	static uint8_t bytes[512] __attribute__((aligned(8)));
	const struct apptap_packet *pkts;
	struct apptap_unpacker *u;
	struct apptap_queue *q;
	atomic_bool hurry = false;
	size_t len = put_interface(bytes, "lo", 1);

	(void)state;
	assert_int_equal(apptap_unpacker_new(&u, NULL), 0);
	assert_int_equal(apptap_queue_new(&q, &hurry, NULL), 0);
	assert_int_equal(apptap_queue_get(q, u, 0, &pkts, NULL), 0);
	assert_int_equal(apptap_queue_get(q, u, 1, &pkts, NULL), 0);
	apptap_queue_put(q, (struct apptap_view){ bytes, len }, NULL); /* no packet in it */
	len = put_packet(bytes, "one", 1, "");
	len += put_packet(bytes + len, "two", 1, "");
	apptap_queue_put(q, (struct apptap_view){ bytes, len }, NULL);
	apptap_queue_end(q);
	memset(bytes, 0xee, sizeof(bytes)); /* it was copied */
	assert_int_equal(apptap_queue_get(q, u, -1, &pkts, NULL), 2);
	assert_memory_equal(pkts[1].data + 20, "two", 3);
	assert_string_equal(pkts[1].interface, "lo");
	assert_int_equal(apptap_queue_get(q, u, -1, &pkts, NULL), -ENODATA);
	apptap_queue_free(q);
	apptap_unpacker_free(u);
}

static void an_outcome_becomes_a_result(void **state)
{
	static struct apptap_outcome o;
	static struct apptap_start start;
	static struct apptap_conn_record conns[] = {
		{ .laddr = { [10] = 0xff, 0xff, 192, 168, 1, 52 },
		  .raddr = { [10] = 0xff, 0xff, 8, 8, 8, 8 },
		  .lport = 54585,
		  .rport = 53,
		  .proto = IPPROTO_UDP,
		  .ip = 4,
		  .uid = 5001,
		  .pid = 4711,
		  .comm = "dig\x1b[2J" },
		{ .laddr = { [10] = 0xff, 0xff, 192, 168, 0, 89 },
		  .raddr = { [10] = 0xff, 0xff, 192, 168, 0, 1 },
		  .lport = 4711,
		  .rport = 4711,
		  .proto = IPPROTO_ICMP,
		  .ip = 4 },
		{ .laddr = { 0xfe, 0x80 },
		  .raddr = { [15] = 1 },
		  .proto = IPPROTO_ICMPV6,
		  .ip = 6 },
	};
	static char warnings[1][APPTAP_RUN_WARNING_BYTES] = { "careful" };
	struct apptap_result *r;

	(void)state;
	o.is_ready = true;
	o.conns = conns;
	o.conn_count = ARRAY_SIZE(conns);
	o.warnings = warnings;
	o.warning_count = 1;
	strcpy(o.ready.tier, "sockdiag");
	o.ready.uid_count = 1;
	o.ready.uids[0].uid = 5001;
	strcpy(o.ready.uids[0].why, "user x");
	strcpy(start.format, "pcap");
	r = apptap_convert_outcome(&o, &start, "x.pcap");
	assert_non_null(r);
	assert_string_equal(r->ended_by, "failed"); /* it never was done */
	assert_string_equal(r->uids[0].why, "user x");
	assert_string_equal(r->path, "x.pcap");
	assert_string_equal(r->warnings[0], "careful");
	assert_int_equal(r->connection_count, 3);
	assert_string_equal(r->connections[0].local_text, "192.168.1.52");
	assert_int_equal(r->connections[0].pid, 4711);
	assert_string_equal(r->connections[0].command, "dig?[2J");
	assert_string_equal(r->connections[1].command, "");
	assert_string_equal(r->connections[0].community_id, "1:d/FP5EW3wiY1vCndhwleRRKHowQ=");
	assert_string_equal(r->connections[1].community_id, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=");
	assert_string_equal(r->connections[2].local_text, "fe80::");
	assert_string_equal(r->connections[2].community_id, ""); /* no echo */
	apptap_result_free(r);
	start.no_file = true;
	r = apptap_convert_outcome(&o, &start, NULL);
	assert_null(r->path);
	assert_null(r->format);
	apptap_result_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(community_ids_are_the_published_ones),
		cmocka_unit_test(options_become_a_start),
		cmocka_unit_test(targets_that_make_no_sense_are_refused),
		cmocka_unit_test(options_that_make_no_sense_are_refused),
		cmocka_unit_test(a_caller_of_another_size_is_told_from_a_mistake),
		cmocka_unit_test(a_command_is_copied),
		cmocka_unit_test(an_older_caller_is_served),
		cmocka_unit_test(packets_come_out_as_they_went_in),
		cmocka_unit_test(a_packet_within_a_vlan_tells_its_own_protocol),
		cmocka_unit_test(names_have_a_bound),
		cmocka_unit_test(what_was_queued_is_read_also_after_the_end),
		cmocka_unit_test(an_outcome_becomes_a_result),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
