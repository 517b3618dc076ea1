/* evidence.h - what the kernel said of flows, by socket and by time; only owners.c judges by it */
#ifndef APPTAP_TIER_EVIDENCE_H
#define APPTAP_TIER_EVIDENCE_H

#include "tier/owners.h"

#define APPTAP_SPANS 8
#define APPTAP_GONES 6
#define APPTAP_COOKIES 65536 /* of which we remember whose socket it was */

struct apptap_span {
	uint64_t cookie;
	uint64_t from_ns;
	uint64_t to_ns;
	uint32_t isn; /* of the connection that it is known to be about, if has_isn */
	bool has_isn;
	bool ours; /* the app's */
	uint16_t unsure_ns; /* from from_ns on: the answer to what came in took so long */
	uid_t uid; /* APPTAP_UID_NONE: there was a socket, its owner is forgotten */
};

struct apptap_entry {
	struct apptap_flow flow;
	struct apptap_span spans[APPTAP_SPANS]; /* by from_ns */
	uint64_t gone_ns[APPTAP_GONES]; /* when the kernel had no socket for it, the latest first */
	uint64_t syn_ns; /* TCP: when this connection began; 0: before we looked */
	uint64_t pending_ns; /* TCP: when pending_uid's listener was seen to have it */
	uint64_t pending_first_ns; /* and when for the first time */
	uid_t pending_uid;
	bool pending_ours;
	bool pending_certain; /* whoever accepts it: its cgroup is its listener's */
	uint32_t isn;
	uint32_t next; /* in the bucket; NIL ends */
	uint32_t older, newer;
	uint8_t span_count;
	bool ours; /* which list it is on */
	bool other_acceptor; /* of a port: somebody else than its listener accepts there */
	bool sent_unknown; /* something went out on it, and nobody knows whose */
};

struct apptap_socket_of {
	uint64_t cookie;
	uint64_t first_ns; /* when it was first seen to be there */
	uid_t uid;
	bool ours;
};

struct apptap_entry_list {
	uint32_t oldest, newest;
};

struct apptap_owners {
	const struct apptap_scope *scope; /* borrowed */
	const struct apptap_deaths *deaths; /* borrowed */
	uint64_t key[2];
	uint64_t warm_ns;
	uint64_t gap_ns;
	struct apptap_socket_of sockets[APPTAP_COOKIES]; /* by the low bits of the cookie */
	struct apptap_entry_list lists[2]; /* [0] strangers', [1] the app's */
	uint32_t used;
	uint32_t max;
	uint32_t bucket_mask;
	uint32_t *buckets; /* owned */
	struct apptap_entry *entries; /* owned; pages never used cost nothing */
};

/* NULL: nothing is known of the flow. */
struct apptap_entry *apptap_evidence_find(struct apptap_owners *o, const struct apptap_flow *flow);

/* The same, made when there is none; the least recently used one gives way. */
struct apptap_entry *apptap_evidence_get(struct apptap_owners *o, const struct apptap_flow *flow);

/* The flow that stands for every peer of an unconnected socket, or of a listening port. */
void apptap_evidence_port(const struct apptap_flow *flow, struct apptap_flow *port);

/* What is known of the socket; NULL: nothing. */
const struct apptap_socket_of *apptap_evidence_socket(const struct apptap_owners *o,
						      uint64_t cookie);

#endif
