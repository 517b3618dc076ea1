/* owners.h - whose was a packet at its moment: evidence about sockets gathered by flow and by time
 */
#ifndef APPTAP_TIER_OWNERS_H
#define APPTAP_TIER_OWNERS_H

#include "scope/scope.h"
#include "tier/deaths.h"
#include "tier/sighting.h"

struct apptap_owners;

struct apptap_owner {
	uid_t uid; /* APPTAP_UID_NONE: the kernel has forgotten it, but not that it is ours */
	bool ours; /* the app's */
};

enum apptap_verdict {
	APPTAP_VERDICT_KNOWN, /* the owner is known */
	APPTAP_VERDICT_NOBODY, /* no socket of this machine had to do with it */
	APPTAP_VERDICT_ASK, /* ask the kernel now, feed the answer, judge again */
	APPTAP_VERDICT_WAIT, /* evidence is on its way: hold the packet, judge again in a moment */
	APPTAP_VERDICT_UNKNOWN, /* the kernel will not say any more */
};

/* Bounded to @max_flows; the least recently used is forgotten first, strangers' before the app's.
 */
int apptap_owners_new(struct apptap_owners **out, size_t max_flows,
		      const struct apptap_scope *scope, const struct apptap_deaths *deaths);
void apptap_owners_free(struct apptap_owners *o);

/* Feeds what the kernel said. */
void apptap_owners_see(struct apptap_owners *o, const struct apptap_sighting *s);

/* What an answer that is still to be fed says of its socket: whose it is, whenever that was. */
void apptap_owners_foresee(struct apptap_owners *o, const struct apptap_sighting *s);

/* A TCP SYN without ACK went by: where @seq is new, a new connection begins on this flow. */
void apptap_owners_syn(struct apptap_owners *o, const struct apptap_flow *flow, uint64_t ts_ns,
		       uint32_t seq);

/* Packets were lost at @now_ns, a SYN may have been among them: what was known must be asked anew.
 */
void apptap_owners_gap(struct apptap_owners *o, uint64_t now_ns);

/* All sockets of the scope that existed at @now_ns have been fed: the cold start is over. */
void apptap_owners_warm(struct apptap_owners *o, uint64_t now_ns);

/*
 * Whose was a packet of @flow at @ts_ns? @outgoing: its local end sent it. @now_ns: CLOCK_REALTIME;
 * UINT64_MAX: the capture ends, nothing more will come, decide on what is there. KNOWN fills
 * @owner.
 */
enum apptap_verdict apptap_owners_judge(struct apptap_owners *o, const struct apptap_flow *flow,
					bool outgoing, uint64_t ts_ns, uint64_t now_ns,
					struct apptap_owner *owner);

#endif
