/* list.c - what there is to capture on this machine: packages, or programs that run */
#include "agent/list.h"

#include <errno.h>
#include <stdio.h>

#include "agent/report.h"
#include "scope/android.h"
#include "scope/packages.h"
#include "scope/process.h"

static int take_process(const struct apptap_process *p, void *arg)
{
	auto_close int dir = apptap_process_open(p->pid);
	struct apptap_proc_status st;

	if (dir < 0 || apptap_process_status(dir, &st) < 0 || !st.alive)
		return 0;
	return MIN(apptap_packages_append(arg, p->comm, st.uid), 0);
}

static int by_name(const void *a, const void *b)
{
	const struct apptap_package *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : (x->app_id > y->app_id) - (x->app_id < y->app_id);
}

static void report(int wire_fd, const struct apptap_packages *all)
{
	auto_free struct apptap_wire_event *ev = calloc(1, sizeof(*ev));

	if (!ev)
		return;
	ev->type = APPTAP_WIRE_EVENT_APPS;
	for (size_t i = 0; i < all->count; i++) {
		struct apptap_wire_app *app = &ev->apps.apps[ev->apps.app_count];

		if (i && by_name(&all->at[i - 1], &all->at[i]) == 0)
			continue;
		if (ev->apps.app_count == APPTAP_WIRE_APPS_MAX) {
			ev->apps.more = true;
			apptap_report_event(wire_fd, ev);
			ev->apps.app_count = 0;
			app = ev->apps.apps;
		}
		app->uid = all->at[i].app_id;
		snprintf(app->name, sizeof(app->name), "%s", all->at[i].name);
		ev->apps.app_count++;
	}
	ev->apps.more = false;
	apptap_report_event(wire_fd, ev);
}

int apptap_list_report(int wire_fd, struct apptap_error *err)
{
	struct apptap_packages all = { 0 };
	int r = apptap_android_here() ? apptap_packages_read(&all, NULL, err)
				      : apptap_process_walk(NULL, take_process, &all, err);

	if (r >= 0) {
		if (all.count)
			qsort(all.at, all.count, sizeof(*all.at), by_name);
		report(wire_fd, &all);
	}
	apptap_packages_free(&all);
	return MIN(r, 0);
}
