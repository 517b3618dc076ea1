/* dialog.h - one conversation with an agent: start, ready, events, stop, result */
#ifndef APPTAP_HOST_DIALOG_H
#define APPTAP_HOST_DIALOG_H

#include "host/executor.h"
#include "host/output.h"
#include "wire/conn_record.h"
#include "wire/message.h"

struct apptap_dialog;

/* What the session tells its owner while it waits; each may be NULL. */
struct apptap_dialog_handler {
	void *arg;
	void (*event)(void *arg, const struct apptap_wire_event *ev); /* borrowed for the call */
	void (*connection)(void *arg,
			   const struct apptap_conn_record *conn); /* of the final list */
	/* start->live_connections: @conn has just begun, or ended; start->live_packets: records of
	 * wire/packet_record.h; -errno ends the conversation */
	void (*news)(void *arg, const struct apptap_conn_record *conn, bool ended);
	int (*packets)(void *arg, struct apptap_view records, struct apptap_error *err);
	void (*log)(void *arg, const char *line); /* the agent's diagnostics, made clean */
	int wake_fd; /* -1: none; borrowed */
	void (*wake)(void *arg); /* wake_fd can be read: the owner does so, and may call stop */
};

/* Starts an agent and exchanges greetings. @executor is borrowed until close, @h is copied. */
int apptap_dialog_open(struct apptap_dialog **out, struct apptap_executor *executor,
		       const struct apptap_dialog_handler *h, struct apptap_error *err);

/*
 * Captures as @start says into @output (borrowed until close): hands its descriptor over where that
 * can be done, else receives the bytes; NULL: there is no file. start->stream and no_file are set
 * accordingly. Returns when packets are being captured.
 */
int apptap_dialog_start(struct apptap_dialog *s, struct apptap_start *start,
			struct apptap_output *output, struct apptap_error *err);

/* Asks for a PROBE, CLEANUP or LIST; its answer goes to the handler. */
int apptap_dialog_ask(struct apptap_dialog *s, enum apptap_command_type type,
		      struct apptap_error *err);

/* Lets the capture run to its end. 0: DONE came and says so; the file is complete. */
int apptap_dialog_run(struct apptap_dialog *s, struct apptap_error *err);

void apptap_dialog_stop(struct apptap_dialog *s); /* asks for the end; may be called twice */
void apptap_dialog_abandon(struct apptap_dialog *s); /* waits for nothing any more */

/* How far the target's CLOCK_REALTIME, which times the packets, is ahead of ours. */
struct apptap_clock_difference {
	bool known; /* on this machine there is none to ask for */
	int64_t ahead_ns;
	uint64_t uncertain_ns; /* give or take: half the time that the question took */
};

struct apptap_clock_difference apptap_dialog_clock(const struct apptap_dialog *s);

/* The sort of the failure that the last call returned. */
enum apptap_failure apptap_dialog_failure(const struct apptap_dialog *s);

/* Ends the agent if it still runs, and waits until it has gone. NULL is fine. */
void apptap_dialog_close(struct apptap_dialog *s);

#endif
