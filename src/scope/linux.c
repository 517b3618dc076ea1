/* linux.c - who the app is, on Linux: a PID, a process name, a user or UIDs become a scope */
#include "scope/scope.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "scope/android.h"
#include "scope/cgroup.h"
#include "scope/nearest.h"
#include "scope/process.h"
#include "scope/resolver.h"
#include "scope/user.h"
#include "wire/text.h"

#define OWNERS_MAX 64
#define PIDS_SHOWN 3
#define OWNERS_SHOWN 6
#define NAME_SHOWN 64

/* All processes of the wanted name that run as one user. */
struct owner {
	uid_t uid;
	size_t count;
	pid_t pids[PIDS_SHOWN]; /* the first few */
	char comm[NAME_SHOWN]; /* of the first; fit for display */
};

struct search {
	const char *name;
	pid_t own[APPTAP_ANCESTORS_MAX + 1]; /* apptap itself and what started it */
	bool own_named; /* one of those goes by the name */
	size_t owner_count;
	struct owner owners[OWNERS_MAX];
	size_t unlisted; /* processes of further owners */
};

/* Appends to @buf whole or not at all. */
static void append(char *buf, size_t size, const char *fmt, ...) APPTAP_PRINTF(3, 4);

static void append(char *buf, size_t size, const char *fmt, ...)
{
	size_t len = strlen(buf);
	va_list ap;
	int more;

	va_start(ap, fmt);
	more = vsnprintf(buf + len, size - len, fmt, ap);
	va_end(ap);
	if (more < 0 || (size_t)more >= size - len)
		buf[len] = '\0';
}

static struct owner *find_owner(struct search *s, uid_t uid, const char *comm)
{
	struct owner *o;

	for (size_t i = 0; i < s->owner_count; i++)
		if (s->owners[i].uid == uid)
			return &s->owners[i];
	if (s->owner_count == OWNERS_MAX)
		return NULL;
	o = &s->owners[s->owner_count++];
	*o = (struct owner){ .uid = uid };
	apptap_text_clean(o->comm, sizeof(o->comm), comm);
	return o;
}

static int match(const struct apptap_process *p, void *arg)
{
	struct search *s = arg;
	struct apptap_proc_status st;
	struct owner *o;

	if (!apptap_process_is_named(p, s->name))
		return 0;
	if (apptap_pids_have(s->own, p->pid)) {
		s->own_named = true;
		return 0;
	}
	if (!apptap_process_confirm(p->pid, s->name, NULL, &st))
		return 0;
	o = find_owner(s, st.uid, p->comm);
	if (!o) {
		s->unlisted++;
		return 0;
	}
	if (o->count < PIDS_SHOWN)
		o->pids[o->count] = p->pid;
	o->count++;
	return 0;
}

static int offer(const struct apptap_process *p, void *arg)
{
	struct apptap_nearest *n = arg;

	if (!p->argv0[0])
		return 0; /* kernel threads have names that nobody means */
	/* The kernel's name is cut short where the executable's goes on. */
	if (strlen(p->comm) < APPTAP_COMM_MAX || strncmp(p->comm, p->exe, APPTAP_COMM_MAX) != 0)
		apptap_nearest_offer(n, p->comm);
	apptap_nearest_offer(n, p->exe);
	return 0;
}

static int say_none(const struct search *s, struct apptap_error *err)
{
	struct apptap_nearest n = { .wanted = s->name };
	char shown[NAME_SHOWN];
	char near[300];
	int r;

	apptap_text_clean(shown, sizeof(shown), s->name);
	if (s->own_named) {
		r = apptap_error_say(
			err, ESRCH,
			"no process is named '%s' but those that apptap itself runs under", shown);
		apptap_error_hint(err, "to mean one of those, give its PID");
		return r;
	}
	apptap_process_walk(NULL, offer, &n, NULL);
	apptap_nearest_list(&n, near, sizeof(near));
	r = apptap_error_say(err, ESRCH, "no process is named '%s'%s%s", shown,
			     near[0] ? "; running are " : "", near);
	apptap_error_hint(err, "start the app first, or name it by a PID, --user or --uid");
	return r;
}

static int say_several(const struct search *s, struct apptap_error *err)
{
	char user[APPTAP_USER_NAME_SIZE];
	char shown[NAME_SHOWN];
	char list[340] = "";
	size_t rest = s->unlisted;
	int r;

	for (size_t i = 0; i < s->owner_count; i++) {
		const struct owner *o = &s->owners[i];

		rest += o->count;
		if (i >= OWNERS_SHOWN)
			continue;
		append(list, sizeof(list), "%sPID %d %s (%s)", i ? ", " : "", (int)o->pids[0],
		       o->comm, apptap_user_name(o->uid, user, sizeof(user)));
		rest--;
	}
	if (rest)
		append(list, sizeof(list), " and %zu more", rest);
	apptap_text_clean(shown, sizeof(shown), s->name);
	r = apptap_error_say(err, ENOTUNIQ, "'%s' is run by several users: %s", shown, list);
	apptap_error_hint(err, "choose by --user or --uid, or by a PID");
	return r;
}

static int add_owner(struct apptap_scope *out, const struct owner *o, struct apptap_error *err)
{
	size_t listed = MIN(o->count, (size_t)PIDS_SHOWN);
	char pids[64] = "";

	for (size_t i = 0; i < listed; i++)
		append(pids, sizeof(pids), "%s%d", i ? ", " : "", (int)o->pids[i]);
	if (o->count > listed)
		append(pids, sizeof(pids), " and %zu more", o->count - listed);
	return apptap_scope_add(out, o->uid, err, "%s %s (%s)",
				o->count > 1 ? "processes" : "process", pids, o->comm);
}

static int resolve_name(struct apptap_scope *out, const char *name, struct apptap_error *err)
{
	auto_free struct search *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return apptap_error_set(err, ENOMEM, "looking for a process");
	s->name = name;
	apptap_process_ancestors(s->own);
	r = apptap_process_walk(NULL, match, s, err);
	if (r < 0)
		return r;
	if (s->owner_count == 0)
		return say_none(s, err);
	if (s->owner_count > 1)
		return say_several(s, err);
	return add_owner(out, &s->owners[0], err);
}

static int say_no_pid(const char *name, struct apptap_error *err)
{
	char shown[NAME_SHOWN];
	int r;

	apptap_text_clean(shown, sizeof(shown), name);
	r = apptap_error_say(err, ESRCH, "no process has the PID %s", shown);
	apptap_error_hint(err,
			  "it may have ended: name the app by its process name, --user or --uid");
	return r;
}

static int resolve_pid(struct apptap_scope *out, const char *name, pid_t *pid,
		       struct apptap_error *err)
{
	pid_t wanted = apptap_proc_parse_pid(name);
	auto_close int dir = wanted ? apptap_process_open(wanted) : -ESRCH;
	struct apptap_proc_status st;
	char shown[NAME_SHOWN];
	int r = dir < 0 ? dir : apptap_process_status(dir, &st);

	if (r == -ESRCH)
		return say_no_pid(name, err);
	if (r < 0)
		return apptap_error_set(err, -r, "reading whose process %d is", (int)wanted);
	apptap_text_clean(shown, sizeof(shown), st.name);
	if (!st.alive) {
		r = apptap_error_say(err, ESRCH,
				     "process %d (%s) has ended, or is a thread of the kernel",
				     (int)wanted, shown);
		apptap_error_hint(err, "name the app by its process name, --user or --uid");
		return r;
	}
	/* A thread answers to its own number too; what can be watched is its process. */
	*pid = st.tgid ? st.tgid : wanted;
	return apptap_scope_add(out, st.uid, err, "process %d (%s)", (int)*pid, shown);
}

static void offer_user(const char *name, void *arg)
{
	apptap_nearest_offer(arg, name);
}

static int resolve_user(struct apptap_scope *out, const char *user, struct apptap_error *err)
{
	struct apptap_nearest n = { .wanted = user };
	char shown[NAME_SHOWN];
	char near[300];
	uid_t uid = APPTAP_UID_NONE;
	int r = apptap_user_uid(user, &uid);

	apptap_text_clean(shown, sizeof(shown), user);
	if (r == 0)
		return apptap_scope_add(out, uid, err, "user %s", shown);
	if (r != -ENOENT)
		return apptap_error_set(err, -r, "looking up the user '%s'", shown);
	apptap_user_each(offer_user, &n);
	apptap_nearest_list(&n, near, sizeof(near));
	r = apptap_error_say(err, ESRCH, "no user is named '%s'%s%s", shown,
			     near[0] ? "; there are " : "", near);
	if (apptap_proc_is_pid(user))
		apptap_error_hint(err, "for a UID: --uid %s", shown);
	else
		apptap_error_hint(err, "see `getent passwd`, or give --uid");
	return r;
}

static int resolve_uids(struct apptap_scope *out, const struct apptap_target *target,
			struct apptap_error *err)
{
	for (size_t i = 0; i < target->uid_count; i++) {
		char user[APPTAP_USER_NAME_SIZE];
		uid_t uid = target->uids[i];
		int r;

		apptap_user_name(uid, user, sizeof(user));
		if (strncmp(user, "UID ", 4) == 0) /* it has no name */
			r = apptap_scope_add(out, uid, err, "asked for");
		else
			r = apptap_scope_add(out, uid, err, "user %s", user);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_target(const struct apptap_target *t, struct apptap_error *err)
{
	int kinds = !!t->name + !!t->user + (t->uid_count > 0) + t->whole_device + !!t->cgroup +
		    !!t->unit + !!t->container;
	int r;

	if (kinds == 1 && (!t->name || t->name[0]) && (!t->user || t->user[0]))
		return 0;
	r = apptap_error_say(err, EINVAL, "%s",
			     kinds > 1 ? "more than one target was named" : "no target was named");
	apptap_error_hint(
		err, "one of: a process name or PID, --user, --uid (several), --unit, --container, "
		     "--cgroup, --whole-device");
	return r;
}

static int resolve_cgroup(struct apptap_scope *out, const struct apptap_target *target,
			  struct apptap_error *err)
{
	auto_free struct apptap_cgroup_found *found = malloc(sizeof(*found));
	struct apptap_cgroup_root root = APPTAP_CGROUP_ROOT_CLOSED;
	int r = found ? apptap_cgroup_root_open(&root, err)
		      : apptap_error_set(err, ENOMEM, "looking for a cgroup");

	if (r < 0)
		return r;
	if (target->cgroup)
		r = apptap_cgroup_find_path(&root, target->cgroup, found, err);
	else if (target->unit)
		r = apptap_cgroup_find_unit(&root, target->unit, found, err);
	else
		r = apptap_cgroup_find_container(&root, target->container, found, err);
	if (r == 0)
		r = apptap_cgroup_add(out, &root, found, err);
	apptap_cgroup_root_close(&root);
	return r;
}

/* Packages first: an app's process is called like its package. */
static int resolve_on_android(struct apptap_scope *out, const struct apptap_target *target,
			      apptap_warn_fn warn, void *warn_arg, struct apptap_error *err)
{
	int r = apptap_android_resolve(out, target, warn, warn_arg, err);

	if (r)
		return MIN(r, 0);
	r = resolve_name(out, target->name, err);
	return r == -ESRCH ? apptap_android_say_none(target->name, err) : r;
}

static int resolve_target(struct apptap_scope *out, const struct apptap_target *target, pid_t *pid,
			  apptap_warn_fn warn, void *warn_arg, struct apptap_error *err)
{
	if (target->cgroup || target->unit || target->container)
		return resolve_cgroup(out, target, err);
	if (target->user)
		return resolve_user(out, target->user, err);
	if (target->uid_count)
		return resolve_uids(out, target, err);
	if (apptap_proc_is_pid(target->name))
		return resolve_pid(out, target->name, pid, err);
	if (apptap_android_here())
		return resolve_on_android(out, target, warn, warn_arg, err);
	return resolve_name(out, target->name, err);
}

int apptap_scope_resolve(struct apptap_scope *out, const struct apptap_target *target, pid_t *pid,
			 apptap_warn_fn warn, void *warn_arg, struct apptap_error *err)
{
	pid_t found = 0;
	int r = check_target(target, err);

	memset(out, 0, sizeof(*out));
	if (pid)
		*pid = 0;
	if (r < 0)
		return r;
	if (target->whole_device) {
		out->whole_device = true;
		return 0;
	}
	r = resolve_target(out, target, &found, warn, warn_arg, err);
	if (r < 0) {
		memset(out, 0, sizeof(*out)); /* half a scope is none */
		return r;
	}
	if (apptap_scope_has(out, 0) && warn && !target->process_only)
		warn(warn_arg, "UID 0 owns what the system itself sends: all of it will be in the "
			       "capture");
	if (target->breadth == APPTAP_BREADTH_APP_ISOLATED_DNS && apptap_android_here())
		apptap_android_add_dns(out, warn, warn_arg);
	else if (target->breadth == APPTAP_BREADTH_APP_ISOLATED_DNS)
		apptap_resolver_add(out, APPTAP_RESOLV_CONF, warn, warn_arg);
	if (pid)
		*pid = found;
	return 0;
}
