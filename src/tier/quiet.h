/* quiet.h - local UDP ports so busy that their packets raise no questions one by one */
#ifndef APPTAP_TIER_QUIET_H
#define APPTAP_TIER_QUIET_H

#include "tier/filter.h"

/* Fields may be read; an all-zero one is empty. */
struct apptap_quiet {
	uint16_t ports[APPTAP_FILTER_PORTS_MAX];
	uint32_t packets[APPTAP_FILTER_PORTS_MAX]; /* of each, since the last tending */
	size_t count;
	bool changed; /* the filter is to be set again; for the caller to clear */
	uint64_t tended_ns;
	uint8_t bits[65536 / 8]; /* one a port */
};

void apptap_quiet_add(struct apptap_quiet *q, uint16_t port); /* when full: the port stays loud */
void apptap_quiet_remove(struct apptap_quiet *q, uint16_t port);
void apptap_quiet_count(struct apptap_quiet *q, uint16_t port); /* a packet of it went by */

/* Every half second: what has calmed down may raise questions again. */
void apptap_quiet_tend(struct apptap_quiet *q, uint64_t now_ns);

#endif
