/* conn.c - the app's connections: a record for each flow seen in a capture, bounded */
#include "flow/conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/random.h>

/*
 * How it works
 *
 * Records stand in an array in the order of their first packet, and never leave it. A hash index
 * (open addressing, linear probing, at most half full, nothing is ever removed) finds the newest
 * record of a flow. Which end is local was decided by the record's first packet, so a packet is
 * looked up in both orientations: on loopback, and between two addresses of this machine, both
 * directions then meet in one record.
 *
 * When the array is full, further flows are remembered only as 32-bit tags of their hash, in a
 * fixed cache that forgets the oldest of four: enough to count each connection once, while a
 * stranger who invents flows costs no memory.
 */

#define RECORDS_AT_FIRST 256
#define WAYS 4 /* entries a set, here and in the fragment map */
#define UNLISTED_SETS 16384 /* 256 KiB; allocated when the array is full */
#define UNLISTED_ENDED 1U /* bit 0 of a tag: FIN or RST was seen */
#define UNLISTED_IN_USE 2U /* bit 1: a tag is never 0 */
#define FRAG_SETS 64
#define FRAG_LIFE_NS (60 * APPTAP_NSEC_PER_SEC) /* IPv6 reassembly gives up then (RFC 8200) */

#define NO_RECORD UINT32_MAX

struct record {
	struct apptap_conn conn;
	/* The flow began anew when the array was full: its packets are the others' from then on. */
	bool succeeded;
	bool successor_ended;
};

struct slot {
	uint32_t hash;
	uint32_t after; /* number of the record + 1; 0: free */
};

struct fragment {
	struct apptap_flow key; /* addresses as on the wire, frag_id in place of the ports */
	uint64_t ts_ns;
	uint32_t record; /* NO_RECORD: of a connection that is not listed */
	bool out;
	bool used;
};

struct unlisted {
	uint32_t tag[WAYS]; /* newest first; 0: free */
};

struct apptap_conn_table {
	uint64_t key[2];
	uint32_t now_s;
	size_t max;
	size_t count;
	size_t room;
	struct record *records; /* owned */
	size_t slot_count; /* a power of two, at least twice the room */
	struct slot *slots; /* owned */
	struct unlisted *unlisted; /* owned; NULL until needed */
	struct apptap_conn_others others;
	struct fragment fragments[FRAG_SETS][WAYS];
	uint8_t fragment_next[FRAG_SETS]; /* the way that the next one replaces */
};

/* One packet on its way through the table. */
struct arrival {
	const struct apptap_dissect *d;
	bool out; /* sent by the local end, as far as is known yet */
	uint32_t wire_len;
	uint64_t ts_ns;
	uid_t uid;
};

/* Whom a packet counts for, after it was looked up. */
struct verdict {
	uint32_t record; /* NO_RECORD: the others */
	bool began;
};

static struct slot *find_slot(const struct apptap_conn_table *t, const struct apptap_flow *flow,
			      uint32_t hash)
{
	size_t mask = t->slot_count - 1;
	size_t i = hash & mask;

	/* Ends: half of the slots are free. */
	for (;; i = (i + 1) & mask) {
		struct slot *s = &t->slots[i];

		if (!s->after)
			return s;
		if (s->hash == hash && apptap_flow_equal(&t->records[s->after - 1].conn.flow, flow))
			return s;
	}
}

static uint32_t find_record(const struct apptap_conn_table *t, const struct apptap_flow *flow)
{
	return find_slot(t, flow, apptap_flow_hash(flow, t->key))->after - 1; /* NO_RECORD: none */
}

static int rebuild_index(struct apptap_conn_table *t, size_t slot_count)
{
	struct slot *old = t->slots;
	size_t old_count = t->slot_count;
	struct slot *slots = calloc(slot_count, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	t->slots = slots;
	t->slot_count = slot_count;
	for (size_t i = 0; i < old_count; i++)
		if (old[i].after)
			*find_slot(t, &t->records[old[i].after - 1].conn.flow, old[i].hash) =
				old[i];
	free(old);
	return 0;
}

/* Room for one more record: 0, -ENOSPC at the bound, -ENOMEM. */
static int reserve(struct apptap_conn_table *t)
{
	size_t room = t->room ? t->room * 2 : RECORDS_AT_FIRST;
	size_t slot_count = 1;
	struct record *records;
	int r;

	if (t->count < t->room)
		return 0;
	if (t->count >= t->max)
		return -ENOSPC;
	room = MIN(room, t->max);
	if (room > SIZE_MAX / 4 / sizeof(*records))
		return -ENOMEM;
	while (slot_count < room * 2)
		slot_count *= 2;
	records = realloc(t->records, room * sizeof(*records));
	if (!records)
		return -ENOMEM;
	t->records = records;
	if (slot_count > t->slot_count) {
		r = rebuild_index(t, slot_count);
		if (r < 0)
			return r;
	}
	t->room = room;
	return 0;
}

int apptap_conn_table_new(struct apptap_conn_table **out, size_t max)
{
	struct apptap_conn_table *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return -ENOMEM;
	t->max = MIN(max, (size_t)NO_RECORD - 1);
	if (getrandom(t->key, sizeof(t->key), 0) != (ssize_t)sizeof(t->key)) {
		apptap_conn_table_free(t);
		return -EIO;
	}
	/* The index exists even when @max is 0: looking up needs no special case. */
	r = rebuild_index(t, 2);
	if (r == 0)
		r = reserve(t);
	if (r < 0 && r != -ENOSPC) {
		apptap_conn_table_free(t);
		return r;
	}
	*out = t;
	return 0;
}

void apptap_conn_table_free(struct apptap_conn_table *t)
{
	if (!t)
		return;
	free(t->records);
	free(t->slots);
	free(t->unlisted);
	free(t);
}

static bool is_syn(const struct apptap_dissect *d)
{
	return d->proto == IPPROTO_TCP &&
	       (d->flags & (APPTAP_DIS_TCP_SYN | APPTAP_DIS_TCP_ACK)) == APPTAP_DIS_TCP_SYN;
}

static bool is_end(const struct apptap_dissect *d)
{
	return d->proto == IPPROTO_TCP && d->flags & (APPTAP_DIS_TCP_FIN | APPTAP_DIS_TCP_RST);
}

/* Counts a flow that has no record once, however many packets it has. */
static void note_unlisted(struct apptap_conn_table *t, const struct arrival *a,
			  const struct apptap_flow *flow)
{
	struct apptap_flow canonical = *flow;
	struct unlisted *set;
	uint32_t hash;
	uint32_t tag;
	size_t way = 0;
	bool known;

	/* Both directions must find one tag, though nobody remembers which end was local. */
	if (memcmp(&flow->laddr, &flow->raddr, sizeof(flow->laddr)) > 0 ||
	    (memcmp(&flow->laddr, &flow->raddr, sizeof(flow->laddr)) == 0 &&
	     flow->lport > flow->rport)) {
		canonical.laddr = flow->raddr;
		canonical.raddr = flow->laddr;
		canonical.lport = flow->rport;
		canonical.rport = flow->lport;
	}
	if (!t->unlisted)
		t->unlisted = calloc(UNLISTED_SETS, sizeof(*t->unlisted));
	if (!t->unlisted)
		return; /* the packets are counted all the same */
	hash = apptap_flow_hash(&canonical, t->key);
	set = &t->unlisted[(hash >> 2) % UNLISTED_SETS];
	tag = (hash & ~UNLISTED_ENDED) | UNLISTED_IN_USE;
	while (way < WAYS - 1 && (set->tag[way] & ~UNLISTED_ENDED) != tag)
		way++;
	known = (set->tag[way] & ~UNLISTED_ENDED) == tag;
	if (known && !(is_syn(a->d) && set->tag[way] & UNLISTED_ENDED))
		tag = set->tag[way];
	else
		t->others.connections++;
	if (is_end(a->d))
		tag |= UNLISTED_ENDED;
	memmove(&set->tag[1], &set->tag[0], way * sizeof(set->tag[0]));
	set->tag[0] = tag;
}

static void count_other(struct apptap_conn_table *t, const struct arrival *a)
{
	if (a->out) {
		t->others.packets_out++;
		t->others.bytes_out += a->wire_len;
	} else {
		t->others.packets_in++;
		t->others.bytes_in += a->wire_len;
	}
}

static bool has_ended(const struct apptap_conn *c)
{
	return c->tcp_flags & APPTAP_CONN_RST || c->fins == 3;
}

static void note_tcp(struct apptap_conn *c, const struct arrival *a)
{
	bool before = has_ended(c);

	if (a->d->flags & APPTAP_DIS_TCP_SYN)
		c->tcp_flags |= APPTAP_CONN_SYN;
	if (a->d->flags & APPTAP_DIS_TCP_FIN) {
		c->tcp_flags |= APPTAP_CONN_FIN;
		c->fins |= a->out ? 1 : 2;
	}
	if (a->d->flags & APPTAP_DIS_TCP_RST)
		c->tcp_flags |= APPTAP_CONN_RST;
	if (!before && has_ended(c))
		c->news |= APPTAP_CONN_ENDED;
}

static void count_packet(struct apptap_conn *c, const struct arrival *a)
{
	if (a->out) {
		c->packets_out++;
		c->bytes_out += a->wire_len;
	} else {
		c->packets_in++;
		c->bytes_in += a->wire_len;
	}
	c->first_ns = MIN(c->first_ns, a->ts_ns);
	c->last_ns = MAX(c->last_ns, a->ts_ns);
	if (c->uid == APPTAP_UID_NONE)
		c->uid = a->uid;
	if (a->d->proto == IPPROTO_TCP)
		note_tcp(c, a);
}

/* A new record, and @flow leads to it from now on. NO_RECORD: there is no room. */
static uint32_t add_record(struct apptap_conn_table *t, const struct arrival *a,
			   const struct apptap_flow *flow)
{
	uint32_t hash = apptap_flow_hash(flow, t->key);
	uint32_t n = (uint32_t)t->count;

	if (reserve(t) < 0)
		return NO_RECORD;
	t->records[n] = (struct record){
		.conn = { .flow = *flow, .uid = a->uid, .first_ns = a->ts_ns, .last_ns = a->ts_ns },
	};
	*find_slot(t, flow, hash) = (struct slot){ .hash = hash, .after = n + 1 };
	t->count++;
	return n;
}

/* The record of @flow in either orientation; @a->out is set to how the packet stands in it. */
static uint32_t find_either(const struct apptap_conn_table *t, struct arrival *a,
			    void (*make)(const struct apptap_dissect *, bool, struct apptap_flow *))
{
	struct apptap_flow flow;
	uint32_t n;

	make(a->d, a->out, &flow);
	n = find_record(t, &flow);
	if (n != NO_RECORD)
		return n;
	make(a->d, !a->out, &flow);
	n = find_record(t, &flow);
	if (n != NO_RECORD)
		a->out = !a->out;
	return n;
}

/* A flow that began anew after its end, when no room was left for a second record. */
static void note_successor(struct apptap_conn_table *t, const struct arrival *a, struct record *rec)
{
	if (is_syn(a->d) && (!rec->succeeded || rec->successor_ended)) {
		t->others.connections++;
		rec->successor_ended = false;
	}
	rec->succeeded = true;
	if (is_end(a->d))
		rec->successor_ended = true;
}

static struct verdict look_up(struct apptap_conn_table *t, struct arrival *a)
{
	bool sent = a->out;
	struct verdict v = { .record = find_either(t, a, apptap_dissect_flow) };
	struct record *rec = v.record == NO_RECORD ? NULL : &t->records[v.record];
	uint32_t before = v.record;
	struct apptap_flow flow;

	if (rec && !rec->succeeded &&
	    !(is_syn(a->d) && rec->conn.tcp_flags & (APPTAP_CONN_FIN | APPTAP_CONN_RST)))
		return v;
	if (rec && rec->succeeded) {
		note_successor(t, a, rec);
		v.record = NO_RECORD;
		return v;
	}
	a->out = sent; /* an old record may have had it the other way round */
	apptap_dissect_flow(a->d, a->out, &flow);
	v.record = add_record(t, a, &flow);
	v.began = v.record != NO_RECORD;
	if (!v.began && before != NO_RECORD)
		note_successor(t, a, &t->records[before]);
	else if (!v.began)
		note_unlisted(t, a, &flow);
	return v;
}

static void fragment_key(const struct apptap_dissect *d, struct apptap_flow *key)
{
	memset(key, 0, sizeof(*key));
	key->laddr = d->src;
	key->raddr = d->dst;
	key->lport = (uint16_t)(d->frag_id >> 16);
	key->rport = (uint16_t)d->frag_id;
	key->proto = d->proto;
	key->family = d->family;
}

static struct fragment *find_fragment(struct apptap_conn_table *t, const struct apptap_flow *key,
				      size_t set)
{
	for (size_t way = 0; way < WAYS; way++) {
		struct fragment *f = &t->fragments[set][way];

		if (f->used && apptap_flow_equal(&f->key, key))
			return f;
	}
	return NULL;
}

static void remember_fragment(struct apptap_conn_table *t, const struct arrival *a, uint32_t record)
{
	struct apptap_flow key;
	struct fragment *f;
	size_t set;

	fragment_key(a->d, &key);
	set = apptap_flow_hash(&key, t->key) % FRAG_SETS;
	f = find_fragment(t, &key, set);
	if (!f)
		f = &t->fragments[set][t->fragment_next[set]++ % WAYS];
	*f = (struct fragment){
		.key = key,
		.ts_ns = a->ts_ns,
		.record = record,
		.out = a->out,
		.used = true,
	};
}

/* A fragment without ports goes where its first one went; false: that one was not seen. */
static bool follow_fragment(struct apptap_conn_table *t, struct arrival *a, struct verdict *v)
{
	struct apptap_flow key;
	struct fragment *f;

	fragment_key(a->d, &key);
	f = find_fragment(t, &key, apptap_flow_hash(&key, t->key) % FRAG_SETS);
	if (!f || (a->ts_ns > f->ts_ns && a->ts_ns - f->ts_ns > FRAG_LIFE_NS))
		return false;
	a->out = f->out;
	v->record = f->record;
	return true;
}

/* An ICMP error goes to the flow that it quotes; false: no record knows that one. */
static bool follow_quote(struct apptap_conn_table *t, struct arrival *a, struct verdict *v)
{
	/* The error travels against the packet that it quotes: an incoming one quotes our own. */
	struct arrival quoted = { .d = a->d, .out = !a->out };
	uint32_t n = find_either(t, &quoted, apptap_dissect_inner_flow);

	if (n == NO_RECORD)
		return false;
	a->out = !quoted.out;
	v->record = t->records[n].succeeded ? NO_RECORD : n;
	return true;
}

int apptap_conn_table_packet(struct apptap_conn_table *t, const struct apptap_dissect *d,
			     bool outgoing, uint32_t wire_len, uint64_t ts_ns, uid_t uid,
			     const struct apptap_conn **out)
{
	struct arrival a = {
		.d = d,
		.out = outgoing,
		.wire_len = wire_len,
		.ts_ns = ts_ns,
		.uid = uid,
	};
	struct verdict v = { .record = NO_RECORD };
	struct apptap_conn *conn;
	bool found = false;

	if (out)
		*out = NULL;
	if (!(d->flags & APPTAP_DIS_IP))
		return 0;
	if (d->flags & APPTAP_DIS_FRAG_LATER)
		found = follow_fragment(t, &a, &v);
	else if (d->flags & APPTAP_DIS_ICMP_ERROR)
		found = follow_quote(t, &a, &v);
	if (!found)
		v = look_up(t, &a);
	if (d->flags & APPTAP_DIS_FRAG_FIRST)
		remember_fragment(t, &a, v.record);
	if (v.record == NO_RECORD) {
		count_other(t, &a);
		return 0;
	}
	conn = &t->records[v.record].conn;
	conn->news = v.began || conn->quiet ? APPTAP_CONN_BEGAN : 0;
	conn->quiet = false;
	conn->heard_s = t->now_s;
	count_packet(conn, &a);
	if (out)
		*out = conn;
	return v.began;
}

void apptap_conn_table_name(struct apptap_conn_table *t, const struct apptap_conn *conn, pid_t pid,
			    const char comm[16])
{
	size_t i = (size_t)((const struct record *)(const void *)conn - t->records);
	struct apptap_conn *c = &t->records[i].conn;

	if (c->pid)
		return;
	c->pid = pid;
	memcpy(c->comm, comm, sizeof(c->comm));
}

void apptap_conn_table_tick(struct apptap_conn_table *t, uint32_t now_s)
{
	t->now_s = now_s;
}

const struct apptap_conn *apptap_conn_table_quiet(struct apptap_conn_table *t, size_t *i, bool all)
{
	while (*i < t->count) {
		struct apptap_conn *c = &t->records[(*i)++].conn;

		if (c->flow.proto == IPPROTO_TCP || c->quiet ||
		    (!all && t->now_s - c->heard_s < APPTAP_CONN_QUIET_S))
			continue;
		c->quiet = true;
		return c;
	}
	return NULL;
}

void apptap_conn_table_others(const struct apptap_conn_table *t, struct apptap_conn_others *out)
{
	*out = t->others;
}

size_t apptap_conn_table_count(const struct apptap_conn_table *t)
{
	return t->count;
}

uint64_t apptap_conn_table_total(const struct apptap_conn_table *t)
{
	return t->count + t->others.connections;
}

const struct apptap_conn *apptap_conn_table_get(const struct apptap_conn_table *t, size_t i)
{
	return i < t->count ? &t->records[i].conn : NULL;
}
