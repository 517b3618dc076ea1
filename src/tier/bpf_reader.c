/*
 * bpf_reader.c - what becomes of the records: packets kept, held until it is known whose, left out
 *
 * How it works. Most are certain. What the programs could not know when the packet passed waits
 * here, and all behind it: a connection for whoever accepts it (bpf_doubt.c), a fragment that has
 * overtaken its first. Multicast that the kernel's own lookup gives to somebody else is asked of
 * the socket table, for there it is everybody's who is bound to the port; and so are protocols
 * whose sockets programs cannot look up.
 */
#include "tier/bpf_reader.h"

#include <errno.h>

#include "scope/members.h"
#include "tier/bpf_doubt.h"
#include "tier/devices.h"
#include "tier/diag.h"
#include "tier/frags.h"
#include "tier/hold.h"

#define HOLD_BYTES \
	((size_t)64 << 20) /* a download goes on while a connection waits to be accepted */
#define DATAGRAMS_MAX 1024
#define FRAGMENT_NS (100 * APPTAP_NSEC_PER_MSEC)
#define CLOCK_SLACK_NS 2000
#define ASKS_A_WINDOW 32 /* about one protocol; then it is left alone until the next window */
#define WINDOW_NS (100 * APPTAP_NSEC_PER_MSEC)

/* What a packet in the hold queue waits for; as many, in the same order, as are not known. */
struct waiting {
	struct apptap_bpf_doubt *doubt; /* NULL: a fragment for its first */
	struct waiting *next;
};

struct apptap_bpf_reader {
	const struct apptap_scope *scope; /* borrowed */
	struct apptap_bpf_settings *settings; /* borrowed, shared with the programs */
	const struct apptap_links *links; /* borrowed */
	struct apptap_devices *devices; /* owned, like all below */
	struct apptap_diag *diag;
	struct apptap_members *members; /* NULL: UIDs alone are asked for, or nobody can tell */
	struct apptap_bpf_doubts *doubts;
	struct apptap_frags *frags;
	struct apptap_hold *hold;
	struct waiting *waiting, **waiting_end;
	uint64_t offset_ns; /* from CLOCK_MONOTONIC to CLOCK_REALTIME */
	uint64_t window_ns; /* when the window of questions began, CLOCK_MONOTONIC; 0: none is open
			     */
	uint16_t asks[256]; /* in it, by protocol */
	struct apptap_tier_counters n;
	struct apptap_consumer *consumer; /* of the call in progress */
	struct apptap_error *err;
};

int apptap_bpf_reader_new(struct apptap_bpf_reader **out, const struct apptap_scope *scope,
			  struct apptap_bpf_settings *settings, const struct apptap_links *links,
			  struct apptap_error *err)
{
	struct apptap_bpf_reader *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return apptap_error_set(err, ENOMEM, "allocating the reader of packets");
	s->scope = scope;
	s->settings = settings;
	s->links = links;
	s->waiting_end = &s->waiting;
	r = apptap_devices_open(&s->devices, err);
	if (r == 0)
		r = apptap_diag_open(&s->diag, err);
	if (r == 0 && apptap_members_new(&s->members, scope, NULL) == 0 && s->members)
		apptap_diag_tell_members(s->diag, s->members, NULL); /* else by UIDs alone */
	if (r == 0 && (apptap_hold_new(&s->hold, HOLD_BYTES) < 0 ||
		       apptap_frags_new(&s->frags, DATAGRAMS_MAX) < 0 ||
		       apptap_bpf_doubts_new(&s->doubts, s->scope, s->diag) < 0))
		r = apptap_error_set(err, ENOMEM, "allocating the hold queue");
	if (r < 0) {
		apptap_bpf_reader_free(s);
		return r;
	}
	*out = s;
	return 0;
}

static void free_waiting(struct apptap_bpf_reader *s)
{
	struct apptap_bpf_owner owner;

	while (s->waiting) {
		struct waiting *w = s->waiting;

		s->waiting = w->next;
		if (w->doubt)
			apptap_bpf_doubt_answer(s->doubts, w->doubt, UINT64_MAX, &owner);
		free(w);
	}
}

void apptap_bpf_reader_free(struct apptap_bpf_reader *s)
{
	if (!s)
		return;
	free_waiting(s);
	apptap_bpf_doubts_free(s->doubts);
	apptap_frags_free(s->frags);
	apptap_hold_free(s->hold);
	apptap_diag_close(s->diag);
	apptap_members_free(s->members);
	apptap_devices_close(s->devices);
	free(s);
}

/* Two clocks are never read at the same moment: what differs less than that is no change. */
static void set_clock(struct apptap_bpf_reader *s)
{
	uint64_t before = apptap_clock_ns(CLOCK_MONOTONIC);
	uint64_t real = apptap_clock_ns(CLOCK_REALTIME);
	uint64_t offset = real - (before + apptap_clock_ns(CLOCK_MONOTONIC)) / 2;
	int64_t change = (int64_t)(offset - s->offset_ns);

	if (change > CLOCK_SLACK_NS || change < -CLOCK_SLACK_NS)
		s->offset_ns = offset;
}

static void set_owner(struct apptap_packet *pkt, const struct apptap_bpf_owner *owner)
{
	pkt->uid = owner->uid;
	pkt->pid = (pid_t)owner->who.pid;
	memcpy(pkt->comm, owner->who.comm, sizeof(pkt->comm));
}

static void to_packet(struct apptap_bpf_reader *s, const struct apptap_bpf_item *item,
		      struct apptap_packet *out)
{
	const struct apptap_bpf_record *r = &item->rec;

	memset(out, 0, sizeof(*out));
	out->data = item->data;
	out->len = r->len;
	out->wire_len = r->wire_len;
	out->ts_ns = r->mono_ns + s->offset_ns;
	out->ifindex = (int32_t)r->ifindex;
	out->protocol = apptap_get_be16(&r->protocol_be);
	out->arphrd = apptap_devices_get(s->devices, out->ifindex)->arphrd;
	out->pkttype = r->pkttype;
	out->halen = r->halen;
	memcpy(out->haddr, r->haddr, sizeof(out->haddr));
	out->vlan_tpid = apptap_get_be16(&r->vlan_tpid_be);
	out->vlan_tci = r->vlan_tci;
	set_owner(out, &(struct apptap_bpf_owner){ r->uid, r->who });
}

static int keep(struct apptap_bpf_reader *s, const struct apptap_packet *pkt)
{
	s->n.kept++;
	s->n.kept_bytes += pkt->wire_len;
	return s->consumer->packet(s->consumer, pkt, s->err);
}

static int leave_out(struct apptap_bpf_reader *s, enum apptap_bpf_answer why)
{
	if (why == APPTAP_BPF_ANSWER_FOREIGN)
		s->n.foreign++;
	else
		s->n.unattributed++;
	return 0;
}

/* Certain; behind those that wait, so that order is kept, as long as there is room for that. */
static int take_certain(struct apptap_bpf_reader *s, const struct apptap_packet *pkt)
{
	struct apptap_dissect d;

	apptap_dissect((struct apptap_view){ pkt->data, pkt->len }, pkt->protocol, &d);
	if (d.flags & APPTAP_DIS_FRAG_FIRST)
		apptap_frags_first(s->frags, &d, pkt->ts_ns);
	if (apptap_hold_count(s->hold) && apptap_hold_push(s->hold, pkt, &d, pkt->ts_ns, true))
		return 0;
	return keep(s, pkt);
}

/* @doubt: NULL for a fragment. */
static int take_waiting(struct apptap_bpf_reader *s, const struct apptap_packet *pkt,
			struct apptap_bpf_doubt *doubt)
{
	struct waiting *w = malloc(sizeof(*w));
	struct apptap_bpf_owner owner;
	struct apptap_dissect d;

	apptap_dissect((struct apptap_view){ pkt->data, pkt->len }, pkt->protocol, &d);
	if (!w || !apptap_hold_push(s->hold, pkt, &d, pkt->ts_ns, false)) {
		free(w);
		if (doubt)
			apptap_bpf_doubt_answer(s->doubts, doubt, UINT64_MAX, &owner);
		return leave_out(s, APPTAP_BPF_ANSWER_UNKNOWN); /* no room to wait */
	}
	w->doubt = doubt;
	w->next = NULL;
	*s->waiting_end = w;
	s->waiting_end = &w->next;
	return 0;
}

static int take_group(struct apptap_bpf_reader *s, struct apptap_packet *pkt)
{
	struct apptap_dissect d;
	struct apptap_flow flow;
	struct apptap_sighting sighting;

	apptap_dissect((struct apptap_view){ pkt->data, pkt->len }, pkt->protocol, &d);
	apptap_dissect_flow(&d, false, &flow);
	memset(&flow.raddr, 0, sizeof(flow.raddr));
	flow.rport = 0;
	s->n.lookups++;
	apptap_diag_ask_group(s->diag, &flow, s->scope, &sighting);
	if (sighting.sight != APPTAP_SIGHT_OWNED ||
	    !apptap_scope_owns(s->scope, sighting.uid, sighting.member))
		return leave_out(s, APPTAP_BPF_ANSWER_FOREIGN);
	set_owner(pkt, &(struct apptap_bpf_owner){ .uid = sighting.uid });
	return take_certain(s, pkt);
}

/* The kernel half finds no sockets of this protocol: the socket table is asked, within limits. */
static int take_asked(struct apptap_bpf_reader *s, struct apptap_packet *pkt, bool was_ours)
{
	struct apptap_sighting sighting;
	struct apptap_dissect d;
	struct apptap_flow flow;

	apptap_dissect((struct apptap_view){ pkt->data, pkt->len }, pkt->protocol, &d);
	apptap_dissect_flow(&d, false, &flow);
	s->n.lookups++;
	apptap_diag_ask(s->diag, &flow, pkt->ifindex, &sighting);
	if (!s->window_ns)
		s->window_ns = apptap_clock_ns(CLOCK_MONOTONIC);
	if (++s->asks[flow.proto] == ASKS_A_WINDOW)
		s->settings->is_quiet[flow.proto] = 1;
	/* Nobody has such a socket any more: it was for who sent last. And whose cgroup it is, the
	 * socket table does not always say. */
	if (was_ours && (sighting.sight == APPTAP_SIGHT_NONE ||
			 (!apptap_scope_is_of_uids(s->scope) && sighting.uid == pkt->uid)))
		return take_certain(s, pkt);
	if (sighting.sight == APPTAP_SIGHT_ORPHAN)
		return leave_out(s, APPTAP_BPF_ANSWER_UNKNOWN);
	if (!apptap_scope_owns(s->scope, sighting.uid, sighting.member))
		return leave_out(s, APPTAP_BPF_ANSWER_FOREIGN);
	set_owner(pkt, &(struct apptap_bpf_owner){ .uid = sighting.uid });
	return take_certain(s, pkt);
}

static void tend_window(struct apptap_bpf_reader *s)
{
	if (!s->window_ns || apptap_clock_ns(CLOCK_MONOTONIC) < s->window_ns + WINDOW_NS)
		return;
	memset(s->settings->is_quiet, 0, sizeof(s->settings->is_quiet));
	memset(s->asks, 0, sizeof(s->asks));
	s->window_ns = 0;
}

/* A wildcard socket matches also what only passes by and will be dropped. */
static bool is_for_us(const struct apptap_bpf_reader *s, const struct apptap_bpf_record *r)
{
	struct apptap_addr a;

	memcpy(a.b, r->flow.laddr, sizeof(a.b));
	return apptap_links_has_addr(s->links, &a);
}

int apptap_bpf_reader_take(struct apptap_bpf_reader *s, const struct apptap_bpf_item *item)
{
	struct apptap_packet pkt;
	struct apptap_bpf_doubt *doubt;

	if (item->rec.kind == APPTAP_BPF_SETTLED) {
		apptap_bpf_doubts_settle(s->doubts, &item->rec);
		return 0;
	}
	s->n.seen++;
	to_packet(s, item, &pkt);
	if (item->rec.is_unsure && !is_for_us(s, &item->rec))
		return leave_out(s, APPTAP_BPF_ANSWER_FOREIGN);
	switch (item->rec.kind) {
	case APPTAP_BPF_OURS:
		return take_certain(s, &pkt);
	case APPTAP_BPF_GROUP:
		return take_group(s, &pkt);
	case APPTAP_BPF_ASK:
		return take_asked(s, &pkt, item->rec.is_ours);
	case APPTAP_BPF_PENDING:
		doubt = apptap_bpf_doubt_open(s->doubts, &item->rec);
		return doubt ? take_waiting(s, &pkt, doubt)
			     : leave_out(s, APPTAP_BPF_ANSWER_UNKNOWN);
	case APPTAP_BPF_FRAGMENT:
		return take_waiting(s, &pkt, NULL);
	default:
		return leave_out(s, APPTAP_BPF_ANSWER_UNKNOWN);
	}
}

/* A later fragment is the app's if its first was; strangers' firsts never come here. */
static enum apptap_bpf_answer find_first(struct apptap_bpf_reader *s, struct apptap_held *p,
					 bool last)
{
	uint64_t first_ns;

	if (apptap_frags_later(s->frags, &p->dissect, p->pkt.ts_ns, &first_ns))
		return APPTAP_BPF_ANSWER_OURS;
	if (!last && apptap_clock_ns(CLOCK_REALTIME) < p->since_ns + FRAGMENT_NS)
		return APPTAP_BPF_ANSWER_WAIT;
	return APPTAP_BPF_ANSWER_FOREIGN;
}

static enum apptap_bpf_answer answer_of(struct apptap_bpf_reader *s, const struct waiting *w,
					struct apptap_held *p, uint64_t now_ns)
{
	struct apptap_bpf_owner owner;
	enum apptap_bpf_answer answer;

	if (!w->doubt)
		return find_first(s, p, now_ns == UINT64_MAX);
	answer = apptap_bpf_doubt_answer(s->doubts, w->doubt, now_ns, &owner);
	if (answer != APPTAP_BPF_ANSWER_WAIT)
		set_owner(&p->pkt, &owner);
	return answer;
}

/* Hands over what waits, from the front, as far as it is known. */
int apptap_bpf_reader_pump(struct apptap_bpf_reader *s, uint64_t now_ns)
{
	struct apptap_held *p;
	int r = 0;

	for (p = apptap_hold_first(s->hold); p && r >= 0; p = p->next) {
		enum apptap_bpf_answer answer = APPTAP_BPF_ANSWER_OURS;
		struct waiting *w = s->waiting;

		if (!p->known && w) {
			answer = answer_of(s, w, p, now_ns);
			if (answer == APPTAP_BPF_ANSWER_WAIT)
				break;
			s->waiting = w->next;
			if (!s->waiting)
				s->waiting_end = &s->waiting;
			free(w);
		}
		r = answer == APPTAP_BPF_ANSWER_OURS ? keep(s, &p->pkt) : leave_out(s, answer);
		p->handed_over = true;
	}
	if (r >= 0)
		r = s->consumer->flush(s->consumer, s->err);
	while ((p = apptap_hold_first(s->hold)) && p->handed_over)
		apptap_hold_pop(s->hold);
	return r;
}

void apptap_bpf_reader_begin(struct apptap_bpf_reader *s, struct apptap_consumer *c,
			     struct apptap_error *err)
{
	s->consumer = c;
	s->err = err;
	set_clock(s);
	tend_window(s);
}

bool apptap_bpf_reader_holds(const struct apptap_bpf_reader *s)
{
	return apptap_hold_count(s->hold) > 0;
}

bool apptap_bpf_reader_is_asking(const struct apptap_bpf_reader *s)
{
	return s->window_ns != 0;
}

void apptap_bpf_reader_counters(const struct apptap_bpf_reader *s, struct apptap_tier_counters *out)
{
	*out = s->n;
	out->held = apptap_hold_count(s->hold);
	out->lookups += apptap_bpf_doubts_lookups(s->doubts);
}
