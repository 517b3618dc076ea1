/* queue.h - packets between the session's thread, which gets them, and the one that reads them */
#ifndef APPTAP_API_QUEUE_H
#define APPTAP_API_QUEUE_H

#include <stdatomic.h>

#include "api/convert.h"

struct apptap_queue;

/* @hurry, borrowed: once true, nothing waits for the reader any more. */
int apptap_queue_new(struct apptap_queue **out, const atomic_bool *hurry, struct apptap_error *err);
void apptap_queue_free(struct apptap_queue *q); /* NULL is fine */

/* Copies @records. Waits while too much is unread. */
int apptap_queue_put(struct apptap_queue *q, struct apptap_view records, struct apptap_error *err);
void apptap_queue_end(struct apptap_queue *q); /* nothing comes any more */

/*
 * The next batch, borrowed until the next call. Return: packets in it, 0 time ran out, -ENODATA it
 * has ended and all was read, -EPROTO.
 */
int apptap_queue_get(struct apptap_queue *q, struct apptap_unpacker *u, int timeout_ms,
		     const struct apptap_packet **packets, struct apptap_error *err);

/* @timeout_ms from now, on CLOCK_MONOTONIC. */
void apptap_deadline(struct timespec *out, int timeout_ms);

#endif
