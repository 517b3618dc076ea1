/* command.h - the cgroup that a command runs in: made for it, watched, and removed whoever dies */
#ifndef APPTAP_AGENT_COMMAND_H
#define APPTAP_AGENT_COMMAND_H

#include "scope/scope.h"

#define APPTAP_GUARDIAN_COMM "apptap-guardian"

struct apptap_command_group;

/*
 * Puts @pid, a child of the host's that waits to become the command, into a new cgroup below its
 * own one, and that into @scope. @host_pid is who greeted us; both are what the other side says,
 * and believed only as far as /proc bears them out: @pid must be the child of an ancestor of ours,
 * and run as the user that sudo says has called it.
 * -EPERM: it is not; -ENOENT, -EROFS and kin: cgroup2 cannot be used, @err says why.
 */
int apptap_command_group_new(struct apptap_command_group **out, pid_t pid, pid_t host_pid,
			     struct apptap_scope *scope, struct apptap_error *err);

/* Raises POLLPRI when processes come or all have ended; owned. */
int apptap_command_group_fd(const struct apptap_command_group *g);

/* Whether no process is in it any more, nor below it. */
bool apptap_command_group_is_empty(struct apptap_command_group *g);

/* Moves what still runs to where the command was started, and removes it. NULL is fine. */
void apptap_command_group_free(struct apptap_command_group *g);

#endif
