/* user.c - the names of UIDs; the only place that asks the C library's user database */
#include "scope/user.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>

#include "scope/android_id.h"
#include "wire/text.h"

#define ENTRY_BYTES 16384 /* one user's strings; glibc suggests 1024 */
#define LINE_MAX_BYTES 1024
#define PASSWD "/etc/passwd"

#ifdef APPTAP_STATIC
/* A static program has no NSS: it reads the file, and knows how Android names its users. */
static int search(const char *name, uid_t *uid, char *found, size_t size)
{
	FILE *f = fopen(PASSWD, "re");
	char line[LINE_MAX_BYTES];
	int r = -ENOENT;

	while (f && r && fgets(line, sizeof(line), f)) {
		char *rest = NULL;
		const char *user = strtok_r(line, ":", &rest);
		unsigned long number;
		char *end;

		if (!user || !strtok_r(NULL, ":", &rest)) /* the password's place */
			continue;
		number = strtoul(rest, &end, 10);
		if (end == rest || *end != ':' || number >= APPTAP_UID_NONE ||
		    (name ? strcmp(name, user) != 0 : number != *uid))
			continue;
		*uid = (uid_t)number;
		if (found)
			apptap_text_clean(found, size, user);
		r = 0;
	}
	if (f)
		fclose(f);
	return r;
}

int apptap_user_uid(const char *name, uid_t *uid)
{
	if (search(name, uid, NULL, 0) == 0 || apptap_android_id_parse(name, uid))
		return 0;
	return -ENOENT;
}

const char *apptap_user_name(uid_t uid, char *buf, size_t size)
{
	if (search(NULL, &uid, buf, size) == 0)
		return buf;
	return apptap_android_id_name(uid, buf, size);
}
#else
/* The answer of getpw*_r(): POSIX leaves open how "no such user" is told; these are in use. */
static int outcome(int r, const struct passwd *found)
{
	if (r == 0 && found)
		return 0;
	if (r == 0 || r == ENOENT || r == ESRCH || r == EBADF || r == EPERM)
		return -ENOENT;
	return -r;
}

int apptap_user_uid(const char *name, uid_t *uid)
{
	char strings[ENTRY_BYTES];
	struct passwd *found = NULL;
	struct passwd pw;
	int r = getpwnam_r(name, &pw, strings, sizeof(strings), &found);

	r = outcome(r, found);
	if (r == 0)
		*uid = pw.pw_uid;
	return r;
}

const char *apptap_user_name(uid_t uid, char *buf, size_t size)
{
	char strings[ENTRY_BYTES];
	struct passwd *found = NULL;
	struct passwd pw;
	int r = getpwuid_r(uid, &pw, strings, sizeof(strings), &found);

	if (outcome(r, found) == 0 && pw.pw_name[0])
		return apptap_text_clean(buf, size, pw.pw_name);
	snprintf(buf, size, "UID %u", (unsigned)uid);
	return buf;
}
#endif

/* The file, not getpwent(): that walks with global state, and over a whole company's directory. */
void apptap_user_each(void (*each)(const char *name, void *arg), void *arg)
{
	FILE *f = fopen(PASSWD, "re");
	char line[LINE_MAX_BYTES];
	bool fresh = true;

	while (f && fgets(line, sizeof(line), f)) {
		size_t len = strcspn(line, ":\n");
		bool named = fresh && line[len] == ':' && len > 0;

		fresh = strchr(line, '\n') !=
			NULL; /* else the next read is the rest of this line */
		line[len] = '\0';
		if (named && line[0] != '+' && line[0] != '-') /* NIS */
			each(line, arg);
	}
	if (f)
		fclose(f);
}
