/* cmd_cleanup.c - remove what an earlier capture may have left */
#include <inttypes.h>

#include "cmd.h"
#include "host/dialog.h"
#include "result.h"
#include "terminal.h"
#include "where.h"

static void take_event(void *arg, const struct apptap_wire_event *ev)
{
	struct apptap_event_cleanup *out = arg;

	if (ev->type == APPTAP_WIRE_EVENT_CLEANUP)
		*out = ev->cleanup;
}

static void say_removed(const char *what, uint64_t count)
{
	if (count)
		printf("%s: %" PRIu64 " removed\n", what, count);
	else
		printf("%s: none\n", what);
}

static void print(const struct apptap_event_cleanup *c)
{
	printf("agents without a host: ");
	if (c->agents_ended)
		printf("%" PRIu64 " ended", c->agents_ended);
	else
		printf("none");
	printf(" (%" PRIu64 " processes looked at)\n", c->processes_checked);
	if (c->agents_live)
		printf("captures that run now: %" PRIu64 ", left alone\n", c->agents_live);
	say_removed("cgroups of commands that have ended", c->cgroups_removed);
	say_removed("files of earlier captures", c->files_removed);
	if (c->files_in_use)
		printf("files of captures that start or run: %" PRIu64
		       ", left alone; if none does, clean up again in a few seconds\n",
		       c->files_in_use);
	for (uint32_t i = 0; i < c->left_count; i++)
		printf("left: %s, a capture of %" PRIu64 " bytes that was not fetched, %" PRIu64
		       " minutes old; fetch it, or remove it\n",
		       c->left[i].path, c->left[i].bytes, c->left[i].age_s / 60);
	if (c->captures_left > c->left_count)
		printf("left: %" PRIu64 " more of that kind\n", c->captures_left - c->left_count);
	/* All else that a tier has in the kernel goes with its process. */
	say_removed("chains of iptables", c->chains_removed);
	say_removed("filters of tc", c->filters_removed);
}

int apptap_cmd_cleanup(struct apptap_options *o, struct apptap_error *err)
{
	struct apptap_event_cleanup found = { 0 };
	struct apptap_dialog_handler handler = { .arg = &found,
						 .event = take_event,
						 .wake_fd = -1 };
	struct apptap_dialog *session = NULL;
	struct apptap_executor *executor = NULL;
	int r = apptap_where_open(&executor, o, err);

	if (r >= 0)
		r = apptap_dialog_open(&session, executor, &handler, err);
	if (r >= 0)
		r = apptap_dialog_ask(session, APPTAP_COMMAND_CLEANUP, err);
	apptap_dialog_close(session);
	apptap_executor_free(executor);
	if (r < 0)
		return APPTAP_EXIT_FAILED;
	if (o->json)
		apptap_jsonout_cleanup(&found, stdout);
	else
		print(&found);
	return APPTAP_EXIT_DONE;
}
