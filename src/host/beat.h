/* beat.h - tells an agent on another machine, every so often, that its host is still there */
#ifndef APPTAP_HOST_BEAT_H
#define APPTAP_HOST_BEAT_H

#include "base/error.h"

struct apptap_beat;

/*
 * Writes a command to @fd, borrowed until stop, every @every_ms, from a thread of its own: whoever
 * reads the capture may take its time, and the owner of the conversation then waits for him.
 */
int apptap_beat_start(struct apptap_beat **out, int fd, uint32_t every_ms,
		      struct apptap_error *err);
void apptap_beat_stop(struct apptap_beat *b); /* NULL is fine */

#endif
