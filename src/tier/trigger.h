/* trigger.h - ask for a packet's owner while its sender is still held by our interruption */
#ifndef APPTAP_TIER_TRIGGER_H
#define APPTAP_TIER_TRIGGER_H

#include <linux/filter.h>

#include "scope/scope.h"
#include "tier/sighting.h"

#define APPTAP_TRIGGER_SNAPLEN 160 /* headers, and what IPv6 puts between them */
#define APPTAP_TRIGGER_WINDOW_NS (UINT64_C(1) << 24) /* 16.8 ms */
/* Of a port and a CPU in a window (3,000/s); further packets are left to the reader's own asking.
 */
#define APPTAP_TRIGGER_BUSY 50

struct apptap_trigger;

struct apptap_trigger_counters {
	uint64_t asked;
	uint64_t skipped; /* too many at once: not asked */
	uint64_t dropped; /* the kernel's queue to us was full, or ours to the reader */
};

/*
 * One packet socket and one real-time thread a CPU; @scope is copied, @members (may be NULL)
 * borrowed. @realtime says whether the kernel allowed that priority: without it, sockets that close
 * at once are mostly missed.
 */
int apptap_trigger_open(struct apptap_trigger **out, const struct apptap_scope *scope,
			struct apptap_members *members, const struct sock_fprog *filter,
			bool *realtime, struct apptap_error *err);
/* @scope is copied too: users may have come to it. What was asked until now is not asked again. */
int apptap_trigger_rescope(struct apptap_trigger *t, const struct apptap_scope *scope,
			   struct apptap_error *err);
int apptap_trigger_filter(struct apptap_trigger *t, const struct sock_fprog *filter,
			  struct apptap_error *err);

/* The next sighting, of any CPU, whose packet passed by @until_ns. false: none is waiting. */
bool apptap_trigger_pop(struct apptap_trigger *t, uint64_t until_ns, struct apptap_sighting *s);

/* Readable when a listening port was met for the first time: it belongs into the filter at once. */
int apptap_trigger_fd(const struct apptap_trigger *t);

/* Shows each sighting once, ahead of its turn. */
void apptap_trigger_scan(struct apptap_trigger *t,
			 void (*each)(const struct apptap_sighting *s, void *arg), void *arg);

/* A local UDP port too busy to be asked about packet by packet. false: none has become so. */
bool apptap_trigger_busy(struct apptap_trigger *t, uint16_t *port);

void apptap_trigger_counters(const struct apptap_trigger *t, struct apptap_trigger_counters *out);

/* Begins to close it, without waiting: what was asked so far can still be popped. */
void apptap_trigger_stop(struct apptap_trigger *t);
void apptap_trigger_close(struct apptap_trigger *t); /* NULL is fine */

#endif
