/*
 * bpf_doubt.c - connections that nobody has accepted yet: whose will they be?
 *
 * How it works. A connection belongs to whoever accepts it: a web server's worker, a service that
 * was started by its socket. The first packet that finds its socket accepted makes the kernel half
 * say so. A connection on which none passes is asked about every few milliseconds; one that nobody
 * accepts within the time, or that is gone without anybody having accepted it, was the listener's.
 */
#include "tier/bpf_doubt.h"

#include <errno.h>

#include "scope/members.h"

#define BUCKETS 1024
#define DOUBTS_MAX 16384
#define WAIT_NS (100 * APPTAP_NSEC_PER_MSEC)
#define ASK_FIRST_NS (4 * APPTAP_NSEC_PER_MSEC)

struct apptap_bpf_doubt {
	struct apptap_bpf_flow flow;
	enum apptap_bpf_answer answer; /* WAIT while it is open */
	struct apptap_bpf_owner owner; /* whose it is; while it is open: who listens */
	bool is_ours; /* the listener is */
	int32_t ifindex;
	uint64_t since_ns; /* CLOCK_MONOTONIC, like the next two */
	uint64_t ask_ns; /* the next question, not before */
	uint64_t gone_ns; /* when it was first missed; 0: it was not */
	size_t packets; /* that wait for its answer */
	struct apptap_bpf_doubt *next; /* of its bucket, while it is open */
};

struct apptap_bpf_doubts {
	const struct apptap_scope *scope; /* borrowed */
	struct apptap_diag *diag; /* borrowed */
	struct apptap_bpf_doubt *buckets[BUCKETS]; /* those that are open */
	size_t count, open;
	uint64_t key[2];
	uint64_t lookups;
};

int apptap_bpf_doubts_new(struct apptap_bpf_doubts **out, const struct apptap_scope *scope,
			  struct apptap_diag *diag)
{
	struct apptap_bpf_doubts *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->scope = scope;
	d->diag = diag;
	d->key[0] = apptap_clock_ns(CLOCK_MONOTONIC) ^ (uint64_t)(uintptr_t)d;
	d->key[1] = apptap_clock_ns(CLOCK_REALTIME) * 0x9e3779b97f4a7c15ULL;
	*out = d;
	return 0;
}

/* What still waits belongs to those who hold it no more. */
void apptap_bpf_doubts_free(struct apptap_bpf_doubts *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		while (d->buckets[i]) {
			struct apptap_bpf_doubt *doubt = d->buckets[i];

			d->buckets[i] = doubt->next;
			free(doubt);
		}
	}
	free(d);
}

static void to_flow(const struct apptap_bpf_flow *f, struct apptap_flow *out)
{
	memset(out, 0, sizeof(*out));
	memcpy(out->laddr.b, f->laddr, sizeof(out->laddr.b));
	memcpy(out->raddr.b, f->raddr, sizeof(out->raddr.b));
	out->lport = apptap_get_be16(&f->lport_be);
	out->rport = apptap_get_be16(&f->rport_be);
	out->proto = f->proto;
	out->family = f->family;
}

static struct apptap_bpf_doubt **find(struct apptap_bpf_doubts *d,
				      const struct apptap_bpf_flow *flow)
{
	struct apptap_bpf_doubt **p;
	struct apptap_flow key;

	to_flow(flow, &key);
	p = &d->buckets[apptap_flow_hash(&key, d->key) % BUCKETS];
	while (*p && memcmp(&(*p)->flow, flow, sizeof(*flow)) != 0)
		p = &(*p)->next;
	return p;
}

struct apptap_bpf_doubt *apptap_bpf_doubt_open(struct apptap_bpf_doubts *d,
					       const struct apptap_bpf_record *rec)
{
	struct apptap_bpf_doubt **p = find(d, &rec->flow), *doubt = *p;

	if (!doubt) {
		if (d->count == DOUBTS_MAX)
			return NULL;
		doubt = calloc(1, sizeof(*doubt));
		if (!doubt)
			return NULL;
		doubt->flow = rec->flow;
		doubt->answer = APPTAP_BPF_ANSWER_WAIT;
		doubt->ifindex = (int32_t)rec->ifindex;
		doubt->since_ns = rec->mono_ns;
		doubt->ask_ns = rec->mono_ns + ASK_FIRST_NS;
		*p = doubt;
		d->count++;
		d->open++;
	}
	doubt->owner = (struct apptap_bpf_owner){ rec->uid, rec->who };
	doubt->is_ours = rec->is_ours;
	doubt->packets++;
	return doubt;
}

static void close_doubt(struct apptap_bpf_doubts *d, struct apptap_bpf_doubt **p, bool is_ours,
			const struct apptap_bpf_owner *owner)
{
	struct apptap_bpf_doubt *doubt = *p;

	if (!doubt)
		return;
	*p = doubt->next;
	doubt->next = NULL;
	doubt->answer = is_ours ? APPTAP_BPF_ANSWER_OURS : APPTAP_BPF_ANSWER_FOREIGN;
	doubt->owner = *owner;
	d->open--;
}

void apptap_bpf_doubts_settle(struct apptap_bpf_doubts *d, const struct apptap_bpf_record *rec)
{
	const struct apptap_bpf_owner owner = { rec->uid, rec->who };

	close_doubt(d, find(d, &rec->flow), rec->is_ours, &owner);
}

/* Nobody accepted it: it is whose the listener is. */
static void close_unaccepted(struct apptap_bpf_doubts *d, struct apptap_bpf_doubt *doubt)
{
	const struct apptap_bpf_owner owner = doubt->owner;

	close_doubt(d, find(d, &doubt->flow), doubt->is_ours, &owner);
}

/* Which process has made it, only the kernel half can tell: where that or its cgroup counts,
 * strangers stay in doubt. */
static enum apptap_sight ask(struct apptap_bpf_doubts *d, struct apptap_bpf_doubt *doubt)
{
	struct apptap_bpf_owner owner = doubt->owner; /* the table tells no PIDs: the listener's */
	struct apptap_sighting s;
	struct apptap_flow flow;
	bool is_ours;

	to_flow(&doubt->flow, &flow);
	apptap_diag_ask(d->diag, &flow, doubt->ifindex, &s);
	d->lookups++;
	owner.uid = s.uid;
	is_ours = apptap_scope_owns(d->scope, s.uid, s.member);
	if (s.sight == APPTAP_SIGHT_OWNED && (is_ours || apptap_scope_is_of_uids(d->scope)))
		close_doubt(d, find(d, &doubt->flow), is_ours, &owner);
	return s.sight;
}

static void tend(struct apptap_bpf_doubts *d, struct apptap_bpf_doubt *doubt, uint64_t now_ns)
{
	bool late = now_ns > doubt->since_ns + WAIT_NS;
	enum apptap_sight sight;

	if (doubt->gone_ns) { /* and what was said before it went has been heard */
		close_unaccepted(d, doubt);
		return;
	}
	if (!late && now_ns < doubt->ask_ns)
		return;
	doubt->ask_ns = now_ns + (now_ns - doubt->since_ns) / 2;
	sight = ask(d, doubt);
	if (doubt->answer != APPTAP_BPF_ANSWER_WAIT)
		return;
	if (late)
		close_unaccepted(d, doubt);
	else if (sight == APPTAP_SIGHT_NONE || sight == APPTAP_SIGHT_ORPHAN)
		doubt->gone_ns = now_ns;
}

enum apptap_bpf_answer apptap_bpf_doubt_answer(struct apptap_bpf_doubts *d,
					       struct apptap_bpf_doubt *doubt, uint64_t now_ns,
					       struct apptap_bpf_owner *owner)
{
	enum apptap_bpf_answer answer;

	if (doubt->answer == APPTAP_BPF_ANSWER_WAIT && now_ns != doubt->gone_ns)
		tend(d, doubt, now_ns);
	answer = doubt->answer;
	if (answer == APPTAP_BPF_ANSWER_WAIT)
		return answer;
	*owner = doubt->owner;
	if (--doubt->packets == 0) {
		free(doubt);
		d->count--;
	}
	return answer;
}

size_t apptap_bpf_doubts_count(const struct apptap_bpf_doubts *d)
{
	return d->open;
}

uint64_t apptap_bpf_doubts_lookups(const struct apptap_bpf_doubts *d)
{
	return d->lookups;
}
