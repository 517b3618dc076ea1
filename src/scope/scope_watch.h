/* scope_watch.h - the app's processes while a capture runs: has it ended, are there new ones */
#ifndef APPTAP_SCOPE_SCOPE_WATCH_H
#define APPTAP_SCOPE_SCOPE_WATCH_H

#include "scope/scope.h"

struct apptap_scope_watch;

/*
 * Watches what apptap_scope_resolve() has made of @target. @pid is what it returned: a PID target's
 * process, or 0. @target is copied; @scope is borrowed and outlives the watch, as does @warn_arg.
 * A cgroup of the scope that is made again (a service that restarts) gets its new id there.
 * The processes that run already are none that a later rescan calls new.
 */
int apptap_scope_watch_new(struct apptap_scope_watch **out, const struct apptap_target *target,
			   pid_t pid, struct apptap_scope *scope, apptap_warn_fn warn,
			   void *warn_arg, struct apptap_error *err);

/* Readable (POLLIN) when the process of a PID target has ended; -1: there is nothing to poll, the
 * target is no PID or the kernel too old (pidfd_open is 5.3). Owned by the watch. */
int apptap_scope_watch_fd(const struct apptap_scope_watch *w);

/* 1, once: the process of a PID target has ended. 0: nothing new. Works without a descriptor too.
 */
int apptap_scope_watch_event(struct apptap_scope_watch *w);

/* Whether the cgroups of the scope have changed in place since the last call. */
bool apptap_scope_watch_rescoped(struct apptap_scope_watch *w);

/*
 * To be called every second or so. @pids gets the processes of the app that are new since the last
 * call, @max of them at most. Another user's process of the same name, or a watched PID that has
 * changed its user, is not added to the scope: it is warned of, once a UID.
 * Return: how many there are in @pids.
 */
size_t apptap_scope_watch_rescan(struct apptap_scope_watch *w, pid_t *pids, size_t max);

void apptap_scope_watch_free(struct apptap_scope_watch *w); /* NULL is fine */

#endif
