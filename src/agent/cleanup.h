/* cleanup.h - what earlier captures may have left on this machine, found and removed */
#ifndef APPTAP_AGENT_CLEANUP_H
#define APPTAP_AGENT_CLEANUP_H

#include "wire/message.h"

/*
 * Ends agents whose host is gone: they end by themselves, so one that is found is stuck. Agents
 * that a host still holds are counted and left alone. Removes the programs that hosts have pushed,
 * and captures that nobody has fetched.
 */
int apptap_cleanup_run(struct apptap_event_cleanup *out, struct apptap_error *err);

#endif
