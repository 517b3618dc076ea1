/* isolated.c - an Android app's isolated processes: each has a UID of its own, for as long as it
 * runs */
#include "scope/isolated.h"

#include <errno.h>
#include <stdio.h>

#include "base/launch.h"
#include "scope/android_id.h"
#include "scope/process.h"
#include "wire/text.h"

/*
 * How it works. Isolated UIDs say nothing of the app. The activity manager knows for whom it
 * started each process, WebView renderers and app zygotes' children too, and is asked when one is
 * met that is not known yet. What it says of a UID holds for whatever else runs as that: a process
 * may fork, and call its child as it likes. Where it does not answer, the process's name decides. A
 * UID goes out of the scope when its process has ended: Android gives it to another app later.
 */
#define KNOWN_MAX 256
#define FIRST_ISOLATED 99000
#define GONE_SCANS 3 /* the last packets of its sockets come after it */
#define ASK_MS 5000
#define PER_USER ((long)APPTAP_ANDROID_USER)

struct known {
	pid_t pid;
	uid_t uid;
	bool ours;
	bool met; /* in this scan */
	uint8_t gone; /* scans since it was met last */
	char name[APPTAP_PROCESS_NAME_SIZE];
};

struct apptap_isolated {
	struct apptap_scope *scope; /* borrowed */
	char *package; /* owned; may be NULL */
	uid_t apps[APPTAP_SCOPE_UIDS_MAX]; /* the UIDs at the start */
	size_t app_count;
	struct known known[KNOWN_MAX];
	size_t known_count;
	size_t asked; /* of those, so many at the front have been judged */
};

static bool take_char(struct apptap_view *v, char c)
{
	return v->left && v->p[0] == (uint8_t)c && apptap_view_take(v, 1);
}

/* A number, with a sign where @with_sign. */
static bool take_number(struct apptap_view *v, bool with_sign, long *out)
{
	bool minus = with_sign && take_char(v, '-');
	long n = 0;
	size_t digits = 0;

	while (v->left && v->p[0] >= '0' && v->p[0] <= '9' && digits < 9) {
		n = n * 10 + (v->p[0] - '0');
		apptap_view_take(v, 1);
		digits++;
	}
	*out = minus ? -n : n;
	return digits > 0 && (!v->left || v->p[0] < '0' || v->p[0] > '9');
}

/*
 * What follows the '/', as ProcessRecord.toShortString() writes it: u0a123i45, or u10s1000i45 of an
 * app of the system's. An app's number counts from 10000, that of the isolated one from 99000. An
 * SDK sandbox looks alike, with a number far below.
 */
static bool take_owner(struct apptap_view v, struct apptap_isolated_owner *out)
{
	long user, app, isolated, first = 10000;

	if (!take_char(&v, 'u') || !take_number(&v, false, &user))
		return false;
	if (take_char(&v, 's'))
		first = 0;
	else if (!take_char(&v, 'a'))
		return false;
	if (!take_number(&v, false, &app) || !take_char(&v, 'i') ||
	    !take_number(&v, true, &isolated))
		return false;
	isolated += FIRST_ISOLATED;
	if (user > 20000 || app >= 10000 || isolated < 90000 || isolated >= PER_USER)
		return false;
	out->uid = (uid_t)(user * PER_USER + isolated);
	out->owner = (uid_t)(user * PER_USER + first + app);
	return true;
}

/* The number before the ':' that ends at @colon; 0: there is none. */
static pid_t pid_before(const uint8_t *start, const uint8_t *colon)
{
	const uint8_t *p = colon;
	long pid = 0, place = 1;

	while (p > start && p[-1] >= '0' && p[-1] <= '9' && place < 100000000) {
		pid += (*--p - '0') * place;
		place *= 10;
	}
	return (pid_t)(p < colon && (p == start || p[-1] == ' ' || p[-1] == '{') ? pid : 0);
}

/* The PID of "PID:NAME/" whose '/' is at @slash: at the first ':' of that word. */
static pid_t pid_of(const uint8_t *start, const uint8_t *slash)
{
	const uint8_t *word = slash;

	while (word > start && word[-1] != ' ' && word[-1] != '{' && word[-1] != '\n')
		word--;
	for (const uint8_t *p = word; p < slash; p++)
		if (*p == ':')
			return pid_before(word, p);
	return 0;
}

bool apptap_isolated_parse(struct apptap_view *v, struct apptap_isolated_owner *out)
{
	const uint8_t *start = v->p;
	const uint8_t *slash;

	while (v->left && (slash = memchr(v->p, '/', v->left))) {
		apptap_view_take(v, (size_t)(slash - v->p) + 1);
		if (!take_owner(*v, out))
			continue;
		out->pid = pid_of(start, slash);
		if (out->pid)
			return true;
	}
	return false;
}

bool apptap_isolated_is_named(const char *name, const char *package)
{
	size_t len = strlen(package);

	return len && strncmp(name, package, len) == 0 &&
	       (name[len] == '\0' || name[len] == ':' || strcmp(name + len, "_zygote") == 0);
}

int apptap_isolated_new(struct apptap_isolated **out, struct apptap_scope *scope,
			const char *package, struct apptap_error *err)
{
	struct apptap_isolated *w = calloc(1, sizeof(*w));

	if (w && package) {
		w->package = strdup(package);
		if (!w->package) {
			free(w);
			w = NULL;
		}
	}
	if (!w)
		return apptap_error_set(err, ENOMEM, "watching for isolated processes");
	w->scope = scope;
	apptap_isolated_rebase(w);
	*out = w;
	return 0;
}

static bool is_known(const struct apptap_isolated *w, uid_t uid)
{
	for (size_t i = 0; i < w->known_count; i++)
		if (w->known[i].uid == uid)
			return true;
	return false;
}

void apptap_isolated_rebase(struct apptap_isolated *w)
{
	w->app_count = 0;
	for (size_t i = 0; i < w->scope->uid_count; i++)
		if (!is_known(w, w->scope->uids[i].uid))
			w->apps[w->app_count++] = w->scope->uids[i].uid;
}

static bool is_apps(const struct apptap_isolated *w, uid_t uid)
{
	for (size_t i = 0; i < w->app_count; i++)
		if (w->apps[i] == uid)
			return true;
	return false;
}

/* Only users that the capture is about: the name alone does not tell which user's it is. */
static bool has_user(const struct apptap_isolated *w, uid_t uid)
{
	for (size_t i = 0; i < w->app_count; i++)
		if (apptap_android_user(w->apps[i]) == apptap_android_user(uid) &&
		    apptap_android_kind(w->apps[i]) == APPTAP_ANDROID_APP)
			return true;
	return false;
}

static int meet(const struct apptap_process *p, void *arg)
{
	struct apptap_isolated *w = arg;
	auto_close int dir = apptap_process_open(p->pid);
	struct apptap_proc_status st;
	struct known *k;

	if (dir < 0 || apptap_process_status(dir, &st) < 0 || !st.alive ||
	    apptap_android_kind(st.uid) != APPTAP_ANDROID_ISOLATED)
		return 0;
	for (k = w->known; k < w->known + w->known_count; k++)
		if (k->pid == p->pid && k->uid == st.uid) {
			k->met = true;
			return 0;
		}
	if (w->known_count == KNOWN_MAX)
		return 0;
	*k = (struct known){ .pid = p->pid, .uid = st.uid, .met = true };
	memcpy(k->name, p->argv0, sizeof(k->name));
	w->known_count++;
	return 0;
}

/* What the activity manager says of the UIDs of those not judged yet. */
static void ask_manager(struct apptap_isolated *w, bool told[KNOWN_MAX])
{
	static const char *const argv[] = { "/system/bin/dumpsys", "activity", "processes", NULL };
	struct apptap_isolated_owner found;
	struct apptap_ran ran = { 0 };
	struct apptap_view v;

	if (apptap_launch_run(argv, ASK_MS, &ran, NULL) >= 0) {
		v = (struct apptap_view){ (const uint8_t *)ran.out, ran.out_len };
		while (apptap_isolated_parse(&v, &found))
			for (size_t i = w->asked; i < w->known_count; i++)
				if (w->known[i].uid == found.uid &&
				    (!told[i] || w->known[i].pid == found.pid)) {
					told[i] = true;
					w->known[i].ours = is_apps(w, found.owner);
				}
	}
	apptap_ran_free(&ran);
}

static bool admit(struct apptap_isolated *w, struct known *k)
{
	char name[64];

	apptap_text_clean(name, sizeof(name), k->name);
	k->ours = apptap_scope_add(w->scope, k->uid, NULL, "isolated process %d (%s)", (int)k->pid,
				   name) >= 0;
	return k->ours;
}

/* Judges the processes that were met for the first time. */
static bool judge(struct apptap_isolated *w)
{
	bool told[KNOWN_MAX] = { false };
	bool changed = false;

	if (w->asked == w->known_count)
		return false;
	ask_manager(w, told);
	for (size_t i = w->asked; i < w->known_count; i++) {
		struct known *k = &w->known[i];

		if (!told[i])
			k->ours = w->package && has_user(w, k->uid) &&
				  apptap_isolated_is_named(k->name, w->package);
		if (k->ours)
			changed |= admit(w, k);
	}
	w->asked = w->known_count;
	return changed;
}

/* Forgets what has ended, and takes its UID out of the scope unless another process has it. */
static bool forget(struct apptap_isolated *w)
{
	bool changed = false;
	size_t kept = 0;

	for (size_t i = 0; i < w->known_count; i++) {
		struct known *k = &w->known[i];
		bool shared = false;

		k->gone = k->met ? 0 : k->gone + 1;
		if (k->gone < GONE_SCANS) {
			w->known[kept++] = *k;
			continue;
		}
		for (size_t j = 0; j < w->known_count; j++)
			shared |= j != i && w->known[j].met && w->known[j].uid == k->uid &&
				  w->known[j].ours;
		if (k->ours && !shared && !is_apps(w, k->uid))
			changed |= apptap_scope_remove(w->scope, k->uid);
	}
	w->known_count = kept;
	w->asked = kept;
	return changed;
}

bool apptap_isolated_rescan(struct apptap_isolated *w)
{
	bool changed;

	for (size_t i = 0; i < w->known_count; i++)
		w->known[i].met = false;
	if (apptap_process_walk(NULL, meet, w, NULL) < 0)
		return false;
	changed = judge(w);
	return forget(w) || changed;
}

void apptap_isolated_free(struct apptap_isolated *w)
{
	if (!w)
		return;
	free(w->package);
	free(w);
}
