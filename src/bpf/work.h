/* work.h - the packet in hand: what is known of it, in memory of the CPU that has it
 *
 * SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * Functions that are not static are checked once when a program is loaded, instead of at each of
 * their calls, which makes it load in milliseconds, not seconds. Before Linux 5.12 they take
 * numbers only: so what they work on is found here. Programs of one CPU do not interrupt each
 * other.
 */
#ifndef APPTAP_BPF_WORK_H
#define APPTAP_BPF_WORK_H

#include "packet.h"
#include "socket.h"

struct work {
	struct packet p[2]; /* the packet; what an ICMP error quotes */
	struct apptap_bpf_flow flow;
	struct owner owner;
	__u32 l3; /* where its network header is */
	__u8 kind; /* enum apptap_bpf_kind */
	__u8 pkttype;
	__u8 is_ether;
	__u8 is_unsure;
	struct apptap_bpf_record rec;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct work);
} works SEC(".maps");

static __always_inline struct work *work_of(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&works, &zero);
}

/* Dissects what begins at @l3 into p[@quoted]. family stays 0 where it is not IP, or damaged. */
__noinline int parse(struct __sk_buff *skb, __u32 l3, __u32 quoted)
{
	struct work *w = work_of();
	struct packet *p;
	int r = -1;

	if (!w)
		return -1;
	p = quoted ? &w->p[1] : &w->p[0];
	__builtin_memset(p, 0, sizeof(*p));
	if (skb->protocol == bpf_htons(ETH_P_IP))
		r = parse_v4(skb, l3, p);
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		r = parse_v6(skb, l3, p);
	if (r < 0) {
		p->family = 0;
		return -1;
	}
	if (p->fragment != FRAGMENT_LATER)
		parse_ports(skb, p);
	return 0;
}

/* The flow of p[@quoted]: the local end is its source, or its destination. */
static __always_inline void take_flow(struct work *w, int quoted, int local_is_src)
{
	flow_of(&w->p[quoted], local_is_src, &w->flow);
}

#endif
