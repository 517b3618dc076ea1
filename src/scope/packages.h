/* packages.h - the packages of an Android device, and the app ID that each runs as */
#ifndef APPTAP_SCOPE_PACKAGES_H
#define APPTAP_SCOPE_PACKAGES_H

#include "base/error.h"
#include "base/view.h"

#define APPTAP_PACKAGES_LIST "/data/system/packages.list"
#define APPTAP_PACKAGE_NAME 224 /* Android allows 223 characters */

struct apptap_package {
	char name[APPTAP_PACKAGE_NAME]; /* raw: chosen by who wrote the app */
	uint32_t app_id; /* its UID as user 0 */
};

struct apptap_packages {
	struct apptap_package *at; /* owned */
	size_t count;
	size_t room;
};

/*
 * Bytes in, packages appended, no I/O: /data/system/packages.list, and what `cmd package list
 * packages -U` or `pm` writes. Lines that are none are passed over. Return: how many were, -ENOMEM.
 */
int apptap_packages_parse_list(struct apptap_view v, struct apptap_packages *out);
int apptap_packages_parse_pm(struct apptap_view v, struct apptap_packages *out);

/* The app ID that `dumpsys package NAME` tells; false: it does not. */
bool apptap_packages_parse_dumpsys(struct apptap_view v, const char *name, uint32_t *app_id);

const struct apptap_package *apptap_packages_find(const struct apptap_packages *p,
						  const char *name);

/*
 * All packages of this device, by the first source that answers. @wanted (may be NULL) is asked for
 * by itself when the lists do not have it. -ENOENT: this is no Android, or nothing answers.
 */
int apptap_packages_read(struct apptap_packages *out, const char *wanted, struct apptap_error *err);

void apptap_packages_free(struct apptap_packages *p);

#endif
