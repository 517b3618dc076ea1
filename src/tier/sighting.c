/* sighting.c - a queue of what the kernel said, from one thread to one other */
#include "tier/sighting.h"

#include <errno.h>
#include <stdatomic.h>

struct apptap_sighting_queue {
	_Alignas(64) _Atomic size_t head; /* next to write; the writer's */
	_Alignas(64) _Atomic size_t tail; /* next to read; the reader's */
	size_t scanned; /* shown up to here; the reader's */
	size_t mask;
	struct apptap_sighting slots[];
};

int apptap_sighting_queue_new(struct apptap_sighting_queue **out, size_t capacity)
{
	struct apptap_sighting_queue *q;
	size_t size = sizeof(*q) + capacity * sizeof(q->slots[0]);

	q = aligned_alloc(64, (size + 63) & ~(size_t)63);
	if (!q)
		return -ENOMEM;
	memset(q, 0, sizeof(*q)); /* not the slots: pages that are never used cost nothing */
	q->mask = capacity - 1;
	*out = q;
	return 0;
}

bool apptap_sighting_queue_push(struct apptap_sighting_queue *q, const struct apptap_sighting *s)
{
	size_t head = atomic_load_explicit(&q->head, memory_order_relaxed);

	if (head - atomic_load_explicit(&q->tail, memory_order_acquire) > q->mask)
		return false;
	q->slots[head & q->mask] = *s;
	atomic_store_explicit(&q->head, head + 1, memory_order_release);
	return true;
}

bool apptap_sighting_queue_pop(struct apptap_sighting_queue *q, uint64_t until_ns,
			       struct apptap_sighting *s)
{
	size_t tail = atomic_load_explicit(&q->tail, memory_order_relaxed);

	if (tail == atomic_load_explicit(&q->head, memory_order_acquire) ||
	    q->slots[tail & q->mask].pkt_ns > until_ns)
		return false;
	*s = q->slots[tail & q->mask];
	atomic_store_explicit(&q->tail, tail + 1, memory_order_release);
	return true;
}

void apptap_sighting_queue_scan(struct apptap_sighting_queue *q,
				void (*each)(const struct apptap_sighting *s, void *arg), void *arg)
{
	size_t head = atomic_load_explicit(&q->head, memory_order_acquire);
	size_t tail = atomic_load_explicit(&q->tail, memory_order_relaxed);

	if (q->scanned - tail > q->mask + 1)
		q->scanned = tail; /* popped before it was shown */
	for (; q->scanned != head; q->scanned++)
		each(&q->slots[q->scanned & q->mask], arg);
}

void apptap_sighting_queue_free(struct apptap_sighting_queue *q)
{
	free(q);
}
