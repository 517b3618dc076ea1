/* contest.h - ports of datagrams that pass from user to user: whose was what came to them? */
#ifndef APPTAP_TIER_CONTEST_H
#define APPTAP_TIER_CONTEST_H

#include "base/error.h"
#include "scope/scope.h"
#include "tier/sighting.h"

struct apptap_contest;

/* A datagram that came in, some milliseconds ago. */
struct apptap_contest_case {
	const struct apptap_flow *flow;
	uint64_t rx_ns; /* CLOCK_REALTIME, cut to the microsecond */
	const struct apptap_sighting *found; /* what the socket table said later */
	const uint64_t *gone; /* cookies: all that have left the port since it came */
	int gone_count; /* -1: not known */
};

/* Asks from now on for the owner of every datagram while it passes. @scope is borrowed. */
int apptap_contest_open(struct apptap_contest **out, const struct apptap_scope *scope,
			struct apptap_error *err);
void apptap_contest_close(struct apptap_contest *c); /* NULL is fine */

/* Takes what was said. To be called often. */
void apptap_contest_hear(struct apptap_contest *c);

/* Is it proven that the app got it, or nobody? */
bool apptap_contest_judge(struct apptap_contest *c, const struct apptap_contest_case *k,
			  uid_t *uid);

uint64_t apptap_contest_lookups(const struct apptap_contest *c);

#endif
