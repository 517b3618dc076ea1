/* packages.c - the packages of an Android device, and the app ID that each runs as */
#include "scope/packages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/launch.h"
#include "scope/android_id.h"

#define LIST_MAX_BYTES (4u << 20)
#define ASK_MS 8000 /* a phone that is busy takes its time */
#define PACKAGES_MAX 65536

/* Digits at the start of @v, up to what ends a number. */
static bool take_id(struct apptap_view *v, uint32_t *id)
{
	uint64_t n = 0;
	size_t len = 0;

	while (len < v->left && v->p[len] >= '0' && v->p[len] <= '9' && n <= UINT32_MAX)
		n = n * 10 + (v->p[len++] - '0');
	if (!len || n >= UINT32_MAX ||
	    (len < v->left && !memchr(" ,\r\n\t", v->p[len], sizeof(" ,\r\n\t") - 1)))
		return false;
	apptap_view_take(v, len);
	*id = (uint32_t)n % APPTAP_ANDROID_USER;
	return true;
}

/* What stands before the next space. */
static bool take_name(struct apptap_view *v, char name[APPTAP_PACKAGE_NAME])
{
	const uint8_t *space = memchr(v->p, ' ', v->left);
	size_t len = space ? (size_t)(space - v->p) : 0;

	if (!len || len >= APPTAP_PACKAGE_NAME || memchr(v->p, '\0', len))
		return false;
	memcpy(name, v->p, len);
	name[len] = '\0';
	apptap_view_take(v, len + 1);
	return true;
}

static int append(struct apptap_packages *out, const char *name, uint32_t app_id)
{
	if (out->count == out->room) {
		size_t room = out->room ? out->room * 2 : 256;
		void *at = room <= PACKAGES_MAX ? realloc(out->at, room * sizeof(*out->at)) : NULL;

		if (!at)
			return -ENOMEM;
		out->at = at;
		out->room = room;
	}
	snprintf(out->at[out->count].name, sizeof(out->at->name), "%s", name);
	out->at[out->count++].app_id = app_id;
	return 1;
}

int apptap_packages_parse_list(struct apptap_view v, struct apptap_packages *out)
{
	struct apptap_view line;
	int count = 0;

	while (apptap_view_until(&v, '\n', &line)) {
		char name[APPTAP_PACKAGE_NAME];
		uint32_t id;

		if (!take_name(&line, name) || !take_id(&line, &id))
			continue;
		if (append(out, name, id) < 0)
			return -ENOMEM;
		count++;
	}
	return count;
}

/* "package:com.example.app uid:10123,1010123": one UID for each user that has it */
int apptap_packages_parse_pm(struct apptap_view v, struct apptap_packages *out)
{
	static const char before[] = "package:", middle[] = "uid:";
	struct apptap_view line;
	int count = 0;

	while (apptap_view_until(&v, '\n', &line)) {
		const void *p = apptap_view_take(&line, sizeof(before) - 1);
		char name[APPTAP_PACKAGE_NAME];
		uint32_t id;

		if (!p || memcmp(p, before, sizeof(before) - 1) != 0 || !take_name(&line, name))
			continue;
		p = apptap_view_take(&line, sizeof(middle) - 1);
		if (!p || memcmp(p, middle, sizeof(middle) - 1) != 0 || !take_id(&line, &id))
			continue;
		if (append(out, name, id) < 0)
			return -ENOMEM;
		count++;
	}
	return count;
}

/* Takes spaces, then @word. */
static bool take_word(struct apptap_view *v, const char *word)
{
	size_t len = strlen(word);

	while (v->left && v->p[0] == ' ')
		apptap_view_take(v, 1);
	return v->left >= len && memcmp(v->p, word, len) == 0 && apptap_view_take(v, len);
}

/* Android 14 writes appId=, what was before it userId=. */
bool apptap_packages_parse_dumpsys(struct apptap_view v, const char *name, uint32_t *app_id)
{
	struct apptap_view line;
	bool within = false;

	while (apptap_view_until(&v, '\n', &line)) {
		struct apptap_view l = line;

		if (take_word(&l, "Package [")) {
			within = take_word(&l, name) && l.left && l.p[0] == ']';
			continue;
		}
		if (!within)
			continue;
		l = line;
		if (take_word(&l, "userId=") && take_id(&l, app_id))
			return true;
		l = line;
		if (take_word(&l, "appId=") && take_id(&l, app_id))
			return true;
	}
	return false;
}

const struct apptap_package *apptap_packages_find(const struct apptap_packages *p, const char *name)
{
	for (size_t i = 0; i < p->count; i++)
		if (strcmp(p->at[i].name, name) == 0)
			return &p->at[i];
	return NULL;
}

static int read_list(struct apptap_packages *out)
{
	auto_close int fd = open(APPTAP_PACKAGES_LIST, O_RDONLY | O_CLOEXEC);
	auto_free uint8_t *bytes = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size <= 0 || st.st_size > (off_t)LIST_MAX_BYTES)
		return -ENOENT;
	bytes = malloc((size_t)st.st_size);
	if (!bytes)
		return -ENOMEM;
	n = read(fd, bytes, (size_t)st.st_size);
	return n < 0 ? -errno
		     : apptap_packages_parse_list((struct apptap_view){ bytes, (size_t)n }, out);
}

static int ask_pm(const char *const *argv, struct apptap_packages *out)
{
	struct apptap_ran ran = { 0 };
	int r = apptap_launch_run(argv, ASK_MS, &ran, NULL);

	if (r >= 0)
		r = apptap_packages_parse_pm(
			(struct apptap_view){ (const uint8_t *)ran.out, ran.out_len }, out);
	apptap_ran_free(&ran);
	return r;
}

static int ask_dumpsys(const char *name, struct apptap_packages *out)
{
	const char *const argv[] = { "/system/bin/dumpsys", "package", name, NULL };
	struct apptap_ran ran = { 0 };
	uint32_t app_id;
	int r = apptap_launch_run(argv, ASK_MS, &ran, NULL);

	if (r >= 0 &&
	    apptap_packages_parse_dumpsys(
		    (struct apptap_view){ (const uint8_t *)ran.out, ran.out_len }, name, &app_id))
		r = append(out, name, app_id);
	apptap_ran_free(&ran);
	return r;
}

/* Whose its data are: installd gives them to the app's UID. */
static int look_at_data(const char *name, struct apptap_packages *out)
{
	static const char *const folders[] = { "/data/user/0", "/data/data", "/data/user_de/0" };

	if (strchr(name, '/') || name[0] == '.')
		return -ENOENT; /* not a package, but a way out of the folder */
	for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
		char path[APPTAP_PACKAGE_NAME + 32];
		struct stat st;
		int n = snprintf(path, sizeof(path), "%s/%s", folders[i], name);

		if (n > 0 && (size_t)n < sizeof(path) && lstat(path, &st) == 0 &&
		    S_ISDIR(st.st_mode) && st.st_uid)
			return append(out, name, st.st_uid % APPTAP_ANDROID_USER);
	}
	return -ENOENT;
}

int apptap_packages_read(struct apptap_packages *out, const char *wanted, struct apptap_error *err)
{
	static const char *const cmd[] = { "/system/bin/cmd", "package", "list",
					   "packages",	      "-U",	 NULL };
	static const char *const pm[] = { "/system/bin/pm", "list", "packages", "-U", NULL };

	if (read_list(out) <= 0 && ask_pm(cmd, out) <= 0)
		ask_pm(pm, out);
	if (wanted && !apptap_packages_find(out, wanted) && ask_dumpsys(wanted, out) <= 0)
		look_at_data(wanted, out);
	if (out->count)
		return 0;
	return apptap_error_say(err, ENOENT,
				"neither packages.list nor 'cmd package', 'pm' or 'dumpsys' tell "
				"which packages there are");
}

void apptap_packages_free(struct apptap_packages *p)
{
	free(p->at);
	*p = (struct apptap_packages){ 0 };
}
