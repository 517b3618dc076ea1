/* hold.h - packets that wait, in order, until it is known whose they are; bounded */
#ifndef APPTAP_TIER_HOLD_H
#define APPTAP_TIER_HOLD_H

#include "flow/flow.h"
#include "tier/tier.h"

struct apptap_held {
	struct apptap_packet pkt; /* data is the queue's own copy */
	struct apptap_dissect dissect;
	uint64_t first_ns; /* of a later fragment: when its first passed; else pkt.ts_ns */
	uint64_t since_ns; /* when it began to wait */
	bool known; /* kept already: waits only for those before it */
	bool handed_over; /* its bytes may still be borrowed: until the next flush */
	struct apptap_held *next;
};

struct apptap_hold;

int apptap_hold_new(struct apptap_hold **out, size_t max_bytes);
void apptap_hold_free(struct apptap_hold *h);

/* Copies the packet to the end. false: no room, nothing was queued. */
bool apptap_hold_push(struct apptap_hold *h, const struct apptap_packet *pkt,
		      const struct apptap_dissect *d, uint64_t first_ns, bool known);

struct apptap_held *apptap_hold_first(struct apptap_hold *h); /* NULL: empty */
void apptap_hold_pop(struct apptap_hold *h); /* its bytes are gone then */
size_t apptap_hold_count(const struct apptap_hold *h);

#endif
