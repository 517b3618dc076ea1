/* bpf_ring.h - the records of the programs in the kernel, in order of time (BPF_MAP_TYPE_RINGBUF)
 */
#ifndef APPTAP_TIER_BPF_RING_H
#define APPTAP_TIER_BPF_RING_H

#include "base/error.h"
#include "base/view.h"
#include "bpf/record.h"

struct apptap_bpf_ring;

/* A record, and the bytes of its packet where they lie. */
struct apptap_bpf_item {
	struct apptap_bpf_record rec;
	const uint8_t *data; /* rec.len bytes; borrowed until the ring is released */
};

/* Bytes in, struct out. false: they are no record. */
bool apptap_bpf_parse(struct apptap_view v, struct apptap_bpf_item *out);

/* @map_fd is borrowed, @bytes its size. */
int apptap_bpf_ring_open(struct apptap_bpf_ring **out, int map_fd, size_t bytes,
			 struct apptap_error *err);
void apptap_bpf_ring_close(struct apptap_bpf_ring *r); /* NULL is fine */

/* The same over memory of the caller's, laid out as the kernel does: for tests. */
int apptap_bpf_ring_over(struct apptap_bpf_ring **out, uint64_t *consumer, uint64_t *producer,
			 const uint8_t *data, size_t bytes);

/* Looks what has come since. Return: how many records now wait to be taken. */
size_t apptap_bpf_ring_look(struct apptap_bpf_ring *r);

/* The oldest that waits, if it is not younger than @until_ns (CLOCK_MONOTONIC). */
bool apptap_bpf_ring_take(struct apptap_bpf_ring *r, uint64_t until_ns,
			  struct apptap_bpf_item *out);

/* The room of all that was taken is the kernel's again. */
void apptap_bpf_ring_release(struct apptap_bpf_ring *r);

/* Has the kernel begun a record that was not looked at? */
bool apptap_bpf_ring_pending(const struct apptap_bpf_ring *r);

/* Records that could not be read: there are none, or we do not understand the kernel. */
uint64_t apptap_bpf_ring_damaged(const struct apptap_bpf_ring *r);

#endif
