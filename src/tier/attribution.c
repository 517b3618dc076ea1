/*
 * attribution.c - keep, drop or hold: is a packet the app's?
 *
 * How it works. A packet has one end on this machine, on loopback two. Each end's flow is judged
 * from the evidence (owners.c); one end of the app's is enough. Later fragments stand for their
 * first, ICMP errors for the packet that they quote, multicast for every socket that gets it.
 */
#include "tier/attribution.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <netinet/in.h>

#include "tier/frags.h"
#include "tier/owners.h"
#include "tier/portshare.h"

#define FLOWS_MAX 65536
#define DATAGRAMS_MAX 4096 /* of which fragments may still come */
#define LISTENERS_MAX 64
#define LISTEN_NS (200 * APPTAP_NSEC_PER_MSEC)
#define GROUPS_MAX 64
#define GROUP_COST_SHARE 20 /* asking about multicast costs at most one part in so many */

/* Who gets what is sent to a multicast or broadcast address and port: the last two answers. */
struct group {
	struct apptap_flow flow; /* local is the group; the peer does not matter */
	uint64_t asked_ns, before_ns;
	uint64_t pkt_ns; /* the packet that the last answer is about; 0: none */
	uint64_t next_ns; /* the reader's next question, not before */
	uid_t uid, before_uid; /* one of ours, or APPTAP_UID_NONE */
};

struct apptap_attribution {
	const struct apptap_scope *scope; /* borrowed, like the next three */
	struct apptap_diag *diag;
	const struct apptap_links *links;
	const struct apptap_deaths *deaths;
	struct apptap_owners *owners; /* owned */
	struct apptap_frags *frags; /* owned */
	struct apptap_portshare *portshare; /* owned */
	struct group groups[GROUPS_MAX];
	uint64_t group_cost_ns; /* of the last question about one */
	uint64_t lookups;
	uint16_t listeners[LISTENERS_MAX]; /* the latest first */
	size_t listener_count;
	bool listeners_changed;
	uint64_t listened_ns; /* when they were last looked for */
};

int apptap_attribution_new(struct apptap_attribution **out, const struct apptap_scope *scope,
			   struct apptap_diag *diag, const struct apptap_links *links,
			   const struct apptap_deaths *deaths, struct apptap_error *err)
{
	struct apptap_attribution *a = calloc(1, sizeof(*a));

	if (!a)
		return apptap_error_set(err, ENOMEM, "allocating attribution");
	a->scope = scope;
	a->diag = diag;
	a->links = links;
	a->deaths = deaths;
	if (apptap_owners_new(&a->owners, FLOWS_MAX, scope, deaths) < 0 ||
	    apptap_frags_new(&a->frags, DATAGRAMS_MAX) < 0 ||
	    apptap_portshare_new(&a->portshare, scope) < 0) {
		apptap_attribution_free(a);
		return apptap_error_set(err, ENOMEM, "allocating the flow table");
	}
	*out = a;
	return 0;
}

void apptap_attribution_free(struct apptap_attribution *a)
{
	if (!a)
		return;
	apptap_owners_free(a->owners);
	apptap_frags_free(a->frags);
	apptap_portshare_free(a->portshare);
	free(a);
}

static void add_listener(struct apptap_attribution *a, uint16_t port)
{
	for (size_t i = 0; i < a->listener_count; i++)
		if (a->listeners[i] == port)
			return;
	if (a->listener_count < LISTENERS_MAX)
		a->listener_count++;
	memmove(&a->listeners[1], &a->listeners[0],
		(a->listener_count - 1) * sizeof(a->listeners[0]));
	a->listeners[0] = port;
	a->listeners_changed = true;
}

static int take_listener(const struct apptap_sighting *s, void *arg)
{
	add_listener(arg, s->flow.lport);
	return 0;
}

size_t apptap_attribution_listeners(struct apptap_attribution *a, uint16_t *ports, size_t max,
				    bool *changed)
{
	uint64_t now_ns = apptap_clock_ns(CLOCK_MONOTONIC);
	size_t n;

	if (now_ns - a->listened_ns > LISTEN_NS) {
		apptap_diag_listeners(a->diag, take_listener, a, NULL);
		a->listened_ns = now_ns;
	}
	n = MIN(a->listener_count, max);

	memcpy(ports, a->listeners, n * sizeof(*ports));
	*changed = a->listeners_changed;
	a->listeners_changed = false;
	return n;
}

void apptap_attribution_foresee(struct apptap_attribution *a, const struct apptap_sighting *s)
{
	if (s->sight == APPTAP_SIGHT_PENDING)
		add_listener(a, s->flow.lport);
	apptap_owners_foresee(a->owners, s);
}

void apptap_attribution_gap(struct apptap_attribution *a, uint64_t now_ns)
{
	apptap_owners_gap(a->owners, now_ns);
}

/* Only ours, and those whose owner the kernel has forgotten: what is neither is a stranger's. */
static int take_existing(const struct apptap_sighting *s, void *arg)
{
	struct apptap_attribution *a = arg;

	if (s->flow.rport &&
	    (s->sight == APPTAP_SIGHT_ORPHAN || s->member == APPTAP_MEMBER_UNSURE ||
	     apptap_scope_owns(a->scope, s->uid, s->member)))
		apptap_owners_see(a->owners, s);
	return 0;
}

int apptap_attribution_warm(struct apptap_attribution *a, struct apptap_error *err)
{
	int r = apptap_diag_dump(a->diag, IPPROTO_TCP, take_existing, a, err);

	if (r == 0)
		r = apptap_diag_dump(a->diag, IPPROTO_UDP, take_existing, a, err);
	if (r == 0)
		apptap_owners_warm(a->owners, apptap_clock_ns(CLOCK_REALTIME));
	return r;
}

uint64_t apptap_attribution_lookups(const struct apptap_attribution *a)
{
	return a->lookups;
}

/* One end of a packet on this machine. */
struct end {
	bool is_src; /* it is the sender's */
	bool outgoing; /* the flow's own packet went out; the other way round in an ICMP error */
	struct apptap_flow flow;
};

static void make_end(struct end *e, const struct apptap_dissect *d, bool is_src)
{
	e->is_src = is_src;
	if (d->flags & APPTAP_DIS_ICMP_ERROR) {
		/* An error that comes in quotes what we sent; one that goes out, what we got. */
		e->outgoing = !is_src;
		apptap_dissect_inner_flow(d, !is_src, &e->flow);
	} else {
		e->outgoing = is_src;
		apptap_dissect_flow(d, is_src, &e->flow);
	}
}

static size_t ends_of(const struct apptap_attribution *a, const struct apptap_packet *pkt,
		      const struct apptap_dissect *d, struct end ends[2])
{
	size_t n = 0;

	if (pkt->ifindex == APPTAP_LOOPBACK_IFINDEX) {
		make_end(&ends[n++], d, true);
		if (!(d->flags & APPTAP_DIS_MULTICAST))
			make_end(&ends[n++], d, false);
		return n;
	}
	/* Forwarded packets have no end here, whatever sockets are bound to any address. */
	if (pkt->pkttype == PACKET_OUTGOING) {
		if (apptap_links_has_addr(a->links, &d->src))
			make_end(&ends[n++], d, true);
	} else if (pkt->pkttype == PACKET_HOST) {
		if (apptap_links_has_addr(a->links, &d->dst))
			make_end(&ends[n++], d, false);
	}
	return n;
}

static bool is_kernels_own(const struct apptap_dissect *d, const struct end *e)
{
	if (d->flags & APPTAP_DIS_ICMP_ERROR)
		return false;
	if (d->proto == IPPROTO_IGMP)
		return true;
	if (d->proto != IPPROTO_ICMP && d->proto != IPPROTO_ICMPV6)
		return false;
	/* Neighbours, routers and the answers to pings; a ping's own end asks or is answered. */
	if (!(d->flags & APPTAP_DIS_PORTS))
		return true;
	return e->is_src == ((d->flags & APPTAP_DIS_ECHO_REPLY) != 0);
}

/* A protocol with ports whose header is not whole: nobody can tell. */
static bool is_cut_off(const struct apptap_dissect *d)
{
	if (d->flags & APPTAP_DIS_ICMP_ERROR)
		return false;
	return !(d->flags & APPTAP_DIS_PORTS) &&
	       (d->proto == IPPROTO_TCP || d->proto == IPPROTO_UDP || d->proto == IPPROTO_UDPLITE);
}

void apptap_attribution_note(struct apptap_attribution *a, const struct apptap_packet *pkt,
			     struct apptap_dissect *d, uint64_t *first_ns)
{
	struct apptap_view v = { pkt->data, pkt->len };
	struct end ends[2];
	size_t n;

	*first_ns = pkt->ts_ns;
	apptap_dissect(v, pkt->protocol, d);
	if (d->flags & APPTAP_DIS_FRAG_FIRST)
		apptap_frags_first(a->frags, d, pkt->ts_ns);
	if ((d->flags & (APPTAP_DIS_TCP_SYN | APPTAP_DIS_TCP_ACK)) != APPTAP_DIS_TCP_SYN)
		return;
	n = ends_of(a, pkt, d, ends);
	for (size_t i = 0; i < n; i++)
		apptap_owners_syn(a->owners, &ends[i].flow, pkt->ts_ns, d->tcp_seq);
}

static struct group *group_of(struct apptap_attribution *a, const struct apptap_flow *flow)
{
	uint32_t h = (uint32_t)flow->lport ^ flow->proto ^ apptap_get_be32(flow->laddr.b + 12);
	struct group *g = &a->groups[(h * 2654435761U >> 16) % GROUPS_MAX];

	if (!apptap_flow_equal(&g->flow, flow)) {
		memset(g, 0, sizeof(*g));
		g->flow = *flow;
	}
	return g;
}

/* The group's flow, whoever sends to it. */
static void group_flow(const struct apptap_flow *flow, struct apptap_flow *out)
{
	*out = *flow;
	memset(&out->raddr, 0, sizeof(out->raddr));
	out->rport = 0;
}

static void see_group(struct apptap_attribution *a, const struct apptap_sighting *s)
{
	struct apptap_flow flow;
	struct group *g;

	group_flow(&s->flow, &flow);
	g = group_of(a, &flow);
	g->before_uid = g->uid;
	g->before_ns = g->asked_ns;
	g->uid = s->uid;
	g->asked_ns = s->asked_ns;
	g->pkt_ns = s->pkt_ns;
	if (!s->pkt_ns)
		g->next_ns = s->asked_ns + a->group_cost_ns * GROUP_COST_SHARE;
}

void apptap_attribution_see(struct apptap_attribution *a, const struct apptap_sighting *s)
{
	if (s->group)
		see_group(a, s);
	else
		apptap_owners_see(a->owners, s);
}

/* Whether one of ours gets a multicast: known at the packet itself, or the same before and after.
 */
static enum apptap_attributed judge_group(struct apptap_attribution *a, struct apptap_packet *pkt,
					  const struct apptap_dissect *d, uint64_t now_ns,
					  bool may_ask)
{
	struct apptap_sighting s;
	struct apptap_flow flow;
	struct group *g;

	if (!(d->flags & APPTAP_DIS_PORTS) ||
	    (d->proto != IPPROTO_UDP && d->proto != IPPROTO_UDPLITE))
		return APPTAP_ATTR_FOREIGN;
	apptap_dissect_flow(d, false, &flow);
	group_flow(&flow, &flow);
	g = group_of(a, &flow);
	if (g->pkt_ns != pkt->ts_ns && g->asked_ns < pkt->ts_ns && now_ns != UINT64_MAX &&
	    now_ns >= g->next_ns && may_ask) {
		uint64_t start_ns = apptap_clock_ns(CLOCK_REALTIME);

		apptap_diag_ask_group(a->diag, &flow, a->scope, &s);
		a->lookups++;
		a->group_cost_ns = s.asked_ns - start_ns;
		s.pkt_ns = 0;
		see_group(a, &s);
	}
	if (g->pkt_ns != pkt->ts_ns && pkt->ts_ns < g->asked_ns && pkt->ts_ns > g->before_ns &&
	    g->before_ns && g->uid != g->before_uid)
		return APPTAP_ATTR_UNKNOWN; /* it began or ended between two answers */
	pkt->uid = g->uid;
	return g->uid == APPTAP_UID_NONE || !g->asked_ns ? APPTAP_ATTR_FOREIGN : APPTAP_ATTR_KEEP;
}

static enum apptap_attributed judge_end(struct apptap_attribution *a, const struct end *e,
					const struct apptap_packet *pkt, uint64_t ts_ns,
					uint64_t now_ns, bool may_ask, struct apptap_owner *owner)
{
	enum apptap_verdict v;

	v = apptap_owners_judge(a->owners, &e->flow, e->outgoing, ts_ns, now_ns, owner);
	if (v == APPTAP_VERDICT_ASK && may_ask) {
		struct apptap_sighting s;

		apptap_diag_ask(a->diag, &e->flow, pkt->ifindex, &s);
		s.pkt_ns = 0;
		a->lookups++;
		apptap_owners_see(a->owners, &s);
		v = apptap_owners_judge(a->owners, &e->flow, e->outgoing, ts_ns, now_ns, owner);
	}
	switch (v) {
	case APPTAP_VERDICT_KNOWN:
		return owner->ours ? APPTAP_ATTR_KEEP : APPTAP_ATTR_FOREIGN;
	case APPTAP_VERDICT_NOBODY:
		return APPTAP_ATTR_FOREIGN;
	case APPTAP_VERDICT_ASK:
	case APPTAP_VERDICT_WAIT:
		return now_ns == UINT64_MAX ? APPTAP_ATTR_UNKNOWN : APPTAP_ATTR_HOLD;
	case APPTAP_VERDICT_UNKNOWN:
		break;
	}
	return APPTAP_ATTR_UNKNOWN;
}

/* The ports of a later fragment come from its first, which may come after it. */
static enum apptap_attributed find_first(struct apptap_attribution *a,
					 const struct apptap_packet *pkt, struct apptap_dissect *d,
					 uint64_t *first_ns, uint64_t now_ns)
{
	if (apptap_frags_later(a->frags, d, pkt->ts_ns, first_ns)) {
		d->flags &= ~(uint32_t)APPTAP_DIS_FRAG_LATER;
		return APPTAP_ATTR_KEEP;
	}
	if (now_ns != UINT64_MAX && now_ns < pkt->ts_ns + 100 * APPTAP_NSEC_PER_MSEC)
		return APPTAP_ATTR_HOLD;
	return APPTAP_ATTR_UNKNOWN;
}

enum apptap_attributed apptap_attribution_judge(struct apptap_attribution *a,
						struct apptap_packet *pkt, struct apptap_dissect *d,
						uint64_t *first_ns, uint64_t now_ns, bool may_ask)
{
	/* Worst first: a packet of two ends is unknown only if neither is known to be ours. */
	enum apptap_attributed result = APPTAP_ATTR_FOREIGN;
	struct end ends[2];
	size_t n;

	if (!(d->flags & APPTAP_DIS_IP))
		return APPTAP_ATTR_NOT_IP;
	if (d->flags & APPTAP_DIS_FRAG_LATER) {
		result = find_first(a, pkt, d, first_ns, now_ns);
		if (result != APPTAP_ATTR_KEEP)
			return result;
		result = APPTAP_ATTR_FOREIGN;
	}
	if (pkt->pkttype == PACKET_MULTICAST || pkt->pkttype == PACKET_BROADCAST)
		return judge_group(a, pkt, d, now_ns, may_ask);
	n = ends_of(a, pkt, d, ends);
	for (size_t i = 0; i < n; i++) {
		enum apptap_attributed one;
		struct apptap_owner owner;

		if (is_kernels_own(d, &ends[i]))
			continue;
		if (is_cut_off(d))
			return APPTAP_ATTR_UNKNOWN;
		one = judge_end(a, &ends[i], pkt, *first_ns, now_ns, may_ask, &owner);
		if (ends[i].is_src && d->proto == IPPROTO_UDP &&
		    (one == APPTAP_ATTR_KEEP || one == APPTAP_ATTR_FOREIGN) &&
		    apptap_portshare_mixed(a->portshare, a->diag, d->sport, now_ns))
			one = APPTAP_ATTR_UNKNOWN;
		if (one == APPTAP_ATTR_KEEP) {
			pkt->uid = owner.uid;
			/* On loopback it is seen on its way out only; to the app it may come in. */
			if (pkt->ifindex == APPTAP_LOOPBACK_IFINDEX && !ends[i].is_src)
				pkt->pkttype = PACKET_HOST;
			return one;
		}
		if (one == APPTAP_ATTR_HOLD || result == APPTAP_ATTR_FOREIGN)
			result = one;
	}
	return result;
}
