/* list.h - what there is to capture on this machine: packages, or programs that run */
#ifndef APPTAP_AGENT_LIST_H
#define APPTAP_AGENT_LIST_H

#include "base/error.h"

/* Reports them in APPS events on @wire_fd: each name and UID once. */
int apptap_list_report(int wire_fd, struct apptap_error *err);

#endif
