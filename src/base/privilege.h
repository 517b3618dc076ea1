/* privilege.h - what the agent may still do once its sockets are open */
#ifndef APPTAP_BASE_PRIVILEGE_H
#define APPTAP_BASE_PRIVILEGE_H

#include "base/error.h"

/* Gives up for good every capability that a running capture has no use for; sets no_new_privs. */
int apptap_privilege_drop(struct apptap_error *err);

#endif
