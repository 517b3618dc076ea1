/* run.h - a whole capture as the host sees it: output, dialog with the agent, all that it came to
 */
#ifndef APPTAP_HOST_RUN_H
#define APPTAP_HOST_RUN_H

#include "host/dialog.h"

#define APPTAP_RUN_WARNINGS_MAX 1000
#define APPTAP_RUN_WARNING_BYTES sizeof(((struct apptap_wire_event *)0)->warning)

/* All that a capture came to. */
struct apptap_outcome {
	bool is_ready; /* it did capture: ready is filled */
	bool is_done; /* the agent told its end: done is filled */
	struct apptap_event_ready ready;
	struct apptap_event_done done;
	struct apptap_conn_record *conns; /* owned */
	size_t conn_count;
	char (*warnings)[APPTAP_RUN_WARNING_BYTES]; /* owned */
	size_t warning_count;
	uint64_t warnings_more; /* not kept */
	struct apptap_clock_difference clock;
};

/*
 * One capture. Zeroed, with its output closed, is "not begun"; the handler's functions (each may be
 * NULL) run within apptap_run_go() and may call stop and abandon.
 */
struct apptap_run {
	struct apptap_outcome outcome;
	struct apptap_output output; /* owned: opened by the caller, closed by apptap_run_free() */
	struct apptap_dialog_handler handler;
	struct apptap_dialog *dialog; /* owned; NULL unless it goes on */
	enum apptap_failure failure; /* of what sort, when go() failed */
	bool stopped;
	bool abandoned;
};

/*
 * Captures as @start says from its first event to its last, into run->output (closed: into no
 * file). An output that was made for nothing is removed again. Return: 0 the file is complete and
 * the outcome filled; -errno: run->failure says of what sort, the outcome what there was.
 */
int apptap_run_go(struct apptap_run *run, struct apptap_executor *executor,
		  struct apptap_start *start, struct apptap_error *err);

void apptap_run_stop(struct apptap_run *run); /* asks for the end; at any time, even before go() */
void apptap_run_abandon(struct apptap_run *run); /* waits for no slow reader any more */
void apptap_run_free(struct apptap_run *run); /* what it owns; not @run itself */

#endif
