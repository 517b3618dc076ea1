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
#define WAIT_NS (15 * APPTAP_NSEC_PER_MSEC) /* for what the app says next on the same flow */
#define TCP_MEMORY_NS (120 * APPTAP_NSEC_PER_SEC) /* TIME_WAIT, and the last retransmissions */
#define PORT_MEMORY_NS (10 * APPTAP_NSEC_PER_SEC)
#define CONTESTED_NS (10 * APPTAP_NSEC_PER_SEC)
#define PORTS 65536

/* What is certain of a flow, by the numbers of the packets that told it. */
struct evidence {
	struct apptap_flow flow;
	uint64_t ours, taken; /* the last of each; 0: none */
	uint64_t ns, taken_ns; /* CLOCK_REALTIME, here */
	uid_t uid;
};

/* A local port of datagrams, whichever protocol's: they rarely share one. */
struct port {
	uint64_t ours_ns; /* when it was the app's for certain; 0: never, or it no longer is */
	uint64_t closed_ns; /* when a socket's end was last heard of */
};

struct apptap_claims {
	const struct apptap_scope *scope; /* borrowed, like the next */
	struct apptap_diag *diag;
	uint64_t number; /* of the last packet */
	uint64_t key[2];
	uint64_t lookups;
	uint64_t contested_ns;
	struct evidence flows[SETS][WAYS];
	struct port ports[PORTS];
};

int apptap_claims_new(struct apptap_claims **out, const struct apptap_scope *scope,
		      struct apptap_diag *diag, struct apptap_error *err)
{
	struct apptap_claims *c = calloc(1, sizeof(*c));

	if (!c)
		return apptap_error_set(err, ENOMEM, "allocating the table of claims");
	c->scope = scope;
	c->diag = diag;
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

void apptap_claims_see(struct apptap_claims *c, enum apptap_rule_class class,
		       const struct apptap_dissect *d, uid_t uid, uint64_t now_ns)
{
	bool sent = class == APPTAP_RULE_SENT || class == APPTAP_RULE_SENT_MARKED ||
		    class == APPTAP_RULE_TAKEN;
	struct apptap_flow flow;
	struct evidence *e;

	c->number++;
	if (!(d->flags & APPTAP_DIS_PORTS) || d->proto == IPPROTO_ICMP ||
	    d->proto == IPPROTO_ICMPV6)
		return;
	apptap_dissect_flow(d, sent, &flow);
	e = find(c, &flow, true);
	e->ns = now_ns;
	if (class == APPTAP_RULE_TAKEN) {
		e->taken = c->number;
		e->taken_ns = now_ns;
		c->contested_ns = now_ns;
		if (is_datagram(d->proto))
			c->ports[flow.lport].ours_ns = 0;
		return;
	}
	e->ours = c->number;
	e->uid = uid;
	if (is_datagram(d->proto))
		c->ports[flow.lport].ours_ns = now_ns;
}

void apptap_claims_closed(struct apptap_claims *c, uint16_t port, uint64_t now_ns)
{
	c->ports[port].closed_ns = now_ns;
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
		apptap_diag_ask_group(c->diag, &flow, c->scope, &k->found);
	else
		apptap_diag_ask(c->diag, &flow, pkt->ifindex, &k->found);
}

void apptap_claims_open(struct apptap_claims *c, enum apptap_rule_class class,
			const struct apptap_packet *pkt, const struct apptap_dissect *d,
			uint64_t rx_ns, struct apptap_claim_case *k)
{
	const struct evidence *e;

	memset(k, 0, sizeof(*k));
	k->number = ++c->number;
	k->class = class;
	k->rx_ns = rx_ns;
	k->met_ns = pkt->ts_ns;
	k->found.uid = APPTAP_UID_NONE;
	if (!(d->flags & APPTAP_DIS_PORTS))
		return;
	apptap_dissect_flow(d, class == APPTAP_RULE_SENT_ASK, &k->flow);
	k->syn = (d->flags & (APPTAP_DIS_TCP_SYN | APPTAP_DIS_TCP_ACK)) == APPTAP_DIS_TCP_SYN;
	e = find(c, &k->flow, false);
	k->was_taken = e && e->taken > e->ours;
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

/* Nobody has the port any more. */
static enum apptap_claim settle_closed(struct apptap_claims *c, const struct evidence *e,
				       const struct apptap_claim_case *k, uint64_t now_ns,
				       bool last, uid_t *uid)
{
	const struct port *p = &c->ports[k->flow.lport];

	if (k->class == APPTAP_RULE_GOT_DATAGRAM)
		return ours(c, e, uid); /* nobody took it: the mark is right */
	if (k->was_taken)
		return APPTAP_CLAIM_UNKNOWN;
	if (e && e->ours > k->number)
		return ours(c, e, uid); /* it was answered */
	if (is_datagram(k->flow.proto) && p->ours_ns && k->met_ns < p->ours_ns + PORT_MEMORY_NS)
		return ours(c, e, uid);
	if (!last && now_ns < k->met_ns + WAIT_NS)
		return APPTAP_CLAIM_WAIT;
	return APPTAP_CLAIM_FOREIGN;
}

enum apptap_claim apptap_claims_settle(struct apptap_claims *c, const struct apptap_claim_case *k,
				       uint64_t now_ns, bool last, uid_t *uid)
{
	struct evidence *e = find(c, &k->flow, false);
	struct port *p = &c->ports[k->flow.lport];
	bool owned = k->found.uid != APPTAP_UID_NONE;

	if (k->class == APPTAP_RULE_SENT_ASK)
		return settle_connection(c, e, k, uid);
	/* Taken between the packet and the end of our question: anybody's. */
	if (is_datagram(k->flow.proto) && e && e->taken > k->number && e->ours < e->taken)
		return APPTAP_CLAIM_UNKNOWN;
	if (owned && !apptap_scope_has(c->scope, k->found.uid)) {
		if (is_datagram(k->flow.proto))
			p->ours_ns = 0;
		/* Ours by its mark, another's by the socket: the port changed hands just now. */
		return k->class == APPTAP_RULE_GOT_DATAGRAM && !k->was_taken ? APPTAP_CLAIM_UNKNOWN
									     : APPTAP_CLAIM_FOREIGN;
	}
	if (owned) {
		/* The app has the port now; had it the packet too? If its forerunner's end was
		 * heard of before the packet came, it had. */
		if (k->was_taken &&
		    !(k->rx_ns && e && p->closed_ns > e->taken_ns && p->closed_ns < k->rx_ns))
			return APPTAP_CLAIM_UNKNOWN;
		if (is_datagram(k->flow.proto))
			p->ours_ns = now_ns;
		*uid = k->found.uid;
		return APPTAP_CLAIM_OURS;
	}
	if (k->flow.proto == IPPROTO_TCP && !k->syn)
		return settle_connection(c, e, k, uid);
	return settle_closed(c, e, k, now_ns, last, uid);
}

uint64_t apptap_claims_lookups(const struct apptap_claims *c)
{
	return c->lookups;
}

bool apptap_claims_contested(const struct apptap_claims *c, uint64_t now_ns)
{
	return c->contested_ns && now_ns < c->contested_ns + CONTESTED_NS;
}
