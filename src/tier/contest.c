/*
 * contest.c - ports of datagrams that pass from user to user: whose was what came to them?
 *
 * How it works. NFLOG tells of a datagram some 50 us after it came; a program may have read it by
 * then, closed its socket, and another may have the port. The tap's real-time threads (trigger.c)
 * ask within a few, on the CPU where it came in. They interrupt whoever works there, for every
 * datagram, so they are there only while a port of the app's is being taken by others.
 */
#include "tier/contest.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>

#include "tier/trigger.h"
#include "tier/witness.h"

#define WORDS 65536 /* remembered; pages that are not used cost nothing */
#define WALK_MAX 1024 /* of one port */
#define STAMP_NS 999 /* what a time has lost that was cut to the microsecond */

/* What was said of a port, and what had been said of it before. */
struct word {
	uint64_t pkt_ns, until_ns; /* CLOCK_REALTIME: the packet came between them */
	uint64_t asked_ns;
	uint64_t cookie; /* 0: no socket had it */
	uint32_t flow; /* a hash */
	uint32_t before; /* its number, plus one; 0: none */
	uid_t uid;
	bool asked; /* else it only came */
	bool tapped; /* by the trigger, who leaves some out where too many come */
	bool ours, outgoing, queued;
};

struct apptap_contest {
	const struct apptap_scope *scope; /* borrowed */
	struct apptap_witness *witness; /* owned, like the next; NULL: there are none */
	struct apptap_trigger *trigger; /* NULL: not about everybody's */
	bool wide;
	uint64_t asked_before; /* by earlier triggers */
	uint64_t lost; /* of the rules' own log */
	uint64_t key[2];
	uint64_t skipped, skipped_ns; /* not asked about, as far as is known then */
	uint32_t count; /* of words ever; starts anew with each contest, which is short */
	uint32_t latest[65536]; /* of a port, as before above */
	struct word words[WORDS];
};

/* UDP without extension headers, in and out; the second sight of loopback's too, for nothing. */
static struct sock_filter datagrams[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OTHERHOST, 9, 0),
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_PROTOCOL)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, 4),
	BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 6),
	BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x1fff, 5, 0), /* a later fragment */
	BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 9),
	BPF_JUMP(BPF_JMP | BPF_JA, 2, 0, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IPV6, 0, 2),
	BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 6),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 1, 0),
	BPF_STMT(BPF_RET | BPF_K, 0),
	BPF_STMT(BPF_RET | BPF_K, APPTAP_TRIGGER_SNAPLEN),
};

int apptap_contest_open(struct apptap_contest **out, const struct apptap_scope *scope,
			const char *tag, struct apptap_error *err)
{
	struct apptap_contest *c = calloc(1, sizeof(*c));

	if (!c)
		return apptap_error_set(err, ENOMEM, "allocating the table of contested ports");
	c->scope = scope;
	c->key[0] = apptap_clock_ns(CLOCK_MONOTONIC) * 0x9e3779b97f4a7c15ULL;
	apptap_witness_open(&c->witness, tag, NULL); /* without them: what the reader asks itself */
	*out = c;
	return 0;
}

void apptap_contest_close(struct apptap_contest *c)
{
	if (!c)
		return;
	apptap_trigger_close(c->trigger);
	apptap_witness_close(c->witness);
	free(c);
}

size_t apptap_contest_groups(const struct apptap_contest *c, const uint16_t **groups)
{
	return apptap_witness_groups(c->witness, groups);
}

void apptap_contest_widen(struct apptap_contest *c, bool on)
{
	struct sock_fprog filter = { .len = ARRAY_SIZE(datagrams), .filter = datagrams };
	struct apptap_trigger_counters n;
	bool realtime = false;

	if (on == c->wide)
		return;
	c->wide = on;
	if (on) {
		c->skipped = 0;
		apptap_trigger_open(&c->trigger, c->scope, NULL, &filter, &realtime, NULL);
	} else if (c->trigger) {
		apptap_trigger_counters(c->trigger, &n);
		c->asked_before += n.asked;
		apptap_trigger_close(apptap_steal(&c->trigger));
	}
}

static struct word *add_word(struct apptap_contest *c, const struct apptap_flow *flow)
{
	struct word *w = &c->words[c->count % WORDS];

	*w = (struct word){ .flow = apptap_flow_hash(flow, c->key),
			    .before = c->latest[flow->lport] };
	c->latest[flow->lport] = ++c->count;
	return w;
}

static void take_word(struct apptap_contest *c, const struct apptap_sighting *s, bool tapped,
		      void (*each)(const struct apptap_sighting *s, void *arg), void *arg)
{
	struct word *w;

	if (s->group || s->flow.proto != IPPROTO_UDP)
		return;
	w = add_word(c, &s->flow);
	w->pkt_ns = s->pkt_ns;
	w->until_ns = s->pkt_ns + STAMP_NS;
	w->asked_ns = s->asked_ns;
	w->cookie = s->sight == APPTAP_SIGHT_OWNED ? s->cookie : 0;
	w->uid = s->uid;
	w->asked = true;
	w->tapped = tapped;
	w->outgoing = s->outgoing;
	w->queued = s->queued;
	w->ours = w->cookie && apptap_scope_has(c->scope, s->uid);
	if (w->ours)
		each(s, arg);
}

void apptap_contest_hear(struct apptap_contest *c,
			 void (*each)(const struct apptap_sighting *s, void *arg), void *arg)
{
	struct apptap_trigger_counters n;
	struct apptap_sighting s;

	while (c->witness && apptap_witness_pop(c->witness, &s))
		take_word(c, &s, false, each, arg);
	if (!c->trigger)
		return;
	apptap_trigger_counters(c->trigger, &n);
	if (n.skipped + n.dropped != c->skipped) {
		c->skipped = n.skipped + n.dropped;
		c->skipped_ns = apptap_clock_ns(CLOCK_REALTIME);
	}
	while (apptap_trigger_pop(c->trigger, UINT64_MAX, &s))
		take_word(c, &s, true, each, arg);
}

void apptap_contest_came(struct apptap_contest *c, const struct apptap_dissect *d, uint64_t from_ns,
			 uint64_t until_ns)
{
	struct apptap_flow flow;
	struct word *w;

	if (d->proto != IPPROTO_UDP || !(d->flags & APPTAP_DIS_PORTS))
		return;
	apptap_dissect_flow(d, false, &flow);
	w = add_word(c, &flow);
	w->pkt_ns = from_ns;
	w->until_ns = until_ns + STAMP_NS;
}

void apptap_contest_missed(struct apptap_contest *c, uint64_t lost)
{
	if (lost != c->lost)
		c->skipped_ns = apptap_clock_ns(CLOCK_REALTIME);
	c->lost = lost;
}

static const struct word *follow(const struct apptap_contest *c, uint32_t link)
{
	return link && c->count - (link - 1) <= WORDS ? &c->words[(link - 1) % WORDS] : NULL;
}

/* The latest word about the port. */
static const struct word *latest(const struct apptap_contest *c, const struct apptap_flow *flow)
{
	return follow(c, c->latest[flow->lport]);
}

/* Stamps are the same but for what has been cut off. */
static bool is_packet(const struct word *w, uint32_t flow, uint64_t rx_ns)
{
	return !w->outgoing && w->flow == flow && w->pkt_ns + STAMP_NS >= rx_ns &&
	       w->pkt_ns <= rx_ns + STAMP_NS;
}

/* The first answer that this very packet raised. */
static const struct word *own_word(const struct apptap_contest *c, const struct apptap_flow *flow,
				   uint64_t rx_ns)
{
	uint32_t hash = apptap_flow_hash(flow, c->key);
	const struct word *first = NULL;
	int left = WALK_MAX;

	for (const struct word *w = latest(c, flow); w && left > 0;
	     w = follow(c, w->before), left--)
		if (w->asked && is_packet(w, hash, rx_ns) &&
		    (!first || w->asked_ns < first->asked_ns))
			first = w;
	return first;
}

/*
 * It was asked about on the CPU that had just delivered it, and something lay in the queue of the
 * app's socket: this, if nothing else has come to the port.
 */
static bool lay_in_queue(const struct apptap_contest *c, const struct apptap_flow *flow,
			 const struct word *own)
{
	int near = 0, left = WALK_MAX;

	if (!own->ours || !own->queued || own->pkt_ns <= c->skipped_ns)
		return false;
	for (const struct word *w = latest(c, flow); w && left > 0;
	     w = follow(c, w->before), left--) {
		near += w->tapped && w->pkt_ns + APPTAP_TRIGGER_WINDOW_NS >= own->pkt_ns &&
			w->pkt_ns <= own->asked_ns;
		if (!w->outgoing && !is_packet(w, own->flow, own->pkt_ns) &&
		    w->until_ns >= own->pkt_ns && w->pkt_ns <= own->asked_ns)
			return false;
	}
	return near < APPTAP_TRIGGER_BUSY; /* else some may not have been asked about */
}

/* Had the socket @cookie the port before the packet came, and nobody else until @end_ns? */
static bool had_it_before(const struct apptap_contest *c, const struct apptap_flow *flow,
			  uint64_t cookie, uint64_t rx_ns, uint64_t end_ns)
{
	int left = WALK_MAX;

	for (const struct word *w = latest(c, flow); w && left > 0;
	     w = follow(c, w->before), left--) {
		if (w->cookie == cookie && w->asked_ns <= rx_ns)
			return true;
		if (w->cookie && w->cookie != cookie && w->asked_ns <= end_ns &&
		    w->asked_ns >= rx_ns)
			return false;
	}
	return false;
}

/* Is @cookie the app's; or did it take the port after @end_ns only? */
static bool cannot_have_it(const struct apptap_contest *c, const struct apptap_flow *flow,
			   uint64_t cookie, uint64_t end_ns)
{
	int left = WALK_MAX;

	for (const struct word *w = latest(c, flow); w && left > 0;
	     w = follow(c, w->before), left--)
		if (w->cookie == cookie)
			return w->ours || w->asked_ns > end_ns;
	return false;
}

bool apptap_contest_recall(const struct apptap_contest *c, const struct apptap_flow *flow,
			   uint64_t rx_ns, struct apptap_sighting *found)
{
	const struct word *own = own_word(c, flow, rx_ns);

	if (!own)
		return false;
	*found = (struct apptap_sighting){ .flow = *flow,
					   .pkt_ns = own->pkt_ns,
					   .asked_ns = own->asked_ns,
					   .cookie = own->cookie,
					   .uid = own->cookie ? own->uid : APPTAP_UID_NONE,
					   .sight = own->cookie ? APPTAP_SIGHT_OWNED
								: APPTAP_SIGHT_NONE,
					   .queued = own->queued };
	return true;
}

bool apptap_contest_judge(struct apptap_contest *c, const struct apptap_contest_case *k, uid_t *uid)
{
	const struct word *own = own_word(c, k->flow, k->rx_ns);
	struct word found = { .asked_ns = k->found->asked_ns,
			      .cookie =
				      k->found->sight == APPTAP_SIGHT_OWNED ? k->found->cookie : 0,
			      .uid = k->found->uid };
	const struct word *end = own ? own : &found;

	found.ours = found.cookie && apptap_scope_has(c->scope, found.uid);
	if (end->ours)
		*uid = end->uid;
	if (own && lay_in_queue(c, k->flow, own))
		return true;
	if (end->ours && had_it_before(c, k->flow, end->cookie, k->rx_ns, end->asked_ns))
		return true;
	if ((end->cookie && !end->ours) || k->gone_count < 0)
		return false;
	for (int i = 0; i < k->gone_count; i++)
		if (!cannot_have_it(c, k->flow, k->gone[i], end->asked_ns))
			return false;
	return end->ours || k->gone_count > 0;
}

uint64_t apptap_contest_lookups(const struct apptap_contest *c)
{
	struct apptap_trigger_counters n = { 0 };

	if (c->trigger)
		apptap_trigger_counters(c->trigger, &n);
	return n.asked + c->asked_before + apptap_witness_asked(c->witness);
}
