/* user.h - the names of UIDs; the only place that asks the C library's user database */
#ifndef APPTAP_SCOPE_USER_H
#define APPTAP_SCOPE_USER_H

#include "base/base.h"

/* 0; -ENOENT: there is no such user; another -errno: the database did not answer. */
int apptap_user_uid(const char *name, uid_t *uid);

#define APPTAP_USER_NAME_SIZE 64
/* The user's name, "UID 5001" when it has none; fit for display. Returns @buf. */
const char *apptap_user_name(uid_t uid, char *buf, size_t size);

/* Calls @each for every local user's name. */
void apptap_user_each(void (*each)(const char *name, void *arg), void *arg);

#endif
