/* ring.h - every frame of every interface, through a ring shared with the kernel (TPACKET_V3) */
#ifndef APPTAP_TIER_RING_H
#define APPTAP_TIER_RING_H

#include <linux/filter.h>

#include "tier/tier.h"

struct apptap_ring;

/* Nothing is captured before apptap_ring_start(). @bytes: of the ring, rounded to whole blocks. */
int apptap_ring_open(struct apptap_ring **out, size_t bytes, struct apptap_error *err);
void apptap_ring_close(struct apptap_ring *r); /* NULL is fine */
int apptap_ring_fd(const struct apptap_ring *r);

/* A classic filter, run on the network-layer bytes; replaces the one before it at once. */
int apptap_ring_filter(struct apptap_ring *r, const struct sock_fprog *prog,
		       struct apptap_error *err);

/* When this returns, the next packet would be captured. */
int apptap_ring_start(struct apptap_ring *r, struct apptap_error *err);

/* The next block that the kernel has filled; its packets stay until it is released. */
bool apptap_ring_block(struct apptap_ring *r);

/* Its next packet. false: no more. pkt->uid is APPTAP_UID_NONE. */
bool apptap_ring_packet(struct apptap_ring *r, struct apptap_packet *pkt);
void apptap_ring_release(struct apptap_ring *r);

/* Is anything in it, be it in a block that the kernel is still filling? */
bool apptap_ring_pending(const struct apptap_ring *r);

/* How much of the ring waits to be read, in percent. */
unsigned apptap_ring_fill(const struct apptap_ring *r);

/* How long a packet may lie in a block that is not full, before it can be read. */
unsigned apptap_ring_delay_ms(const struct apptap_ring *r);

/* Packets that the kernel had no room for, so far. */
uint64_t apptap_ring_dropped(struct apptap_ring *r);

#endif
