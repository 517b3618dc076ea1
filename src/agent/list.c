/* list.c - what could be captured here: packages of a device, or programs that run */
#include "agent/list.h"

#include <errno.h>
#include <stdio.h>

#include "agent/report.h"
#include "scope/packages.h"
#include "scope/process.h"

#define PROGRAMS_MAX 8192u /* further ones are left out */

struct program {
	char name[APPTAP_PROCESS_NAME_SIZE];
	uid_t uid;
};

struct programs {
	struct program *at; /* owned */
	size_t count;
};

/* Gathers apps, and sends them when there are as many as an event holds. */
struct answer {
	int wire_fd;
	struct apptap_wire_event *ev; /* owned */
};

static void send_apps(struct answer *a, bool last)
{
	a->ev->apps.last = last;
	apptap_report_event(a->wire_fd, a->ev);
	a->ev->apps.app_count = 0;
}

static void put(struct answer *a, const char *name, uint32_t uid)
{
	struct apptap_wire_app *app;

	if (a->ev->apps.app_count == APPTAP_WIRE_APPS_MAX)
		send_apps(a, false);
	app = &a->ev->apps.apps[a->ev->apps.app_count++];
	snprintf(app->name, sizeof(app->name), "%s", name);
	app->uid = uid;
}

static int take_program(const struct apptap_process *p, void *arg)
{
	auto_close int dir = apptap_process_open(p->pid);
	struct programs *all = arg;
	struct apptap_proc_status st;
	struct program *one;

	if (dir < 0 || apptap_process_status(dir, &st) < 0 || !st.alive)
		return 0;
	if (!(all->count & (all->count - 1))) { /* full at every power of two */
		void *grown = realloc(all->at, MAX(2 * all->count, (size_t)1) * sizeof(*all->at));

		if (!grown)
			return -ENOMEM;
		all->at = grown;
	}
	one = &all->at[all->count++];
	one->uid = st.uid;
	snprintf(one->name, sizeof(one->name), "%s",
		 p->argv0[0] ? p->argv0
		 : p->exe[0] ? p->exe
			     : p->comm);
	return all->count == PROGRAMS_MAX ? 1 : 0;
}

static int by_name(const void *a, const void *b)
{
	const struct program *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : (x->uid > y->uid) - (x->uid < y->uid);
}

static int list_programs(struct answer *a, struct apptap_error *err)
{
	struct programs all = { 0 };
	int r = apptap_process_walk(NULL, take_program, &all, err);

	if (r == -ENOMEM)
		apptap_error_set(err, ENOMEM, "listing programs");
	if (all.count)
		qsort(all.at, all.count, sizeof(*all.at), by_name);
	for (size_t i = 0; r >= 0 && i < all.count; i++)
		if (i == 0 || by_name(&all.at[i - 1], &all.at[i]) != 0)
			put(a, all.at[i].name, all.at[i].uid);
	free(all.at);
	return r;
}

int apptap_list_apps_to(int wire_fd, struct apptap_error *err)
{
	auto_free struct apptap_wire_event *ev = calloc(1, sizeof(*ev));
	struct answer a = { .wire_fd = wire_fd, .ev = ev };
	struct apptap_packages packages = { 0 };
	int r = 0;

	if (!ev)
		return apptap_error_set(err, ENOMEM, "listing apps");
	ev->type = APPTAP_WIRE_EVENT_APPS;
	if (apptap_packages_read(&packages, NULL, NULL) >= 0)
		for (size_t i = 0; i < packages.count; i++)
			put(&a, packages.at[i].name, packages.at[i].app_id);
	else
		r = list_programs(&a, err);
	apptap_packages_free(&packages);
	if (r >= 0)
		send_apps(&a, true);
	return r;
}
