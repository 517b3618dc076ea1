/* frags.h - later fragments carry no ports: which flow the first one of their datagram had */
#ifndef APPTAP_TIER_FRAGS_H
#define APPTAP_TIER_FRAGS_H

#include "flow/flow.h"

struct apptap_frags;

/* Bounded: the oldest is forgotten first; none is remembered for more than 30 s (RFC 791, 8200). */
int apptap_frags_new(struct apptap_frags **out, size_t max);
void apptap_frags_free(struct apptap_frags *f);

/* A first fragment: remembers what it said of itself. */
void apptap_frags_first(struct apptap_frags *f, const struct apptap_dissect *d, uint64_t ts_ns);

/*
 * A later fragment: fills the ports into @d and the first one's time into @first_ns.
 * false: its first has not been seen (or was forgotten).
 */
bool apptap_frags_later(struct apptap_frags *f, struct apptap_dissect *d, uint64_t ts_ns,
			uint64_t *first_ns);

#endif
