/* evidence.c - what the kernel said of flows, by socket and by time */
#include "tier/evidence.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/random.h>

#define NIL UINT32_MAX
/* An answer this soon after its packet is about the socket that sent it: on the CPU of the sender
 * nothing of it can have run in between (tests/kernel/tap_preempt.c). Who got it may have gone on,
 * on another CPU, and have closed its socket within the time that a wake-up takes. */
#define PROMPT_OUT_NS (500 * APPTAP_NSEC_PER_USEC)
#define PROMPT_IN_NS (50 * APPTAP_NSEC_PER_USEC)
/* Less than two processes need to hand a port over: one to wake, read and close, one to bind. */
#define AT_ONCE_NS (25 * APPTAP_NSEC_PER_USEC)

_Static_assert(PROMPT_IN_NS <= UINT16_MAX, "kept in sixteen bits");

int apptap_owners_new(struct apptap_owners **out, size_t max_flows,
		      const struct apptap_scope *scope, const struct apptap_deaths *deaths)
{
	struct apptap_owners *o = calloc(1, sizeof(*o));
	uint32_t buckets = 1;

	if (!o)
		return -ENOMEM;
	while (buckets < max_flows)
		buckets *= 2;
	o->scope = scope;
	o->deaths = deaths;
	o->max = (uint32_t)max_flows;
	o->bucket_mask = buckets - 1;
	o->lists[0] = o->lists[1] = (struct apptap_entry_list){ NIL, NIL };
	o->buckets = malloc(buckets * sizeof(*o->buckets));
	o->entries = calloc(max_flows, sizeof(*o->entries));
	if (!o->buckets || !o->entries ||
	    getrandom(o->key, sizeof(o->key), 0) != (ssize_t)sizeof(o->key)) {
		apptap_owners_free(o);
		return -ENOMEM;
	}
	memset(o->buckets, 0xff, buckets * sizeof(*o->buckets));
	*out = o;
	return 0;
}

void apptap_owners_free(struct apptap_owners *o)
{
	if (!o)
		return;
	free(o->buckets);
	free(o->entries);
	free(o);
}

static void unlink_entry(struct apptap_owners *o, uint32_t i)
{
	struct apptap_entry *e = &o->entries[i];
	struct apptap_entry_list *l = &o->lists[e->ours];

	if (e->older == NIL)
		l->oldest = e->newer;
	else
		o->entries[e->older].newer = e->newer;
	if (e->newer == NIL)
		l->newest = e->older;
	else
		o->entries[e->newer].older = e->older;
}

static void link_newest(struct apptap_owners *o, uint32_t i, bool ours)
{
	struct apptap_entry *e = &o->entries[i];
	struct apptap_entry_list *l = &o->lists[ours];

	e->ours = ours;
	e->newer = NIL;
	e->older = l->newest;
	if (l->newest == NIL)
		l->oldest = i;
	else
		o->entries[l->newest].newer = i;
	l->newest = i;
}

static uint32_t evict(struct apptap_owners *o)
{
	uint32_t i = o->lists[0].oldest != NIL ? o->lists[0].oldest : o->lists[1].oldest;
	uint32_t *p = &o->buckets[apptap_flow_hash(&o->entries[i].flow, o->key) & o->bucket_mask];

	while (*p != i)
		p = &o->entries[*p].next;
	*p = o->entries[i].next;
	unlink_entry(o, i);
	return i;
}

static struct apptap_entry *find_hashed(struct apptap_owners *o, const struct apptap_flow *flow,
					uint32_t hash)
{
	struct apptap_entry *e;

	for (uint32_t i = o->buckets[hash & o->bucket_mask]; i != NIL; i = e->next) {
		e = &o->entries[i];
		if (!apptap_flow_equal(&e->flow, flow))
			continue;
		if (o->lists[e->ours].newest != i) {
			bool ours = e->ours;

			unlink_entry(o, i);
			link_newest(o, i, ours);
		}
		return e;
	}
	return NULL;
}

struct apptap_entry *apptap_evidence_find(struct apptap_owners *o, const struct apptap_flow *flow)
{
	return find_hashed(o, flow, apptap_flow_hash(flow, o->key));
}

struct apptap_entry *apptap_evidence_get(struct apptap_owners *o, const struct apptap_flow *flow)
{
	uint32_t hash = apptap_flow_hash(flow, o->key);
	struct apptap_entry *e = find_hashed(o, flow, hash);
	uint32_t i;

	if (e)
		return e;
	i = o->used < o->max ? o->used++ : evict(o);
	e = &o->entries[i];
	memset(e, 0, sizeof(*e));
	e->flow = *flow;
	e->pending_uid = APPTAP_UID_NONE;
	e->next = o->buckets[hash & o->bucket_mask];
	o->buckets[hash & o->bucket_mask] = i;
	link_newest(o, i, false);
	return e;
}

static void remove_span(struct apptap_entry *e, size_t i)
{
	memmove(&e->spans[i], &e->spans[i + 1], (e->span_count - i - 1) * sizeof(e->spans[0]));
	e->span_count--;
}

static void insert_span(struct apptap_entry *e, const struct apptap_span *s)
{
	size_t i;

	if (e->span_count == APPTAP_SPANS) {
		if (s->from_ns < e->spans[0].from_ns)
			return; /* older than all: the nearer ones say more */
		remove_span(e, 0);
	}
	for (i = e->span_count; i > 0 && e->spans[i - 1].from_ns > s->from_ns; i--)
		e->spans[i] = e->spans[i - 1];
	e->spans[i] = *s;
	e->span_count++;
}

/* true: the answer is about a socket that has a span already. */
static bool widen_span(struct apptap_entry *e, const struct apptap_span *s)
{
	for (size_t i = e->span_count; i-- > 0;) {
		struct apptap_span *old = &e->spans[i];

		if (old->cookie != s->cookie)
			continue;
		/* An orphan still has its cookie: it is whoever's it was. A changed owner is news.
		 */
		if (s->uid != APPTAP_UID_NONE && old->uid != APPTAP_UID_NONE && old->uid != s->uid)
			return false;
		if (old->uid == APPTAP_UID_NONE)
			old->uid = s->uid;
		old->ours |= s->ours;
		if (s->has_isn) {
			old->has_isn = true;
			old->isn = s->isn;
		}
		if (s->from_ns < old->from_ns) {
			old->from_ns = s->from_ns;
			old->unsure_ns = s->unsure_ns;
		}
		old->to_ns = MAX(old->to_ns, s->to_ns);
		return true;
	}
	return false;
}

static void add_evidence(struct apptap_owners *o, const struct apptap_flow *flow,
			 const struct apptap_span *span)
{
	struct apptap_entry *e = apptap_evidence_get(o, flow);

	if (!widen_span(e, span))
		insert_span(e, span);
	if (!e->ours && span->ours) {
		uint32_t i = (uint32_t)(e - o->entries);

		unlink_entry(o, i);
		link_newest(o, i, true);
	}
}

/* The entry that stands for every peer of a datagram socket. */
void apptap_evidence_port(const struct apptap_flow *flow, struct apptap_flow *port)
{
	memset(port, 0, sizeof(*port));
	port->laddr = flow->laddr; /* another user may have the port of another address */
	port->lport = flow->lport;
	port->proto = flow->proto;
	port->family = flow->family;
}

static void note_gone(struct apptap_entry *e, uint64_t ns)
{
	if (ns <= e->gone_ns[0])
		return;
	memmove(&e->gone_ns[1], &e->gone_ns[0], (APPTAP_GONES - 1) * sizeof(e->gone_ns[0]));
	e->gone_ns[0] = ns;
}

/* From when on the answer holds: from its packet on, if it came promptly. */
static uint64_t since(const struct apptap_sighting *s)
{
	uint64_t limit_ns = s->outgoing ? PROMPT_OUT_NS : PROMPT_IN_NS;

	if (s->pkt_ns && s->pkt_ns <= s->asked_ns && s->asked_ns - s->pkt_ns <= limit_ns)
		return s->pkt_ns;
	return s->asked_ns;
}

static bool is_ours(const struct apptap_owners *o, const struct apptap_sighting *s)
{
	return apptap_scope_owns(o->scope, s->uid, s->member);
}

/* Its user is known, and is none of the scope's; its cgroup, which would decide, is not. */
static bool is_unsure(const struct apptap_owners *o, const struct apptap_sighting *s)
{
	return s->member == APPTAP_MEMBER_UNSURE && !apptap_scope_has(o->scope, s->uid);
}

void apptap_owners_foresee(struct apptap_owners *o, const struct apptap_sighting *s)
{
	struct apptap_socket_of *k = &o->sockets[s->cookie % APPTAP_COOKIES];

	/* Only theirs are cookies; from /proc/net come inodes. */
	if (s->sight != APPTAP_SIGHT_OWNED || s->group ||
	    (s->flow.proto != IPPROTO_TCP && s->flow.proto != IPPROTO_UDP))
		return;
	if (k->cookie != s->cookie)
		*k = (struct apptap_socket_of){ s->cookie, s->asked_ns, s->uid, false };
	k->first_ns = MIN(k->first_ns, since(s));
	k->uid = s->uid;
	k->ours = is_ours(o, s);
}

static void begin_connection(struct apptap_entry *e, uint64_t ts_ns, uint32_t seq)
{
	if (e->syn_ns && e->isn == seq) { /* sent again, or seen at another tap */
		e->syn_ns = MIN(e->syn_ns, ts_ns);
		return;
	}
	if (e->syn_ns > ts_ns)
		return; /* an older one's, that comes late */
	if (e->pending_ns < ts_ns)
		e->pending_ns = 0;
	e->syn_ns = ts_ns;
	e->isn = seq;
}

void apptap_owners_see(struct apptap_owners *o, const struct apptap_sighting *s)
{
	struct apptap_span span = { .cookie = s->cookie,
				    .from_ns = since(s),
				    .to_ns = s->asked_ns,
				    .isn = s->isn,
				    .has_isn = s->is_syn,
				    .ours = s->sight == APPTAP_SIGHT_OWNED && is_ours(o, s),
				    .uid = s->sight == APPTAP_SIGHT_OWNED && !is_unsure(o, s)
						   ? s->uid
						   : APPTAP_UID_NONE };
	struct apptap_flow port;
	struct apptap_entry *e;

	if (!s->outgoing && s->asked_ns - span.from_ns > AT_ONCE_NS)
		span.unsure_ns = (uint16_t)(s->asked_ns - span.from_ns); /* within PROMPT_IN_NS */
	if (s->is_syn && s->pkt_ns) /* the ring may have lost it */
		begin_connection(apptap_evidence_get(o, &s->flow), s->pkt_ns, s->isn);
	if (s->sight == APPTAP_SIGHT_NONE) {
		note_gone(apptap_evidence_get(o, &s->flow), s->asked_ns);
		return;
	}
	if (s->sight == APPTAP_SIGHT_PENDING) {
		e = apptap_evidence_get(o, &s->flow);
		if (!e->pending_ns)
			e->pending_first_ns = since(s);
		e->pending_ns = s->asked_ns;
		e->pending_uid = s->uid;
		e->pending_ours = is_ours(o, s);
		e->pending_certain = !o->scope->process_count &&
				     (s->member == APPTAP_MEMBER_IN ||
				      (s->member == APPTAP_MEMBER_OUT && !o->scope->uid_count));
		return;
	}
	e = apptap_evidence_get(o, &s->flow);
	if (s->sight == APPTAP_SIGHT_ORPHAN && e->pending_ns && !e->span_count) {
		/* Closed before anybody saw it accepted: its listener's word stands. */
		note_gone(e, s->asked_ns);
		return;
	}
	add_evidence(o, &s->flow, &span);
	if (span.uid == APPTAP_UID_NONE && !span.ours)
		return;
	apptap_owners_foresee(o, s);
	apptap_evidence_port(&s->flow, &port);
	if (s->wildcard)
		add_evidence(o, &port, &span);
	e = apptap_evidence_get(o, &s->flow);
	if (e->pending_ns && (e->pending_uid != span.uid || e->pending_ours != span.ours))
		apptap_evidence_get(o, &port)->other_acceptor = true;
}

void apptap_owners_gap(struct apptap_owners *o, uint64_t now_ns)
{
	o->gap_ns = now_ns;
}

void apptap_owners_syn(struct apptap_owners *o, const struct apptap_flow *flow, uint64_t ts_ns,
		       uint32_t seq)
{
	begin_connection(apptap_evidence_get(o, flow), ts_ns, seq);
}

void apptap_owners_warm(struct apptap_owners *o, uint64_t now_ns)
{
	o->warm_ns = now_ns;
}

const struct apptap_socket_of *apptap_evidence_socket(const struct apptap_owners *o,
						      uint64_t cookie)
{
	const struct apptap_socket_of *k = &o->sockets[cookie % APPTAP_COOKIES];

	return k->cookie == cookie ? k : NULL;
}
