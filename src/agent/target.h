/* target.h - what a START command is about, found on this machine: scope, watch, namespace */
#ifndef APPTAP_AGENT_TARGET_H
#define APPTAP_AGENT_TARGET_H

#include "agent/command.h"
#include "scope/installed.h"
#include "scope/isolated.h"
#include "scope/scope_watch.h"
#include "wire/message.h"

/* Zeroed is closed. */
struct apptap_agent_target {
	struct apptap_scope scope;
	struct apptap_scope_watch *watch; /* owned */
	struct apptap_isolated *isolated; /* owned; NULL but on Android */
	struct apptap_installed *installed; /* owned; NULL: not a package */
	struct apptap_command_group *group; /* owned; NULL: there is no command */
	pid_t pid; /* of a target named so; else 0 */
	char netns[APPTAP_WIRE_PATH_BYTES]; /* the one that was entered; "": we are where we were */
};

/* @host_pid: who greeted us, as he says. Enters the target's network namespace. */
int apptap_agent_target_find(struct apptap_agent_target *t, const struct apptap_start *cmd,
			     pid_t host_pid, apptap_warn_fn warn, void *warn_arg,
			     struct apptap_error *err);
void apptap_agent_target_close(struct apptap_agent_target *t);

#endif
