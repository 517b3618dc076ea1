/* list.h - what could be captured here: packages of a device, or programs that run */
#ifndef APPTAP_AGENT_LIST_H
#define APPTAP_AGENT_LIST_H

#include "base/error.h"

/* Answers LIST on @wire_fd. Programs are listed once a user, by name. */
int apptap_list_apps_to(int wire_fd, struct apptap_error *err);

#endif
