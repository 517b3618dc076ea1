/* isolated.h - an Android app's isolated processes: each has a UID of its own, for as long as it
 * runs */
#ifndef APPTAP_SCOPE_ISOLATED_H
#define APPTAP_SCOPE_ISOLATED_H

#include "base/view.h"
#include "scope/scope.h"

/* What `dumpsys activity processes` says of one process. */
struct apptap_isolated_owner {
	pid_t pid;
	uid_t uid; /* that it runs as */
	uid_t owner; /* of the app that it works for */
};

/*
 * The next isolated process in the bytes of `dumpsys activity processes`, where it is written
 * PID:NAME/u0a123i45; the view moves past it. false: there is none.
 */
bool apptap_isolated_parse(struct apptap_view *v, struct apptap_isolated_owner *out);

/* Whether a process called @name is the package's by its name: "com.foo:x" is, "com.foobar" not. */
bool apptap_isolated_is_named(const char *name, const char *package);

struct apptap_isolated;

/*
 * Watches for isolated processes of the apps whose UIDs are in @scope now, which is borrowed and
 * changed by the rescans. @package (may be NULL) is what they are called where Android does not say
 * whose they are.
 */
int apptap_isolated_new(struct apptap_isolated **out, struct apptap_scope *scope,
			const char *package, struct apptap_error *err);

/* The apps have other UIDs: those in the scope that are no isolated process's. */
void apptap_isolated_rebase(struct apptap_isolated *w);

/* To be called every second or so. true: the scope has changed. */
bool apptap_isolated_rescan(struct apptap_isolated *w);

void apptap_isolated_free(struct apptap_isolated *w); /* NULL is fine */

#endif
