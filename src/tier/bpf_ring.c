/*
 * bpf_ring.c - the records of the programs in the kernel, in order of time (BPF_MAP_TYPE_RINGBUF)
 *
 * How it works. The kernel writes records one behind the other, each behind a length whose upper
 * two bits say that it is still being written, or to be left out. Two CPUs may stamp theirs and
 * write them in different orders, so those of the last moment stay until the next look. They are
 * read where they lie: the kernel gets its room back when all before it has been taken.
 */
#include "tier/bpf_ring.h"

#include <errno.h>
#include <linux/bpf.h>
#include <sys/mman.h>

#define ITEMS_MAX 8192 /* of one look */

struct waiting {
	uint64_t mono_ns;
	uint64_t pos; /* where its header is */
	uint32_t len;
};

struct apptap_bpf_ring {
	uint64_t *consumer; /* shared with the kernel, like the next two */
	const uint64_t *producer;
	const uint8_t *data; /* twice in a row, so that no record is in two parts */
	size_t bytes; /* a power of two */
	void *maps[2]; /* owned; NULL in tests */
	size_t map_bytes[2];
	uint64_t pos; /* looked at up to here */
	struct waiting items[ITEMS_MAX]; /* the oldest first */
	size_t first, count;
	uint64_t damaged;
};

bool apptap_bpf_parse(struct apptap_view v, struct apptap_bpf_item *out)
{
	const void *p = apptap_view_take(&v, sizeof(out->rec));

	if (!p)
		return false;
	memcpy(&out->rec, p, sizeof(out->rec));
	out->rec.who.comm[sizeof(out->rec.who.comm) - 1] = '\0';
	out->data = v.p;
	return out->rec.len <= v.left && out->rec.halen <= sizeof(out->rec.haddr) &&
	       out->rec.kind >= APPTAP_BPF_OURS && out->rec.kind <= APPTAP_BPF_SETTLED;
}

int apptap_bpf_ring_over(struct apptap_bpf_ring **out, uint64_t *consumer, uint64_t *producer,
			 const uint8_t *data, size_t bytes)
{
	struct apptap_bpf_ring *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->consumer = consumer;
	r->producer = producer;
	r->data = data;
	r->bytes = bytes;
	r->pos = *consumer;
	*out = r;
	return 0;
}

int apptap_bpf_ring_open(struct apptap_bpf_ring **out, int map_fd, size_t bytes,
			 struct apptap_error *err)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), rest = page + 2 * bytes;
	uint8_t *theirs;
	void *ours = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
	int r;

	if (ours == MAP_FAILED)
		return apptap_error_set(err, errno, "mapping the ring of packets");
	theirs = mmap(NULL, rest, PROT_READ, MAP_SHARED, map_fd, (off_t)page);
	if (theirs == MAP_FAILED) {
		r = errno;
		munmap(ours, page);
		return apptap_error_set(err, r, "mapping the ring of packets");
	}
	r = apptap_bpf_ring_over(out, ours, (uint64_t *)(void *)theirs, theirs + page, bytes);
	if (r < 0) {
		munmap(ours, page);
		munmap(theirs, rest);
		return apptap_error_set(err, -r, "allocating the ring's reader");
	}
	(*out)->maps[0] = ours;
	(*out)->map_bytes[0] = page;
	(*out)->maps[1] = theirs;
	(*out)->map_bytes[1] = rest;
	return 0;
}

void apptap_bpf_ring_close(struct apptap_bpf_ring *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(r->maps); i++)
		if (r->maps[i])
			munmap(r->maps[i], r->map_bytes[i]);
	free(r);
}

/* The kernel's counters are of its word size, which on a 32-bit machine is not ours to tear. */
static uint64_t load(const uint64_t *p)
{
	return __atomic_load_n((const unsigned long *)(const void *)p, __ATOMIC_ACQUIRE);
}

static uint32_t header(const struct apptap_bpf_ring *r, uint64_t pos)
{
	return __atomic_load_n((const uint32_t *)(const void *)(r->data + (pos & (r->bytes - 1))),
			       __ATOMIC_ACQUIRE);
}

static void add(struct apptap_bpf_ring *r, uint64_t pos, uint32_t len)
{
	struct waiting w = { .pos = pos, .len = len };
	size_t i = r->first + r->count;

	if (len >= sizeof(w.mono_ns))
		memcpy(&w.mono_ns, r->data + (pos & (r->bytes - 1)) + BPF_RINGBUF_HDR_SZ,
		       sizeof(w.mono_ns));
	for (; i > r->first && r->items[i - 1].mono_ns > w.mono_ns; i--)
		r->items[i] = r->items[i - 1];
	r->items[i] = w;
	r->count++;
}

size_t apptap_bpf_ring_look(struct apptap_bpf_ring *r)
{
	uint64_t end = load(r->producer);

	if (r->first) {
		memmove(r->items, r->items + r->first, r->count * sizeof(r->items[0]));
		r->first = 0;
	}
	while (r->pos < end && r->count < ITEMS_MAX) {
		uint32_t head = header(r, r->pos);
		uint32_t len = head & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
		uint64_t whole = ((uint64_t)len + BPF_RINGBUF_HDR_SZ + 7) & ~(uint64_t)7;

		if (head & BPF_RINGBUF_BUSY_BIT)
			break;
		if (whole > end - r->pos) { /* never: but nothing behind it could be found */
			r->damaged++;
			r->pos = end;
			break;
		}
		if (!(head & BPF_RINGBUF_DISCARD_BIT))
			add(r, r->pos, len);
		r->pos += whole;
	}
	return r->count;
}

bool apptap_bpf_ring_take(struct apptap_bpf_ring *r, uint64_t until_ns, struct apptap_bpf_item *out)
{
	while (r->count && r->items[r->first].mono_ns <= until_ns) {
		const struct waiting *w = &r->items[r->first++];
		const uint8_t *p = r->data + (w->pos & (r->bytes - 1)) + BPF_RINGBUF_HDR_SZ;

		r->count--;
		if (apptap_bpf_parse((struct apptap_view){ p, w->len }, out))
			return true;
		r->damaged++;
	}
	return false;
}

void apptap_bpf_ring_release(struct apptap_bpf_ring *r)
{
	uint64_t pos = r->pos;

	for (size_t i = 0; i < r->count; i++)
		pos = MIN(pos, r->items[r->first + i].pos);
	__atomic_store_n((unsigned long *)(void *)r->consumer, (unsigned long)pos,
			 __ATOMIC_RELEASE);
}

bool apptap_bpf_ring_pending(const struct apptap_bpf_ring *r)
{
	return load(r->producer) > r->pos;
}

uint64_t apptap_bpf_ring_damaged(const struct apptap_bpf_ring *r)
{
	return r->damaged;
}
