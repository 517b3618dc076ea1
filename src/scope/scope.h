/* scope.h - who is the app: the set of UIDs that a capture is about, with the reason for each */
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

struct apptap_scope {
	bool whole_device; /* everything, asked for by name; the UIDs are then empty */
	struct apptap_scope_uid uids[APPTAP_SCOPE_UIDS_MAX];
	size_t uid_count;
};

/* -ENOSPC when full; adding what is there already is fine. */
int apptap_scope_add(struct apptap_scope *s, uid_t uid, struct apptap_error *err, const char *why,
		     ...) APPTAP_PRINTF(4, 5);

static inline bool apptap_scope_has(const struct apptap_scope *s, uid_t uid)
{
	if (uid == APPTAP_UID_NONE)
		return false;
	for (size_t i = 0; i < s->uid_count; i++)
		if (s->uids[i].uid == uid)
			return true;
	return false;
}

/* What the user asked for; exactly one of the first five is set. Strings are borrowed. */
struct apptap_target {
	const char *name; /* process name, or a number: a PID */
	const char *user; /* user name */
	const uid_t *uids; /* count > 0 */
	size_t uid_count;
	bool whole_device;
	enum apptap_breadth breadth;
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
