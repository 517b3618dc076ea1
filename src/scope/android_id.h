/* android_id.h - what Android's UIDs mean: users, apps, isolated processes, SDK sandboxes */
#ifndef APPTAP_SCOPE_ANDROID_ID_H
#define APPTAP_SCOPE_ANDROID_ID_H

#include "base/base.h"

/* A UID is its user times this, and what is left (android_filesystem_config.h). */
#define APPTAP_ANDROID_USER 100000u
#define APPTAP_ANDROID_DNS 1051u /* AID_DNS: netd's resolver asks for all apps */

enum apptap_android_kind {
	APPTAP_ANDROID_SYSTEM, /* below 10000: one of the system's own */
	APPTAP_ANDROID_APP, /* 10000-19999 */
	APPTAP_ANDROID_SANDBOX, /* 20000-29999: the app 10000 below runs advertising code in it */
	APPTAP_ANDROID_OTHER,
	APPTAP_ANDROID_ISOLATED, /* 90000-98999 by app zygotes, 99000-99999 by the zygote */
};

enum apptap_android_kind apptap_android_kind(uid_t uid);

static inline uint32_t apptap_android_user(uid_t uid)
{
	return uid / APPTAP_ANDROID_USER;
}

static inline uint32_t apptap_android_app_id(uid_t uid)
{
	return uid % APPTAP_ANDROID_USER;
}

/* "u0_a123", "u10_i7", "system", as `ps` prints it there; "UID 5" when it has none. Returns @buf.
 */
const char *apptap_android_id_name(uid_t uid, char *buf, size_t size);

/* The way back. false: no such name. */
bool apptap_android_id_parse(const char *name, uid_t *uid);

#endif
