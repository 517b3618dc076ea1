/*
 * claims.c - whose is what the rules could not tell: their other packets, and the socket table
 *
 * How it works. The log of the rules is one sequence in the kernel's order; in it stand packets
 * whose owner is certain, the app's ("ours") and those of others on what was the app's ("taken").
 * Between them stand the doubtful. For each the socket table is asked at once; but between the
 * packet and the answer the port may have changed hands, so the answer alone proves nothing:
 * settle.c tells what does. A packet that stays in doubt is not kept.
 */
#include <errno.h>
#include <linux/if_packet.h>
#include <netinet/in.h>

#include "tier/claims_table.h"
#include "tier/links.h"

#define CALM_NS (50 * APPTAP_NSEC_PER_USEC)
#define PORT_MEMORY_NS (10 * APPTAP_NSEC_PER_SEC)
#define CONTESTED_NS (10 * APPTAP_NSEC_PER_SEC)
#define YOUNG_NS (2 * APPTAP_NSEC_PER_SEC)
#define REASK_NS (250 * APPTAP_NSEC_PER_MSEC) /* for a change of owner: fchown() */

int apptap_claims_new(struct apptap_claims **out, const struct apptap_scope *scope,
		      struct apptap_diag *diag, const struct apptap_deaths *deaths,
		      struct apptap_contest *contest, struct apptap_error *err)
{
	struct apptap_claims *c = calloc(1, sizeof(*c));

	if (!c)
		return apptap_error_set(err, ENOMEM, "allocating the table of claims");
	if (apptap_fence_new(&c->fence, deaths) < 0) {
		free(c);
		return apptap_error_set(err, ENOMEM, "allocating the table of claims");
	}
	c->scope = scope;
	c->diag = diag;
	c->deaths = deaths;
	c->contest = contest;
	c->key[0] = apptap_clock_ns(CLOCK_MONOTONIC) * 0x9e3779b97f4a7c15ULL;
	c->key[1] = (uint64_t)(uintptr_t)c ^ apptap_clock_ns(CLOCK_REALTIME);
	*out = c;
	return 0;
}

void apptap_claims_free(struct apptap_claims *c)
{
	if (c)
		apptap_fence_free(c->fence);
	free(c);
}

bool apptap_claims_is_datagram(uint8_t proto)
{
	return proto == IPPROTO_UDP || proto == IPPROTO_UDPLITE;
}

struct apptap_claim_flow *apptap_claims_find(struct apptap_claims *c,
					     const struct apptap_flow *flow, bool make)
{
	struct apptap_claim_flow *set =
		c->flows[apptap_flow_hash(flow, c->key) % APPTAP_CLAIM_SETS];
	struct apptap_claim_flow *oldest = set;

	for (int i = 0; i < APPTAP_CLAIM_WAYS; i++) {
		if (set[i].ns && apptap_flow_equal(&set[i].flow, flow))
			return &set[i];
		if (set[i].ns < oldest->ns)
			oldest = &set[i];
	}
	if (!make)
		return NULL;
	memset(oldest, 0, sizeof(*oldest));
	oldest->flow = *flow;
	oldest->listener = APPTAP_UID_NONE;
	return oldest;
}

bool apptap_claims_lately(uint64_t then_ns, uint64_t now_ns)
{
	return then_ns && now_ns < then_ns + PORT_MEMORY_NS;
}

static void note_port(struct apptap_claims *c, const struct apptap_sighting *found, bool ours,
		      bool known)
{
	struct apptap_claim_port *p = &c->ports[found->flow.lport];
	uint64_t cookie = known ? found->cookie : 0;

	if (!found->asked_ns)
		return;
	if (ours && cookie)
		c->ours[cookie % APPTAP_CLAIM_COOKIES] = cookie;
	*(ours ? &p->ours_ns : &p->others_ns) = found->asked_ns;
	if (p->ours == ours && (p->cookie == cookie || !cookie))
		return;
	p->cookie = cookie;
	p->asked_ns = found->asked_ns;
	p->ours = ours;
}

static void note_taker(struct apptap_claims *c, const struct apptap_flow *flow)
{
	struct apptap_sighting found;

	c->lookups++;
	apptap_diag_ask(c->diag, flow, 0, &found);
	note_port(c, &found, false,
		  found.uid != APPTAP_UID_NONE && !apptap_scope_has(c->scope, found.uid));
}

/*
 * The rules go by who opened the socket, the socket table by whose it is now: it may have been
 * given away. Another socket than the one that we know is another story, which takes a while to
 * tell: ours has closed, and the next has its port.
 */
static enum apptap_claim vouch(struct apptap_claims *c, struct apptap_claim_flow *e,
			       struct apptap_sighting *found, uint64_t now_ns)
{
	c->lookups++;
	apptap_diag_ask(c->diag, &e->flow, 0, found);
	e->asked_ns = now_ns;
	if (found->sight != APPTAP_SIGHT_OWNED)
		return e->given ? APPTAP_CLAIM_FOREIGN : APPTAP_CLAIM_OURS;
	if (apptap_scope_has(c->scope, found->uid)) {
		e->cookie = found->cookie;
		e->given = e->suspect = false;
		return APPTAP_CLAIM_OURS;
	}
	if (e->given || (e->cookie && e->cookie == found->cookie)) {
		e->given = true;
		return APPTAP_CLAIM_FOREIGN;
	}
	/* A connection that the app has just begun, of which we asked too late: it is over, and the
	 * next has its ports. */
	if (e->flow.proto == IPPROTO_TCP && !e->cookie && e->syn && now_ns - e->syn_ns < YOUNG_NS)
		return APPTAP_CLAIM_OURS;
	e->suspect = true;
	return APPTAP_CLAIM_WAIT;
}

/* A busy flow is not asked about again and again. */
static enum apptap_claim see_datagram(struct apptap_claims *c, struct apptap_claim_flow *e,
				      struct apptap_claim_case *k, uint64_t now_ns)
{
	struct apptap_claim_port *p = &c->ports[e->flow.lport];
	enum apptap_claim what;

	if (e->taken > e->ours)
		e->cookie = 0;
	if (p->ours && p->cookie && e->ours > e->taken && now_ns - e->ns < CALM_NS &&
	    now_ns - e->asked_ns < REASK_NS && !e->suspect) {
		p->ours_ns = now_ns;
		return e->given ? APPTAP_CLAIM_FOREIGN : APPTAP_CLAIM_OURS;
	}
	what = vouch(c, e, &k->found, now_ns);
	if (what != APPTAP_CLAIM_FOREIGN)
		note_port(c, &k->found, true, what == APPTAP_CLAIM_OURS);
	return what;
}

static enum apptap_claim see_again(struct apptap_claims *c, struct apptap_claim_flow *e,
				   struct apptap_claim_case *k, uint64_t now_ns)
{
	if (now_ns - e->asked_ns < REASK_NS && !e->suspect)
		return e->given ? APPTAP_CLAIM_FOREIGN : APPTAP_CLAIM_OURS;
	return vouch(c, e, &k->found, now_ns);
}

static enum apptap_claim see_stream(struct apptap_claims *c, struct apptap_claim_flow *e,
				    struct apptap_claim_case *k, const struct apptap_dissect *d,
				    bool sent, uint64_t now_ns)
{
	bool syn = (d->flags & (APPTAP_DIS_TCP_SYN | APPTAP_DIS_TCP_ACK)) == APPTAP_DIS_TCP_SYN;

	if (syn && sent && e->isn != d->tcp_seq) {
		e->given = e->suspect = false;
		e->cookie = e->asked_ns = 0;
		e->isn = d->tcp_seq;
		e->syn = c->number;
		e->syn_ns = now_ns;
	}
	if (sent && !syn && e->listener != APPTAP_UID_NONE && e->syn > e->ours) {
		c->ports[e->flow.lport].ours_accepts = true;
	}
	return see_again(c, e, k, now_ns);
}

static void see_other(struct apptap_claims *c, enum apptap_rule_class class,
		      struct apptap_claim_flow *e, uint64_t now_ns)
{
	e->taken = c->number;
	e->ns = now_ns;
	if (class == APPTAP_RULE_ACCEPTED) {
		c->ports[e->flow.lport].others_accept = true;
		return;
	}
	c->contested_ns = now_ns;
	if (apptap_claims_is_datagram(e->flow.proto))
		note_taker(c, &e->flow);
}

enum apptap_claim apptap_claims_see(struct apptap_claims *c, enum apptap_rule_class class,
				    const struct apptap_dissect *d, uid_t uid, uint64_t since_ns,
				    uint64_t now_ns, struct apptap_claim_case *k)
{
	bool sent = class == APPTAP_RULE_SENT || class == APPTAP_RULE_SENT_MARKED ||
		    apptap_rules_is_notice(class);
	enum apptap_claim what = APPTAP_CLAIM_OURS;
	struct apptap_claim_flow *e;

	memset(k, 0, sizeof(*k));
	k->number = ++c->number;
	k->class = class;
	k->since_ns = since_ns;
	k->met_ns = now_ns;
	if (d->proto == IPPROTO_ICMP || d->proto == IPPROTO_ICMPV6)
		return what;
	if (!(d->flags & APPTAP_DIS_PORTS)) {
		c->raw_ours_ns[d->proto] = class == APPTAP_RULE_TAKEN ? 0 : now_ns;
		return what;
	}
	apptap_dissect_flow(d, sent, &k->flow);
	e = apptap_claims_find(c, &k->flow, true);
	if (apptap_rules_is_notice(class)) {
		see_other(c, class, e, now_ns);
		return APPTAP_CLAIM_FOREIGN;
	}
	if (apptap_claims_is_datagram(d->proto) && class == APPTAP_RULE_SENT) {
		what = see_datagram(c, e, k, now_ns);
		c->ports[k->flow.lport].sent_ns = since_ns;
	} else if (d->proto == IPPROTO_TCP)
		what = see_stream(c, e, k, d, sent, now_ns);
	else if (class == APPTAP_RULE_GOT)
		what = see_again(c, e, k, now_ns);
	e->ours = c->number;
	e->ns = now_ns;
	e->uid = uid;
	return what;
}

static void ask(struct apptap_claims *c, const struct apptap_packet *pkt,
		const struct apptap_dissect *d, struct apptap_claim_case *k)
{
	struct apptap_flow flow = k->flow;

	/* Who asked while it came in knows better. */
	if (k->rx_ns && !(d->flags & APPTAP_DIS_MULTICAST) && k->flow.proto == IPPROTO_UDP &&
	    apptap_contest_recall(c->contest, &flow, k->rx_ns, &k->found))
		return;
	/* A connection may be over by now, but who listens has not changed: ask for no peer. */
	if (k->syn)
		flow.rport = 0;
	c->lookups++;
	if (d->flags & APPTAP_DIS_MULTICAST)
		apptap_groups_ask(c->groups, c->key, c->diag, &flow, c->scope, &k->found);
	else
		apptap_diag_ask(c->diag, &flow, pkt->ifindex, &k->found);
}

/* A connection from outside: what its first packet was, and whose port it came to. */
static void note_syn(struct apptap_claim_flow *e, const struct apptap_dissect *d,
		     const struct apptap_claim_case *k)
{
	if (e->isn == d->tcp_seq && e->syn)
		return; /* sent again */
	e->isn = d->tcp_seq;
	e->syn = k->number;
	e->syn_ns = k->met_ns;
	e->syn_since_ns = k->since_ns;
	e->ns = k->met_ns;
	e->listener = k->found.uid;
	e->given = e->suspect = false;
	e->cookie = e->asked_ns = 0;
}

static void note_given(struct apptap_claims *c, const struct apptap_claim_case *k)
{
	struct apptap_claim_flow *e = apptap_claims_find(c, &k->flow, true);

	e->ns = k->met_ns;
	e->uid = k->found.uid;
	if (apptap_scope_has(c->scope, k->found.uid))
		e->ours = k->number;
	else
		e->taken = k->number;
}

/* Is it decided already, or known to be asked about? Then once more would tell nothing new. */
static bool needs_no_answer(const struct apptap_claim_flow *e, const struct apptap_claim_case *k)
{
	return k->class == APPTAP_RULE_SENT_ASK ||
	       (k->class == APPTAP_RULE_PENDING && e && e->syn &&
		(e->ours > e->syn || e->taken > e->syn ||
		 k->met_ns - e->ns < APPTAP_CLAIM_ACCEPT_NS));
}

void apptap_claims_open(struct apptap_claims *c, enum apptap_rule_class class,
			const struct apptap_packet *pkt, const struct apptap_dissect *d,
			uint64_t rx_ns, uint64_t since_ns, struct apptap_claim_case *k)
{
	struct apptap_claim_flow *e;
	const struct apptap_claim_port *p;

	memset(k, 0, sizeof(*k));
	k->number = ++c->number;
	k->class = class;
	k->rx_ns = rx_ns;
	k->since_ns = rx_ns && rx_ns <= apptap_clock_ns(CLOCK_REALTIME) ? rx_ns : since_ns;
	k->met_ns = pkt->ts_ns;
	k->found.uid = APPTAP_UID_NONE;
	if (!(d->flags & APPTAP_DIS_IP))
		return;
	apptap_dissect_flow(d,
			    class == APPTAP_RULE_SENT_ASK || (apptap_rules_both_ways(class) &&
							      pkt->pkttype == PACKET_OUTGOING),
			    &k->flow);
	k->syn = (d->flags & (APPTAP_DIS_TCP_SYN | APPTAP_DIS_TCP_ACK)) == APPTAP_DIS_TCP_SYN;
	e = apptap_claims_find(c, &k->flow, k->syn);
	k->was_taken = e && e->taken > e->ours;
	p = &c->ports[k->flow.lport];
	k->holder = p->cookie;
	k->holder_ns = p->asked_ns;
	k->sent_ns = p->sent_ns;
	k->was_ours = apptap_claims_lately(p->ours_ns, k->met_ns);
	if (!needs_no_answer(e, k))
		ask(c, pkt, d, k);
	if (class == APPTAP_RULE_GIVEN && pkt->ifindex == APPTAP_LOOPBACK_IFINDEX &&
	    !apptap_scope_has(c->scope, k->found.uid)) {
		apptap_dissect_flow(d, false, &k->flow); /* both its ends are here */
		ask(c, pkt, d, k);
	}
	if (apptap_claims_is_datagram(k->flow.proto) && k->found.uid != APPTAP_UID_NONE &&
	    !k->found.group)
		note_port(c, &k->found, apptap_scope_has(c->scope, k->found.uid), true);
	if (k->syn && e)
		note_syn(e, d, k);
	if (class == APPTAP_RULE_GIVEN && k->found.sight == APPTAP_SIGHT_OWNED)
		note_given(c, k);
}

void apptap_claims_bound(struct apptap_claims *c, const struct apptap_sighting *found)
{
	if (found->sight == APPTAP_SIGHT_OWNED)
		note_port(c, found, true, true);
}

bool apptap_claims_knows(const struct apptap_claims *c, const struct apptap_flow *flow,
			 uint64_t cookie)
{
	const struct apptap_claim_flow *e =
		apptap_claims_find((struct apptap_claims *)c, flow, false);

	return e && e->cookie == cookie && e->ours > e->taken;
}

void apptap_claims_hear(const struct apptap_sighting *s, void *claims)
{
	struct apptap_claims *c = claims;

	if (s->cookie)
		c->ours[s->cookie % APPTAP_CLAIM_COOKIES] = s->cookie;
}

uint64_t apptap_claims_lookups(const struct apptap_claims *c)
{
	return c->lookups;
}

bool apptap_claims_contested(const struct apptap_claims *c, uint64_t now_ns)
{
	return c->contested_ns && now_ns < c->contested_ns + CONTESTED_NS;
}

bool apptap_claims_unsure(const struct apptap_claims *c, uint64_t now_ns)
{
	return c->unsure_ns && now_ns < c->unsure_ns + CONTESTED_NS;
}
