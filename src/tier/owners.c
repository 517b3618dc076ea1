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
#include "tier/owners.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/random.h>

#define SPANS 4
#define GONES 4
#define NIL UINT32_MAX

/* An answer this soon after its packet is about the socket that sent it: on the CPU of the sender
 * nothing of it can have run in between (tests/kernel/tap_preempt.c). Who got it may have gone on,
 * on another CPU, and have closed its socket within the time that a wake-up takes. */
#define PROMPT_OUT_NS (500 * APPTAP_NSEC_PER_USEC)
#define PROMPT_IN_NS (50 * APPTAP_NSEC_PER_USEC)
/* Destroy events pass through a kernel work queue, sightings through ours: wait for them so long.
 */
#define GRACE_NS (20 * APPTAP_NSEC_PER_MSEC)
/* A connection waits in the accept queue for whoever will own it. */
#define ACCEPT_NS (100 * APPTAP_NSEC_PER_MSEC)
#define ACCEPT_RETRY_NS (4 * APPTAP_NSEC_PER_MSEC)
/* A datagram that comes for a socket that is gone, on a port that nobody took since. */
#define LINGER_NS (30 * APPTAP_NSEC_PER_SEC)
/* How old an answer may be before the kernel is asked again. */
#define REASK_TCP_OURS_NS (250 * APPTAP_NSEC_PER_MSEC)
#define REASK_FOREIGN_NS (1 * APPTAP_NSEC_PER_SEC)
/* Destroy events of UDP are told within 0.2 ms. (tests/kernel/diag_destroy.c) */
#define UDP_DEATH_NS (2 * APPTAP_NSEC_PER_MSEC)
#define SOON_NS (1 * APPTAP_NSEC_PER_MSEC)
#define COOKIES 65536 /* of which we remember whose socket it was */

struct span {
	uint64_t cookie;
	uint64_t from_ns;
	uint64_t to_ns;
	uint32_t isn; /* of the connection that it is known to be about, if has_isn */
	bool has_isn;
	uid_t uid; /* APPTAP_UID_NONE: there was a socket, its owner is forgotten */
};

struct entry {
	struct apptap_flow flow;
	struct span spans[SPANS]; /* by from_ns */
	uint64_t gone_ns[GONES]; /* when the kernel had no socket for it, the latest first */
	uint64_t syn_ns; /* TCP: when this connection began; 0: before we looked */
	uint64_t pending_ns; /* TCP: when pending_uid's listener was seen to have it */
	uid_t pending_uid;
	uint32_t isn;
	uint32_t next; /* in the bucket; NIL ends */
	uint32_t older, newer;
	uint8_t span_count;
	bool ours; /* which list it is on */
	bool sent_unknown; /* something went out on it, and nobody knows whose */
};

struct socket {
	uint64_t cookie;
	uint64_t first_ns; /* when it was first seen to be there */
	uid_t uid;
};

struct list {
	uint32_t oldest, newest;
};

struct apptap_owners {
	const struct apptap_scope *scope; /* borrowed */
	const struct apptap_deaths *deaths; /* borrowed */
	uint64_t key[2];
	uint64_t warm_ns;
	uint64_t gap_ns;
	struct socket sockets[COOKIES]; /* by the low bits of the cookie */
	struct list lists[2]; /* [0] strangers', [1] the app's */
	uint32_t used;
	uint32_t max;
	uint32_t bucket_mask;
	uint32_t *buckets; /* owned */
	struct entry *entries; /* owned; pages never used cost nothing */
};

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
	o->lists[0] = o->lists[1] = (struct list){ NIL, NIL };
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
	struct entry *e = &o->entries[i];
	struct list *l = &o->lists[e->ours];

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
	struct entry *e = &o->entries[i];
	struct list *l = &o->lists[ours];

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

static struct entry *find_hashed(struct apptap_owners *o, const struct apptap_flow *flow,
				 uint32_t hash)
{
	struct entry *e;

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

static struct entry *find(struct apptap_owners *o, const struct apptap_flow *flow)
{
	return find_hashed(o, flow, apptap_flow_hash(flow, o->key));
}

static struct entry *get(struct apptap_owners *o, const struct apptap_flow *flow)
{
	uint32_t hash = apptap_flow_hash(flow, o->key);
	struct entry *e = find_hashed(o, flow, hash);
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

static void remove_span(struct entry *e, size_t i)
{
	memmove(&e->spans[i], &e->spans[i + 1], (e->span_count - i - 1) * sizeof(e->spans[0]));
	e->span_count--;
}

static void insert_span(struct entry *e, const struct span *s)
{
	size_t i;

	if (e->span_count == SPANS)
		remove_span(e, 0);
	for (i = e->span_count; i > 0 && e->spans[i - 1].from_ns > s->from_ns; i--)
		e->spans[i] = e->spans[i - 1];
	e->spans[i] = *s;
	e->span_count++;
}

/* true: the answer is about a socket that has a span already. */
static bool widen_span(struct entry *e, const struct span *s)
{
	for (size_t i = e->span_count; i-- > 0;) {
		struct span *old = &e->spans[i];

		if (old->cookie != s->cookie)
			continue;
		/* An orphan still has its cookie: it is whoever's it was. A changed owner is news.
		 */
		if (s->uid != APPTAP_UID_NONE && old->uid != APPTAP_UID_NONE && old->uid != s->uid)
			return false;
		if (old->uid == APPTAP_UID_NONE)
			old->uid = s->uid;
		if (s->has_isn) {
			old->has_isn = true;
			old->isn = s->isn;
		}
		old->from_ns = MIN(old->from_ns, s->from_ns);
		old->to_ns = MAX(old->to_ns, s->to_ns);
		return true;
	}
	return false;
}

static void add_evidence(struct apptap_owners *o, const struct apptap_flow *flow,
			 const struct span *span)
{
	struct entry *e = get(o, flow);

	if (!widen_span(e, span))
		insert_span(e, span);
	if (!e->ours && apptap_scope_has(o->scope, span->uid)) {
		uint32_t i = (uint32_t)(e - o->entries);

		unlink_entry(o, i);
		link_newest(o, i, true);
	}
}

/* The entry that stands for every peer of a datagram socket. */
static void port_flow(const struct apptap_flow *flow, struct apptap_flow *port)
{
	memset(port, 0, sizeof(*port));
	port->lport = flow->lport;
	port->proto = flow->proto;
	port->family = flow->family;
}

static void note_gone(struct entry *e, uint64_t ns)
{
	if (ns <= e->gone_ns[0])
		return;
	memmove(&e->gone_ns[1], &e->gone_ns[0], (GONES - 1) * sizeof(e->gone_ns[0]));
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

void apptap_owners_foresee(struct apptap_owners *o, const struct apptap_sighting *s)
{
	struct socket *k = &o->sockets[s->cookie % COOKIES];

	if (s->sight != APPTAP_SIGHT_OWNED || s->group)
		return;
	if (k->cookie != s->cookie)
		*k = (struct socket){ s->cookie, s->asked_ns, s->uid };
	k->first_ns = MIN(k->first_ns, since(s));
	k->uid = s->uid;
}

void apptap_owners_see(struct apptap_owners *o, const struct apptap_sighting *s)
{
	struct span span = { .cookie = s->cookie,
			     .from_ns = since(s),
			     .to_ns = s->asked_ns,
			     .isn = s->isn,
			     .has_isn = s->is_syn,
			     .uid = s->sight == APPTAP_SIGHT_OWNED ? s->uid : APPTAP_UID_NONE };
	struct apptap_flow port;
	struct entry *e;

	if (s->sight == APPTAP_SIGHT_NONE) {
		note_gone(get(o, &s->flow), s->asked_ns);
		return;
	}
	if (s->sight == APPTAP_SIGHT_PENDING) {
		e = get(o, &s->flow);
		e->pending_ns = s->asked_ns;
		e->pending_uid = s->uid;
		return;
	}
	e = get(o, &s->flow);
	if (s->sight == APPTAP_SIGHT_ORPHAN && e->pending_ns && !e->span_count) {
		/* Closed before anybody saw it accepted: its listener's word stands. */
		note_gone(e, s->asked_ns);
		return;
	}
	add_evidence(o, &s->flow, &span);
	if (span.uid == APPTAP_UID_NONE)
		return;
	apptap_owners_foresee(o, s);
	if (s->wildcard) {
		port_flow(&s->flow, &port);
		add_evidence(o, &port, &span);
	}
}

void apptap_owners_gap(struct apptap_owners *o, uint64_t now_ns)
{
	o->gap_ns = now_ns;
}

void apptap_owners_syn(struct apptap_owners *o, const struct apptap_flow *flow, uint64_t ts_ns,
		       uint32_t seq)
{
	struct entry *e = get(o, flow);

	if (e->syn_ns && e->isn == seq)
		return; /* sent again */
	for (size_t i = e->span_count; i-- > 0;)
		if (e->spans[i].to_ns < ts_ns)
			remove_span(e, i);
	if (e->pending_ns < ts_ns)
		e->pending_ns = 0;
	e->syn_ns = ts_ns;
	e->isn = seq;
}

void apptap_owners_warm(struct apptap_owners *o, uint64_t now_ns)
{
	o->warm_ns = now_ns;
}

/* The last span that began by @ts_ns; -1: all began later, or there is none. */
static int span_before(const struct entry *e, uint64_t ts_ns)
{
	int i = e->span_count - 1;

	while (i >= 0 && e->spans[i].from_ns > ts_ns)
		i--;
	return i;
}

static enum apptap_verdict known(uid_t owner, uid_t *uid)
{
	*uid = owner;
	return owner == APPTAP_UID_NONE ? APPTAP_VERDICT_UNKNOWN : APPTAP_VERDICT_KNOWN;
}

static bool fresh(uint64_t ts_ns, uint64_t now_ns, uint64_t limit_ns)
{
	return now_ns != UINT64_MAX && now_ns < ts_ns + limit_ns;
}

/* Nothing was ever seen on the flow but the kernel's word that no socket has it. */
static enum apptap_verdict judge_absent(struct entry *e, bool outgoing, uint64_t ts_ns,
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
static bool may_be_others(const struct apptap_owners *o, const struct entry *e,
			  const struct span *s, uint64_t since_ns, uint64_t born_ns)
{
	bool ours = apptap_scope_has(o->scope, s->uid);
	uint64_t cookies[APPTAP_DEATHS_A_PORT];
	int n;

	n = apptap_deaths_since(o->deaths, &e->flow, since_ns, cookies);
	for (int i = 0; i < n; i++) {
		const struct socket *k = &o->sockets[cookies[i] % COOKIES];

		if (cookies[i] == s->cookie)
			continue;
		if (k->cookie != cookies[i])
			return true;
		if (k->first_ns <= born_ns && apptap_scope_has(o->scope, k->uid) != ours)
			return true;
	}
	return n < 0;
}

/*
 * Was @s the last to have the flow before @ts_ns? It was, if shortly after the packet no socket had
 * it at all: then whoever came next came later still. So the answer to a request is told from the
 * next owner's traffic when it finds its socket closed just now.
 */
static bool was_last(const struct apptap_owners *o, const struct entry *e, const uint64_t *gone_ns,
		     const struct span *s, const struct span *next, uint64_t ts_ns)
{
	for (int i = GONES - 1; i >= 0; i--) {
		if (gone_ns[i] < ts_ns || gone_ns[i] > ts_ns + SOON_NS)
			continue;
		return (!next || next->from_ns > gone_ns[i]) && s->to_ns <= gone_ns[i] &&
		       !may_be_others(o, e, s, s->to_ns, gone_ns[i]);
	}
	return false;
}

/* No span holds @ts_ns, the nearest is @s: had anybody else the port between them? */
static enum apptap_verdict judge_near(const struct apptap_owners *o, const struct entry *e,
				      const struct span *s, uint64_t ts_ns, uint64_t now_ns,
				      uid_t *uid)
{
	if (fresh(ts_ns, now_ns, GRACE_NS))
		return APPTAP_VERDICT_WAIT;
	if (ts_ns > s->to_ns + LINGER_NS ||
	    may_be_others(o, e, s, MIN(ts_ns, s->to_ns), UINT64_MAX))
		return APPTAP_VERDICT_UNKNOWN;
	return known(s->uid, uid);
}

static enum apptap_verdict judge_spans(struct apptap_owners *o, struct entry *e,
				       const uint64_t *gone_ns, uint64_t ts_ns, uint64_t now_ns,
				       uid_t *uid)
{
	int i = span_before(e, ts_ns);
	const struct span *s = i >= 0 ? &e->spans[i] : NULL;
	const struct span *next = i + 1 < e->span_count ? &e->spans[i + 1] : NULL;

	if (s && ts_ns <= s->to_ns)
		return known(s->uid, uid);
	if (s && was_last(o, e, gone_ns, s, next, ts_ns)) {
		if (fresh(ts_ns, now_ns, UDP_DEATH_NS))
			return APPTAP_VERDICT_WAIT;
		return known(s->uid, uid);
	}
	if (s && next) {
		/* It changed hands somewhere between; that matters only if one of them is ours. */
		if (apptap_scope_has(o->scope, s->uid) != apptap_scope_has(o->scope, next->uid))
			return APPTAP_VERDICT_UNKNOWN;
		return known(s->uid, uid);
	}
	if (next)
		return judge_near(o, e, next, ts_ns, now_ns, uid);
	if (!s) /* not called without a span */
		return APPTAP_VERDICT_UNKNOWN;
	if (gone_ns[0] >= ts_ns)
		return judge_near(o, e, s, ts_ns, now_ns, uid);
	if (!apptap_scope_has(o->scope, s->uid) && ts_ns - s->to_ns < REASK_FOREIGN_NS &&
	    !apptap_deaths_has(o->deaths, &e->flow, s->cookie))
		return known(s->uid, uid);
	return APPTAP_VERDICT_ASK;
}

static enum apptap_verdict judge_datagram(struct apptap_owners *o, struct entry *e, bool outgoing,
					  uint64_t ts_ns, uint64_t now_ns, uid_t *uid)
{
	const uint64_t *gone_ns = e->gone_ns;
	struct apptap_flow port;
	struct entry *p;

	if (e->span_count)
		return judge_spans(o, e, gone_ns, ts_ns, now_ns, uid);
	if (gone_ns[0] < ts_ns)
		return APPTAP_VERDICT_ASK;
	port_flow(&e->flow, &port);
	p = find(o, &port);
	if (p && p->span_count)
		return judge_spans(o, p, gone_ns, ts_ns, now_ns, uid);
	return judge_absent(e, outgoing, ts_ns, now_ns);
}

/* In the accept queue: the listener's, until somebody accepts it and it is his. */
static enum apptap_verdict judge_pending(struct apptap_owners *o, struct entry *e, uint64_t ts_ns,
					 uint64_t now_ns, uid_t *uid)
{
	bool gone = e->gone_ns[0] >= e->pending_ns;

	if (!apptap_scope_has(o->scope, e->pending_uid) && fresh(ts_ns, now_ns, ACCEPT_NS)) {
		if (now_ns > e->pending_ns + ACCEPT_RETRY_NS && !gone)
			return APPTAP_VERDICT_ASK;
		return APPTAP_VERDICT_WAIT;
	}
	if (ts_ns > e->pending_ns + ACCEPT_RETRY_NS && !gone && now_ns != UINT64_MAX)
		return APPTAP_VERDICT_ASK;
	return known(e->pending_uid, uid);
}

/*
 * The span that speaks for this connection at @ts_ns: one that was asked about its very SYN, or
 * that began by then. Clocks alone would not do: over veth a TCP packet gets another stamp at each
 * tap, for the sender's pacing time stands where the stamp would. -1: none, -2: only later ones.
 */
static int span_of_connection(const struct entry *e, uint64_t ts_ns)
{
	int best = -1;

	for (int i = 0; i < e->span_count; i++) {
		const struct span *s = &e->spans[i];
		bool same_syn = s->has_isn && e->syn_ns && s->isn == e->isn;

		if (s->has_isn && e->syn_ns && !same_syn)
			continue; /* another connection's */
		if (same_syn || s->from_ns <= ts_ns)
			best = i;
		else if (best < 0)
			return -2;
	}
	return best;
}

static enum apptap_verdict judge_tcp(struct apptap_owners *o, struct entry *e, bool outgoing,
				     uint64_t ts_ns, uint64_t now_ns, uid_t *uid)
{
	const struct span *s;
	uint64_t limit_ns;
	int i;

	i = span_of_connection(e, ts_ns);
	if (i == -2) /* seen only later: accepted since, or it may be a later connection's */
		return judge_near(o, e, &e->spans[e->span_count - 1], ts_ns, now_ns, uid);
	if (i < 0) {
		if (e->pending_ns)
			return judge_pending(o, e, ts_ns, now_ns, uid);
		if (e->gone_ns[0] < ts_ns)
			return APPTAP_VERDICT_ASK;
		/* Older than the capture, and not among the app's sockets at its start. */
		if (!e->syn_ns && o->warm_ns)
			return APPTAP_VERDICT_NOBODY;
		return judge_absent(e, outgoing, ts_ns, now_ns);
	}
	s = &e->spans[i];
	if (s->to_ns < o->gap_ns && ts_ns >= o->gap_ns && e->gone_ns[0] < ts_ns)
		return APPTAP_VERDICT_ASK;
	limit_ns = apptap_scope_has(o->scope, s->uid) ? REASK_TCP_OURS_NS : REASK_FOREIGN_NS;
	if (ts_ns > s->to_ns + limit_ns && e->gone_ns[0] < ts_ns && i == e->span_count - 1)
		return APPTAP_VERDICT_ASK;
	return known(s->uid, uid);
}

enum apptap_verdict apptap_owners_judge(struct apptap_owners *o, const struct apptap_flow *flow,
					bool outgoing, uint64_t ts_ns, uint64_t now_ns, uid_t *uid)
{
	struct entry *e = get(o, flow);

	*uid = APPTAP_UID_NONE;
	if (flow->proto == IPPROTO_TCP)
		return judge_tcp(o, e, outgoing, ts_ns, now_ns, uid);
	return judge_datagram(o, e, outgoing, ts_ns, now_ns, uid);
}
