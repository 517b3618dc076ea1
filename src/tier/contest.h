/* contest.h - ports of datagrams that pass from user to user: whose was what came to them? */
#ifndef APPTAP_TIER_CONTEST_H
#define APPTAP_TIER_CONTEST_H

#include "tier/deaths.h"
#include "tier/diag.h"
#include "tier/owners.h"

struct apptap_contest;

/* Asks from now on for the owner of every datagram while it passes. All but @out are borrowed. */
int apptap_contest_open(struct apptap_contest **out, const struct apptap_scope *scope,
			struct apptap_diag *diag, const struct apptap_deaths *deaths,
			struct apptap_error *err);
void apptap_contest_close(struct apptap_contest *c); /* NULL is fine */

/* Passes over what was said, but for the last moments. To be called often, after the deaths. */
void apptap_contest_hear(struct apptap_contest *c, uint64_t now_ns);

/*
 * To be called in order of time. Whose was a datagram that came at @rx_ns (CLOCK_REALTIME, cut to
 * the microsecond)? KNOWN, WAIT, or UNKNOWN. @now_ns: UINT64_MAX when nothing more will be heard.
 */
enum apptap_verdict apptap_contest_judge(struct apptap_contest *c, const struct apptap_flow *flow,
					 uint64_t rx_ns, uint64_t now_ns,
					 struct apptap_owner *owner);

uint64_t apptap_contest_lookups(const struct apptap_contest *c);

#endif
