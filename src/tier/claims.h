/* claims.h - whose is what the rules could not tell: their other packets, and the socket table */
#ifndef APPTAP_TIER_CLAIMS_H
#define APPTAP_TIER_CLAIMS_H

#include "tier/contest.h"
#include "tier/deaths.h"
#include "tier/diag.h"
#include "tier/rules.h"
#include "tier/tier.h"

enum apptap_claim {
	APPTAP_CLAIM_OURS,
	APPTAP_CLAIM_FOREIGN,
	APPTAP_CLAIM_UNKNOWN, /* it cannot be told: must not be kept */
	APPTAP_CLAIM_WAIT, /* what follows may tell: settle it then */
};

/* What was known when the packet was met. */
struct apptap_claim_case {
	struct apptap_flow flow;
	uint64_t number; /* of the packet, in the order of the rules' log */
	uint64_t rx_ns; /* CLOCK_REALTIME in the kernel, cut to the microsecond; 0: not stamped */
	uint64_t since_ns; /* CLOCK_REALTIME: it came then, or later */
	uint64_t met_ns; /* CLOCK_REALTIME here */
	enum apptap_rule_class class;
	bool syn;
	bool was_taken; /* the last that sent on this flow was another owner */
	uint64_t holder, holder_ns; /* cookie of the socket seen at the port until then, and when */
	uint64_t sent_ns; /* the app had sent from the port then, or later; 0: it had not */
	uint64_t told_ns; /* by then all were told dead who had left the port; 0: not known yet */
	bool was_ours; /* the app had it in the last seconds */
	struct apptap_sighting found;
};

struct apptap_claims;

/* All but @out are borrowed and outlive it. */
int apptap_claims_new(struct apptap_claims **out, const struct apptap_scope *scope,
		      struct apptap_diag *diag, const struct apptap_deaths *deaths,
		      struct apptap_contest *contest, struct apptap_error *err);
void apptap_claims_free(struct apptap_claims *c);
bool apptap_claims_is_datagram(uint8_t proto);

/*
 * A packet that is the app's by the rules; or (a notice) another's. Return: OURS, FOREIGN, or WAIT:
 * the socket table says otherwise, settle @k, which is filled.
 */
enum apptap_claim apptap_claims_see(struct apptap_claims *c, enum apptap_rule_class class,
				    const struct apptap_dissect *d, uid_t uid, uint64_t since_ns,
				    uint64_t now_ns, struct apptap_claim_case *k);

/* A packet of unknown owner, which came at @since_ns or later: asks the kernel at once, and fills
 * @k. */
void apptap_claims_open(struct apptap_claims *c, enum apptap_rule_class class,
			const struct apptap_packet *pkt, const struct apptap_dissect *d,
			uint64_t rx_ns, uint64_t since_ns, struct apptap_claim_case *k);

/*
 * To be called once all has been read that was logged before the question was asked. @last: nothing
 * more will come. On OURS @uid is filled.
 */
enum apptap_claim apptap_claims_settle(struct apptap_claims *c, struct apptap_claim_case *k,
				       uint64_t now_ns, bool last, uid_t *uid);

/* A look through the socket table has found a datagram socket of the app's. */
void apptap_claims_bound(struct apptap_claims *c, const struct apptap_sighting *found);

/* Have the rules shown the app's packets on the flow, of this very socket? */
bool apptap_claims_knows(const struct apptap_claims *c, const struct apptap_flow *flow,
			 uint64_t cookie);

/* A socket of the app's was seen while its packet passed. @claims: a struct apptap_claims. */
void apptap_claims_hear(const struct apptap_sighting *s, void *claims);

uint64_t apptap_claims_lookups(const struct apptap_claims *c);

/* Has another owner taken a flow of the app's in the last seconds? Then exact times matter. */
bool apptap_claims_contested(const struct apptap_claims *c, uint64_t now_ns);

/* Was it not to be told whose a datagram was, in the last seconds? Then we ask too late. */
bool apptap_claims_unsure(const struct apptap_claims *c, uint64_t now_ns);

#endif
