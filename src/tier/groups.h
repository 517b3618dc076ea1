/* groups.h - who gets a multicast: asked of the kernel, and remembered for a moment */
#ifndef APPTAP_TIER_GROUPS_H
#define APPTAP_TIER_GROUPS_H

#include "tier/diag.h"

#define APPTAP_GROUPS 64

/* @last: answers, by their flow's hash with @key. One of @scope, if any of its sockets gets it. */
void apptap_groups_ask(struct apptap_sighting last[APPTAP_GROUPS], const uint64_t key[2],
		       struct apptap_diag *diag, const struct apptap_flow *flow,
		       const struct apptap_scope *scope, struct apptap_sighting *out);

#endif
