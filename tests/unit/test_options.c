/* test_options.c - the command line: what is taken, what is refused, and with which hint */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "../../cli/options.h"

static struct apptap_options o;
static struct apptap_error err;

/* @line cut at spaces. */
static int parse(const char *line)
{
	static char copy[512];
	static char *argv[32]; /* the options point into it */
	int argc = 0;

	snprintf(copy, sizeof(copy), "%s", line);
	memset(argv, 0, sizeof(argv));
	argv[argc++] = (char *)"apptap";
	for (char *word = strtok(copy, " "); word && argc < 31; word = strtok(NULL, " "))
		argv[argc++] = word;
	memset(&err, 0, sizeof(err));
	return apptap_options_parse(&o, argc, argv, &err);
}

static void the_known_command_lines_are_understood(void **state)
{
	(void)state;
	assert_int_equal(parse("1234 --local -o app.pcap"), 0);
	assert_int_equal(o.action, APPTAP_ACTION_CAPTURE);
	assert_string_equal(o.start.name, "1234");
	assert_string_equal(o.start.format, "pcap");
	assert_int_equal(o.start.snaplen_bytes, APPTAP_SNAPLEN_MAX);
	assert_int_equal(parse("firefox -d 2.5 -c 10 -s 96 -i eth0 -i lo -B 4096 --strict --tier "
			       "sockdiag --local -o a.pcapng"),
			 0);
	assert_string_equal(o.start.format, "pcapng");
	assert_true(o.start.duration_ms == 2500 && o.start.count == 10);
	assert_int_equal(o.start.snaplen_bytes, 96);
	assert_int_equal(o.start.interface_count, 2);
	assert_true(o.start.ring_bytes == 4096 * 1024);
	assert_string_equal(o.start.breadth, "app");
	assert_int_equal(parse("--uid 10123,0 --uid 7 --local -o -"), 0);
	assert_int_equal(o.start.uid_count, 3);
	assert_int_equal(o.start.uids[1], 0);
	assert_int_equal(parse("--user www-data --local --nano -o - --no-dns"), 0);
	assert_string_equal(o.start.format, "pcap-nano");
	assert_string_equal(o.start.breadth, "app+isolated");
	assert_int_equal(parse("--whole-device --local -o x.pcapng --format pcap"), 0);
	assert_string_equal(o.start.format, "pcap");
	assert_int_equal(parse("--unit nginx --local -o x.pcap"), 0);
	assert_string_equal(o.start.unit, "nginx");
	assert_int_equal(parse("--container 4f1c --local -o x.pcap"), 0);
	assert_int_equal(parse("--cgroup /a/b --local -o x.pcap"), 0);
	assert_int_equal(parse("-o x.pcap -d 2 -- curl -o y --local -- z"), 0);
	assert_string_equal(o.command[0], "curl");
	assert_string_equal(o.command[2], "y");
	assert_string_equal(o.command[4], "--");
	assert_string_equal(o.output, "x.pcap");
	assert_int_equal(parse("--probe --local --json"), 0);
	assert_int_equal(o.action, APPTAP_ACTION_PROBE);
	assert_int_equal(parse("--cleanup --local"), 0);
	assert_int_equal(parse("com.example.app -o x.pcap --android-user all --keep-agent"), 0);
	assert_true(!o.local && !o.device && !o.ssh && o.keep_agent);
	assert_string_equal(o.start.android_user, "all");
	assert_int_equal(parse("com.example.app --device S -o x.pcap --android-user 10"), 0);
	assert_string_equal(o.device, "S");
	assert_int_equal(parse("nginx --ssh root@host -o x.pcap"), 0);
	assert_string_equal(o.ssh, "root@host");
	assert_int_equal(parse("-h"), 0);
	assert_int_equal(parse("--version"), 0);
	assert_int_equal(parse("--agent"), 0);
	assert_int_equal(o.action, APPTAP_ACTION_AGENT);
}

static void what_makes_no_sense_is_refused_with_a_hint(void **state)
{
	static const struct {
		const char *line, *says;
	} cases[] = {
		{ "curl --local --device S -o x.pcap", "several machines" },
		{ "curl --ssh a@b --device S -o x.pcap", "several machines" },
		{ "curl --ssh -oProxyCommand=x -o x.pcap", "nowhere that ssh could go" },
		{ "curl --android-user x -o x.pcap", "no user of Android" },
		{ "curl --local", "where the capture goes" },
		{ "--local -o x.pcap", "whose traffic" },
		{ "curl wget --local -o x", "more than one" },
		{ "curl --uid 5 --local -o x", "more than one way" },
		{ "--whole-device --user a --local -o x", "more than one way" },
		{ "--uid 5x --local -o x", "'5x'" },
		{ "--uid 5, --local -o x", "'5,'" },
		{ "--uid -1 --local -o x", "'-1'" },
		{ "--uid 4294967295 --local -o x", "4294967295" },
		{ "--uid 18446744073709551617 --local -o x", "no list of UIDs" },
		{ "curl --local -o x -d 0", "duration" },
		{ "curl --local -o x -d nan", "duration" },
		{ "curl --local -o x -d 1s", "duration" },
		{ "curl --local -o x -c 0", "packets" },
		{ "curl --local -o x -s 262145", "snapshot" },
		{ "curl --local -o x -B 1", "buffer" },
		{ "curl --local -o x -i a-name-of-16-chr", "interface" },
		{ "curl --local -o x --tier ebpf", "no tier is called 'ebpf'" },
		{ "curl --local -o x --tier magic", "'magic'" },
		{ "curl --local -o x --nflog-group 0", "no NFLOG group" },
		{ "curl --local -o x --strict --no-dns", "something else" },
		{ "curl --local -o x --breadth wide", "'wide'" },
		{ "curl --local -o x --format erf", "'erf'" },
		{ "curl --local -o - --json", "stdout" },
		{ "curl --local -o x -q -v", "contradict" },
		{ "--probe --local -o x", "no target and no file" },
		{ "--user a --user b --local -o x", "twice" },
		{ "--unit a --unit b --local -o x", "twice" },
		{ "--container a --container b --local -o x", "twice" },
		{ "--cgroup /a --cgroup /b --local -o x", "twice" },
		{ "--list --local curl", "--list and" },
		{ "--probe --cleanup --local", "different things" },
		{ "--cleanup --list --local", "different things" },
		{ "curl --local -o", "needs a value" },
		{ "curl --local -o x --frobnicate", "'--frobnicate'" },
		{ "curl --local -o x -Z", "not known" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (parse(cases[i].line) != -EINVAL || !strstr(err.msg, cases[i].says) ||
		    !err.hint[0])
			fail_msg("'%s' gave '%s' (try: '%s')", cases[i].line, err.msg, err.hint);
	}
	assert_int_equal(parse(""), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_known_command_lines_are_understood),
		cmocka_unit_test(what_makes_no_sense_is_refused_with_a_hint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
