/* waiting.c - packets of which it is not known yet whose they are, with what was known then; in
 * order */
#include "tier/waiting.h"

#include <errno.h>

#define SETTLES_A_TURN 512
#define SETTLE_NS (1 * APPTAP_NSEC_PER_MSEC) /* between two such turns */

/* One for each that is not known in the hold queue, in the same order. */
struct unknown {
	struct apptap_claim_case claim;
	enum apptap_claim what;
	uid_t uid;
	struct unknown *next;
};

struct apptap_waiting {
	struct apptap_claims *claims; /* borrowed */
	struct apptap_hold *hold; /* owned, like what follows */
	struct unknown *first, **end;
	uint64_t settled_ns; /* CLOCK_REALTIME: when all of them were last looked at */
};

int apptap_waiting_new(struct apptap_waiting **out, struct apptap_claims *claims, size_t max_bytes)
{
	struct apptap_waiting *w = calloc(1, sizeof(*w));

	if (!w || apptap_hold_new(&w->hold, max_bytes) < 0) {
		free(w);
		return -ENOMEM;
	}
	w->claims = claims;
	w->end = &w->first;
	*out = w;
	return 0;
}

static void drop_first(struct apptap_waiting *w)
{
	struct unknown *u = w->first;

	w->first = u->next;
	if (!w->first)
		w->end = &w->first;
	free(u);
}

void apptap_waiting_free(struct apptap_waiting *w)
{
	if (!w)
		return;
	while (w->first)
		drop_first(w);
	apptap_hold_free(w->hold);
	free(w);
}

bool apptap_waiting_push(struct apptap_waiting *w, const struct apptap_packet *pkt,
			 const struct apptap_dissect *d, const struct apptap_claim_case *claim)
{
	struct unknown *u;

	if (!claim)
		return apptap_hold_push(w->hold, pkt, d, pkt->ts_ns, true);
	u = malloc(sizeof(*u));
	if (!u || !apptap_hold_push(w->hold, pkt, d, pkt->ts_ns, false)) {
		free(u);
		return false;
	}
	*u = (struct unknown){ .claim = *claim, .what = APPTAP_CLAIM_WAIT };
	*w->end = u;
	w->end = &u->next;
	return true;
}

static void judge(struct apptap_waiting *w, struct unknown *u, uint64_t now_ns, bool last)
{
	if (u->what == APPTAP_CLAIM_WAIT)
		u->what = apptap_claims_settle(w->claims, &u->claim, now_ns, last, &u->uid);
}

void apptap_waiting_settle(struct apptap_waiting *w, uint64_t now_ns, bool last)
{
	int most = SETTLES_A_TURN;

	if (!last && now_ns - w->settled_ns < SETTLE_NS)
		return;
	w->settled_ns = now_ns;
	for (struct unknown *u = w->first; u && most > 0; u = u->next, most--)
		judge(w, u, now_ns, last);
}

int apptap_waiting_hand_over(struct apptap_waiting *w, uint64_t now_ns, bool last,
			     int (*each)(const struct apptap_packet *pkt, enum apptap_claim what,
					 void *arg),
			     void *arg)
{
	int r = 0;

	for (struct apptap_held *p = apptap_hold_first(w->hold); p && r >= 0; p = p->next) {
		enum apptap_claim what = APPTAP_CLAIM_OURS;

		if (!p->known && w->first) {
			judge(w, w->first, now_ns, last);
			what = w->first->what;
			if (what == APPTAP_CLAIM_WAIT)
				break;
			p->pkt.uid = w->first->uid;
			drop_first(w);
		}
		r = each(&p->pkt, what, arg);
		p->handed_over = true;
	}
	return r;
}

void apptap_waiting_forget(struct apptap_waiting *w)
{
	struct apptap_held *p;

	while ((p = apptap_hold_first(w->hold)) && p->handed_over)
		apptap_hold_pop(w->hold);
}

size_t apptap_waiting_count(const struct apptap_waiting *w)
{
	return apptap_hold_count(w->hold);
}

bool apptap_waiting_for_news(const struct apptap_waiting *w)
{
	for (const struct unknown *u = w->first; u; u = u->next)
		if (u->what == APPTAP_CLAIM_WAIT && apptap_claims_is_datagram(u->claim.flow.proto))
			return true;
	return false;
}
