/* priority.h - the agent's place before the programs whose packets it reads */
#ifndef APPTAP_AGENT_PRIORITY_H
#define APPTAP_AGENT_PRIORITY_H

#include "base/error.h"

/*
 * Whoever fills the buffers has the CPUs too: a reader that queues up behind them comes too late.
 * Where the kernel groups processes by session for scheduling, a session of our own is made first.
 */
int apptap_priority_raise(struct apptap_error *err);

#endif
