/* user.c - the names of UIDs; the only place that asks the C library's user database */
#include "scope/user.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>

#include "wire/text.h"

#define BUFFER_AT_FIRST 1024
#define BUFFER_MAX (1 << 20)
#define LINE_MAX_BYTES 1024

/* By name when @name is given, else by @uid. Gives @buf (the caller's to free) what @pw points to.
 */
static int look_up(const char *name, uid_t uid, struct passwd *pw, char **buf)
{
	for (size_t size = BUFFER_AT_FIRST; size <= BUFFER_MAX; size *= 4) {
		struct passwd *found = NULL;
		int r;

		free(*buf);
		*buf = malloc(size);
		if (!*buf)
			return -ENOMEM;
		r = name ? getpwnam_r(name, pw, *buf, size, &found)
			 : getpwuid_r(uid, pw, *buf, size, &found);
		if (r == 0 && found)
			return 0;
		/* POSIX leaves open how "no such user" is told; these are the ways in use. */
		if (r == 0 || r == ENOENT || r == ESRCH || r == EBADF || r == EPERM)
			return -ENOENT;
		if (r != ERANGE && r != EINTR)
			return -r;
	}
	return -ERANGE;
}

int apptap_user_uid(const char *name, uid_t *uid)
{
	auto_free char *buf = NULL;
	struct passwd pw;
	int r = look_up(name, 0, &pw, &buf);

	if (r == 0)
		*uid = pw.pw_uid;
	return r;
}

const char *apptap_user_name(uid_t uid, char *buf, size_t size)
{
	auto_free char *strings = NULL;
	struct passwd pw;

	if (look_up(NULL, uid, &pw, &strings) == 0 && pw.pw_name[0])
		return apptap_text_clean(buf, size, pw.pw_name);
	snprintf(buf, size, "UID %u", (unsigned)uid);
	return buf;
}

/* The file, not getpwent(): that walks with global state, and over a whole company's directory. */
void apptap_user_each(void (*each)(const char *name, void *arg), void *arg)
{
	FILE *f = fopen("/etc/passwd", "re");
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
