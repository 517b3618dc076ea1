/* target.c - what a START command is about, found on this machine: scope, watch, namespace */
#include "agent/target.h"

#include <errno.h>
#include <stdio.h>

#include "agent/netns.h"
#include "scope/android.h"
#include "scope/cgroup.h"
#include "scope/family.h"
#include "scope/resolver.h"

/* What all the steps need. */
struct search {
	struct apptap_agent_target *t;
	const struct apptap_start *cmd;
	pid_t host_pid;
	apptap_warn_fn warn;
	void *warn_arg;
};

static enum apptap_breadth breadth_of(const char *name)
{
	if (strcmp(name, "app") == 0)
		return APPTAP_BREADTH_APP;
	if (strcmp(name, "app+isolated") == 0)
		return APPTAP_BREADTH_APP_ISOLATED;
	return APPTAP_BREADTH_APP_ISOLATED_DNS;
}

/* ---- the network namespace ---- */

/* Some process of what is captured; 0: none is known. */
static pid_t some_process(const struct apptap_agent_target *t, const struct apptap_start *cmd)
{
	struct apptap_cgroup_root root = APPTAP_CGROUP_ROOT_CLOSED;
	pid_t pid = 0;

	if (cmd->command_pid || t->pid)
		return cmd->command_pid ? (pid_t)cmd->command_pid : t->pid;
	if (!t->scope.cgroup_count || apptap_cgroup_root_open(&root, NULL) < 0)
		return 0;
	pid = apptap_cgroup_some_process(&root, t->scope.cgroups[0].path);
	apptap_cgroup_root_close(&root);
	return pid;
}

static int enter(const struct search *s, struct apptap_error *err)
{
	struct apptap_agent_target *t = s->t;
	pid_t pid = 0;
	int r;

	if (s->cmd->netns[0]) {
		snprintf(t->netns, sizeof(t->netns), "%s", s->cmd->netns);
		return apptap_netns_enter(s->cmd->netns, err);
	}
	pid = some_process(t, s->cmd);
	r = pid ? apptap_netns_enter_process(pid, err) : 0;
	if (r > 0)
		snprintf(t->netns, sizeof(t->netns), "%d", (int)pid);
	return r < 0 ? r : 0;
}

/* ---- the scope ---- */

static bool is_by_process(const struct apptap_start *cmd)
{
	return cmd->tree || strcmp(cmd->scope, "process") == 0;
}

/* What is asked for is the host's child, which waits, and all that it will start. */
static int take_command(const struct search *s, struct apptap_error *err)
{
	pid_t pid = (pid_t)s->cmd->command_pid;
	char text[sizeof(err->msg) + 64];
	int r = apptap_command_group_new(&s->t->group, pid, s->host_pid, &s->t->scope, err);

	if (r == 0 || r == -EPERM || r == -ESRCH)
		return r;
	snprintf(text, sizeof(text),
		 "%.300s: its processes are followed instead, and the capture ends with the "
		 "command itself",
		 err->msg);
	s->warn(s->warn_arg, text);
	return apptap_scope_add_process(&s->t->scope, pid, true, err, "command");
}

/* A PID whose own sockets are meant, not those of its user. */
static int take_process(const struct search *s, struct apptap_error *err)
{
	struct apptap_scope *scope = &s->t->scope;
	char why[sizeof(scope->uids[0].why)];

	if (!s->t->pid) {
		apptap_error_say(err, EINVAL, "a scope of processes is for a PID");
		apptap_error_hint(err, "name the process by its number: --pid N");
		return -EINVAL;
	}
	snprintf(why, sizeof(why), "%s", scope->uids[0].why);
	memset(scope, 0, sizeof(*scope));
	return apptap_scope_add_process(scope, s->t->pid, s->cmd->tree, err, "%s", why);
}

static int find_scope(const struct search *s, struct apptap_target *target,
		      struct apptap_error *err)
{
	enum apptap_breadth wanted = target->breadth;
	bool resolver = wanted == APPTAP_BREADTH_APP_ISOLATED_DNS && !apptap_android_here();
	int r;

	/* The resolver of this machine is looked for in the namespace that we will be in. */
	if (resolver)
		target->breadth = APPTAP_BREADTH_APP_ISOLATED;
	if (s->cmd->command_pid)
		r = take_command(s, err);
	else
		r = apptap_scope_resolve(&s->t->scope, target, &s->t->pid, s->warn, s->warn_arg,
					 err);
	if (r == 0 && target->process_only)
		r = take_process(s, err);
	if (s->cmd->tree || s->cmd->command_pid)
		apptap_family_prepare(); /* before we leave this namespace */
	if (r == 0)
		r = enter(s, err);
	target->breadth = wanted;
	if (r == 0 && resolver && !s->t->scope.whole_device && !s->t->netns[0])
		apptap_resolver_add(&s->t->scope, APPTAP_RESOLV_CONF, s->warn, s->warn_arg);
	return r;
}

int apptap_agent_target_find(struct apptap_agent_target *t, const struct apptap_start *cmd,
			     pid_t host_pid, apptap_warn_fn warn, void *warn_arg,
			     struct apptap_error *err)
{
	struct search s = { t, cmd, host_pid, warn, warn_arg };
	uid_t uids[APPTAP_WIRE_UIDS_MAX];
	struct apptap_target target = {
		.name = cmd->name[0] ? cmd->name : NULL,
		.user = cmd->user[0] ? cmd->user : NULL,
		.android_user = cmd->android_user[0] ? cmd->android_user : NULL,
		.uids = cmd->uid_count ? uids : NULL,
		.uid_count = cmd->uid_count,
		.whole_device = cmd->whole_device,
		.cgroup = cmd->cgroup[0] ? cmd->cgroup : NULL,
		.unit = cmd->unit[0] ? cmd->unit : NULL,
		.container = cmd->container[0] ? cmd->container : NULL,
		.breadth = breadth_of(cmd->breadth),
		.process_only = is_by_process(cmd),
	};
	int r;

	for (uint32_t i = 0; i < cmd->uid_count; i++)
		uids[i] = cmd->uids[i];
	r = find_scope(&s, &target, err);
	if (r == 0)
		r = apptap_scope_watch_new(&t->watch, &target, t->pid, &t->scope, warn, warn_arg,
					   err);
	if (r == 0)
		r = apptap_installed_new(&t->installed, &target, &t->scope, warn, warn_arg, err);
	if (r < 0 || !apptap_android_here() || target.whole_device || t->scope.cgroup_count ||
	    target.breadth == APPTAP_BREADTH_APP)
		return r;
	r = apptap_isolated_new(&t->isolated, &t->scope, target.name, err);
	if (r >= 0)
		apptap_isolated_rescan(t->isolated); /* those that run already */
	return r;
}

void apptap_agent_target_close(struct apptap_agent_target *t)
{
	apptap_scope_watch_free(t->watch);
	apptap_command_group_free(t->group);
	apptap_isolated_free(t->isolated);
	apptap_installed_free(t->installed);
	t->watch = NULL;
	t->group = NULL;
	t->isolated = NULL;
	t->installed = NULL;
}
