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

/*
 * Asks from now on for the owner of the datagrams that our rules show to witnesses, while they
 * pass. @scope is borrowed; @tag: of the rules.
 */
int apptap_contest_open(struct apptap_contest **out, const struct apptap_scope *scope,
			const char *tag, struct apptap_error *err);
void apptap_contest_close(struct apptap_contest *c); /* NULL is fine */

/* The groups that the rules are to show them by. Return: how many; 0: there are no witnesses. */
size_t apptap_contest_groups(const struct apptap_contest *c, const uint16_t **groups);

/* From now on about every datagram of everybody's; or, if not @on, no more. */
void apptap_contest_widen(struct apptap_contest *c, bool on);

/* Takes what was said. To be called often. @each: for what is the app's. */
void apptap_contest_hear(struct apptap_contest *c,
			 void (*each)(const struct apptap_sighting *s, void *arg), void *arg);

/* A packet has come in between the two, by the rules' own log, whoever asked about it. */
void apptap_contest_came(struct apptap_contest *c, const struct apptap_dissect *d, uint64_t from_ns,
			 uint64_t until_ns);

/* So many has the rules' own log lost until now. */
void apptap_contest_missed(struct apptap_contest *c, uint64_t lost);

/* What was said when this very packet came in. false: nothing. */
bool apptap_contest_recall(const struct apptap_contest *c, const struct apptap_flow *flow,
			   uint64_t rx_ns, struct apptap_sighting *found);

/* Is it proven that the app got it, or nobody? */
bool apptap_contest_judge(struct apptap_contest *c, const struct apptap_contest_case *k,
			  uid_t *uid);

uint64_t apptap_contest_lookups(const struct apptap_contest *c);

#endif
