/* run.c - a whole capture as the host sees it: output, dialog with the agent, all that it came to
 */
#include "host/run.h"

#include <errno.h>
#include <stdio.h>

static void keep_warning(struct apptap_outcome *o, const char *text)
{
	void *grown;

	if (o->warning_count == APPTAP_RUN_WARNINGS_MAX) {
		o->warnings_more++;
		return;
	}
	grown = realloc(o->warnings, (o->warning_count + 1) * sizeof(*o->warnings));
	if (!grown)
		return;
	o->warnings = grown;
	snprintf(o->warnings[o->warning_count++], sizeof(*o->warnings), "%s", text);
}

/* UIDs that belong to the app since a moment ago; those that did before stay in the outcome. */
static void take_scope(struct apptap_event_ready *all, const struct apptap_event_ready *now)
{
	for (uint32_t i = 0; i < now->uid_count; i++) {
		bool known = false;

		for (uint32_t k = 0; k < all->uid_count; k++)
			known |= all->uids[k].uid == now->uids[i].uid;
		if (!known && all->uid_count < APPTAP_WIRE_UIDS_MAX)
			all->uids[all->uid_count++] = now->uids[i];
	}
}

static void take_event(void *arg, const struct apptap_wire_event *ev)
{
	struct apptap_run *run = arg;

	switch (ev->type) {
	case APPTAP_WIRE_EVENT_READY:
		run->outcome.ready = ev->ready;
		run->outcome.is_ready = true;
		break;
	case APPTAP_WIRE_EVENT_SCOPE:
		take_scope(&run->outcome.ready, &ev->ready);
		break;
	case APPTAP_WIRE_EVENT_WARNING:
		keep_warning(&run->outcome, ev->warning);
		break;
	case APPTAP_WIRE_EVENT_DONE:
		run->outcome.done = ev->done;
		run->outcome.is_done = true;
		break;
	default:
		break;
	}
	if (run->handler.event)
		run->handler.event(run->handler.arg, ev);
}

static void take_connection(void *arg, const struct apptap_conn_record *conn)
{
	struct apptap_run *run = arg;
	struct apptap_outcome *o = &run->outcome;

	if (!(o->conn_count & (o->conn_count - 1))) { /* full at every power of two */
		void *grown = realloc(o->conns, MAX(2 * o->conn_count, (size_t)1) * sizeof(*conn));

		if (!grown)
			return;
		o->conns = grown;
	}
	o->conns[o->conn_count++] = *conn;
	if (run->handler.connection)
		run->handler.connection(run->handler.arg, conn);
}

static void take_news(void *arg, const struct apptap_conn_record *conn, bool ended)
{
	const struct apptap_run *run = arg;

	if (run->handler.news)
		run->handler.news(run->handler.arg, conn, ended);
}

static int take_packets(void *arg, struct apptap_view records, struct apptap_error *err)
{
	const struct apptap_run *run = arg;

	return run->handler.packets ? run->handler.packets(run->handler.arg, records, err) : 0;
}

static void take_log(void *arg, const char *line)
{
	const struct apptap_run *run = arg;

	if (run->handler.log)
		run->handler.log(run->handler.arg, line);
}

static void take_wake(void *arg)
{
	const struct apptap_run *run = arg;

	run->handler.wake(run->handler.arg);
}

static int converse(struct apptap_run *run, struct apptap_executor *executor,
		    struct apptap_start *start, struct apptap_error *err)
{
	struct apptap_dialog_handler handler = {
		.arg = run,
		.event = take_event,
		.connection = take_connection,
		.news = take_news,
		.packets = take_packets,
		.log = take_log,
		.wake_fd = run->handler.wake ? run->handler.wake_fd : -1,
		.wake = take_wake,
	};
	int r = apptap_dialog_open(&run->dialog, executor, &handler, err);

	if (r < 0)
		return r;
	if (run->stopped) /* before there was anything to stop */
		apptap_dialog_stop(run->dialog);
	if (run->abandoned)
		apptap_dialog_abandon(run->dialog);
	r = apptap_dialog_start(run->dialog, start, run->output.fd < 0 ? NULL : &run->output, err);
	return r < 0 ? r : apptap_dialog_run(run->dialog, err);
}

int apptap_run_go(struct apptap_run *run, struct apptap_executor *executor,
		  struct apptap_start *start, struct apptap_error *err)
{
	int r = converse(run, executor, start, err);

	run->failure =
		r < 0 && run->dialog ? apptap_dialog_failure(run->dialog) : APPTAP_FAILURE_NONE;
	if (run->dialog)
		run->outcome.clock = apptap_dialog_clock(run->dialog);
	if (!run->outcome.is_ready || (r < 0 && apptap_output_is_empty(&run->output)))
		apptap_output_remove(&run->output);
	else if (r >= 0 && !apptap_output_is_there(&run->output))
		r = apptap_error_say(err, ENOENT,
				     "the file '%s' was removed while it was written: its "
				     "packets are lost",
				     run->output.path);
	if (r < 0 && run->failure == APPTAP_FAILURE_NONE)
		run->failure = APPTAP_FAILURE_OTHER;
	apptap_dialog_close(run->dialog);
	run->dialog = NULL;
	return r;
}

void apptap_run_stop(struct apptap_run *run)
{
	run->stopped = true;
	if (run->dialog)
		apptap_dialog_stop(run->dialog);
}

void apptap_run_abandon(struct apptap_run *run)
{
	run->abandoned = true;
	if (run->dialog)
		apptap_dialog_abandon(run->dialog);
}

void apptap_run_free(struct apptap_run *run)
{
	apptap_output_close(&run->output);
	free(run->outcome.conns);
	free(run->outcome.warnings);
	memset(&run->outcome, 0, sizeof(run->outcome));
}
