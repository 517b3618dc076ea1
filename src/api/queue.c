/* queue.c - packets between the session's thread, which gets them, and the one that reads them */
#include "api/queue.h"

#include <errno.h>
#include <pthread.h>

#define UNREAD_MAX ((size_t)16 << 20)
#define LOOK_AGAIN_MS 50 /* @hurry comes without a signal: a signal handler may set it */

struct chunk {
	struct chunk *next; /* owned */
	size_t len;
	uint8_t bytes[] __attribute__((aligned(8)));
};

struct apptap_queue {
	const atomic_bool *hurry; /* borrowed */
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	struct chunk *first; /* owned */
	struct chunk **last;
	size_t unread;
	bool ended;

	struct chunk *reading; /* owned by the reader: what its packets point into */
	struct apptap_packet *packets; /* owned by the reader */
	size_t room;
};

void apptap_deadline(struct timespec *out, int timeout_ms)
{
	uint64_t ns = apptap_clock_ns(CLOCK_MONOTONIC);

	if (timeout_ms > 0)
		ns += (uint64_t)timeout_ms * APPTAP_NSEC_PER_MSEC;
	out->tv_sec = (time_t)(ns / APPTAP_NSEC_PER_SEC);
	out->tv_nsec = (long)(ns % APPTAP_NSEC_PER_SEC);
}

int apptap_queue_new(struct apptap_queue **out, const atomic_bool *hurry, struct apptap_error *err)
{
	struct apptap_queue *q = calloc(1, sizeof(*q));
	pthread_condattr_t attr;

	if (!q)
		return apptap_error_set(err, ENOMEM, "allocating a queue of packets");
	q->hurry = hurry;
	q->last = &q->first;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->changed, &attr);
	pthread_condattr_destroy(&attr);
	*out = q;
	return 0;
}

void apptap_queue_free(struct apptap_queue *q)
{
	if (!q)
		return;
	while (q->first) {
		struct chunk *c = q->first;

		q->first = c->next;
		free(c);
	}
	free(q->reading);
	free(q->packets);
	pthread_cond_destroy(&q->changed);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

int apptap_queue_put(struct apptap_queue *q, struct apptap_view records, struct apptap_error *err)
{
	struct chunk *c = malloc(sizeof(*c) + records.left);

	if (!c)
		return apptap_error_set(err, ENOMEM, "keeping packets to be read");
	c->next = NULL;
	c->len = records.left;
	memcpy(c->bytes, records.p, records.left);
	pthread_mutex_lock(&q->lock);
	while (q->unread > UNREAD_MAX && !atomic_load(q->hurry)) {
		struct timespec end;

		apptap_deadline(&end, LOOK_AGAIN_MS);
		pthread_cond_timedwait(&q->changed, &q->lock, &end);
	}
	*q->last = c;
	q->last = &c->next;
	q->unread += c->len;
	pthread_cond_broadcast(&q->changed);
	pthread_mutex_unlock(&q->lock);
	return 0;
}

void apptap_queue_end(struct apptap_queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->ended = true;
	pthread_cond_broadcast(&q->changed);
	pthread_mutex_unlock(&q->lock);
}

/* The oldest chunk, which becomes the reader's. Return: 1, 0 time ran out, -ENODATA. */
static int take_chunk(struct apptap_queue *q, int timeout_ms)
{
	struct timespec end;
	int r = 1;

	apptap_deadline(&end, timeout_ms);
	pthread_mutex_lock(&q->lock);
	while (!q->first && !q->ended && r) {
		if (timeout_ms < 0)
			pthread_cond_wait(&q->changed, &q->lock);
		else if (pthread_cond_timedwait(&q->changed, &q->lock, &end) == ETIMEDOUT)
			r = 0;
	}
	if (q->first) {
		q->reading = q->first;
		q->first = q->reading->next;
		if (!q->first)
			q->last = &q->first;
		q->unread -= q->reading->len;
		pthread_cond_broadcast(&q->changed);
		r = 1;
	} else if (q->ended) {
		r = -ENODATA;
	}
	pthread_mutex_unlock(&q->lock);
	return r;
}

static int make_room(struct apptap_queue *q, struct apptap_error *err)
{
	size_t room = q->reading->len / APPTAP_PACKET_RECORD_BYTES; /* no record is smaller */
	struct apptap_packet *packets;

	if (room <= q->room)
		return 0;
	packets = realloc(q->packets, room * sizeof(*packets));
	if (!packets)
		return apptap_error_set(err, ENOMEM, "allocating room for packets");
	q->packets = packets;
	q->room = room;
	return 0;
}

int apptap_queue_get(struct apptap_queue *q, struct apptap_unpacker *u, int timeout_ms,
		     const struct apptap_packet **packets, struct apptap_error *err)
{
	struct apptap_view v;
	int count = 0;
	int r;

	do { /* a chunk may hold interfaces alone */
		free(q->reading);
		q->reading = NULL;
		r = take_chunk(q, timeout_ms);
		if (r == -ENODATA)
			return apptap_error_say(err, ENODATA, "the capture is over");
		if (r > 0)
			r = make_room(q, err);
		if (r < 0 || !q->reading)
			return r;
		v = (struct apptap_view){ q->reading->bytes, q->reading->len };
		while ((r = apptap_unpacker_next(u, &v, &q->packets[count], err)) > 0)
			count++;
		if (r < 0)
			return r;
	} while (!count);
	*packets = q->packets;
	return count;
}
