/* beacon.h - a packet of our own now and then: do the rules still see it? */
#ifndef APPTAP_TIER_BEACON_H
#define APPTAP_TIER_BEACON_H

#include "base/base.h"
#include "flow/flow.h"
#include "tier/rules.h"

struct apptap_beacon;

/* What the rules did not show of an exchange. */
#define APPTAP_BEACON_SENT 1U
#define APPTAP_BEACON_ANSWER 2U

/* Of the user @prover, whose packets the rules take for the app's. -errno: there can be none. */
int apptap_beacon_open(struct apptap_beacon **out, uid_t prover);
void apptap_beacon_close(struct apptap_beacon *b); /* NULL is fine */

/* Whether this packet, shown by a rule for @class, is the beacon's: then it is no app's. It is
 * noted if the rule is the right one. */
bool apptap_beacon_take(struct apptap_beacon *b, enum apptap_rule_class class,
			const struct apptap_dissect *d);

void apptap_beacon_send(struct apptap_beacon *b);

/*
 * To be called when all that the rules have shown of the last exchange has been taken. 0 also when
 * it did not take place: loopback is down, a filter dropped it.
 */
unsigned apptap_beacon_missed(struct apptap_beacon *b);

#endif
