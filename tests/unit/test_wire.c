/* test_wire.c - frames, greetings, messages and cleaned text, forth and back and damaged */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "wire/conn_record.h"
#include "wire/frame.h"
#include "wire/message.h"
#include "wire/text.h"

static void feed(struct apptap_frame_reader *r, const void *bytes, size_t len)
{
	size_t room;
	void *space = apptap_frame_reader_space(r, &room);

	assert_true(room >= len);
	memcpy(space, bytes, len);
	apptap_frame_reader_fill(r, len);
}

static struct apptap_frame_reader *new_reader(void)
{
	struct apptap_frame_reader *r;

	assert_int_equal(apptap_frame_reader_new(&r, NULL), 0);
	return r;
}

static void frames_come_whole_from_single_bytes(void **state)
{
	static const uint8_t stream[] = { 3,   0, 0, 0, 5, 0, 1, 0, 'a', 'b',
					  'c', 0, 0, 0, 0, 3, 0, 0, 0 };
	struct apptap_frame_reader *r = new_reader();
	struct apptap_frame frame;
	int frames = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(stream); i++) {
		feed(r, &stream[i], 1);
		if (apptap_frame_reader_next(r, &frame, NULL) != 1)
			continue;
		frames++;
		if (frames == 1) {
			assert_int_equal(i, 10);
			assert_int_equal(frame.type, APPTAP_FRAME_DATA);
			assert_int_equal(frame.flags, APPTAP_FRAME_WHOLE);
			assert_int_equal(frame.body.left, 3);
			assert_memory_equal(frame.body.p, "abc", 3);
		} else {
			assert_int_equal(frame.type, APPTAP_FRAME_EVENT);
			assert_int_equal(frame.body.left, 0);
		}
	}
	assert_int_equal(frames, 2);
	apptap_frame_reader_free(r);
}

static void the_largest_frame_passes_and_one_byte_more_does_not(void **state)
{
	struct apptap_frame_reader *r = new_reader();
	struct apptap_error err = { 0 };
	struct apptap_frame frame;
	uint8_t header[APPTAP_FRAME_HEADER_BYTES];
	auto_free uint8_t *body = calloc(1, APPTAP_FRAME_BODY_MAX);

	(void)state;
	assert_non_null(body);
	apptap_frame_header(header, APPTAP_FRAME_DATA, 0, APPTAP_FRAME_BODY_MAX);
	for (int round = 0; round < 3; round++) { /* the buffer is used again */
		feed(r, header, sizeof(header));
		assert_int_equal(apptap_frame_reader_next(r, &frame, &err), 0);
		for (size_t at = 0; at < APPTAP_FRAME_BODY_MAX; at += 65536)
			feed(r, body + at, 65536);
		assert_int_equal(apptap_frame_reader_next(r, &frame, &err), 1);
		assert_int_equal(frame.body.left, APPTAP_FRAME_BODY_MAX);
		assert_int_equal(apptap_frame_reader_next(r, &frame, &err), 0);
	}
	apptap_frame_header(header, APPTAP_FRAME_DATA, 0, APPTAP_FRAME_BODY_MAX + 1);
	feed(r, header, sizeof(header));
	assert_int_equal(apptap_frame_reader_next(r, &frame, &err), -EPROTO);
	assert_int_equal(apptap_frame_reader_next(r, &frame, &err), -EPROTO); /* for good */
	assert_int_equal(
		apptap_frame_send(-1, APPTAP_FRAME_DATA, 0, body, APPTAP_FRAME_BODY_MAX + 1, &err),
		-EMSGSIZE);
	apptap_frame_reader_free(r);
}

static void what_is_sent_is_what_comes(void **state)
{
	struct apptap_frame_reader *r = new_reader();
	struct apptap_frame frame;
	uint8_t bytes[64];
	int pair[2];
	ssize_t n;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(apptap_frame_send(pair[0], APPTAP_FRAME_EVENT, 7, "hello", 5, NULL), 0);
	n = read(pair[1], bytes, sizeof(bytes));
	assert_int_equal(n, 13);
	feed(r, bytes, (size_t)n);
	assert_int_equal(apptap_frame_reader_next(r, &frame, NULL), 1);
	assert_int_equal(frame.flags, 7);
	assert_memory_equal(frame.body.p, "hello", 5);
	close(pair[0]);
	close(pair[1]);
	apptap_frame_reader_free(r);
}

static void a_greeting_is_told_from_noise_and_from_another_version(void **state)
{
	struct apptap_hello hello = { .wire_version = APPTAP_WIRE_VERSION,
				      .pid = 4711,
				      .stdin_inode = 0x123456789abcdefull,
				      .program = "1.2.3" };
	struct apptap_hello back;
	struct apptap_error err = { 0 };
	uint8_t body[APPTAP_HELLO_BYTES];

	(void)state;
	apptap_hello_encode(&hello, body);
	assert_int_equal(
		apptap_hello_decode((struct apptap_view){ body, sizeof(body) }, &back, &err), 0);
	assert_int_equal(back.pid, 4711);
	assert_true(back.stdin_inode == hello.stdin_inode);
	assert_string_equal(back.program, "1.2.3");
	assert_int_equal(
		apptap_hello_decode((struct apptap_view){ body, sizeof(body) - 1 }, &back, &err),
		-EPROTO);
	body[4]++;
	assert_int_equal(
		apptap_hello_decode((struct apptap_view){ body, sizeof(body) }, &back, &err),
		-EPROTONOSUPPORT);
	assert_non_null(strstr(err.msg, "1.2.3"));
	body[0] = 'X';
	assert_int_equal(
		apptap_hello_decode((struct apptap_view){ body, sizeof(body) }, &back, &err),
		-EPROTO);
}

static void a_connection_survives_the_wire(void **state)
{
	static const struct apptap_conn_record c = {
		/* with zeros between its members */
		.laddr = { 1 },	  .raddr = { 2 },
		.lport = 40000,	  .rport = 443,
		.proto = 6,	  .ip = 6,
		.tcp_flags = 5,	  .uid = 4000000000u,
		.pid = 4194304,	  .comm = "fifteen letters",
		.first_ns = 1,	  .last_ns = 2,
		.packets_out = 3, .packets_in = 4,
		.bytes_out = 5,	  .bytes_in = UINT64_MAX,
	};
	uint8_t bytes[APPTAP_CONN_RECORD_BYTES];
	struct apptap_view v = { bytes, sizeof(bytes) };
	struct apptap_conn_record back;

	(void)state;
	memset(&back, 0, sizeof(back));
	apptap_conn_record_encode(&c, bytes);
	assert_true(apptap_conn_record_take(&v, &back));
	assert_memory_equal(&c, &back, sizeof(c));
	assert_false(apptap_conn_record_take(&v, &back)); /* none is left */
	bytes[37] = 5;
	v = (struct apptap_view){ bytes, sizeof(bytes) };
	assert_false(apptap_conn_record_take(&v, &back));
}

/* There and back again. */
static void send_event(const struct apptap_wire_event *ev, struct apptap_wire_event *back)
{
	char *json;
	int len = apptap_event_encode(ev, &json, NULL);

	assert_true(len > 0);
	assert_int_equal(apptap_event_decode((struct apptap_view){ (uint8_t *)json, (size_t)len },
					     back, NULL),
			 0);
	free(json);
}

static void send_command(const struct apptap_command *cmd, struct apptap_command *back)
{
	char *json;
	int len = apptap_command_encode(cmd, &json, NULL);

	assert_true(len > 0);
	assert_int_equal(apptap_command_decode((struct apptap_view){ (uint8_t *)json, (size_t)len },
					       back, NULL),
			 0);
	free(json);
}

static void a_start_survives_the_wire(void **state)
{
	static struct apptap_command cmd, back;

	(void)state;
	cmd.type = APPTAP_COMMAND_START;
	strcpy(cmd.start.name, "na\"me\\");
	strcpy(cmd.start.tier, "auto");
	strcpy(cmd.start.format, "pcapng");
	cmd.start.uids[0] = 0;
	cmd.start.uids[1] = 4294967294u;
	cmd.start.uid_count = 2;
	cmd.start.snaplen_bytes = 96;
	cmd.start.duration_ms = 2500;
	cmd.start.count = INT64_MAX;
	cmd.start.stream = true;
	cmd.start.empty = true;
	strcpy(cmd.start.interfaces[0], "eth0");
	cmd.start.interface_count = 1;
	strcpy(cmd.start.cgroup, "/system.slice/a\\x2db.service");
	strcpy(cmd.start.unit, "a-b.service");
	strcpy(cmd.start.container, "4f1c");
	strcpy(cmd.start.scope, "process");
	strcpy(cmd.start.netns, "/run/netns/x");
	cmd.start.command_pid = INT32_MAX;
	cmd.start.tree = true;
	cmd.start.plain = true;
	send_command(&cmd, &back);
	assert_memory_equal(&cmd, &back, sizeof(cmd));
}

static void a_ready_survives_the_wire(void **state)
{
	static struct apptap_wire_event ev, back;

	(void)state;
	ev.type = APPTAP_WIRE_EVENT_READY;
	strcpy(ev.ready.tier, "sockdiag");
	strcpy(ev.ready.netns, "/run/netns/x");
	ev.ready.linktype = 276;
	ev.ready.uids[0].uid = 101;
	strcpy(ev.ready.uids[0].why, "stub resolver");
	ev.ready.uid_count = 1;
	for (uint32_t i = 0; i < APPTAP_WIRE_CGROUPS_MAX; i++)
		snprintf(ev.ready.cgroups[i].path, sizeof(ev.ready.cgroups[i].path), "/a/%u", i);
	strcpy(ev.ready.cgroups[0].why, "unit a");
	ev.ready.cgroup_count = APPTAP_WIRE_CGROUPS_MAX;
	ev.ready.processes[0].pid = 4711;
	ev.ready.processes[0].tree = true;
	ev.ready.process_count = 1;
	send_event(&ev, &back);
	assert_memory_equal(&ev, &back, sizeof(ev));
}

static void a_result_survives_the_wire(void **state)
{
	static struct apptap_wire_event ev, back;

	(void)state;
	ev.type = APPTAP_WIRE_EVENT_DONE;
	strcpy(ev.done.reason, "failed");
	ev.done.counters.packets = 123456789012ull;
	ev.done.counters.lookups = 1;
	ev.done.stream_bytes = 99;
	ev.done.error.failure = APPTAP_FAILURE_READER_GONE;
	ev.done.error.code = ENOSPC;
	strcpy(ev.done.error.msg, "disk full");
	send_event(&ev, &back);
	assert_memory_equal(&ev, &back, sizeof(ev));
}

static void a_cleanup_survives_the_wire(void **state)
{
	static struct apptap_wire_event ev, back;

	(void)state;
	ev.type = APPTAP_WIRE_EVENT_CLEANUP;
	ev.cleanup.captures_left = 9;
	for (uint32_t i = 0; i < APPTAP_WIRE_LEFT_MAX; i++) {
		ev.cleanup.left[i].bytes = 1ull << 40;
		ev.cleanup.left[i].age_s = i;
		strcpy(ev.cleanup.left[i].path, "/data/local/tmp/.apptap-capture-1");
	}
	ev.cleanup.left_count = APPTAP_WIRE_LEFT_MAX;
	send_event(&ev, &back);
	assert_memory_equal(&ev, &back, sizeof(ev));
}

static void every_event_and_command_has_a_name(void **state)
{
	static struct apptap_wire_event ev, back;
	static struct apptap_command cmd, again;

	(void)state;
	for (int type = APPTAP_WIRE_EVENT_READY; type <= APPTAP_WIRE_EVENT_APPS; type++) {
		memset(&ev, 0, sizeof(ev));
		ev.type = (enum apptap_wire_event_type)type;
		send_event(&ev, &back);
		assert_int_equal(back.type, type);
	}
	for (int type = APPTAP_COMMAND_START; type <= APPTAP_COMMAND_BEAT; type++) {
		cmd.type = (enum apptap_command_type)type;
		send_command(&cmd, &again);
		assert_int_equal(again.type, type);
	}
}

static int decode_start(const char *json)
{
	static struct apptap_command cmd;

	return apptap_command_decode((struct apptap_view){ (const uint8_t *)json, strlen(json) },
				     &cmd, NULL);
}

static void a_bad_start_is_refused_and_a_newer_one_is_not(void **state)
{
	char long_name[600];

	(void)state;
	assert_int_equal(decode_start("{\"type\":\"start\",\"snaplen_bytes\":96}"), 0);
	assert_int_equal(decode_start("{\"type\":\"start\",\"snaplen_bytes\":96,\"new\":{}}"), 0);
	assert_int_equal(decode_start("{\"type\":\"start\"}"), -EPROTO);
	assert_int_equal(decode_start("{\"type\":\"start\",\"snaplen_bytes\":-1}"), -EPROTO);
	assert_int_equal(decode_start("{\"type\":\"start\",\"snaplen_bytes\":262145}"), -EPROTO);
	assert_int_equal(decode_start("{\"type\":\"start\",\"snaplen_bytes\":\"96\"}"), -EPROTO);
	assert_int_equal(decode_start("{\"type\":\"start\",\"snaplen_bytes\":9,\"uids\":[-1]}"),
			 -EPROTO);
	assert_int_equal(
		decode_start("{\"type\":\"start\",\"snaplen_bytes\":9,\"uids\":[4294967295]}"),
		-EPROTO); /* (uid_t)-1 is nobody */
	assert_int_equal(decode_start("{\"type\":\"start\",\"snaplen_bytes\":9,\"interfaces\":"
				      "[\"a-name-of-16-chr\"]}"),
			 -EPROTO);
	assert_int_equal(decode_start("{\"type\":\"start\",\"snaplen_bytes\":9,\"stream\":1}"),
			 -EPROTO);
	snprintf(long_name, sizeof(long_name),
		 "{\"type\":\"start\",\"snaplen_bytes\":9,\"name\":\"%0300d\"}", 1);
	assert_int_equal(decode_start(long_name), -EPROTO);
	assert_int_equal(decode_start("{\"type\":\"burn\"}"), -EPROTO);
	assert_int_equal(decode_start("[]"), -EPROTO);
	assert_int_equal(decode_start(""), -EPROTO);
	assert_int_equal(decode_start("{\"type\":\"stop\"} more"), -EPROTO);
}

static void text_of_others_cannot_move_the_cursor(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "plain", "plain" },
		{ "\x1b[2J\r\n\t\x7f", "?[2J????" },
		{ "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
		{ "\xc2\x9b"
		  "2J",
		  "?2J" }, /* CSI as one character */
		{ "\xff\xc3", "??" }, /* never UTF-8; cut */
		{ "\xc0\xaf", "??" }, /* overlong */
		{ "\xed\xa0\x80", "???" }, /* a surrogate */
		{ "123456789012345", "1234567" }, /* cut to the size */
		{ "123456\xc3\xbc", "123456" }, /* never in the middle of a character */
	};
	static const char override[] = { 'a', '\xe2', '\x80', '\xae', 'b', 0 }; /* right to left */
	char buf[16];

	(void)state;
	assert_string_equal(apptap_text_clean(buf, sizeof(buf), override), "a?b");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_string_equal(apptap_text_clean(buf, i < 7 ? sizeof(buf) : 8, cases[i].in),
				    cases[i].out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_come_whole_from_single_bytes),
		cmocka_unit_test(the_largest_frame_passes_and_one_byte_more_does_not),
		cmocka_unit_test(what_is_sent_is_what_comes),
		cmocka_unit_test(a_greeting_is_told_from_noise_and_from_another_version),
		cmocka_unit_test(a_connection_survives_the_wire),
		cmocka_unit_test(a_start_survives_the_wire),
		cmocka_unit_test(a_ready_survives_the_wire),
		cmocka_unit_test(a_result_survives_the_wire),
		cmocka_unit_test(a_cleanup_survives_the_wire),
		cmocka_unit_test(every_event_and_command_has_a_name),
		cmocka_unit_test(a_bad_start_is_refused_and_a_newer_one_is_not),
		cmocka_unit_test(text_of_others_cannot_move_the_cursor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
