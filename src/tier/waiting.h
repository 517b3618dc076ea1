/* waiting.h - packets of which it is not known yet whose they are, with what was known then; in
 * order */
#ifndef APPTAP_TIER_WAITING_H
#define APPTAP_TIER_WAITING_H

#include "tier/claims.h"
#include "tier/hold.h"

struct apptap_waiting;

/* @claims is borrowed and outlives it. -ENOMEM. */
int apptap_waiting_new(struct apptap_waiting **out, struct apptap_claims *claims, size_t max_bytes);
void apptap_waiting_free(struct apptap_waiting *w); /* NULL is fine */

/* To the end. @claim: NULL: it is the app's, but those before it wait. false: there is no room. */
bool apptap_waiting_push(struct apptap_waiting *w, const struct apptap_packet *pkt,
			 const struct apptap_dissect *d, const struct apptap_claim_case *claim);

/* Judges those that can be judged, whoever stands before them. @last: nothing more will be known.
 */
void apptap_waiting_settle(struct apptap_waiting *w, uint64_t now_ns, bool last);

/*
 * Hands over those at the front that have been judged, with OURS, FOREIGN or UNKNOWN, until @each
 * returns a negative number. Their bytes stay until apptap_waiting_forget().
 */
int apptap_waiting_hand_over(struct apptap_waiting *w, uint64_t now_ns, bool last,
			     int (*each)(const struct apptap_packet *pkt, enum apptap_claim what,
					 void *arg),
			     void *arg);
void apptap_waiting_forget(struct apptap_waiting *w);

size_t apptap_waiting_count(const struct apptap_waiting *w);

/* Is there a datagram among them that is not judged yet? News of closed sockets may decide it. */
bool apptap_waiting_for_news(const struct apptap_waiting *w);

#endif
