/* scope_watch.c - the app's processes while a capture runs: has it ended, are there new ones */
#include "scope/scope_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "scope/cgroup.h"
#include "scope/process.h"
#include "scope/user.h"
#include "wire/text.h"

/*
 * How it works
 *
 * A process name is followed by walking /proc. Reading the names of a process costs some 20 us (and
 * 30 at first sight), so not every one is read every time: those met a few scans ago or less are (a
 * child takes its new name soon after fork, by exec or prctl), and of the older ones a share in
 * turn, so that each is read once in ROUND scans. Those that were there when the watch began count
 * as old: resolving the target has just read them. What is remembered is a sorted list of the PIDs
 * that there are, rebuilt by each scan: it does not grow with time.
 */

#define YOUNG_SCANS 5
#define ROUND 8
#define SEEN_MAX 65536 /* further processes are read every time */
#define WARNED_MAX 32

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434 /* one number on every architecture but alpha */
#endif

struct seen {
	pid_t pid;
	uint8_t scans; /* up to YOUNG_SCANS */
	bool app; /* goes by the wanted name, of a UID in scope */
	bool unread; /* was there at the start; its names were not read since */
};

struct list {
	struct seen *at; /* owned */
	size_t count;
	size_t room;
};

struct apptap_scope_watch {
	char *name; /* owned; NULL: not a process name */
	pid_t pid; /* 0: not a PID */
	int pidfd; /* owned; -1: none */
	bool ended; /* was told */
	struct apptap_scope *scope; /* borrowed */
	struct apptap_cgroup_root root; /* owned; closed: the scope has no cgroups */
	bool rescoped;
	bool gone[APPTAP_SCOPE_CGROUPS_MAX]; /* was told */
	apptap_warn_fn warn;
	void *warn_arg;
	pid_t own[APPTAP_ANCESTORS_MAX + 1];
	uid_t warned[WARNED_MAX];
	size_t warned_count;
	unsigned turn;
	struct list old; /* of the last scan, sorted by PID */
	struct list now; /* of this one */
	pid_t *found; /* borrowed from the caller of rescan */
	size_t found_max;
	size_t found_count;
};

static int compare_seen(const void *a, const void *b)
{
	pid_t pa = ((const struct seen *)a)->pid;
	pid_t pb = ((const struct seen *)b)->pid;

	return (pa > pb) - (pa < pb);
}

static const struct seen *find_seen(const struct list *l, pid_t pid)
{
	struct seen key = { .pid = pid };

	return l->count ? bsearch(&key, l->at, l->count, sizeof(key), compare_seen) : NULL;
}

/* NULL: no room. The next scan then takes the process for a new one, which costs but a look. */
static struct seen *append_seen(struct list *l, struct seen s)
{
	if (l->count == l->room) {
		size_t room = l->room ? l->room * 2 : 512;
		struct seen *at;

		if (room > SEEN_MAX)
			return NULL;
		at = realloc(l->at, room * sizeof(*at));
		if (!at)
			return NULL;
		l->at = at;
		l->room = room;
	}
	l->at[l->count] = s;
	return &l->at[l->count++];
}

/* Whether the names of @pid are to be read in this scan; notes that it was met. */
static bool is_due(pid_t pid, void *arg)
{
	struct apptap_scope_watch *w = arg;
	const struct seen *before = find_seen(&w->old, pid);
	struct seen s = before ? *before : (struct seen){ .pid = pid };
	bool due = s.scans < YOUNG_SCANS || ((unsigned)pid + w->turn) % ROUND == 0;

	if (s.scans < YOUNG_SCANS)
		s.scans++;
	append_seen(&w->now, s);
	return due;
}

static bool note_start(pid_t pid, void *arg)
{
	struct apptap_scope_watch *w = arg;

	append_seen(&w->now, (struct seen){ .pid = pid, .scans = YOUNG_SCANS, .unread = true });
	return false;
}

static bool warned_of(struct apptap_scope_watch *w, uid_t uid)
{
	for (size_t i = 0; i < w->warned_count; i++)
		if (w->warned[i] == uid)
			return true;
	if (w->warned_count == WARNED_MAX)
		return true; /* enough said */
	w->warned[w->warned_count++] = uid;
	return false;
}

static void warn_of_stranger(struct apptap_scope_watch *w, const struct apptap_process *p,
			     uid_t uid)
{
	char user[APPTAP_USER_NAME_SIZE];
	char comm[64];
	char text[256];

	if (!w->warn || warned_of(w, uid))
		return;
	snprintf(text, sizeof(text),
		 "PID %d %s (%s) has the app's name but another user: not captured", (int)p->pid,
		 apptap_text_clean(comm, sizeof(comm), p->comm),
		 apptap_user_name(uid, user, sizeof(user)));
	w->warn(w->warn_arg, text);
}

static int look(const struct apptap_process *p, void *arg)
{
	struct apptap_scope_watch *w = arg;
	/* is_due() has just put it at the end, if there was room. */
	struct seen *last = w->now.count ? &w->now.at[w->now.count - 1] : NULL;
	struct seen unkept = { .pid = p->pid };
	struct seen *s = last && last->pid == p->pid ? last : &unkept;
	struct apptap_proc_status st;
	bool is_new = !s->app && !s->unread;

	s->unread = false;
	s->app = false;
	if (!apptap_process_is_named(p, w->name) || apptap_pids_have(w->own, p->pid) ||
	    !apptap_process_confirm(p->pid, w->name, NULL, &st))
		return 0;
	s->app = apptap_scope_has(w->scope, st.uid);
	if (!s->app)
		warn_of_stranger(w, p, st.uid);
	else if (is_new && w->found_count < w->found_max)
		w->found[w->found_count++] = p->pid;
	return 0;
}

/* What @want notes becomes what is known. */
static void scan(struct apptap_scope_watch *w, bool (*want)(pid_t pid, void *arg))
{
	struct list spare = w->old;

	w->now.count = 0;
	apptap_process_walk(want, look, w, NULL);
	if (w->now.count)
		qsort(w->now.at, w->now.count, sizeof(*w->now.at), compare_seen);
	w->old = w->now;
	w->now = spare;
	w->turn++;
}

static void check_user(struct apptap_scope_watch *w)
{
	auto_close int dir = apptap_process_open(w->pid);
	struct apptap_proc_status st;
	char user[APPTAP_USER_NAME_SIZE];
	char text[256];

	if (dir < 0 || apptap_process_status(dir, &st) < 0 || !st.alive)
		return;
	if (apptap_scope_has(w->scope, st.uid) || !w->warn || warned_of(w, st.uid))
		return;
	snprintf(
		text, sizeof(text),
		"process %d has changed its user and runs as %s now: its new sockets are not captured",
		(int)w->pid, apptap_user_name(st.uid, user, sizeof(user)));
	w->warn(w->warn_arg, text);
}

static void check_cgroup(struct apptap_scope_watch *w, size_t i)
{
	struct apptap_scope_cgroup *c = &w->scope->cgroups[i];
	auto_close int fd = openat(w->root.fd, c->path[1] ? c->path + 1 : ".",
				   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	char text[256];
	uint64_t id;

	if (fd >= 0 && apptap_cgroup_id(fd, &id) == 0) {
		w->rescoped |= c->id != id;
		w->gone[i] = false;
		c->id = id;
		return;
	}
	if (fd >= 0 || errno != ENOENT || w->gone[i] || !w->warn)
		return;
	w->gone[i] = true;
	snprintf(text, sizeof(text),
		 "%.100s has ended: its cgroup is gone; the capture goes on, and follows it if it "
		 "comes back",
		 c->why);
	w->warn(w->warn_arg, text);
}

int apptap_scope_watch_new(struct apptap_scope_watch **out, const struct apptap_target *target,
			   pid_t pid, struct apptap_scope *scope, apptap_warn_fn warn,
			   void *warn_arg, struct apptap_error *err)
{
	struct apptap_scope_watch *w = calloc(1, sizeof(*w));

	if (!w)
		return apptap_error_set(err, ENOMEM, "watching the app's processes");
	w->pid = pid;
	w->pidfd = pid ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	w->scope = scope;
	w->root.fd = -1;
	if (scope->cgroup_count)
		apptap_cgroup_root_open(&w->root, NULL);
	w->warn = warn;
	w->warn_arg = warn_arg;
	if (!pid && target->name && !target->whole_device) {
		w->name = strdup(target->name);
		if (!w->name) {
			apptap_scope_watch_free(w);
			return apptap_error_set(err, ENOMEM, "watching the app's processes");
		}
		apptap_process_ancestors(w->own);
		scan(w, note_start);
	}
	*out = w;
	return 0;
}

int apptap_scope_watch_fd(const struct apptap_scope_watch *w)
{
	return w->pidfd;
}

static bool has_ended(const struct apptap_scope_watch *w)
{
	struct pollfd p = { .fd = w->pidfd, .events = POLLIN };
	struct apptap_proc_status st;
	auto_close int dir = -1;
	int r;

	if (w->pidfd >= 0)
		return poll(&p, 1, 0) > 0;
	dir = apptap_process_open(w->pid);
	r = dir < 0 ? dir : apptap_process_status(dir, &st);
	return r == -ESRCH || (r == 0 && !st.alive);
}

int apptap_scope_watch_event(struct apptap_scope_watch *w)
{
	if (!w->pid || w->ended || !has_ended(w))
		return 0;
	w->ended = true;
	return 1;
}

bool apptap_scope_watch_rescoped(struct apptap_scope_watch *w)
{
	bool rescoped = w->rescoped;

	w->rescoped = false;
	return rescoped;
}

size_t apptap_scope_watch_rescan(struct apptap_scope_watch *w, pid_t *pids, size_t max)
{
	w->found = pids;
	w->found_max = max;
	w->found_count = 0;
	if (w->name)
		scan(w, is_due);
	else if (w->pid && !w->ended && !w->scope->process_count)
		check_user(w);
	for (size_t i = 0; w->root.fd >= 0 && i < w->scope->cgroup_count; i++)
		check_cgroup(w, i);
	w->found = NULL;
	return w->found_count;
}

void apptap_scope_watch_free(struct apptap_scope_watch *w)
{
	if (!w)
		return;
	if (w->pidfd >= 0)
		close(w->pidfd);
	apptap_cgroup_root_close(&w->root);
	free(w->name);
	free(w->old.at);
	free(w->now.at);
	free(w);
}
