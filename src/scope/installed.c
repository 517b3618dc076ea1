/* installed.c - the package while a capture runs: installed anew, it has another UID */
#include "scope/installed.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "scope/android.h"
#include "scope/packages.h"
#include "wire/text.h"

/*
 * How it works. An update keeps the UID; what is removed and installed again gets the next one that
 * is free, and the capture would go on about nobody. Android writes packages.list before the app
 * can start: when that has changed, the package is resolved again. As long as it is not there, its
 * old UID stays in the scope: Android gives that to nobody else before it is started anew.
 */
struct apptap_installed {
	char *package; /* owned */
	char *android_user; /* owned; may be NULL */
	enum apptap_breadth breadth;
	struct apptap_scope *scope; /* borrowed */
	struct apptap_scope had; /* the package's UIDs */
	struct apptap_scope found; /* the same, looked for again */
	struct stat list; /* as it was then */
	bool gone; /* was told */
	apptap_warn_fn warn;
	void *warn_arg;
};

/* Whether packages.list has been written since the last time. */
static bool has_changed(struct apptap_installed *w)
{
	struct stat st = { 0 };
	bool same;

	if (stat(APPTAP_PACKAGES_LIST, &st) < 0)
		return false; /* not there, or for a moment */
	same = st.st_ino == w->list.st_ino && st.st_size == w->list.st_size &&
	       st.st_mtim.tv_sec == w->list.st_mtim.tv_sec &&
	       st.st_mtim.tv_nsec == w->list.st_mtim.tv_nsec;
	w->list = st;
	return !same;
}

/* Return: as apptap_android_resolve(). */
static int resolve(struct apptap_installed *w)
{
	const struct apptap_target target = {
		.name = w->package,
		.android_user = w->android_user,
		.breadth = w->breadth,
	};

	memset(&w->found, 0, sizeof(w->found));
	return apptap_android_resolve(&w->found, &target, NULL, NULL, NULL);
}

/* The one that was named, and not a process: its UID was added first. */
static bool is_package(const struct apptap_scope *scope)
{
	static const char before[] = "package ";

	return scope->uid_count && strncmp(scope->uids[0].why, before, sizeof(before) - 1) == 0;
}

int apptap_installed_new(struct apptap_installed **out, const struct apptap_target *target,
			 struct apptap_scope *scope, apptap_warn_fn warn, void *warn_arg,
			 struct apptap_error *err)
{
	struct apptap_installed *w;

	*out = NULL;
	if (!target->name || !apptap_android_here() || !is_package(scope))
		return 0;
	w = calloc(1, sizeof(*w));
	if (w)
		w->package = strdup(target->name);
	if (w && target->android_user)
		w->android_user = strdup(target->android_user);
	if (!w || !w->package || (target->android_user && !w->android_user)) {
		apptap_installed_free(w);
		return apptap_error_set(err, ENOMEM, "watching the package");
	}
	w->breadth = target->breadth;
	w->scope = scope;
	w->warn = warn;
	w->warn_arg = warn_arg;
	has_changed(w); /* before it is looked at */
	if (resolve(w) <= 0) {
		apptap_installed_free(w); /* removed in this moment */
		return 0;
	}
	w->had = w->found;
	*out = w;
	return 0;
}

static void say_gone(struct apptap_installed *w)
{
	char text[400], shown[APPTAP_PACKAGE_NAME];

	if (w->gone || !w->warn)
		return;
	w->gone = true;
	snprintf(text, sizeof(text),
		 "the package '%s' is not installed any more; the capture goes on, and follows it "
		 "if it is installed again",
		 apptap_text_clean(shown, sizeof(shown), w->package));
	w->warn(w->warn_arg, text);
}

bool apptap_installed_rescan(struct apptap_installed *w)
{
	bool changed = false;
	int r;

	if (!has_changed(w))
		return false;
	r = resolve(w);
	if (r == 0)
		say_gone(w);
	if (r <= 0)
		return false;
	w->gone = false;
	for (size_t i = 0; i < w->had.uid_count; i++)
		if (!apptap_scope_has(&w->found, w->had.uids[i].uid))
			changed |= apptap_scope_remove(w->scope, w->had.uids[i].uid);
	for (size_t i = 0; i < w->found.uid_count; i++)
		if (!apptap_scope_has(w->scope, w->found.uids[i].uid))
			changed |= apptap_scope_add(w->scope, w->found.uids[i].uid, NULL, "%s",
						    w->found.uids[i].why) >= 0;
	w->had = w->found;
	return changed;
}

void apptap_installed_free(struct apptap_installed *w)
{
	if (!w)
		return;
	free(w->package);
	free(w->android_user);
	free(w);
}
