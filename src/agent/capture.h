/* capture.h - one running capture of the agent: scope, tier, connections, sink, limits */
#ifndef APPTAP_AGENT_CAPTURE_H
#define APPTAP_AGENT_CAPTURE_H

#include <poll.h>

#include "wire/message.h"

struct apptap_capture;

enum { APPTAP_CAPTURE_FDS = 2 };

/*
 * Starts what @cmd asks for and says READY on @wire_fd; on return packets are being captured.
 * @host_pid: who greeted us, as he says. Takes @file_fd (-1: stream to @wire_fd, or no file). On
 * failure @failure says of what sort it was.
 */
int apptap_capture_start(struct apptap_capture **out, const struct apptap_start *cmd,
			 pid_t host_pid, int file_fd, int wire_fd, enum apptap_failure *failure,
			 struct apptap_error *err);

/* What to wait for: fills @p, returns the milliseconds to the next deadline. */
int apptap_capture_wait(const struct apptap_capture *c, struct pollfd p[APPTAP_CAPTURE_FDS]);

/* Does what is due. true: goes on; false: a limit is reached, or it failed: call finish. */
bool apptap_capture_step(struct apptap_capture *c, const struct pollfd p[APPTAP_CAPTURE_FDS]);

/* Drains, completes the file, and reports CONNECTIONS and DONE. */
void apptap_capture_finish(struct apptap_capture *c);

void apptap_capture_free(struct apptap_capture *c); /* NULL is fine, so is a half-started one */

#endif
