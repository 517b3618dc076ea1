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
#include <netinet/in.h>

#define SETS 8192
#define WAYS 4
#define WAIT_NS (20 * APPTAP_NSEC_PER_MSEC) /* for the app's answer, or news of closed sockets */
#define NEWS_NS (50 * APPTAP_NSEC_PER_MSEC) /* by which we may meet a packet after such news */
#define CALM_NS (50 * APPTAP_NSEC_PER_USEC)
#define TCP_MEMORY_NS (120 * APPTAP_NSEC_PER_SEC) /* TIME_WAIT, and the last retransmissions */
#define PORT_MEMORY_NS (10 * APPTAP_NSEC_PER_SEC)
#define CONTESTED_NS (10 * APPTAP_NSEC_PER_SEC)
#define GROUP_NS (5 * APPTAP_NSEC_PER_MSEC)
#define GROUPS 64
#define PORTS 65536

/* What is certain of a flow, by the numbers of the packets that told it. */
struct evidence {
	struct apptap_flow flow;
	uint64_t ours, taken; /* the last of each; 0: none */
	uint64_t ns; /* CLOCK_REALTIME, here */
	uid_t uid;
};

/* A local port of datagrams, whichever protocol's: they rarely share one. */
struct port {
	uint64_t ours_ns; /* when it was the app's for certain; 0: never, or it no longer is */
	uint64_t foreign_ns; /* when it was another's for certain; 0: never */
	uint64_t cookie; /* of the app's socket there, when last asked; 0: not known */
	uint64_t taker; /* cookie of another owner's socket that has taken it; 0: not known */
	uint64_t taker_closed_ns; /* when its end was heard of; 0: not yet */
};

struct apptap_claims {
	const struct apptap_scope *scope; /* borrowed, like the next two */
	struct apptap_diag *diag;
	const struct apptap_deaths *deaths;
	uint64_t number; /* of the last packet */
	uint64_t key[2];
	uint64_t lookups;
	uint64_t contested_ns;
	struct evidence flows[SETS][WAYS];
	struct port ports[PORTS];
	struct apptap_sighting groups[GROUPS]; /* the last answers about multicast */
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
	return oldest;
}

/* Who has taken the port: by its cookie its end will be known from that of others. */
static void note_taker(struct apptap_claims *c, const struct apptap_flow *flow, uint64_t now_ns)
{
	struct port *p = &c->ports[flow->lport];
	struct apptap_sighting found;

	c->lookups++;
	apptap_diag_ask(c->diag, flow, 0, &found);
	p->ours_ns = 0;
	p->foreign_ns = now_ns;
	p->cookie = 0;
	p->taker_closed_ns = 0;
	p->taker = found.uid != APPTAP_UID_NONE && !apptap_scope_has(c->scope, found.uid)
			   ? found.cookie
			   : 0;
}

/*
 * The app has sent from this port: by its socket's cookie, a later answer about the same socket
 * will say that nobody else had the port between. A busy flow is not asked about again and again.
 */
static void note_sender(struct apptap_claims *c, const struct apptap_flow *flow,
			const struct evidence *e, uint64_t now_ns)
{
	struct port *p = &c->ports[flow->lport];
	struct apptap_sighting found;

	p->ours_ns = now_ns;
	p->taker = 0;
	if (p->cookie && e->ours > e->taken && now_ns - e->ns < CALM_NS)
		return;
	c->lookups++;
	apptap_diag_ask(c->diag, flow, 0, &found);
	p->cookie = found.uid != APPTAP_UID_NONE && apptap_scope_has(c->scope, found.uid)
			    ? found.cookie
			    : 0;
}

void apptap_claims_see(struct apptap_claims *c, enum apptap_rule_class class,
		       const struct apptap_dissect *d, uid_t uid, uint64_t now_ns)
{
	bool sent = class == APPTAP_RULE_SENT || class == APPTAP_RULE_SENT_MARKED ||
		    class == APPTAP_RULE_TAKEN;
	struct apptap_flow flow;
	struct evidence *e;

	c->number++;
	if (d->proto == IPPROTO_ICMP || d->proto == IPPROTO_ICMPV6)
		return;
	if (!(d->flags & APPTAP_DIS_PORTS)) {
		c->raw_ours_ns[d->proto] = class == APPTAP_RULE_TAKEN ? 0 : now_ns;
		return;
	}
	apptap_dissect_flow(d, sent, &flow);
	e = find(c, &flow, true);
	if (class == APPTAP_RULE_TAKEN) {
		e->taken = c->number;
		e->ns = now_ns;
		c->contested_ns = now_ns;
		if (is_datagram(d->proto))
			note_taker(c, &flow, now_ns);
		return;
	}
	if (is_datagram(d->proto) && sent)
		note_sender(c, &flow, e, now_ns);
	e->ours = c->number;
	e->ns = now_ns;
	e->uid = uid;
}

void apptap_claims_closed(struct apptap_claims *c, uint16_t port, uint64_t now_ns)
{
	struct apptap_flow flow = { .proto = IPPROTO_UDP, .lport = port };
	struct port *p = &c->ports[port];

	if (p->taker && !p->taker_closed_ns && apptap_deaths_has(c->deaths, &flow, p->taker))
		p->taker_closed_ns = now_ns;
}

/* Costs a dump of the sockets: in a burst of one group's, the answer serves for a moment. */
static void ask_group(struct apptap_claims *c, const struct apptap_flow *flow,
		      struct apptap_claim_case *k)
{
	struct apptap_sighting *last = &c->groups[apptap_flow_hash(flow, c->key) % GROUPS];

	if (last->flow.lport != flow->lport || last->flow.proto != flow->proto ||
	    memcmp(&last->flow.laddr, &flow->laddr, sizeof(flow->laddr)) != 0 ||
	    apptap_clock_ns(CLOCK_REALTIME) - last->asked_ns > GROUP_NS)
		apptap_diag_ask_group(c->diag, flow, c->scope, last);
	k->found = *last;
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
		ask_group(c, &flow, k);
	else
		apptap_diag_ask(c->diag, &flow, pkt->ifindex, &k->found);
}

void apptap_claims_open(struct apptap_claims *c, enum apptap_rule_class class,
			const struct apptap_packet *pkt, const struct apptap_dissect *d,
			uint64_t rx_ns, struct apptap_claim_case *k)
{
	const struct evidence *e;
	const struct port *p;

	memset(k, 0, sizeof(*k));
	k->number = ++c->number;
	k->class = class;
	k->rx_ns = rx_ns;
	k->met_ns = pkt->ts_ns;
	k->found.uid = APPTAP_UID_NONE;
	if (!(d->flags & APPTAP_DIS_IP))
		return;
	apptap_dissect_flow(d, class == APPTAP_RULE_SENT_ASK, &k->flow);
	k->syn = (d->flags & (APPTAP_DIS_TCP_SYN | APPTAP_DIS_TCP_ACK)) == APPTAP_DIS_TCP_SYN;
	e = find(c, &k->flow, false);
	k->was_taken = e && e->taken > e->ours;
	p = &c->ports[k->flow.lport];
	k->taker_closed_ns = p->taker ? p->taker_closed_ns : 0;
	k->cookie = p->cookie;
	k->was_ours = p->ours_ns && k->met_ns < p->ours_ns + PORT_MEMORY_NS;
	if (class != APPTAP_RULE_SENT_ASK)
		ask(c, pkt, d, k);
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

/* Sockets other than @cookie's that have left the port around the time of the packet. */
static bool others_left(const struct apptap_claims *c, const struct apptap_claim_case *k,
			uint64_t cookie)
{
	uint64_t gone[APPTAP_DEATHS_A_PORT];
	int n = apptap_deaths_since(c->deaths, &k->flow, k->met_ns - NEWS_NS, gone);
	int others = 0;

	/* Where the socket's own cookie is not known, one of the dead is itself. */
	for (int i = 0; i < n; i++)
		others += gone[i] != cookie;
	return n < 0 || others > !cookie;
}

/* Nobody has the port any more. */
static enum apptap_claim settle_closed(struct apptap_claims *c, const struct evidence *e,
				       const struct apptap_claim_case *k, bool over, uid_t *uid)
{
	if (k->syn && e && e->ours > k->number)
		return ours(c, e, uid); /* it was answered. A datagram's answer may be the next's */
	if (k->syn)
		return over ? APPTAP_CLAIM_FOREIGN : APPTAP_CLAIM_WAIT;
	if (k->was_taken)
		return APPTAP_CLAIM_UNKNOWN;
	/* A raw socket gets all of its protocol, whoever else does. */
	if (!is_datagram(k->flow.proto))
		return c->raw_ours_ns[k->flow.proto] &&
				       k->met_ns < c->raw_ours_ns[k->flow.proto] + PORT_MEMORY_NS
			       ? ours(c, e, uid)
			       : APPTAP_CLAIM_FOREIGN;
	if (k->class != APPTAP_RULE_GOT_DATAGRAM && !k->was_ours)
		return APPTAP_CLAIM_FOREIGN;
	/* The app was the last that had it, unless others came and went; who uses the port besides
	 * the app has been seen doing so. */
	if (k->met_ns < c->ports[k->flow.lport].foreign_ns + PORT_MEMORY_NS) {
		if (!over)
			return APPTAP_CLAIM_WAIT;
		if (others_left(c, k, k->cookie))
			return APPTAP_CLAIM_UNKNOWN;
	}
	return ours(c, e, uid);
}

/* The app has the port now; had it the packet too? */
static enum apptap_claim settle_owned(struct apptap_claims *c, const struct apptap_claim_case *k,
				      bool over, uid_t *uid)
{
	struct port *p = &c->ports[k->flow.lport];
	bool same = k->cookie && k->cookie == k->found.cookie;

	*uid = k->found.uid;
	if (!is_datagram(k->flow.proto) || k->found.group)
		return APPTAP_CLAIM_OURS;
	/* If the taker's end was heard of before the packet came. */
	if (k->was_taken && k->taker_closed_ns && k->taker_closed_ns < k->rx_ns)
		same = true;
	if (!same && k->was_taken)
		return APPTAP_CLAIM_UNKNOWN;
	/* On its own flow, to a port that nobody else is seen using. */
	if (k->class == APPTAP_RULE_GOT_DATAGRAM && k->met_ns >= p->foreign_ns + PORT_MEMORY_NS)
		same = true;
	if (!same && !over)
		return APPTAP_CLAIM_WAIT; /* for news of who may have had it before */
	if (!same && others_left(c, k, k->found.cookie))
		return APPTAP_CLAIM_UNKNOWN;
	if (!p->cookie) {
		p->cookie = k->found.cookie;
		p->ours_ns = k->met_ns;
	}
	return APPTAP_CLAIM_OURS;
}

enum apptap_claim apptap_claims_settle(struct apptap_claims *c, struct apptap_claim_case *k,
				       uint64_t now_ns, bool last, uid_t *uid)
{
	struct evidence *e = find(c, &k->flow, false);
	bool owned = k->found.uid != APPTAP_UID_NONE;
	bool over = last || now_ns >= k->met_ns + WAIT_NS;

	if (!k->horizon)
		k->horizon = c->number;
	if (k->class == APPTAP_RULE_SENT_ASK)
		return settle_connection(c, e, k, uid);
	/* Taken between the packet and the end of our question: anybody's. */
	if (is_datagram(k->flow.proto) && e && e->taken > k->number && e->taken <= k->horizon)
		return APPTAP_CLAIM_UNKNOWN;
	if (owned && !apptap_scope_has(c->scope, k->found.uid)) {
		c->ports[k->flow.lport].foreign_ns = now_ns;
		/* Ours by its mark, another's by the socket: the port changed hands just now. */
		return k->class == APPTAP_RULE_GOT_DATAGRAM && !k->was_taken ? APPTAP_CLAIM_UNKNOWN
									     : APPTAP_CLAIM_FOREIGN;
	}
	if (owned)
		return settle_owned(c, k, over, uid);
	if (k->flow.proto == IPPROTO_TCP && !k->syn)
		return settle_connection(c, e, k, uid);
	return settle_closed(c, e, k, over, uid);
}

uint64_t apptap_claims_lookups(const struct apptap_claims *c)
{
	return c->lookups;
}

bool apptap_claims_contested(const struct apptap_claims *c, uint64_t now_ns)
{
	return c->contested_ns && now_ns < c->contested_ns + CONTESTED_NS;
}
