/* scope.c - who is the app: the set of UIDs that a capture is about, with the reason for each */
#include "scope/scope.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "wire/text.h"

int apptap_scope_add(struct apptap_scope *s, uid_t uid, struct apptap_error *err, const char *why,
		     ...)
{
	struct apptap_scope_uid *u;
	char raw[sizeof(u->why) + 64]; /* so that cleaning, not printing, does the cutting */
	va_list ap;

	if (uid == APPTAP_UID_NONE)
		return apptap_error_say(err, EINVAL,
					"UID %u is no user: the kernel keeps it for \"none\"",
					(unsigned)uid);
	if (apptap_scope_has(s, uid))
		return 0;
	if (s->uid_count == APPTAP_SCOPE_UIDS_MAX)
		return apptap_error_say(err, ENOSPC, "more than %d UIDs in one capture",
					APPTAP_SCOPE_UIDS_MAX);
	u = &s->uids[s->uid_count++];
	u->uid = uid;
	va_start(ap, why);
	vsnprintf(raw, sizeof(raw), why, ap);
	va_end(ap);
	/* Names in it are chosen by others, and it goes to terminals and into JSON. */
	apptap_text_clean(u->why, sizeof(u->why), raw);
	return 0;
}
