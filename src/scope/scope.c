/* scope.c - who is the app: the UIDs, cgroups or processes that a capture is about, and why each */
#include "scope/scope.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "wire/text.h"

/* Names in it are chosen by others, and it goes to terminals and into JSON. */
static void say_why(char *out, size_t size, const char *why, va_list ap)
{
	char raw[256]; /* so that cleaning, not printing, does the cutting */

	vsnprintf(raw, sizeof(raw), why, ap);
	apptap_text_clean(out, size, raw);
}

int apptap_scope_add(struct apptap_scope *s, uid_t uid, struct apptap_error *err, const char *why,
		     ...)
{
	struct apptap_scope_uid *u;
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
	say_why(u->why, sizeof(u->why), why, ap);
	va_end(ap);
	return 0;
}

/* Folders in a path from the root: "/" has none. */
static uint32_t level_of(const char *path)
{
	uint32_t level = 0;

	for (; *path; path++)
		if (*path == '/' && path[1] && path[1] != '/')
			level++;
	return level;
}

int apptap_scope_add_cgroup(struct apptap_scope *s, uint64_t id, const char *path,
			    struct apptap_error *err, const char *why, ...)
{
	struct apptap_scope_cgroup *c;
	va_list ap;

	for (size_t i = 0; i < s->cgroup_count; i++)
		if (s->cgroups[i].id == id)
			return 0;
	if (s->cgroup_count == APPTAP_SCOPE_CGROUPS_MAX)
		return apptap_error_say(err, ENOSPC, "more than %d cgroups in one capture",
					APPTAP_SCOPE_CGROUPS_MAX);
	c = &s->cgroups[s->cgroup_count];
	apptap_text_clean(c->path, sizeof(c->path), path);
	if (strcmp(c->path, path) !=
	    0) /* what is below it is found by its path: that must be whole */
		return apptap_error_say(err, EINVAL,
					"the cgroup %s has a path that is too long or not text",
					c->path);
	s->cgroup_count++;
	c->id = id;
	c->level = level_of(path);
	va_start(ap, why);
	say_why(c->why, sizeof(c->why), why, ap);
	va_end(ap);
	return 0;
}

int apptap_scope_add_process(struct apptap_scope *s, pid_t pid, bool tree, struct apptap_error *err,
			     const char *why, ...)
{
	struct apptap_scope_process *p;
	va_list ap;

	for (size_t i = 0; i < s->process_count; i++)
		if (s->processes[i].pid == pid)
			return 0;
	if (s->process_count == APPTAP_SCOPE_PROCESSES_MAX)
		return apptap_error_say(err, ENOSPC, "more than %d processes in one capture",
					APPTAP_SCOPE_PROCESSES_MAX);
	p = &s->processes[s->process_count++];
	p->pid = pid;
	p->tree = tree;
	va_start(ap, why);
	say_why(p->why, sizeof(p->why), why, ap);
	va_end(ap);
	return 0;
}

bool apptap_scope_remove(struct apptap_scope *s, uid_t uid)
{
	for (size_t i = 0; i < s->uid_count; i++)
		if (s->uids[i].uid == uid) {
			s->uid_count--;
			memmove(&s->uids[i], &s->uids[i + 1],
				(s->uid_count - i) * sizeof(s->uids[0]));
			return true;
		}
	return false;
}
