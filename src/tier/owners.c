/*
 * owners.c - whose was a packet at its moment
 *
 * How it works. A lookup tells who has a flow's socket at one moment, but a packet is judged
 * milliseconds after it passed, and by then its port may have changed hands. So every answer is
 * kept as a span of time: from the packet that raised the question to the answer, for one socket
 * (its cookie, which the kernel never gives twice). Two answers with one cookie enclose all
 * packets between them: the socket cannot have left and come back. What lies outside a span is
 * decided by asking again, which mostly widens the span; where the socket has gone by then, by the
 * kernel's destroy events: if no other socket has left the port since, nobody else can have had
 * it. What remains ambiguous is UNKNOWN and never reaches the file.
 *
 * TCP is easier: a connection begins with a SYN, so one answer holds until the next SYN of a new
 * sequence number; asking again from time to time finds fchown() and accept() by another user.
 *
 * A datagram socket that is not connected has every peer's flow: what is known of one is kept for
 * its port too, and serves flows of which the kernel itself knows nothing any more.
 */
#include "tier/evidence.h"

#include <netinet/in.h>

/* Destroy events pass through a kernel work queue, sightings through ours: wait for them so long.
 */
#define GRACE_NS (20 * APPTAP_NSEC_PER_MSEC)
/* A connection waits in the accept queue for whoever will own it. */
#define ACCEPT_NS (100 * APPTAP_NSEC_PER_MSEC)
#define PENDING_SLACK_NS (1 * APPTAP_NSEC_PER_MSEC)
#define ACCEPT_RETRY_NS (4 * APPTAP_NSEC_PER_MSEC)
/* A datagram that comes for a socket that is gone, on a port that nobody took since. */
#define LINGER_NS (30 * APPTAP_NSEC_PER_SEC)
/* The same where the kernel tells of no deaths: UDP-Lite, ping and raw sockets. */
#define LINGER_BLIND_NS (50 * APPTAP_NSEC_PER_MSEC)
/* How old an answer may be before the kernel is asked again. */
#define REASK_NS (250 * APPTAP_NSEC_PER_MSEC)
#define REASK_FOREIGN_NS (1 * APPTAP_NSEC_PER_SEC)
/* A TCP socket that has another owner when asked: how long before that it may have been his.
 * Packets are asked about within a block of the ring and what it waits. */
#define GIVEN_NS (20 * APPTAP_NSEC_PER_MSEC)
/* Destroy events of UDP are told within 0.2 ms. (tests/kernel/diag_destroy.c) */
#define UDP_DEATH_NS (2 * APPTAP_NSEC_PER_MSEC)
#define SOON_NS (1 * APPTAP_NSEC_PER_MSEC)
/* On a busy machine the answer to a packet that came in may take so long. */
#define LATE_ANSWER_NS (250 * APPTAP_NSEC_PER_USEC)

/* The last span that began by @ts_ns; -1: all began later, or there is none. */
static int span_before(const struct apptap_entry *e, uint64_t ts_ns)
{
	int i = e->span_count - 1;

	while (i >= 0 && e->spans[i].from_ns > ts_ns)
		i--;
	return i;
}

static enum apptap_verdict known(const struct apptap_span *s, struct apptap_owner *owner)
{
	*owner = (struct apptap_owner){ .uid = s->uid, .ours = s->ours };
	return s->uid == APPTAP_UID_NONE && !s->ours ? APPTAP_VERDICT_UNKNOWN
						     : APPTAP_VERDICT_KNOWN;
}

static bool fresh(uint64_t ts_ns, uint64_t now_ns, uint64_t limit_ns)
{
	return now_ns != UINT64_MAX && now_ns < ts_ns + limit_ns;
}

/* Nothing was ever seen on the flow but the kernel's word that no socket has it. */
static enum apptap_verdict judge_absent(struct apptap_entry *e, bool outgoing, uint64_t ts_ns,
					uint64_t now_ns)
{
	if (fresh(ts_ns, now_ns, GRACE_NS))
		return APPTAP_VERDICT_WAIT;
	if (!outgoing && !e->sent_unknown)
		return APPTAP_VERDICT_NOBODY;
	e->sent_unknown = true;
	return APPTAP_VERDICT_UNKNOWN;
}

/*
 * May a socket have left @e's local port since, whose packets we must not take for those of @s?
 * One that was first seen after @born_ns is none: it did not live yet.
 */
static bool may_be_others(const struct apptap_owners *o, const struct apptap_entry *e,
			  const struct apptap_span *s, uint64_t since_ns, uint64_t born_ns)
{
	uint64_t cookies[APPTAP_DEATHS_A_PORT];
	int n;

	n = apptap_deaths_since(o->deaths, &e->flow, since_ns, cookies);
	for (int i = 0; i < n; i++) {
		const struct apptap_socket_of *k = apptap_evidence_socket(o, cookies[i]);

		if (cookies[i] == s->cookie)
			continue;
		if (!k)
			return true;
		if (k->first_ns <= born_ns && k->ours != s->ours)
			return true;
	}
	return n < 0;
}

/*
 * Was @s the last to have the flow before @ts_ns? It was, if shortly after the packet no socket had
 * it at all: then whoever came next came later still. So the answer to a request is told from the
 * next owner's traffic when it finds its socket closed just now.
 */
static bool was_last(const struct apptap_owners *o, const struct apptap_entry *e,
		     const uint64_t *gone_ns, const struct apptap_span *s,
		     const struct apptap_span *next, uint64_t ts_ns)
{
	for (int i = APPTAP_GONES - 1; i >= 0; i--) {
		if (gone_ns[i] < ts_ns || gone_ns[i] > ts_ns + SOON_NS)
			continue;
		return (!next || next->from_ns > gone_ns[i]) && s->to_ns <= gone_ns[i] &&
		       !may_be_others(o, e, s, s->to_ns, gone_ns[i]);
	}
	return false;
}

/*
 * Had @next the flow at @ts_ns already, just before its first answer? It had, if @s before it was
 * told dead by then, and no other socket has left the port between the packet and that answer.
 */
static bool has_taken_over(const struct apptap_owners *o, const struct apptap_entry *e,
			   const uint64_t *gone_ns, const struct apptap_span *s,
			   const struct apptap_span *next, uint64_t ts_ns)
{
	if (e->flow.proto != IPPROTO_UDP || next->from_ns > ts_ns + LATE_ANSWER_NS)
		return false;
	for (int i = 0; i < APPTAP_GONES; i++)
		if (gone_ns[i] >= ts_ns && gone_ns[i] < next->from_ns)
			return false;
	return apptap_deaths_has(o->deaths, &e->flow, s->cookie) &&
	       !may_be_others(o, e, next, ts_ns, next->from_ns);
}

/* No span holds @ts_ns, the nearest is @s: had anybody else the port between them? */
static enum apptap_verdict judge_near(const struct apptap_owners *o, const struct apptap_entry *e,
				      const struct apptap_span *s, uint64_t ts_ns, uint64_t now_ns,
				      struct apptap_owner *owner)
{
	bool has_deaths = e->flow.proto == IPPROTO_TCP || e->flow.proto == IPPROTO_UDP;
	uint64_t linger_ns = has_deaths ? LINGER_NS : LINGER_BLIND_NS;
	uint64_t asked_ns = MAX(ts_ns, s->from_ns);

	/* The answer that we lean on may be younger than the packet, and deaths before it unread.
	 */
	for (int i = 0; i < APPTAP_GONES; i++)
		if (e->gone_ns[i] >= ts_ns && (i == APPTAP_GONES - 1 || e->gone_ns[i + 1] < ts_ns))
			asked_ns = MAX(asked_ns, e->gone_ns[i]);
	if (fresh(asked_ns, now_ns, GRACE_NS))
		return APPTAP_VERDICT_WAIT;
	if (ts_ns > s->to_ns + linger_ns || (!has_deaths && s->from_ns > ts_ns + linger_ns) ||
	    (has_deaths && may_be_others(o, e, s, MIN(ts_ns, s->to_ns), UINT64_MAX)))
		return APPTAP_VERDICT_UNKNOWN;
	return known(s, owner);
}

/*
 * @s holds @ts_ns. Where it begins with what came in, a stranger may have got that, have closed,
 * and have made room for our app before the answer: then its death was told shortly after.
 */
static enum apptap_verdict judge_within(const struct apptap_owners *o, const struct apptap_entry *e,
					const struct apptap_span *s, uint64_t ts_ns,
					uint64_t now_ns, struct apptap_owner *owner)
{
	uint64_t sure_ns = s->from_ns + s->unsure_ns;

	if (s->ours && ts_ns < sure_ns && e->flow.proto == IPPROTO_UDP &&
	    !apptap_deaths_blind(o->deaths)) {
		if (fresh(ts_ns, now_ns, UDP_DEATH_NS))
			return APPTAP_VERDICT_WAIT;
		if (may_be_others(o, e, s, ts_ns, sure_ns))
			return APPTAP_VERDICT_UNKNOWN;
	}
	return known(s, owner);
}

static enum apptap_verdict judge_spans(struct apptap_owners *o, struct apptap_entry *e,
				       const uint64_t *gone_ns, uint64_t ts_ns, uint64_t now_ns,
				       struct apptap_owner *owner)
{
	int i = span_before(e, ts_ns);
	const struct apptap_span *s = i >= 0 ? &e->spans[i] : NULL;
	const struct apptap_span *next = i + 1 < e->span_count ? &e->spans[i + 1] : NULL;

	if (s && ts_ns <= s->to_ns)
		return judge_within(o, e, s, ts_ns, now_ns, owner);
	if (s && was_last(o, e, gone_ns, s, next, ts_ns)) {
		if (fresh(ts_ns, now_ns, UDP_DEATH_NS))
			return APPTAP_VERDICT_WAIT;
		return known(s, owner);
	}
	if (s && next) {
		/* It changed hands somewhere between; that matters only if one of them is ours. */
		if (s->ours != next->ours) {
			if (fresh(next->from_ns, now_ns, UDP_DEATH_NS))
				return APPTAP_VERDICT_WAIT;
			if (has_taken_over(o, e, gone_ns, s, next, ts_ns))
				return known(next, owner);
			return APPTAP_VERDICT_UNKNOWN;
		}
		/* Two of ours: a stranger may have had it for a moment between them. */
		if (s->ours) {
			if (fresh(next->from_ns, now_ns, GRACE_NS))
				return APPTAP_VERDICT_WAIT;
			if (may_be_others(o, e, s, s->to_ns, next->from_ns))
				return APPTAP_VERDICT_UNKNOWN;
		}
		return known(s, owner);
	}
	if (next)
		return judge_near(o, e, next, ts_ns, now_ns, owner);
	if (!s) /* not called without a span */
		return APPTAP_VERDICT_UNKNOWN;
	if (gone_ns[0] >= ts_ns)
		return judge_near(o, e, s, ts_ns, now_ns, owner);
	if (!s->ours && ts_ns - s->to_ns < REASK_FOREIGN_NS &&
	    !apptap_deaths_has(o->deaths, &e->flow, s->cookie))
		return known(s, owner);
	return APPTAP_VERDICT_ASK;
}

static enum apptap_verdict judge_datagram(struct apptap_owners *o, struct apptap_entry *e,
					  bool outgoing, uint64_t ts_ns, uint64_t now_ns,
					  struct apptap_owner *owner)
{
	const uint64_t *gone_ns = e->gone_ns;
	struct apptap_flow port;
	struct apptap_entry *p;

	if (e->span_count)
		return judge_spans(o, e, gone_ns, ts_ns, now_ns, owner);
	if (gone_ns[0] < ts_ns)
		return APPTAP_VERDICT_ASK;
	apptap_evidence_port(&e->flow, &port);
	p = apptap_evidence_find(o, &port);
	if (p && p->span_count)
		return judge_spans(o, p, gone_ns, ts_ns, now_ns, owner);
	return judge_absent(e, outgoing, ts_ns, now_ns);
}

/* Has anybody else than its listener been seen to accept a connection of this port? */
static bool has_other_acceptor(struct apptap_owners *o, const struct apptap_entry *e)
{
	struct apptap_flow port;
	const struct apptap_entry *p;

	apptap_evidence_port(&e->flow, &port);
	p = apptap_evidence_find(o, &port);
	return p && p->other_acceptor;
}

/*
 * In the accept queue: it will be his who accepts it, which may be another user than the listener's
 * (a server's workers, a service started by its socket). One that was closed before anybody saw it
 * accepted is the listener's, unless others accept there too.
 */
static enum apptap_verdict judge_pending(struct apptap_owners *o, struct apptap_entry *e,
					 uint64_t ts_ns, uint64_t now_ns,
					 struct apptap_owner *owner)
{
	bool gone = e->gone_ns[0] >= e->pending_ns;
	struct apptap_span listener = { .from_ns = e->pending_first_ns,
					.to_ns = e->pending_ns,
					.ours = e->pending_ours,
					.uid = e->pending_uid };

	if (ts_ns + PENDING_SLACK_NS < e->pending_first_ns) /* it was there before the listener */
		return judge_near(o, e, &listener, ts_ns, now_ns, owner);
	if (e->pending_certain)
		return known(&listener, owner);
	if (fresh(ts_ns, now_ns, gone ? GRACE_NS : ACCEPT_NS)) {
		if (now_ns > e->pending_ns + ACCEPT_RETRY_NS && !gone)
			return APPTAP_VERDICT_ASK;
		return APPTAP_VERDICT_WAIT;
	}
	if (has_other_acceptor(o, e))
		return APPTAP_VERDICT_UNKNOWN;
	if (ts_ns > e->pending_ns + ACCEPT_RETRY_NS && !gone && now_ns != UINT64_MAX)
		return APPTAP_VERDICT_ASK;
	return known(&listener, owner);
}

/*
 * The span that speaks for this connection at @ts_ns: one that was asked about its very SYN, or
 * that began by then. Clocks alone would not do: over veth a TCP packet gets another stamp at each
 * tap, for the sender's pacing time stands where the stamp would. -1: none, -2: only later ones.
 */
static int span_of_connection(const struct apptap_entry *e, uint64_t ts_ns)
{
	int best = -1;

	for (int i = 0; i < e->span_count; i++) {
		const struct apptap_span *s = &e->spans[i];
		bool same_syn = s->has_isn && e->syn_ns && s->isn == e->isn;
		bool before = ts_ns < e->syn_ns; /* of the connection before this one */

		if (before && (same_syn || s->from_ns > ts_ns))
			continue;
		if (!before && e->syn_ns && !same_syn && (s->has_isn || s->to_ns < e->syn_ns))
			continue; /* another connection's */
		if (same_syn || s->from_ns <= ts_ns)
			best = i;
		else if (best < 0)
			return -2;
	}
	return best;
}

/* One socket, another owner: it was given away (fchown) somewhere between two answers. */
static enum apptap_verdict judge_given(const struct apptap_span *s, const struct apptap_span *next,
				       uint64_t ts_ns, struct apptap_owner *owner)
{
	if (ts_ns + GIVEN_NS >= next->from_ns)
		return known(next, owner);
	if (s->ours != next->ours)
		return APPTAP_VERDICT_UNKNOWN;
	return known(s, owner);
}

static enum apptap_verdict judge_tcp(struct apptap_owners *o, struct apptap_entry *e, bool outgoing,
				     uint64_t ts_ns, uint64_t now_ns, struct apptap_owner *owner)
{
	const struct apptap_span *s;
	const struct apptap_span *next;
	int i;

	i = span_of_connection(e, ts_ns);
	if (i == -2) /* seen only later: accepted since, or it may be a later connection's */
		return judge_near(o, e, &e->spans[e->span_count - 1], ts_ns, now_ns, owner);
	if (i < 0 && ts_ns < e->syn_ns)
		return APPTAP_VERDICT_UNKNOWN; /* what it belonged to is over */
	if (i < 0) {
		if (e->pending_ns)
			return judge_pending(o, e, ts_ns, now_ns, owner);
		if (e->gone_ns[0] < ts_ns)
			return APPTAP_VERDICT_ASK;
		/* Older than the capture, and not among the app's sockets at its start. */
		if (!e->syn_ns && o->warm_ns)
			return APPTAP_VERDICT_NOBODY;
		return judge_absent(e, outgoing, ts_ns, now_ns);
	}
	s = &e->spans[i];
	next = i + 1 < e->span_count ? &e->spans[i + 1] : NULL;
	if (s->to_ns < o->gap_ns && ts_ns > s->to_ns) { /* a SYN may have been lost since */
		if (next && next->cookie != s->cookie)
			return APPTAP_VERDICT_UNKNOWN;
		return e->gone_ns[0] < ts_ns ? APPTAP_VERDICT_ASK
					     : judge_near(o, e, s, ts_ns, now_ns, owner);
	}
	if (next && next->cookie == s->cookie && next->uid != s->uid && ts_ns > s->to_ns)
		return judge_given(s, next, ts_ns, owner);
	if (ts_ns > s->to_ns + REASK_NS && e->gone_ns[0] < ts_ns && i == e->span_count - 1)
		return APPTAP_VERDICT_ASK;
	return known(s, owner);
}

enum apptap_verdict apptap_owners_judge(struct apptap_owners *o, const struct apptap_flow *flow,
					bool outgoing, uint64_t ts_ns, uint64_t now_ns,
					struct apptap_owner *owner)
{
	struct apptap_entry *e = apptap_evidence_get(o, flow);

	*owner = (struct apptap_owner){ .uid = APPTAP_UID_NONE };
	if (flow->proto == IPPROTO_TCP)
		return judge_tcp(o, e, outgoing, ts_ns, now_ns, owner);
	return judge_datagram(o, e, outgoing, ts_ns, now_ns, owner);
}
