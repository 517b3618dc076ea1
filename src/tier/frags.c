/* frags.c - later fragments carry no ports: which flow the first one of their datagram had */
#include "tier/frags.h"

#include <errno.h>
#include <sys/random.h>
#include <sys/socket.h>

#define LIFETIME_NS (30 * APPTAP_NSEC_PER_SEC)
#define WAYS 4 /* places where a datagram may stand: the oldest of them gives way */

struct datagram {
	struct apptap_flow key; /* addresses; ports hold the halves of the identification */
	uint64_t first_ns; /* 0: empty */
	uint16_t sport;
	uint16_t dport;
	bool ports;
};

struct apptap_frags {
	uint64_t key[2];
	size_t mask;
	struct datagram *slots; /* owned */
};

int apptap_frags_new(struct apptap_frags **out, size_t max)
{
	struct apptap_frags *f = calloc(1, sizeof(*f));
	size_t size = WAYS;

	if (!f)
		return -ENOMEM;
	while (size < max)
		size *= 2;
	f->mask = size - 1;
	f->slots = calloc(size, sizeof(*f->slots));
	if (!f->slots || getrandom(f->key, sizeof(f->key), 0) != (ssize_t)sizeof(f->key)) {
		apptap_frags_free(f);
		return -ENOMEM;
	}
	*out = f;
	return 0;
}

void apptap_frags_free(struct apptap_frags *f)
{
	if (!f)
		return;
	free(f->slots);
	free(f);
}

static struct datagram *bucket(struct apptap_frags *f, const struct apptap_dissect *d,
			       struct apptap_flow *key)
{
	memset(key, 0, sizeof(*key));
	key->laddr = d->src;
	key->raddr = d->dst;
	key->lport = (uint16_t)(d->frag_id >> 16);
	key->rport = (uint16_t)d->frag_id;
	key->family = d->family;
	/* IPv6 identifies by addresses and identification alone, IPv4 by the protocol too. */
	key->proto = d->family == AF_INET ? d->proto : 0;
	return &f->slots[apptap_flow_hash(key, f->key) & f->mask & ~(size_t)(WAYS - 1)];
}

void apptap_frags_first(struct apptap_frags *f, const struct apptap_dissect *d, uint64_t ts_ns)
{
	struct apptap_flow key;
	struct datagram *b = bucket(f, d, &key);
	struct datagram *place = b;

	for (int i = 0; i < WAYS; i++) {
		if (b[i].first_ns && apptap_flow_equal(&b[i].key, &key)) {
			place = &b[i];
			break;
		}
		if (b[i].first_ns < place->first_ns)
			place = &b[i];
	}
	place->key = key;
	place->first_ns = ts_ns;
	place->sport = d->sport;
	place->dport = d->dport;
	place->ports = (d->flags & APPTAP_DIS_PORTS) != 0;
}

bool apptap_frags_later(struct apptap_frags *f, struct apptap_dissect *d, uint64_t ts_ns,
			uint64_t *first_ns)
{
	struct apptap_flow key;
	struct datagram *b = bucket(f, d, &key);

	for (int i = 0; i < WAYS; i++) {
		if (!b[i].first_ns || !apptap_flow_equal(&b[i].key, &key))
			continue;
		if (ts_ns > b[i].first_ns + LIFETIME_NS)
			return false;
		d->sport = b[i].sport;
		d->dport = b[i].dport;
		if (b[i].ports)
			d->flags |= APPTAP_DIS_PORTS;
		*first_ns = b[i].first_ns;
		return true;
	}
	return false;
}
