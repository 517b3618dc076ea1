/* scope.h - who is the app: the UIDs, cgroups or processes that a capture is about, and why each */
#ifndef APPTAP_SCOPE_SCOPE_H
#define APPTAP_SCOPE_SCOPE_H

#include "base/error.h"

enum apptap_breadth {
	APPTAP_BREADTH_APP, /* the app's UID only */
	APPTAP_BREADTH_APP_ISOLATED, /* and its isolated processes (Android; the same on Linux) */
	APPTAP_BREADTH_APP_ISOLATED_DNS, /* and the local stub resolver */
};

#define APPTAP_SCOPE_UIDS_MAX 256

struct apptap_scope_uid {
	uid_t uid;
	char why[128]; /* "process 1234 (curl)", "user www-data", "stub resolver 127.0.0.53:53" */
};

#define APPTAP_SCOPE_CGROUPS_MAX 16

/* A cgroup of version 2. A socket belongs to the one that its maker was in, for good. */
struct apptap_scope_cgroup {
	uint64_t id; /* as the kernel reports it of sockets: bpf helpers, INET_DIAG_CGROUP_ID */
	uint32_t level; /* folders below the root of cgroup2; 0: it is the root */
	char path[512]; /* from that root: "/system.slice/nginx.service"; fit for display */
	char why[128]; /* "unit nginx.service", "container 4f1c" */
};

#define APPTAP_SCOPE_PROCESSES_MAX 64

/* A process whose own sockets are the app's, whatever its user and cgroup. */
struct apptap_scope_process {
	pid_t pid; /* in the agent's PID namespace */
	bool tree; /* its descendants too; following them is the tier's business */
	char why[128];
};

/* A socket is the app's if its UID is one of these, its cgroup is one of these or below one, or
 * one of the processes has made it. */
struct apptap_scope {
	bool whole_device; /* everything, asked for by name; the rest is then empty */
	struct apptap_scope_uid uids[APPTAP_SCOPE_UIDS_MAX];
	size_t uid_count;
	struct apptap_scope_cgroup cgroups[APPTAP_SCOPE_CGROUPS_MAX];
	size_t cgroup_count;
	struct apptap_scope_process processes[APPTAP_SCOPE_PROCESSES_MAX];
	size_t process_count;
};

/* -ENOSPC when full; adding what is there already is fine. */
int apptap_scope_add(struct apptap_scope *s, uid_t uid, struct apptap_error *err, const char *why,
		     ...) APPTAP_PRINTF(4, 5);

bool apptap_scope_remove(struct apptap_scope *s, uid_t uid); /* false: it was not there */

/* -ENOSPC when full; the same id twice is fine. @path: from the root of cgroup2, raw. */
int apptap_scope_add_cgroup(struct apptap_scope *s, uint64_t id, const char *path,
			    struct apptap_error *err, const char *why, ...) APPTAP_PRINTF(5, 6);
int apptap_scope_add_process(struct apptap_scope *s, pid_t pid, bool tree, struct apptap_error *err,
			     const char *why, ...) APPTAP_PRINTF(5, 6);

/* By its UID alone: what cgroups and processes say comes on top. */
static inline bool apptap_scope_has(const struct apptap_scope *s, uid_t uid)
{
	if (uid == APPTAP_UID_NONE)
		return false;
	for (size_t i = 0; i < s->uid_count; i++)
		if (s->uids[i].uid == uid)
			return true;
	return false;
}

/* Nothing but UIDs says what is the app's. */
static inline bool apptap_scope_is_of_uids(const struct apptap_scope *s)
{
	return !s->cgroup_count && !s->process_count;
}

/* What the user asked for; exactly one way to name it is used. Strings are borrowed. */
struct apptap_target {
	const char *name; /* process name, or a number: a PID; on Android a package */
	const char *android_user; /* of a package: a number, or "all"; NULL: 0 */
	const char *user; /* user name */
	const uid_t *uids; /* count > 0 */
	size_t uid_count;
	bool whole_device;
	const char *cgroup; /* a path, from the root of cgroup2 or from that of the machine */
	const char *unit; /* of systemd; without a type it is a service */
	const char *container; /* its id, or the beginning of it */
	enum apptap_breadth breadth;
	bool process_only; /* the process counts, not its user */
};

typedef void (*apptap_warn_fn)(void *arg, const char *text);

/*
 * Resolves @target on this machine into @out. What deserves a word (a resolver added, root's UID)
 * is said through @warn. @pid gets the process that a PID target named, else 0.
 * Return 0; -ESRCH no such process or user (@err lists the nearest names), -ENOTUNIQ a name with
 * several owners (@err lists them), -EINVAL nothing was asked for.
 */
int apptap_scope_resolve(struct apptap_scope *out, const struct apptap_target *target, pid_t *pid,
			 apptap_warn_fn warn, void *warn_arg, struct apptap_error *err);

#endif
