/* refused.h - who owns a TCP socket whose connection was refused before anybody could ask */
#ifndef APPTAP_TIER_REFUSED_H
#define APPTAP_TIER_REFUSED_H

#include "scope/scope.h"
#include "tier/sighting.h"

struct apptap_refused;

/* @scope is copied: only its users' processes are ever looked into. */
int apptap_refused_new(struct apptap_refused **out, const struct apptap_scope *scope);
void apptap_refused_free(struct apptap_refused *r);

/*
 * Looks for the socket that just sent a SYN on @flow among the descriptors of the scope's
 * processes. true: @out says OWNED. Bounded in time; false when there is none, or no time left for
 * it.
 */
bool apptap_refused_ask(struct apptap_refused *r, const struct apptap_flow *flow,
			struct apptap_sighting *out);

#endif
