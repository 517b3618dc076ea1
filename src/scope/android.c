/* android.c - who the app is, on Android: a package becomes UIDs, of users, sandboxes, isolated */
#include "scope/android.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/launch.h"
#include "scope/android_id.h"
#include "scope/nearest.h"
#include "scope/packages.h"
#include "wire/text.h"

#define USERS_MAX 32
#define USERS_DIR "/data/user" /* a folder for each, and in it one for each package it has */
#define ASK_MS 2000
#define NAME_SHOWN 96

bool apptap_android_here(void)
{
	return access("/system/bin/getprop", X_OK) == 0;
}

static void get_property(const char *name, char *buf, size_t size)
{
	const char *const argv[] = { "/system/bin/getprop", name, NULL };
	struct apptap_ran ran = { 0 };

	buf[0] = '\0';
	if (apptap_launch_run(argv, ASK_MS, &ran, NULL) >= 0 && ran.out) {
		ran.out[strcspn(ran.out, "\r\n")] = '\0';
		apptap_text_clean(buf, size, ran.out);
	}
	apptap_ran_free(&ran);
}

const char *apptap_android_version(char *buf, size_t size)
{
	char release[32], sdk[16];

	buf[0] = '\0';
	if (!apptap_android_here())
		return buf;
	get_property("ro.build.version.release", release, sizeof(release));
	get_property("ro.build.version.sdk", sdk, sizeof(sdk));
	snprintf(buf, size, "Android %s (API %s)", release[0] ? release : "?", sdk[0] ? sdk : "?");
	return buf;
}

/* The users of this device, by their folders. Return: how many; 0: that cannot be told. */
static size_t list_users(uint32_t users[USERS_MAX])
{
	DIR *dir = opendir(USERS_DIR);
	struct dirent *entry;
	size_t count = 0;

	while (dir && count < USERS_MAX && (entry = readdir(dir))) {
		char *end;
		unsigned long user = strtoul(entry->d_name, &end, 10);

		if (isdigit((unsigned char)entry->d_name[0]) && !*end &&
		    user < UINT32_MAX / APPTAP_ANDROID_USER)
			users[count++] = (uint32_t)user;
	}
	if (dir)
		closedir(dir);
	return count;
}

/* Whether @user has @package; where that cannot be told, it may. */
static bool user_has(uint32_t user, const char *package)
{
	char path[APPTAP_PACKAGE_NAME + 48];
	struct stat st;

	snprintf(path, sizeof(path), USERS_DIR "/%u", user);
	if (stat(path, &st) < 0)
		return user == 0;
	snprintf(path, sizeof(path), USERS_DIR "/%u/%s", user, package);
	return user == 0 || stat(path, &st) == 0;
}

static int say_not_theirs(uint32_t user, const char *package, struct apptap_error *err)
{
	uint32_t users[USERS_MAX];
	size_t count = list_users(users);
	char list[128] = "0";
	size_t len = 1;

	for (size_t i = 0; i < count && len < sizeof(list); i++)
		if (users[i] && user_has(users[i], package))
			len += (size_t)snprintf(list + len, sizeof(list) - len, ", %u", users[i]);
	apptap_error_say(err, ESRCH, "user %u does not have the package '%s'; it is there for: %s",
			 user, package, list);
	apptap_error_hint(err, "--android-user 0, another number, or all");
	return -ESRCH;
}

/* The app's own UID as @user, and the one that its advertising code runs as. */
static int add_user(struct apptap_scope *out, const struct apptap_target *target, uint32_t user,
		    uint32_t app_id, const char *shown, struct apptap_error *err)
{
	uid_t uid = user * APPTAP_ANDROID_USER + app_id;
	char of_user[32] = "";
	int r;

	if (user)
		snprintf(of_user, sizeof(of_user), " of user %u", user);
	r = apptap_scope_add(out, uid, err, "package %s%s", shown, of_user);
	if (r >= 0 && target->breadth != APPTAP_BREADTH_APP &&
	    apptap_android_kind(uid) == APPTAP_ANDROID_APP)
		r = apptap_scope_add(out, uid + 10000, err, "SDK sandbox of %s%s", shown, of_user);
	return r;
}

static int add_users(struct apptap_scope *out, const struct apptap_target *target, uint32_t app_id,
		     const char *shown, struct apptap_error *err)
{
	const char *wanted = target->android_user ? target->android_user : "0";
	uint32_t users[USERS_MAX];
	size_t count;
	int r = 0;

	if (strcmp(wanted, "all") != 0) {
		uint32_t user = (uint32_t)strtoul(wanted, NULL, 10);

		if (!user_has(user, target->name))
			return say_not_theirs(user, shown, err);
		return add_user(out, target, user, app_id, shown, err);
	}
	r = add_user(out, target, 0, app_id, shown, err);
	count = list_users(users);
	for (size_t i = 0; i < count && r >= 0; i++)
		if (users[i] && user_has(users[i], target->name))
			r = add_user(out, target, users[i], app_id, shown, err);
	return r;
}

/* Packages of one signature may ask for one UID: then they cannot be told apart. */
static void warn_of_sharing(const struct apptap_packages *all, const struct apptap_package *p,
			    apptap_warn_fn warn, void *warn_arg)
{
	char text[480];
	size_t len = 0;
	unsigned more = 0;

	for (size_t i = 0; i < all->count; i++) {
		char shown[NAME_SHOWN];

		if (all->at[i].app_id != p->app_id || strcmp(all->at[i].name, p->name) == 0)
			continue;
		apptap_text_clean(shown, sizeof(shown), all->at[i].name);
		if (len > 260) {
			more++;
			continue;
		}
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s",
					len ? ", "
					    : "the package shares its UID with others, "
					      "whose traffic is captured too: ",
					shown);
	}
	if (more)
		snprintf(text + len, sizeof(text) - len, " and %u more", more);
	if (len && warn)
		warn(warn_arg, text);
}

int apptap_android_resolve(struct apptap_scope *out, const struct apptap_target *target,
			   apptap_warn_fn warn, void *warn_arg, struct apptap_error *err)
{
	struct apptap_packages all = { 0 };
	const struct apptap_package *p = NULL;
	char shown[NAME_SHOWN];
	int r;

	apptap_packages_read(&all, target->name, NULL);
	p = apptap_packages_find(&all, target->name);
	if (!p) {
		apptap_packages_free(&all);
		return 0;
	}
	apptap_text_clean(shown, sizeof(shown), p->name);
	r = add_users(out, target, p->app_id, shown, err);
	if (r >= 0)
		warn_of_sharing(&all, p, warn, warn_arg);
	apptap_packages_free(&all);
	return r < 0 ? r : 1;
}

int apptap_android_say_none(const char *name, struct apptap_error *err)
{
	struct apptap_nearest n = { .wanted = name };
	struct apptap_packages all = { 0 };
	char shown[NAME_SHOWN], near[300];

	apptap_packages_read(&all, NULL, NULL);
	for (size_t i = 0; i < all.count; i++)
		apptap_nearest_offer(&n, all.at[i].name);
	apptap_packages_free(&all);
	apptap_text_clean(shown, sizeof(shown), name);
	apptap_nearest_list(&n, near, sizeof(near));
	apptap_error_say(err, ESRCH, "no package and no process is called '%s'%s%s", shown,
			 near[0] ? "; installed are " : "", near);
	apptap_error_hint(err, "--list shows the packages with their UIDs");
	return -ESRCH;
}

void apptap_android_add_dns(struct apptap_scope *out, apptap_warn_fn warn, void *warn_arg)
{
	if (apptap_scope_has(out, APPTAP_ANDROID_DNS) ||
	    apptap_scope_add(out, APPTAP_ANDROID_DNS, NULL, "Android's DNS resolver") < 0)
		return;
	if (warn)
		warn(warn_arg, "UID 1051, Android's DNS resolver, is captured too: it asks for all "
			       "apps (--no-dns leaves it out)");
}
