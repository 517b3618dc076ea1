/* flows.h - whose flows were last: for packets that no socket has any more; and what goes to the
 * ring
 *
 * SPDX-License-Identifier: MIT OR GPL-2.0-only
 */
#ifndef APPTAP_BPF_FLOWS_H
#define APPTAP_BPF_FLOWS_H

#include "changed.h"
#include "work.h"

#define FLOWS_MAX 65536
#define DATAGRAMS_MAX 4096
#define FLOW_NS 130000000000LL /* two lives of TIME_WAIT, and some */
#define DATAGRAM_NS 30000000000LL

enum flow_state { FLOW_OURS, FLOW_PENDING, FLOW_FOREIGN };

struct flow_owner {
	__u64 seen_ns;
	__u32 uid;
	__u8 state; /* enum flow_state */
	__u8 is_ours; /* PENDING: the listener is */
	__u16 zero;
	struct apptap_bpf_who who;
	__u32 zero2;
};

struct datagram {
	__u8 src[16];
	__u8 dst[16];
	__u32 id;
	__u32 proto;
};

struct datagram_owner {
	__u64 seen_ns;
	__u32 uid;
	__u32 is_ours;
	struct apptap_bpf_who who;
	__u32 zero;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FLOWS_MAX);
	__type(key, struct apptap_bpf_flow);
	__type(value, struct flow_owner);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, DATAGRAMS_MAX);
	__type(key, struct datagram);
	__type(value, struct datagram_owner);
} datagrams SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} ring SEC(".maps");

/* Local ports that flows of the app's had: all others need no look into the map. One byte each, for
 * CPUs that write at the same time; by skc_num, which for raw sockets is the protocol. */
__u8 marked[PORTS] = {};
struct apptap_bpf_counts counts = {};

/* Another CPU may have seen it later than we have looked at the clock. */
static __always_inline int is_older(__u64 seen_ns, __s64 than_ns)
{
	return (__s64)(bpf_ktime_get_ns() - seen_ns) > than_ns;
}

static __always_inline int is_marked(__u32 port)
{
	return marked[port_index(port)];
}

static __always_inline __u64 wake_flags(void)
{
	if (settings.asleep) {
		settings.asleep = 0;
		return BPF_RB_FORCE_WAKEUP;
	}
	return bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) > settings.wake_bytes
		       ? BPF_RB_FORCE_WAKEUP
		       : BPF_RB_NO_WAKEUP;
}

/* A record without a packet: who has accepted the connection of the flow in hand. */
__noinline int put_settled(void)
{
	struct apptap_bpf_record *r;
	struct work *w = work_of();

	if (!w)
		return 0;
	r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	if (!r) {
		__sync_fetch_and_add(&counts.lost_settled, 1);
		return 0;
	}
	__builtin_memset(r, 0, sizeof(*r));
	r->mono_ns = bpf_ktime_get_ns();
	r->kind = APPTAP_BPF_SETTLED;
	r->uid = w->owner.uid;
	r->is_ours = w->owner.is_ours;
	r->who = w->owner.who;
	r->flow = w->flow;
	bpf_ringbuf_submit(r, wake_flags());
	return 0;
}

/* The owner of the flow in hand is known, from a socket, just now. */
__noinline int note_flow(void)
{
	struct flow_owner fresh = {}, *was;
	struct work *w = work_of();
	__u8 state;

	if (!w)
		return 0;
	state = w->owner.sight == SIGHT_PENDING ? FLOW_PENDING
		: w->owner.is_ours		? FLOW_OURS
						: FLOW_FOREIGN;
	was = bpf_map_lookup_elem(&flows, &w->flow);
	if (was) {
		__u8 before = was->state;

		was->state = state;
		was->uid = w->owner.uid;
		was->is_ours = w->owner.is_ours;
		was->who = w->owner.who;
		was->seen_ns = bpf_ktime_get_ns();
		if (before == FLOW_PENDING && state != FLOW_PENDING)
			put_settled();
		return 0;
	}
	if (state == FLOW_FOREIGN)
		return 0;
	fresh.state = state;
	fresh.uid = w->owner.uid;
	fresh.is_ours = w->owner.is_ours;
	fresh.who = w->owner.who;
	fresh.seen_ns = bpf_ktime_get_ns();
	bpf_map_update_elem(&flows, &w->flow, &fresh, BPF_ANY);
	marked[port_index(bpf_ntohs(w->flow.lport_be))] = 1;
	marked[w->flow.proto] = 1; /* what a stranger's raw socket has for a port */
	return 0;
}

/* Whose was the flow in hand last? SIGHT_NONE: not the app's, or too long ago. */
__noinline int recall_flow(void)
{
	struct work *w = work_of();
	struct flow_owner *was;

	if (!w)
		return 0;
	w->owner.sight = SIGHT_NONE;
	if (!is_marked(bpf_ntohs(w->flow.lport_be)))
		return 0;
	was = bpf_map_lookup_elem(&flows, &w->flow);
	if (!was || was->state == FLOW_FOREIGN || is_older(was->seen_ns, FLOW_NS))
		return 0;
	was->seen_ns = bpf_ktime_get_ns();
	w->owner.uid = was->uid;
	w->owner.is_ours = was->is_ours;
	w->owner.who = was->who;
	w->owner.sight = was->state == FLOW_PENDING ? SIGHT_PENDING : SIGHT_OWNED;
	return 0;
}

static __always_inline void key_of(const struct packet *p, struct datagram *key)
{
	__builtin_memcpy(key->src, p->src, 16);
	__builtin_memcpy(key->dst, p->dst, 16);
	key->id = p->frag_id;
	key->proto = p->family == AF_INET ? p->proto : 0;
}

/* The first fragment in hand has this owner, and so have the later ones. */
__noinline int note_datagram(void)
{
	struct datagram_owner v = {};
	struct work *w = work_of();
	struct datagram key;

	if (!w)
		return 0;
	key_of(&w->p[0], &key);
	v.seen_ns = bpf_ktime_get_ns();
	v.uid = w->owner.uid;
	v.is_ours = w->owner.sight != SIGHT_NONE && w->owner.is_ours;
	v.who = w->owner.who;
	bpf_map_update_elem(&datagrams, &key, &v, BPF_ANY);
	return 0;
}

/* A later fragment in hand. Return: the kind of record that it deserves; 0: a stranger's. */
__noinline int recall_datagram(void)
{
	struct work *w = work_of();
	struct datagram_owner *v;
	struct datagram key;

	if (!w)
		return 0;
	key_of(&w->p[0], &key);
	v = bpf_map_lookup_elem(&datagrams, &key);
	if (!v || is_older(v->seen_ns, DATAGRAM_NS))
		return APPTAP_BPF_FRAGMENT;
	w->owner.uid = v->uid;
	w->owner.is_ours = v->is_ours != 0;
	w->owner.who = v->who;
	return v->is_ours ? APPTAP_BPF_OURS : 0;
}

#endif
