/* message.h - what host and agent say to each other: commands and events, as structs and as JSON */
#ifndef APPTAP_WIRE_MESSAGE_H
#define APPTAP_WIRE_MESSAGE_H

#include "base/error.h"
#include "base/view.h"

#define APPTAP_WIRE_UIDS_MAX 256u
#define APPTAP_WIRE_INTERFACES_MAX 16u
#define APPTAP_WIRE_TIERS_MAX 8u
#define APPTAP_WIRE_NAME_BYTES 256u
#define APPTAP_WIRE_APPS_MAX 64u /* of one event; there are as many events as it takes */
#define APPTAP_WIRE_APPS_ALL_MAX 65536u /* of all of them */
#define APPTAP_WIRE_CONNECTIONS_MAX 16384u /* listed; beyond it they are only counted */
#define APPTAP_WIRE_PATH_BYTES 512u
#define APPTAP_WIRE_CGROUPS_MAX 16u
#define APPTAP_WIRE_PROCESSES_MAX 64u
#define APPTAP_WIRE_LEFT_MAX 8u
#define APPTAP_SNAPLEN_MAX 262144u
#define APPTAP_RING_BYTES_MAX (1ull << 30)

enum apptap_command_type {
	APPTAP_COMMAND_START,
	APPTAP_COMMAND_STOP,
	APPTAP_COMMAND_PROBE,
	APPTAP_COMMAND_CLEANUP,
	APPTAP_COMMAND_LIST,
	APPTAP_COMMAND_CLOCK, /* answered at once: how far the clocks are apart */
	APPTAP_COMMAND_BEAT, /* not answered: the host is there */
};

/* Absent is "", 0, false: then the default holds. Exactly one way to name the target is used. */
struct apptap_start {
	char name[APPTAP_WIRE_NAME_BYTES]; /* process name, or a PID in digits */
	char user[APPTAP_WIRE_NAME_BYTES];
	char android_user[12]; /* of a package: a number, or "all" */
	uint32_t uids[APPTAP_WIRE_UIDS_MAX];
	uint32_t uid_count;
	bool whole_device;
	char cgroup[APPTAP_WIRE_PATH_BYTES]; /* of version 2: from its root, or where it is mounted
					      */
	char unit[APPTAP_WIRE_NAME_BYTES]; /* of systemd */
	char container[APPTAP_WIRE_NAME_BYTES]; /* its id, or the beginning of it */
	uint32_t command_pid; /* the host's child, which waits for READY to become the command */
	bool tree; /* of a PID: with its descendants */
	char scope[12]; /* of a PID: "uid" or "process" */
	char netns[APPTAP_WIRE_PATH_BYTES]; /* a path, or a PID in digits; "": the target's own */
	char breadth[24]; /* "app", "app+isolated", "app+isolated+dns" */
	char tier[16]; /* "auto" or a tier's name */
	char format[12]; /* "pcap", "pcap-nano", "pcapng" */
	bool plain; /* pcapng: no comment on each packet */
	bool stream; /* the file comes back in DATA frames; else its descriptor is sent along */
	bool empty; /* the file that is sent along: once nothing else can fail, before its first
		       byte */
	bool no_file; /* neither: nothing is written */
	bool live_packets; /* each goes to the host in PACKETS frames, too */
	bool live_connections; /* each goes to the host when it begins and when it ends, too */
	uint32_t snaplen_bytes;
	uint64_t ring_bytes;
	uint32_t nflog_group; /* 0: the default */
	uint64_t duration_ms;
	uint64_t count;
	uint32_t silence_ms; /* hearing nothing for so long, the agent ends; 0: it need not hear */
	char interfaces[APPTAP_WIRE_INTERFACES_MAX][16];
	uint32_t interface_count;
};

struct apptap_command {
	enum apptap_command_type type;
	struct apptap_start start; /* of START */
};

enum apptap_wire_event_type {
	APPTAP_WIRE_EVENT_READY,
	APPTAP_WIRE_EVENT_STATUS,
	APPTAP_WIRE_EVENT_WARNING,
	APPTAP_WIRE_EVENT_ERROR, /* the command failed; nothing is left of it */
	APPTAP_WIRE_EVENT_PROBE,
	APPTAP_WIRE_EVENT_CLEANUP,
	APPTAP_WIRE_EVENT_DONE,
	APPTAP_WIRE_EVENT_CLOCK,
	APPTAP_WIRE_EVENT_SCOPE, /* like READY: the scope as it is now */
	APPTAP_WIRE_EVENT_APPS, /* some of the answer to LIST */
};

/* What sort of failure it was; the program turns it into its exit code. */
enum apptap_failure {
	APPTAP_FAILURE_NONE,
	APPTAP_FAILURE_OTHER,
	APPTAP_FAILURE_USAGE,
	APPTAP_FAILURE_NO_TIER,
	APPTAP_FAILURE_READER_GONE, /* nobody reads the output any more */
};

struct apptap_wire_error {
	enum apptap_failure failure;
	uint32_t code; /* errno on the agent's side; 0: none fits */
	char msg[512];
	char hint[256];
};

struct apptap_wire_uid {
	uint32_t uid;
	char why[128];
};

struct apptap_wire_cgroup {
	char path[APPTAP_WIRE_PATH_BYTES];
	char why[128];
};

struct apptap_wire_process {
	uint32_t pid;
	bool tree;
	char why[128];
};

struct apptap_event_ready {
	char tier[16];
	char netns[APPTAP_WIRE_PATH_BYTES]; /* the one entered: a path, name or PID; "": none */
	uint32_t linktype;
	bool whole_device;
	struct apptap_wire_uid uids[APPTAP_WIRE_UIDS_MAX];
	uint32_t uid_count;
	struct apptap_wire_cgroup cgroups[APPTAP_WIRE_CGROUPS_MAX];
	uint32_t cgroup_count;
	struct apptap_wire_process processes[APPTAP_WIRE_PROCESSES_MAX];
	uint32_t process_count;
};

struct apptap_wire_counters {
	uint64_t elapsed_ms;
	uint64_t packets; /* whole records in the file */
	uint64_t bytes; /* of the file */
	uint64_t connections;
	uint64_t seen; /* from here on as struct apptap_tier_counters has them */
	uint64_t kept;
	uint64_t kept_bytes;
	uint64_t foreign;
	uint64_t not_ip;
	uint64_t unattributed;
	uint64_t held;
	uint64_t dropped_kernel;
	uint64_t lookups;
};

struct apptap_wire_probed {
	char name[16];
	char gist[160];
	bool works;
	char reason[512]; /* why not */
	char hint[256];
	char features[256]; /* "root=yes conntrack=no ...", or empty */
	bool chosen; /* by auto */
};

struct apptap_event_probe {
	struct apptap_wire_probed tiers[APPTAP_WIRE_TIERS_MAX];
	uint32_t tier_count;
	char system[160]; /* "Android 14 (API 34), Linux 6.1.75 aarch64" */
};

/* A capture that was not fetched. */
struct apptap_wire_left {
	char path[APPTAP_WIRE_PATH_BYTES];
	uint64_t bytes;
	uint64_t age_s;
};

struct apptap_event_cleanup {
	uint64_t processes_checked;
	uint64_t agents_ended;
	uint64_t cgroups_removed; /* of commands that have ended */
	uint64_t agents_live; /* of captures that run now: left alone */
	uint64_t chains_removed; /* iptables', of captures that nobody looks after */
	uint64_t filters_removed; /* tc's, of captures that nobody looks after */
	uint64_t files_removed; /* agents' programs and old captures that were not fetched */
	uint64_t files_in_use; /* by a start under way, or a capture that runs: left alone */
	uint64_t captures_left; /* that were not fetched, and are not old */
	struct apptap_wire_left left[APPTAP_WIRE_LEFT_MAX]; /* the first of them */
	uint32_t left_count;
};

struct apptap_wire_app {
	char name[APPTAP_WIRE_NAME_BYTES]; /* a package, or a program that runs */
	uint32_t uid;
};

struct apptap_event_apps {
	struct apptap_wire_app apps[APPTAP_WIRE_APPS_MAX];
	uint32_t app_count;
	bool last; /* no more come */
};

struct apptap_event_clock {
	uint64_t realtime_ns; /* CLOCK_REALTIME of the agent's machine */
};

struct apptap_event_done {
	char reason[16]; /* "stopped", "duration", "count", "failed" */
	struct apptap_wire_counters counters;
	uint64_t connections_listed; /* sent in CONNECTIONS frames before this */
	uint64_t stream_bytes; /* sent in DATA frames before this */
	struct apptap_wire_error error;
};

struct apptap_wire_event {
	enum apptap_wire_event_type type;
	union {
		struct apptap_event_ready ready; /* of SCOPE too */
		struct apptap_wire_counters status;
		char warning[512];
		struct apptap_wire_error error;
		struct apptap_event_probe probe;
		struct apptap_event_cleanup cleanup;
		struct apptap_event_done done;
		struct apptap_event_clock clock;
		struct apptap_event_apps apps;
	};
};

/*
 * To JSON, NUL-terminated, for the body of a COMMAND or EVENT frame; the caller frees *out. Strings
 * are made clean (text.h) on the way. Return: length, -ENOMEM, -EINVAL for what the wire cannot
 * say.
 */
int apptap_command_encode(const struct apptap_command *cmd, char **out, struct apptap_error *err);
int apptap_event_encode(const struct apptap_wire_event *ev, char **out, struct apptap_error *err);

/*
 * From JSON. Types, ranges and lengths are checked, strings come out clean; keys not known are
 * passed over, so that a newer peer may say more. Return 0, -EPROTO (@out is then undefined).
 */
int apptap_command_decode(struct apptap_view body, struct apptap_command *out,
			  struct apptap_error *err);
int apptap_event_decode(struct apptap_view body, struct apptap_wire_event *out,
			struct apptap_error *err);

#endif
