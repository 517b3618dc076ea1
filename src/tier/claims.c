/*
 * claims.c - whose is what the rules could not tell: their other packets, and the socket table
 *
 * How it works. The log of the rules is one sequence in the kernel's order; in it stand packets
 * whose owner is certain, the app's ("ours") and those of others on what was the app's ("taken").
 * Between them stand the doubtful. For each the socket table is asked at once; but between the
 * packet and the answer the port may have changed hands, so an answer counts only where what is
 * certain does not speak against it. A packet that stays in doubt is not kept.
 */
#include "tier/claims.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <netinet/in.h>

#include "tier/groups.h"
#include "tier/links.h"

#define SETS 8192
#define WAYS 4
#define WAIT_NS (20 * APPTAP_NSEC_PER_MSEC) /* for the app's answer, or news of closed sockets */
#define NEWS_NS (2 * APPTAP_NSEC_PER_MSEC)
#define CONTEST_NS (60 * APPTAP_NSEC_PER_MSEC) /* for the verdict of those who asked at once */
#define CALM_NS (50 * APPTAP_NSEC_PER_USEC)
#define TCP_MEMORY_NS (120 * APPTAP_NSEC_PER_SEC) /* TIME_WAIT, and the last retransmissions */
#define PORT_MEMORY_NS (10 * APPTAP_NSEC_PER_SEC)
#define CONTESTED_NS (10 * APPTAP_NSEC_PER_SEC)
#define PORTS 65536
#define ACCEPT_NS (100 * APPTAP_NSEC_PER_MSEC) /* for somebody to accept a connection */
#define YOUNG_NS (2 * APPTAP_NSEC_PER_SEC)
#define REASK_NS (250 * APPTAP_NSEC_PER_MSEC) /* for a change of owner: fchown() */

/* What is certain of a flow, by the numbers of the packets that told it. */
struct evidence {
	struct apptap_flow flow;
	uint64_t ours, taken; /* the last of each; 0: none */
	uint64_t ns; /* CLOCK_REALTIME, here */
	uint64_t syn; /* that began the connection */
	uint64_t syn_ns; /* CLOCK_REALTIME, here */
	uint64_t asked_ns; /* CLOCK_REALTIME: when the socket table was last asked whose it is */
	uint64_t cookie; /* of the app's socket then; 0: not known */
	uint32_t isn; /* of that SYN */
	uid_t uid;
	uid_t listener; /* of a connection from outside: whose port it came to */
	bool given; /* the app opened the socket, and gave it away */
	bool suspect; /* it may have: what waits will tell */
};

struct port {
	uint64_t cookie; /* of the socket that was last seen to have it; 0: not known */
	uint64_t asked_ns; /* CLOCK_REALTIME: when that was told first */
	uint64_t ours_ns, others_ns; /* when it was seen in use by each; 0: never */
	bool ours; /* whose that socket is */
	bool ours_accepts, others_accept; /* connections, where it is TCP's and listens */
};

struct apptap_claims {
	const struct apptap_scope *scope; /* borrowed, like the next two */
	struct apptap_diag *diag;
	const struct apptap_deaths *deaths;
	struct apptap_contest *contest; /* borrowed; NULL: there is none now */
	uint64_t number; /* of the last packet */
	uint64_t key[2];
	uint64_t lookups;
	uint64_t contested_ns;
	struct evidence flows[SETS][WAYS];
	struct port ports[PORTS]; /* of UDP and UDP-Lite: they rarely share one */
	struct apptap_sighting groups[APPTAP_GROUPS]; /* the last answers about multicast */
	uint64_t raw_ours_ns[256]; /* when the app last used a raw socket of this protocol */
};

int apptap_claims_new(struct apptap_claims **out, const struct apptap_scope *scope,
		      struct apptap_diag *diag, const struct apptap_deaths *deaths,
		      struct apptap_error *err)
{
	struct apptap_claims *c = calloc(1, sizeof(*c));

	if (!c)
		return apptap_error_set(err, ENOMEM, "allocating the table of claims");
	c->scope = scope;
	c->diag = diag;
	c->deaths = deaths;
	c->key[0] = apptap_clock_ns(CLOCK_MONOTONIC) * 0x9e3779b97f4a7c15ULL;
	c->key[1] = (uint64_t)(uintptr_t)c ^ apptap_clock_ns(CLOCK_REALTIME);
	*out = c;
	return 0;
}

void apptap_claims_free(struct apptap_claims *c)
{
	free(c);
}

static bool is_datagram(uint8_t proto)
{
	return proto == IPPROTO_UDP || proto == IPPROTO_UDPLITE;
}

static struct evidence *find(struct apptap_claims *c, const struct apptap_flow *flow, bool make)
{
	struct evidence *set = c->flows[apptap_flow_hash(flow, c->key) % SETS];
	struct evidence *oldest = set;

	for (int i = 0; i < WAYS; i++) {
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

static bool lately(uint64_t then_ns, uint64_t now_ns)
{
	return then_ns && now_ns < then_ns + PORT_MEMORY_NS;
}

static void note_port(struct apptap_claims *c, const struct apptap_sighting *found, bool ours,
		      bool known)
{
	struct port *p = &c->ports[found->flow.lport];
	uint64_t cookie = known ? found->cookie : 0;

	if (!found->asked_ns)
		return;
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
static enum apptap_claim vouch(struct apptap_claims *c, struct evidence *e,
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
static enum apptap_claim see_datagram(struct apptap_claims *c, struct evidence *e,
				      struct apptap_claim_case *k, uint64_t now_ns)
{
	struct port *p = &c->ports[e->flow.lport];
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

static enum apptap_claim see_again(struct apptap_claims *c, struct evidence *e,
				   struct apptap_claim_case *k, uint64_t now_ns)
{
	if (now_ns - e->asked_ns < REASK_NS && !e->suspect)
		return e->given ? APPTAP_CLAIM_FOREIGN : APPTAP_CLAIM_OURS;
	return vouch(c, e, &k->found, now_ns);
}

static enum apptap_claim see_stream(struct apptap_claims *c, struct evidence *e,
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

static void see_other(struct apptap_claims *c, enum apptap_rule_class class, struct evidence *e,
		      uint64_t now_ns)
{
	e->taken = c->number;
	e->ns = now_ns;
	if (class == APPTAP_RULE_ACCEPTED) {
		c->ports[e->flow.lport].others_accept = true;
		return;
	}
	c->contested_ns = now_ns;
	if (is_datagram(e->flow.proto))
		note_taker(c, &e->flow);
}

enum apptap_claim apptap_claims_see(struct apptap_claims *c, enum apptap_rule_class class,
				    const struct apptap_dissect *d, uid_t uid, uint64_t since_ns,
				    uint64_t now_ns, struct apptap_claim_case *k)
{
	bool sent = class == APPTAP_RULE_SENT || class == APPTAP_RULE_SENT_MARKED ||
		    apptap_rules_is_notice(class);
	enum apptap_claim what = APPTAP_CLAIM_OURS;
	struct evidence *e;

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
	e = find(c, &k->flow, true);
	if (apptap_rules_is_notice(class)) {
		see_other(c, class, e, now_ns);
		return APPTAP_CLAIM_FOREIGN;
	}
	if (is_datagram(d->proto) && class == APPTAP_RULE_SENT)
		what = see_datagram(c, e, k, now_ns);
	else if (d->proto == IPPROTO_TCP)
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
static void note_syn(struct evidence *e, const struct apptap_dissect *d,
		     const struct apptap_claim_case *k)
{
	if (e->isn == d->tcp_seq && e->syn)
		return; /* sent again */
	e->isn = d->tcp_seq;
	e->syn = k->number;
	e->syn_ns = k->met_ns;
	e->ns = k->met_ns;
	e->listener = k->found.uid;
	e->given = e->suspect = false;
	e->cookie = e->asked_ns = 0;
}

static void note_given(struct apptap_claims *c, const struct apptap_claim_case *k)
{
	struct evidence *e = find(c, &k->flow, true);

	e->ns = k->met_ns;
	e->uid = k->found.uid;
	if (apptap_scope_has(c->scope, k->found.uid))
		e->ours = k->number;
	else
		e->taken = k->number;
}

/* Is it decided already, or known to be asked about? Then once more would tell nothing new. */
static bool needs_no_answer(const struct evidence *e, const struct apptap_claim_case *k)
{
	return k->class == APPTAP_RULE_SENT_ASK ||
	       (k->class == APPTAP_RULE_PENDING && e && e->syn &&
		(e->ours > e->syn || e->taken > e->syn || k->met_ns - e->ns < ACCEPT_NS));
}

void apptap_claims_open(struct apptap_claims *c, enum apptap_rule_class class,
			const struct apptap_packet *pkt, const struct apptap_dissect *d,
			uint64_t rx_ns, uint64_t since_ns, struct apptap_claim_case *k)
{
	struct evidence *e;
	const struct port *p;

	memset(k, 0, sizeof(*k));
	k->number = ++c->number;
	k->class = class;
	k->rx_ns = rx_ns;
	k->since_ns = rx_ns ? rx_ns : since_ns;
	k->met_ns = pkt->ts_ns;
	k->found.uid = APPTAP_UID_NONE;
	if (!(d->flags & APPTAP_DIS_IP))
		return;
	apptap_dissect_flow(d,
			    class == APPTAP_RULE_SENT_ASK || (apptap_rules_both_ways(class) &&
							      pkt->pkttype == PACKET_OUTGOING),
			    &k->flow);
	k->syn = (d->flags & (APPTAP_DIS_TCP_SYN | APPTAP_DIS_TCP_ACK)) == APPTAP_DIS_TCP_SYN;
	e = find(c, &k->flow, k->syn);
	k->was_taken = e && e->taken > e->ours;
	p = &c->ports[k->flow.lport];
	k->holder = p->cookie;
	k->holder_ns = p->asked_ns;
	k->was_ours = lately(p->ours_ns, k->met_ns);
	if (!needs_no_answer(e, k))
		ask(c, pkt, d, k);
	if (class == APPTAP_RULE_GIVEN && pkt->ifindex == APPTAP_LOOPBACK_IFINDEX &&
	    !apptap_scope_has(c->scope, k->found.uid)) {
		apptap_dissect_flow(d, false, &k->flow); /* both its ends are here */
		ask(c, pkt, d, k);
	}
	if (is_datagram(k->flow.proto) && k->found.uid != APPTAP_UID_NONE && !k->found.group)
		note_port(c, &k->found, apptap_scope_has(c->scope, k->found.uid), true);
	if (k->syn && e)
		note_syn(e, d, k);
	if (class == APPTAP_RULE_GIVEN && k->found.sight == APPTAP_SIGHT_OWNED)
		note_given(c, k);
}

static enum apptap_claim ours(const struct apptap_claims *c, const struct evidence *e, uid_t *uid)
{
	*uid = e && e->ours ? e->uid : c->scope->uids[0].uid;
	return APPTAP_CLAIM_OURS;
}

/* A connection that is over, which conntrack no longer knows: by what was seen of it. */
static enum apptap_claim settle_connection(struct apptap_claims *c, const struct evidence *e,
					   const struct apptap_claim_case *k, uid_t *uid)
{
	if (e && e->ours > e->taken && k->met_ns - e->ns < TCP_MEMORY_NS)
		return ours(c, e, uid);
	return k->found.sight == APPTAP_SIGHT_ORPHAN ? APPTAP_CLAIM_UNKNOWN : APPTAP_CLAIM_FOREIGN;
}

/* Not a datagram, and nobody has it any more. */
static enum apptap_claim settle_closed(struct apptap_claims *c, const struct evidence *e,
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
	return raw_ns && k->met_ns < raw_ns + PORT_MEMORY_NS ? ours(c, e, uid)
							     : APPTAP_CLAIM_FOREIGN;
}

/* Those who asked while it passed may know. */
static enum apptap_claim settle_contested(struct apptap_claims *c,
					  const struct apptap_claim_case *k, uint64_t now_ns,
					  bool last, uid_t *uid)
{
	struct apptap_owner owner;
	enum apptap_verdict v;

	if (!c->contest || !k->rx_ns)
		return APPTAP_CLAIM_UNKNOWN;
	v = apptap_contest_judge(c->contest, &k->flow, k->rx_ns, last ? UINT64_MAX : now_ns,
				 &owner);
	if (v == APPTAP_VERDICT_WAIT && now_ns < k->met_ns + CONTEST_NS)
		return APPTAP_CLAIM_WAIT;
	if (v != APPTAP_VERDICT_KNOWN)
		return APPTAP_CLAIM_UNKNOWN;
	if (owner.ours) {
		*uid = owner.uid;
		return APPTAP_CLAIM_OURS;
	}
	/* Left out in either case; for certain where the answer of a moment later is the same. */
	return k->found.uid != APPTAP_UID_NONE && !apptap_scope_has(c->scope, k->found.uid)
		       ? APPTAP_CLAIM_FOREIGN
		       : APPTAP_CLAIM_UNKNOWN;
}

/*
 * A datagram that came in. Where one socket had its port before and has it still, it is that one's;
 * where nobody else is seen using the port, there is nothing to find out either.
 */
static enum apptap_claim settle_datagram(struct apptap_claims *c, const struct evidence *e,
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
	/* For the next packets, which may show who else has it, and for those who asked at once. */
	if (!last && now_ns < k->found.asked_ns + NEWS_NS)
		return APPTAP_CLAIM_WAIT;
	if (lately(c->ports[k->flow.lport].others_ns, k->met_ns))
		return settle_contested(c, k, now_ns, last, uid);
	return owned && !found_ours ? APPTAP_CLAIM_FOREIGN : APPTAP_CLAIM_OURS;
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

/*
 * Of a connection from outside, before anybody was seen to have accepted it: it is his who does,
 * from its SYN on. Where nobody does it is the listener's, unless others accept on his port.
 */
static enum apptap_claim settle_pending(struct apptap_claims *c, const struct evidence *e,
					const struct apptap_claim_case *k, uint64_t now_ns,
					bool last, uid_t *uid)
{
	const struct port *p = &c->ports[k->flow.lport];
	uid_t listener = k->found.uid;
	uint64_t since;

	if (e && e->syn) {
		since = e->syn <= k->number ? e->syn : k->number; /* the next one's may be there */
		if (e->ours > since && e->ours > e->taken)
			return e->given ? APPTAP_CLAIM_FOREIGN : ours(c, e, uid);
		if (e->taken > since)
			return APPTAP_CLAIM_FOREIGN;
		if (listener == APPTAP_UID_NONE)
			listener = e->listener;
	}
	if (k->found.sight == APPTAP_SIGHT_OWNED || listener == APPTAP_UID_NONE) {
		*uid = k->found.uid;
		return apptap_scope_has(c->scope, k->found.uid) ? APPTAP_CLAIM_OURS
								: APPTAP_CLAIM_FOREIGN;
	}
	if (!last && now_ns < k->met_ns + ACCEPT_NS)
		return APPTAP_CLAIM_WAIT;
	*uid = listener;
	if (apptap_scope_has(c->scope, listener))
		return p->others_accept ? APPTAP_CLAIM_UNKNOWN : APPTAP_CLAIM_OURS;
	return p->ours_accepts ? APPTAP_CLAIM_UNKNOWN : APPTAP_CLAIM_FOREIGN;
}

/* Opened by the app, another's by the socket table: has it been given away, or has it closed? */
static enum apptap_claim settle_suspect(struct apptap_claims *c, struct evidence *e,
					const struct apptap_claim_case *k, bool over, uid_t *uid)
{
	uint64_t gone[APPTAP_DEATHS_A_PORT];
	int n, ours_gone = 0;

	if (e && e->given)
		return APPTAP_CLAIM_FOREIGN;
	if (!over)
		return APPTAP_CLAIM_WAIT;
	n = apptap_deaths_since(c->deaths, &k->flow, k->since_ns, gone);
	for (int i = 0; i < n; i++)
		ours_gone += gone[i] != k->found.cookie;
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
static enum apptap_claim settle_given(struct apptap_claims *c, const struct evidence *e,
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
	struct evidence *e = find(c, &k->flow, false);
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
		return settle_suspect(c, e, k, over, uid);
	}
	if (k->syn && k->found.sight == APPTAP_SIGHT_PENDING)
		return settle_pending(c, e, k, now_ns, last, uid);
	*uid = k->found.uid;
	if (is_datagram(k->flow.proto) && !k->found.group)
		return settle_datagram(c, e, k, now_ns, last, uid);
	if (k->found.uid == APPTAP_UID_NONE && k->found.group)
		return settle_group(c, k, over, uid);
	if (k->found.uid == APPTAP_UID_NONE)
		return settle_closed(c, e, k, over, uid);
	return apptap_scope_has(c->scope, k->found.uid) ? APPTAP_CLAIM_OURS : APPTAP_CLAIM_FOREIGN;
}

void apptap_claims_bound(struct apptap_claims *c, const struct apptap_sighting *found)
{
	if (found->sight == APPTAP_SIGHT_OWNED)
		note_port(c, found, true, true);
}

bool apptap_claims_knows(const struct apptap_claims *c, const struct apptap_flow *flow,
			 uint64_t cookie)
{
	const struct evidence *e = find((struct apptap_claims *)c, flow, false);

	return e && e->cookie == cookie && e->ours > e->taken;
}

void apptap_claims_witness(struct apptap_claims *c, struct apptap_contest *contest)
{
	c->contest = contest;
}

uint64_t apptap_claims_lookups(const struct apptap_claims *c)
{
	return c->lookups;
}

bool apptap_claims_contested(const struct apptap_claims *c, uint64_t now_ns)
{
	return c->contested_ns && now_ns < c->contested_ns + CONTESTED_NS;
}
