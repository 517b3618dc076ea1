/* netns.h - the network namespace that a capture is in: the target's, before anything is opened */
#ifndef APPTAP_AGENT_NETNS_H
#define APPTAP_AGENT_NETNS_H

#include "base/error.h"

/*
 * Enters what the user named: a path, a PID in digits, or a name that `ip netns` gave. For good,
 * and for this thread and those that it starts. -ESRCH: there is none (@err lists the nearest).
 */
int apptap_netns_enter(const char *named, struct apptap_error *err);

/* Enters that of a process. 1: it is another than ours was; 0: it is ours, or the process is gone.
 */
int apptap_netns_enter_process(pid_t pid, struct apptap_error *err);

#endif
