/* where.c - what is asked of a machine without a capture: its tiers, and what was left on it */
#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "api/start.h"
#include "host/dialog.h"

struct tier_list {
	struct apptap_tier_list pub;
	struct apptap_tier_status tiers[APPTAP_WIRE_TIERS_MAX];
	struct apptap_event_probe found; /* what the texts point into */
};

struct app_list {
	struct apptap_app_list pub;
	struct apptap_app *apps; /* owned */
	struct apptap_wire_app *found; /* owned; what the names point into */
};

struct answer {
	enum apptap_wire_event_type wanted;
	struct apptap_event_probe probe;
	struct apptap_event_cleanup cleanup;
	struct app_list *list; /* borrowed; of apps */
	bool came;
	bool no_memory;
};

static void add_apps(struct answer *a, const struct apptap_event_apps *some)
{
	struct app_list *l = a->list;
	size_t count = l->pub.app_count + some->app_count;
	void *grown = realloc(l->found, (count + 1) * sizeof(*l->found));

	if (!grown) {
		a->no_memory = true;
		return;
	}
	l->found = grown;
	memcpy(l->found + l->pub.app_count, some->apps, some->app_count * sizeof(*l->found));
	l->pub.app_count = count;
}

static void take_event(void *arg, const struct apptap_wire_event *ev)
{
	struct answer *a = arg;

	if (ev->type != a->wanted)
		return;
	a->came = true;
	if (ev->type == APPTAP_WIRE_EVENT_PROBE)
		a->probe = ev->probe;
	else if (ev->type == APPTAP_WIRE_EVENT_APPS)
		add_apps(a, &ev->apps);
	else
		a->cleanup = ev->cleanup;
}

/* One question, by an agent of its own. */
static int converse(const struct apptap_options *where, enum apptap_command_type type,
		    struct answer *a, struct apptap_error *err)
{
	struct apptap_dialog_handler handler = { .arg = a, .event = take_event, .wake_fd = -1 };
	struct apptap_executor *executor = NULL;
	struct apptap_dialog *dialog = NULL;
	struct apptap_plan plan;
	int r = apptap_plan_where(&plan, where, err);

	if (r < 0)
		return r;
	r = apptap_plan_executor(&plan, &executor, err);
	if (r >= 0)
		r = apptap_dialog_open(&dialog, executor, &handler, err);
	if (r >= 0)
		r = apptap_dialog_ask(dialog, type, err);
	apptap_dialog_close(dialog);
	apptap_executor_free(executor);
	apptap_plan_free(&plan);
	if (r >= 0 && !a->came)
		r = apptap_error_say(err, EPROTO, "the agent gave no answer");
	return r;
}

/* An agent that is gone is an error here, and no SIGPIPE for the caller. */
static int ask(const struct apptap_options *where, enum apptap_command_type type, struct answer *a,
	       struct apptap_error *err)
{
	const struct timespec at_once = { 0 };
	sigset_t pipe, before, pending;
	bool was_pending;
	int r;

	sigpending(&pending);
	was_pending = sigismember(&pending, SIGPIPE);
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe, &before);
	r = converse(where, type, a, err);
	if (!was_pending)
		while (sigtimedwait(&pipe, NULL, &at_once) < 0 && errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}

int apptap_probe(const struct apptap_options *where, struct apptap_tier_list **list,
		 struct apptap_error *err)
{
	auto_free struct answer *a = calloc(1, sizeof(*a));
	struct tier_list *l;
	int r;

	if (!a)
		return apptap_error_set(err, ENOMEM, "allocating an answer");
	a->wanted = APPTAP_WIRE_EVENT_PROBE;
	r = ask(where, APPTAP_COMMAND_PROBE, a, err);
	if (r < 0)
		return r;
	l = calloc(1, sizeof(*l));
	if (!l)
		return apptap_error_set(err, ENOMEM, "allocating the list of tiers");
	l->found = a->probe;
	for (uint32_t i = 0; i < l->found.tier_count; i++)
		l->tiers[i] = (struct apptap_tier_status){
			.name = l->found.tiers[i].name,
			.gist = l->found.tiers[i].gist,
			.reason = l->found.tiers[i].reason,
			.hint = l->found.tiers[i].hint,
			.works = l->found.tiers[i].works,
		};
	l->pub = (struct apptap_tier_list){
		.tiers = l->tiers,
		.tier_count = l->found.tier_count,
		.system = l->found.system,
	};
	*list = &l->pub;
	return 0;
}

void apptap_tier_list_free(struct apptap_tier_list *list)
{
	free(list); /* the public part is the first */
}

int apptap_cleanup(const struct apptap_options *where, struct apptap_cleaned *out,
		   struct apptap_error *err)
{
	auto_free struct answer *a = calloc(1, sizeof(*a));
	struct apptap_cleaned all = { 0 };
	int r;

	if (!a)
		return apptap_error_set(err, ENOMEM, "allocating an answer");
	a->wanted = APPTAP_WIRE_EVENT_CLEANUP;
	r = ask(where, APPTAP_COMMAND_CLEANUP, a, err);
	if (r < 0 || !out)
		return r;
	all.size = MIN(out->size, sizeof(all));
	all.processes_checked = a->cleanup.processes_checked;
	all.agents_ended = a->cleanup.agents_ended;
	all.agents_live = a->cleanup.agents_live;
	all.files_removed = a->cleanup.files_removed;
	all.chains_removed = a->cleanup.chains_removed;
	all.cgroups_removed = a->cleanup.cgroups_removed;
	all.filters_removed = a->cleanup.filters_removed;
	all.files_in_use = a->cleanup.files_in_use;
	all.captures_left = a->cleanup.captures_left;
	memcpy(out, &all, all.size);
	return 0;
}

int apptap_list_apps(const struct apptap_options *where, struct apptap_app_list **list,
		     struct apptap_error *err)
{
	auto_free struct answer *a = calloc(1, sizeof(*a));
	struct app_list *l = calloc(1, sizeof(*l));
	int r = -ENOMEM;

	if (a && l) {
		a->wanted = APPTAP_WIRE_EVENT_APPS;
		a->list = l;
		r = ask(where, APPTAP_COMMAND_LIST, a, err);
		if (r >= 0)
			l->apps = calloc(l->pub.app_count + 1, sizeof(*l->apps));
		if (r >= 0 && (a->no_memory || !l->apps))
			r = -ENOMEM;
	}
	if (r == -ENOMEM)
		apptap_error_set(err, ENOMEM, "allocating the list of apps");
	if (r < 0) {
		apptap_app_list_free(l ? &l->pub : NULL);
		return r;
	}
	for (size_t i = 0; i < l->pub.app_count; i++)
		l->apps[i] =
			(struct apptap_app){ .name = l->found[i].name, .uid = l->found[i].uid };
	l->pub.apps = l->apps;
	*list = &l->pub;
	return 0;
}

void apptap_app_list_free(struct apptap_app_list *list)
{
	struct app_list *l = (struct app_list *)(void *)list;

	if (!l)
		return;
	free(l->apps);
	free(l->found);
	free(l);
}
