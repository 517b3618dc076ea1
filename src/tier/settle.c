/*
 * settle.c - whose was a packet that the rules could not tell: what proves it
 *
 * How it works. The socket table was asked some time after the packet: its answer holds if nobody
 * can have had the port in between. That is so where the same socket (its cookie) had it before the
 * packet, or where all who have left the port since are known: the kernel tells of each socket that
 * is closed, and a fence (fence.h) of when all that were closed have been told.
 */
#include <errno.h>
#include <netinet/in.h>

#include "tier/claims_table.h"

#define WAIT_NS (20 * APPTAP_NSEC_PER_MSEC) /* for the app's answer, or news of closed sockets */
#define NEWS_NS (2 * APPTAP_NSEC_PER_MSEC)
#define TOLD_NS                                                                        \
	(2 * APPTAP_NSEC_PER_SEC) /* for all news of closed sockets, on a busy machine \
				   */
#define LATE_NS (20 * APPTAP_NSEC_PER_MSEC) /* and then we had better ask at once */
#define TCP_MEMORY_NS (120 * APPTAP_NSEC_PER_SEC) /* TIME_WAIT, and the last retransmissions */
#define RAW_MEMORY_NS (10 * APPTAP_NSEC_PER_SEC)

static enum apptap_claim ours(const struct apptap_claims *c, const struct apptap_claim_flow *e,
			      uid_t *uid)
{
	*uid = e && e->ours ? e->uid : c->scope->uids[0].uid;
	return APPTAP_CLAIM_OURS;
}

/* A connection that is over, which conntrack no longer knows: by what was seen of it. */
static enum apptap_claim settle_connection(struct apptap_claims *c,
					   const struct apptap_claim_flow *e,
					   const struct apptap_claim_case *k, uid_t *uid)
{
	if (e && e->ours > e->taken && k->met_ns - e->ns < TCP_MEMORY_NS)
		return ours(c, e, uid);
	return k->found.sight == APPTAP_SIGHT_ORPHAN ? APPTAP_CLAIM_UNKNOWN : APPTAP_CLAIM_FOREIGN;
}

/* Not a datagram, and nobody has it any more. */
static enum apptap_claim settle_closed(struct apptap_claims *c, const struct apptap_claim_flow *e,
				       const struct apptap_claim_case *k, bool over, uid_t *uid)
{
	uint64_t raw_ns = c->raw_ours_ns[k->flow.proto];

	if (k->flow.proto == IPPROTO_TCP && !k->syn)
		return settle_connection(c, e, k, uid);
	if (k->syn && e && e->ours > k->number)
		return ours(c, e, uid); /* it was answered */
	if (k->syn)
		return over ? APPTAP_CLAIM_FOREIGN : APPTAP_CLAIM_WAIT;
	/* A raw socket gets all of its protocol, whoever else does. */
	return raw_ns && k->met_ns < raw_ns + RAW_MEMORY_NS ? ours(c, e, uid)
							    : APPTAP_CLAIM_FOREIGN;
}

/* Has everybody been told dead who left the port before the socket table was asked? */
static bool all_told(struct apptap_claims *c, struct apptap_claim_case *k, uint64_t now_ns)
{
	if (now_ns < k->found.asked_ns + NEWS_NS)
		return false;
	if (!k->told_ns && (apptap_deaths_blind(c->deaths) || k->flow.proto != IPPROTO_UDP))
		k->told_ns = now_ns;
	if (!k->told_ns && !apptap_fence_passed(c->fence, k->found.asked_ns, &k->told_ns))
		k->told_ns = 0;
	return k->told_ns;
}

/* How many of those who have left the port since the packet came may not be the app's? */
static int strangers_among(struct apptap_claims *c, const struct apptap_claim_case *k,
			   const uint64_t *gone, int n)
{
	uint64_t since[APPTAP_DEATHS_A_PORT];
	int strangers = 0;

	for (int i = 0; i < n; i++)
		strangers += c->ours[gone[i] % APPTAP_CLAIM_COOKIES] != gone[i];
	/* The app had the port when it sent, and only one has left it since: the app's. */
	if (strangers == 1 && n == 1 && k->sent_ns &&
	    apptap_deaths_between(c->deaths, &k->flow, k->sent_ns, k->told_ns, since) == 1) {
		c->ours[gone[0] % APPTAP_CLAIM_COOKIES] = gone[0];
		return 0;
	}
	return strangers;
}

/* Who has left the port since the packet came, as far as it matters. Return: how many; -1: unknown.
 */
static int who_has_left(struct apptap_claims *c, const struct apptap_claim_case *k,
			uint64_t gone[APPTAP_DEATHS_A_PORT])
{
	if (!k->told_ns)
		return -1;
	if (k->flow.proto != IPPROTO_UDP)
		return 0; /* UDP-Lite's are never told */
	return apptap_deaths_between(c->deaths, &k->flow, k->since_ns, k->told_ns, gone);
}

static enum apptap_claim settle_told(struct apptap_claims *c, struct apptap_claim_case *k,
				     uid_t *uid)
{
	bool owned = k->found.uid != APPTAP_UID_NONE;
	bool may_be_ours = !owned || apptap_scope_has(c->scope, k->found.uid);
	uint64_t gone[APPTAP_DEATHS_A_PORT];
	int n = who_has_left(c, k, gone);
	int strangers = n < 0 ? n : strangers_among(c, k, gone, n);
	struct apptap_contest_case contest = { &k->flow, k->rx_ns, &k->found, gone, n };

	if (!may_be_ours && n == 0)
		return APPTAP_CLAIM_FOREIGN;
	if (may_be_ours && strangers == 0)
		return APPTAP_CLAIM_OURS;
	if (k->rx_ns && apptap_contest_judge(c->contest, &contest, uid))
		return APPTAP_CLAIM_OURS;
	c->unsure_ns = k->met_ns;
	return APPTAP_CLAIM_UNKNOWN;
}

/*
 * A datagram that came in. Where one socket had its port before and has it still, it is that one's.
 * Else whoever got it has the port still, or has left it since, and was told dead: where all of
 * these are the app's, so is the packet. Who asked while it passed may know more.
 */
static enum apptap_claim settle_datagram(struct apptap_claims *c, const struct apptap_claim_flow *e,
					 struct apptap_claim_case *k, uint64_t now_ns, bool last,
					 uid_t *uid)
{
	bool owned = k->found.uid != APPTAP_UID_NONE;
	bool found_ours = owned && apptap_scope_has(c->scope, k->found.uid);
	bool marked = k->class == APPTAP_RULE_GOT_DATAGRAM && !k->was_taken;

	*uid = found_ours ? k->found.uid : e && e->ours ? e->uid : c->scope->uids[0].uid;
	if (owned && k->holder && k->found.cookie == k->holder && k->holder_ns <= k->since_ns)
		return found_ours ? APPTAP_CLAIM_OURS : APPTAP_CLAIM_FOREIGN;
	if (!found_ours && !marked && !k->was_ours)
		return APPTAP_CLAIM_FOREIGN;
	if (!all_told(c, k, now_ns) && !last && now_ns < k->met_ns + TOLD_NS) {
		if (now_ns > k->met_ns + LATE_NS)
			c->unsure_ns = now_ns;
		return APPTAP_CLAIM_WAIT;
	}
	return settle_told(c, k, uid);
}

/* A multicast that none of the app's sockets would get now: one that has left since had it. */
static enum apptap_claim settle_group(const struct apptap_claims *c,
				      const struct apptap_claim_case *k, bool over, uid_t *uid)
{
	uint64_t gone[APPTAP_DEATHS_A_PORT];
	int n;

	if (!k->was_ours || !k->holder)
		return APPTAP_CLAIM_FOREIGN;
	n = apptap_deaths_since(c->deaths, &k->flow, k->since_ns, gone);
	*uid = c->scope->uids[0].uid;
	for (int i = 0; i < n; i++)
		if (gone[i] == k->holder)
			return APPTAP_CLAIM_OURS;
	if (!over)
		return APPTAP_CLAIM_WAIT;
	return n < 0 ? APPTAP_CLAIM_UNKNOWN : APPTAP_CLAIM_FOREIGN;
}

/* May another socket have listened there when the connection began? */
static bool listener_may_have_changed(struct apptap_claims *c, const struct apptap_claim_case *k,
				      uint64_t since_ns)
{
	struct apptap_flow any = { .proto = IPPROTO_TCP, .lport = k->flow.lport };
	struct apptap_flow bound = any;
	uint64_t gone[APPTAP_DEATHS_A_PORT];

	bound.laddr = k->flow.laddr;
	return apptap_deaths_since(c->deaths, &any, since_ns, gone) != 0 ||
	       apptap_deaths_since(c->deaths, &bound, since_ns, gone) != 0;
}

/*
 * Of a connection from outside, before anybody was seen to have accepted it: it is his who does,
 * from its SYN on. Where nobody does it is the listener's, unless others accept on his port, or one
 * has ceased to listen there since.
 */
static enum apptap_claim settle_pending(struct apptap_claims *c, const struct apptap_claim_flow *e,
					const struct apptap_claim_case *k, uint64_t now_ns,
					bool last, uid_t *uid)
{
	const struct apptap_claim_port *p = &c->ports[k->flow.lport];
	uint64_t since, began_ns = k->since_ns;
	uid_t listener = k->found.uid;

	if (e && e->syn) {
		since = e->syn <= k->number ? e->syn : k->number; /* the next one's may be there */
		if (e->ours > since && e->ours > e->taken)
			return e->given ? APPTAP_CLAIM_FOREIGN : ours(c, e, uid);
		if (e->taken > since)
			return APPTAP_CLAIM_FOREIGN;
		if (listener == APPTAP_UID_NONE)
			listener = e->listener;
		began_ns = MIN(began_ns, e->syn_since_ns);
	}
	if (k->found.sight == APPTAP_SIGHT_OWNED || listener == APPTAP_UID_NONE) {
		*uid = k->found.uid;
		return apptap_scope_has(c->scope, k->found.uid) ? APPTAP_CLAIM_OURS
								: APPTAP_CLAIM_FOREIGN;
	}
	if (!last && now_ns < k->met_ns + APPTAP_CLAIM_ACCEPT_NS)
		return APPTAP_CLAIM_WAIT;
	*uid = listener;
	if (apptap_scope_has(c->scope, listener))
		return p->others_accept || listener_may_have_changed(c, k, began_ns)
			       ? APPTAP_CLAIM_UNKNOWN
			       : APPTAP_CLAIM_OURS;
	return p->ours_accepts ? APPTAP_CLAIM_UNKNOWN : APPTAP_CLAIM_FOREIGN;
}

/*
 * Opened by the app, another's by the socket table: has it been given away, or has it closed? That
 * is known as soon as one has been told dead: where a port passes quickly, soon more have left it
 * than can be told.
 */
static enum apptap_claim settle_suspect(struct apptap_claims *c, struct apptap_claim_flow *e,
					struct apptap_claim_case *k, uint64_t now_ns, bool last,
					uid_t *uid)
{
	uint64_t gone[APPTAP_DEATHS_A_PORT];
	int n = apptap_deaths_since(c->deaths, &k->flow, k->since_ns, gone);
	bool ours_gone = false;

	if (e && e->given)
		return APPTAP_CLAIM_FOREIGN;
	for (int i = 0; i < n; i++)
		ours_gone |= gone[i] != k->found.cookie;
	if (!ours_gone && !last &&
	    (now_ns < k->met_ns + WAIT_NS ||
	     (!all_told(c, k, now_ns) && now_ns < k->met_ns + TOLD_NS)))
		return APPTAP_CLAIM_WAIT;
	if (e)
		e->suspect = false;
	if (n < 0)
		return APPTAP_CLAIM_UNKNOWN;
	if (ours_gone)
		return ours(c, e, uid);
	if (e)
		e->given = true;
	return APPTAP_CLAIM_FOREIGN;
}

/* Only the socket table knows, or what it said before. */
static enum apptap_claim settle_given(struct apptap_claims *c, const struct apptap_claim_flow *e,
				      const struct apptap_claim_case *k, uid_t *uid)
{
	if (k->found.sight != APPTAP_SIGHT_OWNED)
		return k->flow.proto == IPPROTO_TCP ? settle_connection(c, e, k, uid)
						    : APPTAP_CLAIM_UNKNOWN;
	*uid = k->found.uid;
	return apptap_scope_has(c->scope, k->found.uid) ? APPTAP_CLAIM_OURS : APPTAP_CLAIM_FOREIGN;
}

enum apptap_claim apptap_claims_settle(struct apptap_claims *c, struct apptap_claim_case *k,
				       uint64_t now_ns, bool last, uid_t *uid)
{
	struct apptap_claim_flow *e = apptap_claims_find(c, &k->flow, false);
	bool over = last || now_ns >= k->met_ns + WAIT_NS;

	switch (k->class) {
	case APPTAP_RULE_SENT_ASK:
		return settle_connection(c, e, k, uid);
	case APPTAP_RULE_PENDING:
		return settle_pending(c, e, k, now_ns, last, uid);
	case APPTAP_RULE_GIVEN:
		return settle_given(c, e, k, uid);
	case APPTAP_RULE_ASK:
	case APPTAP_RULE_GOT_DATAGRAM:
		break;
	default:
		return settle_suspect(c, e, k, now_ns, last, uid);
	}
	if (k->syn && k->found.sight == APPTAP_SIGHT_PENDING)
		return settle_pending(c, e, k, now_ns, last, uid);
	*uid = k->found.uid;
	if (apptap_claims_is_datagram(k->flow.proto) && !k->found.group)
		return settle_datagram(c, e, k, now_ns, last, uid);
	if (k->found.uid == APPTAP_UID_NONE && k->found.group)
		return settle_group(c, k, over, uid);
	if (k->found.uid == APPTAP_UID_NONE)
		return settle_closed(c, e, k, over, uid);
	return apptap_scope_has(c->scope, k->found.uid) ? APPTAP_CLAIM_OURS : APPTAP_CLAIM_FOREIGN;
}
