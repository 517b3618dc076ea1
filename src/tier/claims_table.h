/* claims_table.h - what is known of flows and ports; claims.c gathers it, settle.c judges by it */
#ifndef APPTAP_TIER_CLAIMS_TABLE_H
#define APPTAP_TIER_CLAIMS_TABLE_H

#include "tier/claims.h"
#include "tier/fence.h"
#include "tier/groups.h"

#define APPTAP_CLAIM_SETS 8192
#define APPTAP_CLAIM_WAYS 4
#define APPTAP_CLAIM_COOKIES 65536
#define APPTAP_CLAIM_ACCEPT_NS \
	(100 * APPTAP_NSEC_PER_MSEC) /* for somebody to accept a connection */

/* What is certain of a flow, by the numbers of the packets that told it. */
struct apptap_claim_flow {
	struct apptap_flow flow;
	uint64_t ours, taken; /* the last of each; 0: none */
	uint64_t ns; /* CLOCK_REALTIME, here */
	uint64_t syn; /* that began the connection */
	uint64_t syn_ns; /* CLOCK_REALTIME, here */
	uint64_t syn_since_ns; /* CLOCK_REALTIME: it came then, or later, if it came from outside */
	uint64_t asked_ns; /* CLOCK_REALTIME: when the socket table was last asked whose it is */
	uint64_t cookie; /* of the app's socket then; 0: not known */
	uint32_t isn; /* of that SYN */
	uid_t uid;
	uid_t listener; /* of a connection from outside: whose port it came to */
	bool given; /* the app opened the socket, and gave it away */
	bool suspect; /* it may have: what waits will tell */
};

struct apptap_claim_port {
	uint64_t cookie; /* of the socket that was last seen to have it; 0: not known */
	uint64_t asked_ns; /* CLOCK_REALTIME: when that was told first */
	uint64_t ours_ns, others_ns; /* when it was seen in use by each; 0: never */
	uint64_t sent_ns; /* CLOCK_REALTIME: the app last sent from it then, or later; 0: never */
	bool ours; /* whose that socket is */
	bool ours_accepts, others_accept; /* connections, where it is TCP's and listens */
};

struct apptap_claims {
	const struct apptap_scope *scope; /* borrowed, like the next two */
	struct apptap_diag *diag;
	const struct apptap_deaths *deaths;
	struct apptap_fence *fence; /* owned */
	struct apptap_contest
		*contest; /* borrowed: where an answer of a moment later leaves it open */
	uint64_t number; /* of the last packet */
	uint64_t key[2];
	uint64_t lookups;
	uint64_t contested_ns; /* CLOCK_REALTIME: when one was last taken; 0: never */
	uint64_t unsure_ns; /* the same: when nothing proved whose a datagram was */
	struct apptap_claim_flow flows[APPTAP_CLAIM_SETS][APPTAP_CLAIM_WAYS];
	struct apptap_claim_port ports[65536]; /* of UDP and UDP-Lite: they rarely share one */
	uint64_t ours[APPTAP_CLAIM_COOKIES]; /* cookies of the app's sockets, by their low bits */
	struct apptap_sighting groups[APPTAP_GROUPS]; /* the last answers about multicast */
	uint64_t raw_ours_ns[256]; /* when the app last used a raw socket of this protocol */
};

struct apptap_claim_flow *apptap_claims_find(struct apptap_claims *c,
					     const struct apptap_flow *flow, bool make);

/* Of the last seconds? */
bool apptap_claims_lately(uint64_t then_ns, uint64_t now_ns);

#endif
