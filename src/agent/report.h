/* report.h - the agent's voice: events sent to the host */
#ifndef APPTAP_AGENT_REPORT_H
#define APPTAP_AGENT_REPORT_H

#include "wire/message.h"

/* All give up silently when the host is gone: its end is seen on stdin, and ends the agent. */
void apptap_report_event(int wire_fd, const struct apptap_wire_event *ev);
void apptap_report_warning(int wire_fd, const char *text);
void apptap_report_error(int wire_fd, enum apptap_failure failure, const struct apptap_error *err);

void apptap_report_fill(struct apptap_wire_error *out, enum apptap_failure failure,
			const struct apptap_error *err);

#endif
