/* apptap.h - capture the network traffic of one application, and nothing of any other */
#ifndef APPTAP_APPTAP_H
#define APPTAP_APPTAP_H

#include <apptap/executor.h>
#include <apptap/packet.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * How it works. A session captures on some machine (by default this one) in a process of its own
 * there, the agent, which has root's rights: the caller needs none. Each session has a thread of
 * its own here; callbacks run in it, one at a time. The library has no globals, installs no signal
 * handler, never exits, and writes nothing to stdout or stderr.
 *
 *	struct apptap_options o = { .size = sizeof(o), .user = "www-data", .output = "web.pcapng" };
 *	struct apptap_error err;
 *	struct apptap_session *s;
 *	const struct apptap_result *result;
 *
 *	if (apptap_session_new(&s, &o, &err) < 0 || apptap_session_start(s, &err) < 0)
 *		...	err.msg says what failed, err.hint what to try
 *	...		the next packet of www-data is captured
 *	apptap_session_stop(s, &result, &err);
 *	apptap_session_free(s);
 *
 * Conventions. A function returns 0 or a count on success and -errno on failure. Times are in
 * nanoseconds of CLOCK_REALTIME of the machine that is captured on. Texts are UTF-8 without control
 * characters, whatever an app called itself. A structure that the caller fills starts with its own
 * size and may be zero otherwise: zero is the default. Structures that the library fills may grow
 * at their end; those that stand in arrays keep their size for as long as the soname does.
 */

/* Names that options take and results give. */
#define APPTAP_TIER_AUTO "auto" /* the best that works there */
#define APPTAP_TIER_BPF "bpf" /* eBPF decides in the kernel */
#define APPTAP_TIER_NFLOG "nflog" /* netfilter decides in the kernel */
#define APPTAP_TIER_SOCKDIAG "sockdiag" /* the kernel's socket table, asked packet by packet */

#define APPTAP_BREADTH_APP "app" /* the app's user ID alone */
#define APPTAP_BREADTH_ISOLATED "app+isolated" /* and its isolated processes (Android) */
#define APPTAP_BREADTH_DNS "app+isolated+dns" /* and the resolver; the default */

#define APPTAP_FORMAT_PCAP "pcap" /* microseconds */
#define APPTAP_FORMAT_PCAP_NANO "pcap-nano"
#define APPTAP_FORMAT_PCAPNG "pcapng" /* nanoseconds, interface names, totals */

/**
 * struct apptap_uid - a user ID that is captured
 * @uid:	The number
 * @why:	Why it is: "process 812 (curl)", "user www-data", "stub resolver 127.0.0.53:53"
 */
struct apptap_uid {
	uint32_t uid;
	uint32_t zero;
	const char *why;
};

/** struct apptap_cgroup - a cgroup that is captured: its path, and why it is */
struct apptap_cgroup {
	const char *path;
	const char *why;
};

/** struct apptap_process - a process that is captured by itself, or (tree) with its descendants */
struct apptap_process {
	uint32_t pid;
	int32_t tree;
	const char *why;
};

/**
 * struct apptap_counters - what a capture has done so far
 * @elapsed_ms:	Since it was ready
 * @packets:	Whole records in the file
 * @bytes:	Of the file
 * @connections: Seen ever; may be more than a result lists
 * @seen:	Packets that the tier looked at
 * @kept:	Of those: the app's
 * @kept_bytes:	Their length on the wire
 * @foreign:	Of others: left out
 * @not_ip:	ARP and kin, which no socket owns: left out
 * @unattributed: The kernel did not say whose they are: left out
 * @held:	Waiting for an owner at this moment
 * @dropped_kernel: Lost before anybody could look, whosever they were
 * @lookups:	Questions asked of the kernel
 */
struct apptap_counters {
	uint64_t elapsed_ms;
	uint64_t packets;
	uint64_t bytes;
	uint64_t connections;
	uint64_t seen;
	uint64_t kept;
	uint64_t kept_bytes;
	uint64_t foreign;
	uint64_t not_ip;
	uint64_t unattributed;
	uint64_t held;
	uint64_t dropped_kernel;
	uint64_t lookups;
};

enum apptap_event_type {
	APPTAP_EVENT_READY = 1, /* capturing: tier, uids */
	APPTAP_EVENT_STATUS = 2, /* four times a second: counters */
	APPTAP_EVENT_WARNING = 3, /* text: a sentence for the user */
	APPTAP_EVENT_DROP = 4, /* the kernel lost packets since the last such event: count */
	APPTAP_EVENT_SCOPE = 5, /* who the app is has changed: uids, all of them */
	APPTAP_EVENT_CONNECTION_NEW = 6, /* its first packet passed: connection */
	APPTAP_EVENT_CONNECTION_CLOSED = 7, /* see below: connection */
	APPTAP_EVENT_LOG = 8, /* text: what the agent says for those who look closely */
};

/**
 * struct apptap_event - something happened; what the type does not name is NULL or 0
 *
 * All of it is borrowed until the callback returns. Types may be added: pass over unknown ones.
 *
 * A TCP connection is closed when its RST, or the FINs of both ends, have passed; one that is open
 * when the capture ends is not. UDP, ICMP and other protocols have no end to be seen: theirs is
 * closed when nothing of it has passed for 60 seconds, and, if it talks again, told as new again
 * with its figures going on; and the capture's end closes all that are left. Connections beyond the
 * first 16,384 are not told of.
 */
struct apptap_event {
	uint32_t type;
	uint32_t zero;
	uint64_t count;
	const char *text;
	const char *tier;
	const struct apptap_uid *uids;
	size_t uid_count;
	const struct apptap_counters *counters;
	const struct apptap_connection *connection;
};

/**
 * typedef apptap_packet_fn - takes a packet
 * @arg:	The options' callback_arg
 * @pkt:	Borrowed, with its bytes, until the return
 *
 * Runs in the session's thread. While it runs nothing else is delivered; the kernel buffers, then
 * counts what it drops. It may call apptap_session_interrupt() and nothing else of this session.
 * Return: 0 goes on, anything else ends the capture as apptap_session_interrupt() does.
 */
typedef int (*apptap_packet_fn)(void *arg, const struct apptap_packet *pkt);

/** typedef apptap_event_fn - takes an event, under the same rules */
typedef void (*apptap_event_fn)(void *arg, const struct apptap_event *ev);

/**
 * struct apptap_options - what to capture, where, how, into what; strings are copied by the callee
 *
 * Whose traffic: exactly one of these.
 * @target:	As the program takes it: an Android package, a process name, or a PID in digits
 * @pid:	A process: by default everything of its user ID, for that is what all kernels know
 * @user:	A user's name
 * @uids:	uid_count user IDs, at most 256
 * @cgroup:	A cgroup of version 2: its path, from the root of cgroups or of the file system
 * @unit:	A unit of systemd, by its cgroup
 * @container:	A container, by the beginning of its ID
 * @command:	A program with its arguments, ended by NULL, looked for in PATH: it is started as a
 *		child of the caller when the capture is ready, and captured with its descendants
 *		from its first packet. The capture ends when it does. On this machine alone
 * @whole_device: Not 0: everybody's, without a filter
 *
 * And how it is meant.
 * @tree:	Not 0, with pid: the process with its descendants, and nothing else of its user
 * @process_only: Not 0, with pid: that process alone
 * @android_user: With a package: a user's number, or "all"; NULL: the current one
 * @breadth:	An APPTAP_BREADTH_*; NULL: with the resolver
 * @netns:	Capture in this network namespace: a path or a PID in digits; NULL: the target's own
 *
 * Where: at most one of device, ssh and link; none: this machine, as root directly, else by
 * `sudo -n`.
 * @device:	An Android device's serial, over the installed adb; "": the only one attached
 * @ssh:	A destination ("user@host"), over the installed OpenSSH client
 * @link:	A transport of your own; the table and link_arg must live as long as the session
 * @agents:	Folder of the agents for other machines; NULL: $APPTAP_AGENTS, else the installed
 *		one
 * @keep_agent:	Not 0: the agent's program stays on the other machine, for the next start
 * @agent:	This machine's agent, a path of the program apptap; NULL: $APPTAP_AGENT, else the
 *		one installed with the library. A setuid program's environment is not looked at
 * @sudo:	How to become root here: an enum apptap_sudo
 *
 * How.
 * @tier:	An APPTAP_TIER_*; NULL: auto. One that does not work there gives way to sockdiag,
 *		and a warning says so
 * @nflog_group: For the tier nflog; 0: its default
 * @interfaces:	interface_count names, at most 16; 0: all of them
 * @snaplen:	Bytes kept of each packet, from the network header on; 0: all
 * @buffer_bytes: Packet buffer in the kernel; 0: the tier's default
 *
 * Into what: any of output, packet, read_packets; a capture for its events alone needs none.
 * @output:	Path of the capture file, made with the caller's rights and mode 0600; "-" or
 *		"/dev/stdout" is stdout. A file that is there already keeps what it holds until the
 *		capture is ready (over a link without a stream: until it has been fetched). It is
 *		then emptied, and stays the same file. In folders where everybody may write, no
 *		symbolic link is followed
 * @output_fd:	A descriptor instead, which stays the caller's; 0: none (stdin cannot be one).
 *		A pipe ends the capture when its reader goes
 * @format:	An APPTAP_FORMAT_*; NULL: pcapng where output ends so, else pcap
 * @no_comments: Not 0: no process is named beside each packet of a pcapng file
 * @packet:	Called for every packet
 * @read_packets: Not 0: packets are fetched with apptap_session_read()
 * @event:	Called for what happens
 * @events_of_connections: Not 0: CONNECTION_NEW and CONNECTION_CLOSED too
 * @callback_arg: For packet and event; must live as long as the session
 *
 * How long: 0 is without end.
 * @duration_ms: Ends so long after it was ready
 * @count:	Ends after so many packets
 */
struct apptap_options {
	size_t size;

	const char *target;
	const char *user;
	const uint32_t *uids;
	size_t uid_count;
	const char *cgroup;
	const char *unit;
	const char *container;
	const char *const *command;
	int32_t pid;
	int32_t whole_device;
	int32_t tree;
	int32_t process_only;
	const char *android_user;
	const char *breadth;
	const char *netns;

	const char *device;
	const char *ssh;
	const struct apptap_link *link;
	void *link_arg;
	const char *agents;
	const char *agent;
	int32_t keep_agent;
	int32_t sudo;

	const char *tier;
	const char *const *interfaces;
	size_t interface_count;
	uint32_t nflog_group;
	uint32_t snaplen;
	uint64_t buffer_bytes;

	const char *output;
	const char *format;
	int32_t output_fd;
	int32_t no_comments;
	apptap_packet_fn packet;
	apptap_event_fn event;
	void *callback_arg;
	int32_t read_packets;
	int32_t events_of_connections;

	uint64_t duration_ms;
	uint64_t count;
};

enum apptap_sudo {
	APPTAP_SUDO_AUTO = 0, /* where the caller is not root */
	APPTAP_SUDO_NEVER = 1, /* root, or it fails; no other program is run */
};

/**
 * struct apptap_result - all that a capture came to
 * @tier:	The tier that was used
 * @ended_by:	"stopped", "duration", "count", "ended" (the command has), or "failed"
 * @path:	Of the file, as the options had it; NULL: none was named
 * @format:	Of the file, an APPTAP_FORMAT_*; NULL: there is none
 * @linktype:	Of file and packets
 * @snaplen:	In force, from the network header on
 * @whole_device: Not 0: nothing was left out
 * @uids:	uid_count user IDs that were captured, with the reason for each
 * @connections: connection_count of them, oldest first; of those beyond 16,384 only the sums are
 *		kept
 * @connections_total: All that were seen
 * @warnings:	warning_count sentences, in the order in which they came
 * @counters:	The figures of the whole capture
 * @cgroups:	cgroup_count cgroups that were captured, with the reason for each
 * @processes:	process_count processes that were captured by themselves
 * @clock_known: Not 0, for another machine: how far its clock, which times the packets, was ahead
 *		of this one's: clock_ahead_ns, give or take clock_uncertain_ns
 * @command_pid: Of the command; 0: there was none. One that still runs is left to run, and is the
 *		caller's to wait for
 * @command_status: What it ended with, as a shell says it: 128 + the signal that ended it; -1: it
 *		still runs, or there was none
 */
struct apptap_result {
	const char *tier;
	const char *ended_by;
	const char *path;
	const char *format;
	uint32_t linktype;
	uint32_t snaplen;
	int32_t whole_device;
	int32_t zero;
	const struct apptap_uid *uids;
	size_t uid_count;
	const struct apptap_connection *connections;
	size_t connection_count;
	uint64_t connections_total;
	const char *const *warnings;
	size_t warning_count;
	const struct apptap_counters *counters;
	const struct apptap_cgroup *cgroups;
	size_t cgroup_count;
	const struct apptap_process *processes;
	size_t process_count;
	int32_t clock_known;
	int32_t command_pid;
	int32_t command_status;
	int32_t zero2;
	int64_t clock_ahead_ns;
	uint64_t clock_uncertain_ns;
};

struct apptap_session; /* a capture, from its options to its result */

/**
 * apptap_version() - The library's version
 * Return: "0.1.0" and so on; never NULL, never freed. Since 0.1.
 */
APPTAP_API const char *apptap_version(void);

/**
 * apptap_session_new() - Prepare a capture; nothing is started, no file is opened
 * @out:	Gets the session; unchanged on failure
 * @options:	What to capture; copied, so it may go when this returns
 * Return: 0, -EINVAL the options contradict each other, miss something or are out of range,
 * -ENOMEM. Since 0.1.
 */
APPTAP_API int apptap_session_new(struct apptap_session **out, const struct apptap_options *options,
				  struct apptap_error *err);

/**
 * apptap_session_start() - Open the output, start the agent, and wait until it captures
 *
 * On success the app's next packet is captured. A session starts once. Opening a FIFO waits for its
 * reader.
 * Return: 0; -EPERM root's rights are needed and cannot be had, -ESRCH there is no such app,
 * -ENOTUNIQ there are several, -ENOTSUP no tier works there, -ENODEV no such interface, -ECANCELED
 * apptap_session_interrupt() came first, -ENOENT there is no such command, -EBUSY it was started
 * before, or what opening the output failed with. Nothing is left then, and nothing was captured.
 * Since 0.1.
 */
APPTAP_API int apptap_session_start(struct apptap_session *s, struct apptap_error *err);

/**
 * apptap_session_read() - Fetch packets of a session with read_packets
 * @timeout_ms:	Milliseconds to wait for the first; 0 polls, -1 waits for good
 * @packets:	Gets an array of packets, borrowed with their bytes until the next read or the free
 *
 * For one thread at a time. Up to 16 MiB wait to be read; beyond that the agent has to wait, and in
 * the end the kernel counts what it drops. What was captured before the end can be read after it.
 * Return: how many there are; 0 time ran out; -ENODATA the capture is over and all was read. Since
 * 0.1.
 */
APPTAP_API int apptap_session_read(struct apptap_session *s, int timeout_ms,
				   const struct apptap_packet **packets, struct apptap_error *err);

/**
 * apptap_session_wait() - Wait until a capture has ended by itself
 * @timeout_ms:	Milliseconds to wait; 0 polls, -1 waits for good
 * Return: 1 it has, by its duration, its count, an interrupt or a failure: stop() tells which;
 * 0 time ran out; -EINVAL it was never started. Since 0.1.
 */
APPTAP_API int apptap_session_wait(struct apptap_session *s, int timeout_ms,
				   struct apptap_error *err);

/**
 * apptap_session_interrupt() - Ask for the end, without waiting for it
 *
 * Can be called from any thread, from the session's own callbacks, and from a signal handler.
 * Since 0.1.
 */
APPTAP_API void apptap_session_interrupt(struct apptap_session *s);

/**
 * apptap_session_stop() - End a capture, and have its file complete and its result
 * @result:	Gets the result, which lives as long as the session; NULL if it never was ready. May
 *		be NULL itself
 *
 * All that passed before the call is in the file. Callbacks have ended, and the agent has, when
 * this returns. Can be called again, also for a capture that has ended by itself.
 * Return: 0; else what the capture failed with, @result then says what there was until then:
 * -ENOSPC and kin from writing the file, -EPIPE the reader of the output has gone, -ECONNRESET the
 * agent ended too early; -EDEADLK called from a callback; -EINVAL it was never started. Since 0.1.
 */
APPTAP_API int apptap_session_stop(struct apptap_session *s, const struct apptap_result **result,
				   struct apptap_error *err);

/**
 * apptap_session_free() - Stop the capture if it still runs, and free all of it
 * @s:		NULL is fine. Not from a callback
 * Since 0.1.
 */
APPTAP_API void apptap_session_free(struct apptap_session *s);

/**
 * apptap_capture() - A whole capture in one call: start, wait for its end, stop
 * @options:	With a duration or a count, or a callback that ends it
 * @result:	Gets the result, to be freed with apptap_result_free(); NULL if it never was ready.
 *		May be NULL itself
 * Return: as apptap_session_new(), apptap_session_start() and apptap_session_stop(). Since 0.1.
 */
APPTAP_API int apptap_capture(const struct apptap_options *options, struct apptap_result **result,
			      struct apptap_error *err);

/** apptap_result_free() - Free a result of apptap_capture(); NULL is fine. Since 0.1. */
APPTAP_API void apptap_result_free(struct apptap_result *result);

/**
 * struct apptap_tier_status - whether a tier works on a machine
 * @name:	An APPTAP_TIER_*
 * @gist:	How it scopes, in a line
 * @works:	Not 0: proven by a live packet
 * @reason:	Why not; "" where it works
 * @hint:	What to try; may be ""
 */
struct apptap_tier_status {
	const char *name;
	const char *gist;
	const char *reason;
	const char *hint;
	int32_t works;
	int32_t zero;
};

/** struct apptap_tier_list - the tiers of a machine, best first; system names what runs there */
struct apptap_tier_list {
	const struct apptap_tier_status *tiers;
	size_t tier_count;
	const char *system;
};

/**
 * apptap_probe() - Say which tiers work on a machine; leaves nothing there
 * @where:	Of the options: where; the rest is not looked at. NULL: here
 * @list:	Gets the tiers, to be freed with apptap_tier_list_free()
 * Return: 0, also if none works; -EPERM and kin as apptap_session_start(). Since 0.1.
 */
APPTAP_API int apptap_probe(const struct apptap_options *where, struct apptap_tier_list **list,
			    struct apptap_error *err);

/** apptap_tier_list_free() - Free what apptap_probe() gave; NULL is fine. Since 0.1. */
APPTAP_API void apptap_tier_list_free(struct apptap_tier_list *list);

/**
 * struct apptap_cleaned - what apptap_cleanup() found
 * @size:	sizeof(struct apptap_cleaned), set by the caller
 * @processes_checked: Processes looked at
 * @agents_ended: Agents whose host is gone, and which did not end by themselves: ended
 * @agents_live: Agents of captures that run: left alone
 * @files_removed: Agents' programs, and captures that were never fetched
 * @chains_removed: iptables' chains of captures that nobody looks after
 * @cgroups_removed: cgroups of commands that have ended
 * @filters_removed: tc's filters of captures that nobody looks after
 * @files_in_use: Pushed by a start that is under way, or run by a capture: left alone
 * @captures_left: Captures that were not fetched, and are not old: left alone (the program names
 * them)
 */
struct apptap_cleaned {
	size_t size;
	uint64_t processes_checked;
	uint64_t agents_ended;
	uint64_t agents_live;
	uint64_t files_removed;
	uint64_t chains_removed;
	uint64_t cgroups_removed;
	uint64_t filters_removed;
	uint64_t files_in_use;
	uint64_t captures_left;
};

/**
 * apptap_cleanup() - Remove what earlier captures may have left on a machine
 * @where:	As for apptap_probe()
 * @out:	Filled as far as its size goes; may be NULL
 * Return: 0, -EPERM and kin as apptap_session_start(). Since 0.1.
 */
APPTAP_API int apptap_cleanup(const struct apptap_options *where, struct apptap_cleaned *out,
			      struct apptap_error *err);

/**
 * struct apptap_app - what a target can name
 * @name:	A package of an Android device, else a program that runs
 * @uid:	Its user ID (a package's: for the device's first user)
 */
struct apptap_app {
	const char *name;
	uint32_t uid;
	uint32_t zero;
};

/** struct apptap_app_list - apps; programs by name, each once a user */
struct apptap_app_list {
	const struct apptap_app *apps;
	size_t app_count;
};

/**
 * apptap_list_apps() - Say which apps there are on a machine
 * @where:	As for apptap_probe()
 * @list:	Gets the apps, to be freed with apptap_app_list_free()
 * Return: 0, -EPERM and kin as apptap_session_start(). Since 0.1.
 */
APPTAP_API int apptap_list_apps(const struct apptap_options *where, struct apptap_app_list **list,
				struct apptap_error *err);

/** apptap_app_list_free() - Free what apptap_list_apps() gave; NULL is fine. Since 0.1. */
APPTAP_API void apptap_app_list_free(struct apptap_app_list *list);

/**
 * apptap_community_id() - The Community ID v1 (seed 0) of a connection
 * @c:		family, protocol, addresses and ports are read; for ICMP the ports hold type and
 *		code as the specification has them
 * @out:	Gets the text, NUL-terminated
 *
 * Connections that the library delivers have it already.
 * Return: length of the text, -EINVAL @c has no valid family. Since 0.1.
 */
APPTAP_API int apptap_community_id(const struct apptap_connection *c, char out[32]);

#ifdef __cplusplus
}
#endif

#endif
