/* hold.c - packets that wait, in order, until it is known whose they are; bounded */
#include "tier/hold.h"

#include <errno.h>

struct apptap_hold {
	struct apptap_held *first;
	struct apptap_held **end;
	size_t count;
	size_t bytes;
	size_t max_bytes;
};

static size_t size_of(const struct apptap_held *p)
{
	return sizeof(*p) + p->pkt.len;
}

int apptap_hold_new(struct apptap_hold **out, size_t max_bytes)
{
	struct apptap_hold *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->end = &h->first;
	h->max_bytes = max_bytes;
	*out = h;
	return 0;
}

void apptap_hold_free(struct apptap_hold *h)
{
	if (!h)
		return;
	while (h->first)
		apptap_hold_pop(h);
	free(h);
}

bool apptap_hold_push(struct apptap_hold *h, const struct apptap_packet *pkt,
		      const struct apptap_dissect *d, uint64_t first_ns, bool known)
{
	struct apptap_held *p;

	/* Half of it is for those that must wait: the others may pass them by. */
	if (h->bytes + sizeof(*p) + pkt->len > (known ? h->max_bytes / 2 : h->max_bytes))
		return false;
	p = malloc(sizeof(*p) + pkt->len);
	if (!p)
		return false;
	p->pkt = *pkt;
	p->pkt.data = memcpy(p + 1, pkt->data, pkt->len);
	p->dissect = *d;
	p->first_ns = first_ns;
	p->since_ns = apptap_clock_ns(CLOCK_REALTIME);
	p->known = known;
	p->handed_over = false;
	p->next = NULL;
	*h->end = p;
	h->end = &p->next;
	h->count++;
	h->bytes += size_of(p);
	return true;
}

struct apptap_held *apptap_hold_first(struct apptap_hold *h)
{
	return h->first;
}

void apptap_hold_pop(struct apptap_hold *h)
{
	struct apptap_held *p = h->first;

	h->first = p->next;
	if (!h->first)
		h->end = &h->first;
	h->count--;
	h->bytes -= size_of(p);
	free(p);
}

size_t apptap_hold_count(const struct apptap_hold *h)
{
	return h->count;
}
