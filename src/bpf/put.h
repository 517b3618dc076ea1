/* put.h - a packet into the ring: one copy, into a record of the smallest size that holds it
 *
 * SPDX-License-Identifier: MIT OR GPL-2.0-only
 */
#ifndef APPTAP_BPF_PUT_H
#define APPTAP_BPF_PUT_H

#include "flows.h"

#define ETH_ALEN 6

static __always_inline void fill(struct __sk_buff *skb, const struct work *w, __u32 len,
				 struct apptap_bpf_record *r)
{
	__builtin_memset(r, 0, sizeof(*r));
	r->mono_ns = bpf_ktime_get_ns();
	r->len = len;
	r->wire_len = skb->len - w->l3;
	r->ifindex = skb->ifindex;
	r->uid = w->owner.uid;
	r->who = w->owner.who;
	r->protocol_be = (__u16)skb->protocol;
	if (skb->vlan_present) {
		r->vlan_tpid_be = (__u16)skb->vlan_proto;
		r->vlan_tci = (__u16)skb->vlan_tci;
	}
	r->kind = w->kind;
	r->pkttype = w->pkttype;
	r->is_ours = w->owner.is_ours;
	r->is_unsure = w->is_unsure;
	r->flow = w->flow;
	if (w->is_ether && bpf_skb_load_bytes(skb, ETH_ALEN, r->haddr, ETH_ALEN) == 0)
		r->halen = ETH_ALEN;
}

/* The size of a reservation must be known when the program is checked: hence the row of them. The
 * barrier keeps the compiler from joining bounds in a way that the verifier does not follow. */
#define TRY(size)                                                                                 \
	barrier_var(len);                                                                         \
	if (len <= (size)) {                                                                      \
		struct apptap_bpf_record *r = bpf_ringbuf_reserve(&ring, sizeof(*r) + (size), 0); \
                                                                                                  \
		if (!r)                                                                           \
			goto lost;                                                                \
		__builtin_memcpy(r, &w->rec, sizeof(*r));                                         \
		if (bpf_skb_load_bytes(skb, w->l3, r + 1, len) < 0)                               \
			r->len = 0;                                                               \
		bpf_ringbuf_submit(r, wake_flags());                                              \
		return 0;                                                                         \
	}

__noinline int put_small(struct __sk_buff *skb, __u64 len)
{
	struct work *w = work_of();

	if (!w || (__s64)len <= 0) /* which 6.1 understands, unlike == 0 */
		return 0;
	TRY(88)
	TRY(152)
	TRY(408)
	TRY(920)
	TRY(1560)
	TRY(3992)
	return 0;
lost:
	__sync_fetch_and_add(&counts.lost, 1);
	return 0;
}

__noinline int put_large(struct __sk_buff *skb, __u64 len)
{
	struct work *w = work_of();

	if (!w || (__s64)len <= 0) /* which 6.1 understands, unlike == 0 */
		return 0;
	TRY(8088)
	TRY(16280)
	TRY(24472)
	TRY(32664)
	TRY(49048)
	TRY(65656)
	TRY(131072)
	TRY(262144)
	TRY(APPTAP_BPF_DATA_MAX)
lost:
	__sync_fetch_and_add(&counts.lost, 1);
	return 0;
}

__noinline int put_packet(struct __sk_buff *skb)
{
	struct work *w = work_of();
	__u32 len;

	if (!w)
		return 0;
	len = skb->len - w->l3;
	if (len > settings.snaplen)
		len = settings.snaplen;
	fill(skb, w, len, &w->rec);
	if (len <= 3992)
		put_small(skb, len);
	else
		put_large(skb, len);
	return 0;
}

#endif
