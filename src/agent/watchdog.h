/* watchdog.h - ends the agent when its host, on another machine, has been silent for too long */
#ifndef APPTAP_AGENT_WATCHDOG_H
#define APPTAP_AGENT_WATCHDOG_H

#include "base/error.h"

/*
 * From here on @in_fd must bring something every so often: if nothing comes for @silence_ms, this
 * process ends at once, wherever it stands, as by SIGKILL. While @out_fd takes nothing more it is
 * given APPTAP_WATCHDOG_JAMMED times as long.
 */
#define APPTAP_WATCHDOG_JAMMED 10u
int apptap_watchdog_start(int in_fd, int out_fd, uint32_t silence_ms, struct apptap_error *err);

void apptap_watchdog_heard(size_t len); /* so many bytes were taken from @in_fd */

#endif
