/* android_id.c - what Android's UIDs mean: users, apps, isolated processes, SDK sandboxes */
#include "scope/android_id.h"

#include <stdio.h>

#define APP_FIRST 10000u
#define SANDBOX_FIRST 20000u
#define SANDBOX_LAST 29999u
#define ZYGOTE_ISOLATED_FIRST 90000u
#define ISOLATED_FIRST 99000u

/* The few of android_filesystem_config.h that somebody might name or meet in a capture. */
static const struct {
	uid_t uid;
	const char *name;
} known[] = {
	{ 0, "root" },		{ 1000, "system" },	   { 1001, "radio" }, { 1002, "bluetooth" },
	{ 1010, "wifi" },	{ 1013, "media" },	   { 1016, "vpn" },   { 1020, "mdnsr" },
	{ 1021, "gps" },	{ 1027, "nfc" },	   { 1036, "logd" },  { 1051, "dns" },
	{ 1052, "dns_tether" }, { 1073, "network_stack" }, { 2000, "shell" }, { 9999, "nobody" },
};

/* Names within a user; the first that fits a UID is the one that is written. */
static const struct {
	const char *letters;
	uint32_t first;
	uint32_t last;
} ranges[] = {
	{ "_a", APP_FIRST, 19999 },
	{ "_sdk_sandbox_", SANDBOX_FIRST, SANDBOX_LAST },
	{ "_ai", ZYGOTE_ISOLATED_FIRST, ISOLATED_FIRST - 1 },
	{ "_i", ISOLATED_FIRST, 99999 },
};

enum apptap_android_kind apptap_android_kind(uid_t uid)
{
	uint32_t app = apptap_android_app_id(uid);

	if (app < APP_FIRST)
		return APPTAP_ANDROID_SYSTEM;
	if (app < SANDBOX_FIRST)
		return APPTAP_ANDROID_APP;
	if (app <= SANDBOX_LAST)
		return APPTAP_ANDROID_SANDBOX;
	return app < ZYGOTE_ISOLATED_FIRST ? APPTAP_ANDROID_OTHER : APPTAP_ANDROID_ISOLATED;
}

const char *apptap_android_id_name(uid_t uid, char *buf, size_t size)
{
	uint32_t app = apptap_android_app_id(uid);

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (known[i].uid == uid) {
			snprintf(buf, size, "%s", known[i].name);
			return buf;
		}
	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++)
		if (app >= ranges[i].first && app <= ranges[i].last) {
			snprintf(buf, size, "u%u%s%u", apptap_android_user(uid), ranges[i].letters,
				 app - ranges[i].first);
			return buf;
		}
	snprintf(buf, size, "UID %u", (unsigned)uid);
	return buf;
}

/* Digits at *@p, at most @max; moves past them. */
static bool take_number(const char **p, uint32_t max, uint32_t *out)
{
	uint32_t n = 0;
	const char *start = *p;

	for (; **p >= '0' && **p <= '9'; ++*p) {
		uint32_t digit = (uint32_t)(**p - '0');

		if (n > (max - digit) / 10)
			return false;
		n = n * 10 + digit;
	}
	*out = n;
	return *p > start;
}

bool apptap_android_id_parse(const char *name, uid_t *uid)
{
	const char *p = name + 1;
	uint32_t user, within;

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (strcmp(known[i].name, name) == 0) {
			*uid = known[i].uid;
			return true;
		}
	if (name[0] != 'u' || !take_number(&p, UINT32_MAX / APPTAP_ANDROID_USER - 1, &user))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
		size_t len = strlen(ranges[i].letters);
		const char *rest = p + len;

		if (strncmp(p, ranges[i].letters, len) != 0 ||
		    !take_number(&rest, ranges[i].last - ranges[i].first, &within) || *rest)
			continue;
		*uid = user * APPTAP_ANDROID_USER + ranges[i].first + within;
		return true;
	}
	return false;
}
