/* cmd_list.c - say what there is to capture: packages, or programs that run */
#include <inttypes.h>
#include <jansson.h>

#include "cmd.h"
#include "host/dialog.h"
#include "result.h"
#include "terminal.h"
#include "where.h"

static void take_event(void *arg, const struct apptap_wire_event *ev)
{
	json_t *apps = arg;

	for (uint32_t i = 0; ev->type == APPTAP_WIRE_EVENT_APPS && i < ev->apps.app_count; i++) {
		const struct apptap_wire_app *app = &ev->apps.apps[i];

		if (apps)
			json_array_append_new(apps,
					      json_pack("{s:I,s:s}", "uid", (json_int_t)app->uid,
							"name", app->name));
		else
			printf("%-10" PRIu32 " %s\n", app->uid, app->name);
	}
}

int apptap_cmd_list(struct apptap_options *o, struct apptap_error *err)
{
	json_t *apps = o->json ? json_array() : NULL;
	struct apptap_dialog_handler handler = { .arg = apps, .event = take_event, .wake_fd = -1 };
	struct apptap_dialog *dialog = NULL;
	struct apptap_executor *executor = NULL;
	int r = apptap_where_open(&executor, o, err);

	if (r >= 0)
		r = apptap_dialog_open(&dialog, executor, &handler, err);
	if (r >= 0)
		r = apptap_dialog_ask(dialog, APPTAP_COMMAND_LIST, err);
	apptap_dialog_close(dialog);
	apptap_executor_free(executor);
	if (r >= 0 && apps) {
		json_dumpf(apps, stdout, JSON_COMPACT);
		putchar('\n');
	}
	json_decref(apps);
	return r < 0 ? APPTAP_EXIT_FAILED : APPTAP_EXIT_DONE;
}
