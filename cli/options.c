/* options.c - the command line, as a struct */
#include "options.h"

#include <errno.h>
#include <getopt.h>

#include "host/output.h"

typedef int (*take_fn)(struct apptap_options *o, const char *arg, struct apptap_error *err);

/* A row of --help and of getopt_long; without a name: a heading. */
struct row {
	const char *name;
	char letter;
	const char *arg;
	const char *help; /* NULL: hidden */
	take_fn take;
};

static int usage(struct apptap_error *err, const char *hint, const char *fmt, const char *arg)
{
	char msg[sizeof(err->msg)];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(msg, sizeof(msg), fmt, arg);
#pragma GCC diagnostic pop
	apptap_error_say(err, EINVAL, "%s", msg);
	apptap_error_hint(err, "%s", hint);
	return -EINVAL;
}

/* A whole number without sign or space. */
static bool parse_number(const char *text, size_t len, uint64_t max, uint64_t *out)
{
	uint64_t value = 0;

	if (!len)
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned digit = (unsigned)text[i] - '0';

		if (digit > 9 || value > (max - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*out = value;
	return true;
}

static int copy(char *dst, size_t size, const char *arg, const char *what, struct apptap_error *err)
{
	if (!arg[0])
		return usage(err, "see apptap --help", "%s is empty", what);
	if (strlen(arg) >= size)
		return usage(err, "see apptap --help", "%s is too long", what);
	memcpy(dst, arg, strlen(arg) + 1);
	return 0;
}

/* Of two, the later would leave out of the capture whom the first means. */
static int copy_once(char *dst, size_t size, const char *arg, const char *what,
		     struct apptap_error *err)
{
	if (dst[0] && strcmp(dst, arg) != 0)
		return usage(err, "capture them one by one, or several users by --uid",
			     "%s is given twice, and not the same", what);
	return copy(dst, size, arg, what, err);
}

/* An option without a value that sets one flag. */
#define TAKE_FLAG(name, member)                                                              \
	static int name(struct apptap_options *o, const char *arg, struct apptap_error *err) \
	{                                                                                    \
		(void)arg;                                                                   \
		(void)err;                                                                   \
		o->member = true;                                                            \
		return 0;                                                                    \
	}

TAKE_FLAG(take_tree, start.tree)
TAKE_FLAG(take_whole, start.whole_device)
TAKE_FLAG(take_local, local)
TAKE_FLAG(take_keep_agent, keep_agent)
TAKE_FLAG(take_plain, start.plain)
TAKE_FLAG(take_nano, nano)
TAKE_FLAG(take_json, json)
TAKE_FLAG(take_quiet, quiet)
TAKE_FLAG(take_verbose, verbose)

static int take_uid(struct apptap_options *o, const char *arg, struct apptap_error *err)
{
	const char *p = arg;

	for (;; p++) {
		size_t len = strcspn(p, ",");
		uint64_t uid;

		if (!parse_number(p, len, UINT32_MAX - 1, &uid))
			return usage(err, "--uid 10123, --uid 10123,10124, or --user NAME",
				     "'%s' is no list of UIDs", arg);
		if (o->start.uid_count == APPTAP_WIRE_UIDS_MAX)
			return usage(err, "capture fewer at once", "%s", "too many UIDs");
		o->start.uids[o->start.uid_count++] = (uint32_t)uid;
		p += len;
		if (!*p)
			return 0;
	}
}

static int take_target(struct apptap_options *o, const char *arg, struct apptap_error *err)
{
	if (o->start.name[0])
		return usage(err,
			     "give one; further users' traffic with --uid; a command behind --",
			     "%s", "more than one TARGET is given");
	return copy(o->start.name, sizeof(o->start.name), arg, "the target's name", err);
}

static int take_pid(struct apptap_options *o, const char *arg, struct apptap_error *err)
{
	uint64_t pid;

	if (!parse_number(arg, strlen(arg), INT32_MAX, &pid) || !pid)
		return usage(err, "see ps; a process can be named by its name too",
			     "'%s' is no process ID", arg);
	return take_target(o, arg, err);
}

static int take_scope(struct apptap_options *o, const char *arg, struct apptap_error *err)
{
	if (strcmp(arg, "uid") != 0 && strcmp(arg, "process") != 0)
		return usage(err, "--scope uid or --scope process", "no scope is called '%s'", arg);
	return copy(o->start.scope, sizeof(o->start.scope), arg, "the scope", err);
}

static int take_user(struct apptap_options *o, const char *arg, struct apptap_error *err)
{
	return copy_once(o->start.user, sizeof(o->start.user), arg, "the user's name", err);
}

static int take_cgroup(struct apptap_options *o, const char *arg, struct apptap_error *err)
{
	return copy_once(o->start.cgroup, sizeof(o->start.cgroup), arg, "the cgroup's path", err);
}

static int take_unit(struct apptap_options *o, const char *arg, struct apptap_error *err)
{
	return copy_once(o->start.unit, sizeof(o->start.unit), arg, "the unit's name", err);
}

static int take_container(struct apptap_options *o, const char *arg, struct apptap_error *err)
{
	return copy_once(o->start.container, sizeof(o->start.container), arg, "the container's id",
			 err);
}

static int take_device(struct apptap_options *o, const char *arg, struct apptap_error *err)
{
	if (!arg[0])
		return usage(err, "'adb devices -l' lists them", "%s", "--device names no device");
	o->device = arg;
	return 0;
}

static int take_ssh(struct apptap_options *o, const char *arg, struct apptap_error *err)
{
	if (!arg[0] || arg[0] == '-')
		return usage(err, "--ssh root@host", "'%s' is nowhere that ssh could go", arg);
	o->ssh = arg;
	return 0;
}

static int take_android_user(struct apptap_options *o, const char *arg, struct apptap_error *err)
{
	uint64_t user;

	if (strcmp(arg, "all") != 0 && !parse_number(arg, strlen(arg), 42948, &user))
		return usage(err, "a number, or all", "'%s' is no user of Android", arg);
	return copy(o->start.android_user, sizeof(o->start.android_user), arg, "the user", err);
}

static int take_output(struct apptap_options *o, const char *arg, struct apptap_error *err)
{
	if (!arg[0])
		return usage(err, "give -o FILE, or -o - for stdout", "%s", "-o names no file");
	o->output = arg;
	return 0;
}

static int take_format(struct apptap_options *o, const char *arg, struct apptap_error *err)
{
	if (strcmp(arg, "pcap") != 0 && strcmp(arg, "pcapng") != 0)
		return usage(err, "--format pcap or --format pcapng",
			     "no file format is called '%s'", arg);
	return copy(o->start.format, sizeof(o->start.format), arg, "the format", err);
}

static int take_tier(struct apptap_options *o, const char *arg, struct apptap_error *err)
{
	if (strcmp(arg, "auto") != 0 && strcmp(arg, "bpf") != 0 && strcmp(arg, "nflog") != 0 &&
	    strcmp(arg, "sockdiag") != 0)
		return usage(err, "--tier auto, bpf, nflog or sockdiag", "no tier is called '%s'",
			     arg);
	return copy(o->start.tier, sizeof(o->start.tier), arg, "the tier", err);
}

static int take_nflog_group(struct apptap_options *o, const char *arg, struct apptap_error *err)
{
	uint64_t group;

	if (!parse_number(arg, strlen(arg), UINT16_MAX, &group) || !group)
		return usage(err, "a number from 1 to 65535", "'%s' is no NFLOG group", arg);
	o->start.nflog_group = (uint32_t)group;
	return 0;
}

static int take_breadth(struct apptap_options *o, const char *arg, struct apptap_error *err)
{
	static const char *const names[] = { "app", "app+isolated", "app+isolated+dns" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(arg, names[i]) != 0)
			continue;
		if (o->start.breadth[0] && strcmp(o->start.breadth, arg) != 0)
			return usage(err, "give one of --strict, --no-dns, --breadth",
				     "the capture cannot be '%s' and something else", arg);
		return copy(o->start.breadth, sizeof(o->start.breadth), arg, "the breadth", err);
	}
	return usage(err, "app, app+isolated, or app+isolated+dns", "no breadth is called '%s'",
		     arg);
}

static int take_strict(struct apptap_options *o, const char *arg, struct apptap_error *err)
{
	(void)arg;
	return take_breadth(o, "app", err);
}

static int take_no_dns(struct apptap_options *o, const char *arg, struct apptap_error *err)
{
	(void)arg;
	return take_breadth(o, "app+isolated", err);
}

static int take_netns(struct apptap_options *o, const char *arg, struct apptap_error *err)
{
	return copy(o->start.netns, sizeof(o->start.netns), arg, "the network namespace", err);
}

static int take_interface(struct apptap_options *o, const char *arg, struct apptap_error *err)
{
	uint32_t n = o->start.interface_count;

	if (n == APPTAP_WIRE_INTERFACES_MAX)
		return usage(err, "without -i all interfaces are captured", "%s",
			     "too many interfaces");
	o->start.interface_count++;
	return copy(o->start.interfaces[n], sizeof(o->start.interfaces[n]), arg,
		    "the interface's name", err);
}

static int take_duration(struct apptap_options *o, const char *arg, struct apptap_error *err)
{
	char *end;
	double seconds = strtod(arg, &end);

	if (end == arg || *end || !(seconds > 0) || !(seconds <= 1e9))
		return usage(err, "seconds, fractions too: -d 2.5", "'%s' is no duration", arg);
	o->start.duration_ms = (uint64_t)(seconds * 1000 + 0.5);
	if (!o->start.duration_ms)
		o->start.duration_ms = 1;
	return 0;
}

static int take_count(struct apptap_options *o, const char *arg, struct apptap_error *err)
{
	if (!parse_number(arg, strlen(arg), INT64_MAX, &o->start.count) || !o->start.count)
		return usage(err, "a number above 0", "'%s' is no number of packets", arg);
	return 0;
}

static int take_snaplen(struct apptap_options *o, const char *arg, struct apptap_error *err)
{
	uint64_t bytes;

	if (!parse_number(arg, strlen(arg), APPTAP_SNAPLEN_MAX, &bytes))
		return usage(err, "bytes of each packet, up to 262144; 0 is all",
			     "'%s' is no snapshot length", arg);
	o->start.snaplen_bytes = bytes ? (uint32_t)bytes : APPTAP_SNAPLEN_MAX;
	return 0;
}

static int take_buffer(struct apptap_options *o, const char *arg, struct apptap_error *err)
{
	uint64_t kib;

	if (!parse_number(arg, strlen(arg), APPTAP_RING_BYTES_MAX >> 10, &kib) || kib < 64)
		return usage(err, "KiB of packet buffer, from 64 to 1048576",
			     "'%s' is no buffer size", arg);
	o->start.ring_bytes = kib << 10;
	return 0;
}

/* Two different ones are neither: who asks to probe as well may not mean to clean up. */
static int set_action(struct apptap_options *o, enum apptap_action action, struct apptap_error *err)
{
	if (o->action != APPTAP_ACTION_CAPTURE && o->action != action &&
	    action < APPTAP_ACTION_HELP)
		return usage(err, "give one of --probe, --list, --cleanup", "%s",
			     "these are different things to do");
	o->action = action;
	return 0;
}

#define TAKE_ACTION(name, action)                                                            \
	static int name(struct apptap_options *o, const char *arg, struct apptap_error *err) \
	{                                                                                    \
		(void)arg;                                                                   \
		return set_action(o, action, err);                                           \
	}

TAKE_ACTION(take_probe, APPTAP_ACTION_PROBE)
TAKE_ACTION(take_list, APPTAP_ACTION_LIST)
TAKE_ACTION(take_cleanup, APPTAP_ACTION_CLEANUP)
TAKE_ACTION(take_help, APPTAP_ACTION_HELP)
TAKE_ACTION(take_version, APPTAP_ACTION_VERSION)
TAKE_ACTION(take_agent, APPTAP_ACTION_AGENT)
TAKE_ACTION(take_agent_spool, APPTAP_ACTION_AGENT_SPOOL)
TAKE_ACTION(take_agent_once, APPTAP_ACTION_AGENT_ONCE)

/* clang-format off */
static const struct row rows[] = {
	{ NULL, 0, NULL, "Whose traffic (TARGET: a package, a process name or a PID)", NULL },
	{ "pid", 0, "N", "this process: its user's traffic, as with TARGET", take_pid },
	{ "scope", 0, "NAME", "of a PID: uid (default), or process: its own alone", take_scope },
	{ "tree", 0, NULL, "of a PID: its own and its descendants' alone", take_tree },
	{ "uid", 0, "UID[,UID]", "these user IDs; may be repeated", take_uid },
	{ "user", 0, "NAME", "this user", take_user },
	{ "unit", 0, "NAME", "this service (or other unit) of systemd", take_unit },
	{ "container", 0, "ID", "this container: docker, podman, CRI-O, containerd", take_container },
	{ "cgroup", 0, "PATH", "this cgroup (version 2), and those below it", take_cgroup },
	{ "whole-device", 0, NULL, "everybody's: no filter at all", take_whole },
	{ "breadth", 0, "NAME", "app, app+isolated, or app+isolated+dns (default)", take_breadth },
	{ "strict", 0, NULL, "the same as --breadth app", take_strict },
	{ "no-dns", 0, NULL, "the same as --breadth app+isolated", take_no_dns },
	{ NULL, 0, NULL, "Where", NULL },
	{ "device", 0, "SERIAL", "on this Android device, by adb; default: the only one", take_device },
	{ "ssh", 0, "USER@HOST", "on this Linux machine, by ssh", take_ssh },
	{ "local", 0, NULL, "on this machine", take_local },
	{ "android-user", 0, "N", "of this user or work profile only, or all; default: 0", take_android_user },
	{ "keep-agent", 0, NULL, "leave the agent there: the next start is faster", take_keep_agent },
	{ "netns", 0, "PATH|PID", "in this network namespace; default: the target's own", take_netns },
	{ "interface", 'i', "IF", "on this interface only; may be repeated", take_interface },
	{ "tier", 0, "NAME", "how: auto (default), bpf, nflog, sockdiag", take_tier },
	{ "nflog-group", 0, "N", "of the tier nflog; default: 30, or the next free",
	  take_nflog_group },
	{ NULL, 0, NULL, "Into which file", NULL },
	{ "output", 'o', "FILE", "the capture file; - is stdout", take_output },
	{ "format", 0, "NAME", "pcap or pcapng; default: by the ending of FILE", take_format },
	{ "no-comments", 0, NULL, "no \"uid 33 pid 7 curl\" behind each packet of a pcapng", take_plain },
	{ "nano", 0, NULL, "nanoseconds in pcap (pcapng always has them)", take_nano },
	{ NULL, 0, NULL, "How long, how much", NULL },
	{ "duration", 'd', "SECS", "stop after so many seconds (2.5 is fine)", take_duration },
	{ "count", 'c', "N", "stop after so many packets", take_count },
	{ "snaplen", 's', "BYTES", "keep so much of each packet; default: all", take_snaplen },
	{ "buffer-size", 'B', "KIB", "packet buffer in the kernel", take_buffer },
	{ NULL, 0, NULL, "What is said", NULL },
	{ "json", 0, NULL, "the result as one JSON object on stdout", take_json },
	{ "quiet", 'q', NULL, "only warnings and errors", take_quiet },
	{ "verbose", 'v', NULL, "more about what happens", take_verbose },
	{ NULL, 0, NULL, "Instead of a capture", NULL },
	{ "probe", 0, NULL, "say which tiers work here, and why others do not", take_probe },
	{ "list", 0, NULL, "the packages there, or the programs, with their UIDs", take_list },
	{ "cleanup", 0, NULL, "remove what an earlier capture may have left", take_cleanup },
	{ "help", 'h', NULL, "this text", take_help },
	{ "version", 'V', NULL, "the version", take_version },
	{ "agent", 0, NULL, NULL, take_agent },
	{ "agent-once", 0, NULL, NULL, take_agent_once },
	{ "agent-spool", 0, NULL, NULL, take_agent_spool },
};
/* clang-format on */

void apptap_options_help(FILE *to)
{
	fputs("Capture the traffic of one application.\n\n"
	      "  apptap TARGET [--device SERIAL | --ssh USER@HOST | --local] -o FILE [options]\n"
	      "  apptap -o FILE [options] -- COMMAND [arguments]\n",
	      to);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char left[40];
		int n;

		if (!rows[i].help)
			continue;
		if (!rows[i].name) {
			fprintf(to, "\n%s:\n", rows[i].help);
			continue;
		}
		n = rows[i].letter ? snprintf(left, sizeof(left), "-%c, ", rows[i].letter)
				   : snprintf(left, sizeof(left), "    ");
		snprintf(left + n, sizeof(left) - (size_t)n, "--%s%s%s", rows[i].name,
			 rows[i].arg ? " " : "", rows[i].arg ? rows[i].arg : "");
		fprintf(to, "  %-24s %s\n", left, rows[i].help);
	}
	fputs("\nExamples:\n"
	      "  apptap com.example.app -o app.pcap              on the attached phone\n"
	      "  apptap firefox --local -o firefox.pcapng        until Ctrl-C\n"
	      "  apptap --user www-data --local -o web.pcap -d 60\n"
	      "  apptap 1234 --local -o - | tshark -r -          live\n"
	      "  apptap -o curl.pcapng -- curl https://example.org\n"
	      "  apptap --probe --local\n"
	      "\nExit codes: 0 done, 1 failed, 2 usage, 3 no tier works here; or the COMMAND's.\n",
	      to);
}

/* By the ending of the file, unless said; what cannot tell is pcap, which everything reads. */
static void choose_format(struct apptap_options *o)
{
	const char *dot = o->output ? strrchr(o->output, '.') : NULL;

	if (!o->start.format[0])
		snprintf(o->start.format, sizeof(o->start.format), "%s",
			 dot && strcmp(dot, ".pcapng") == 0 ? "pcapng" : "pcap");
	if (o->nano && strcmp(o->start.format, "pcap") == 0)
		snprintf(o->start.format, sizeof(o->start.format), "pcap-nano");
}

static int check(struct apptap_options *o, struct apptap_error *err)
{
	const struct apptap_start *s = &o->start;
	int ways = (s->name[0] != 0) + (s->user[0] != 0) + (s->uid_count != 0) + s->whole_device +
		   (s->cgroup[0] != 0) + (s->unit[0] != 0) + (s->container[0] != 0) +
		   (o->command != NULL);

	if (o->command && (!o->command[0] || !o->command[0][0]))
		return usage(err, "apptap -o FILE -- COMMAND ARGUMENTS", "%s",
			     "there is no command behind --");
	if (o->command && (o->device || o->ssh))
		return usage(err, "leave --device and --ssh away", "%s",
			     "a command is started on this machine");
	o->local |= o->command != NULL;
	if (o->local + (o->device != NULL) + (o->ssh != NULL) > 1)
		return usage(err, "give one of --device, --ssh, --local", "%s",
			     "it cannot be on several machines at once");
	if (o->quiet && o->verbose)
		return usage(err, "give one of them", "%s", "-q and -v contradict each other");
	if (o->action != APPTAP_ACTION_CAPTURE)
		return ways || o->output
			       ? usage(err, "leave the rest away", "%s",
				       "--probe, --list and --cleanup take no target and no file")
			       : 0;
	if (ways == 0)
		return usage(err,
			     "name a package, a process, a PID, --user, --uid, or --whole-device",
			     "%s", "nothing is captured when it is not said whose traffic");
	if (ways > 1)
		return usage(
			err,
			"give one of TARGET, --uid, --user, --unit, --container, --cgroup, -- COMMAND",
			"%s", "the target is named in more than one way");
	if ((s->tree || strcmp(s->scope, "process") == 0) &&
	    (!s->name[0] || strspn(s->name, "0123456789") != strlen(s->name)))
		return usage(err, "name the process by --pid N", "%s",
			     "--tree and --scope process are for a PID");
	if (s->tree && strcmp(s->scope, "uid") == 0)
		return usage(err, "give one of them", "%s",
			     "--tree and --scope uid contradict each other");
	if (!o->output)
		return usage(err, "give -o FILE, or -o - for stdout", "%s",
			     "it is not said where the capture goes");
	if (o->json && apptap_output_is_stdout(o->output))
		return usage(err, "give -o FILE, or leave --json away", "%s",
			     "--json and -o - both want stdout");
	if (o->command && apptap_output_is_stdout(o->output))
		return usage(err, "give -o FILE", "%s", "-o - and the command both want stdout");
	if (!s->snaplen_bytes)
		o->start.snaplen_bytes = APPTAP_SNAPLEN_MAX;
	choose_format(o);
	return 0;
}

/* What getopt_long wants, out of the table: returned values are places in it, from 256 on. */
static void make_getopt(struct option *longs, char *shorts)
{
	*shorts++ = '-'; /* words that are no options come in their turn, as 1 */
	*shorts++ = ':';
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (!rows[i].name)
			continue;
		*longs++ = (struct option){ rows[i].name,
					    rows[i].arg ? required_argument : no_argument, NULL,
					    256 + (int)i };
		if (!rows[i].letter)
			continue;
		*shorts++ = rows[i].letter;
		if (rows[i].arg)
			*shorts++ = ':';
	}
	*longs = (struct option){ 0 };
	*shorts = '\0';
}

static const struct row *row_of(int value)
{
	if (value >= 256)
		return &rows[value - 256];
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].name && rows[i].letter == value)
			return &rows[i];
	return NULL;
}

int apptap_options_parse(struct apptap_options *o, int argc, char **argv, struct apptap_error *err)
{
	struct option longs[ARRAY_SIZE(rows) + 1];
	char shorts[2 * ARRAY_SIZE(rows) + 3];
	int value, r;

	memset(o, 0, sizeof(*o));
	make_getopt(longs, shorts);
	opterr = 0;
	optind = 0; /* from the start, also when called again */
	while ((value = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		const char *word = argv[optind > 0 ? optind - 1 : 0];

		if (value == ':')
			return usage(err, "see apptap --help", "the option '%s' needs a value",
				     word);
		if (value == '?')
			return usage(err, "see apptap --help",
				     "the option '%s' is not known, or not unique", word);
		r = value == 1 ? take_target(o, optarg, err) : row_of(value)->take(o, optarg, err);
		if (r < 0)
			return r;
		o->spool_args = argv + optind;
		if (o->action >= APPTAP_ACTION_HELP)
			return 0;
	}
	if (optind > 0 && optind <= argc && strcmp(argv[optind - 1], "--") == 0)
		o->command = argv + optind;
	return check(o, err);
}
