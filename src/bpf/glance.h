/* glance.h - the short way: packets of strangers that need no more than a look at their socket
 *
 * SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * What is said here must be what the long way would say (capture.bpf.c): whoever is in any doubt,
 * goes there.
 */
#ifndef APPTAP_BPF_GLANCE_H
#define APPTAP_BPF_GLANCE_H

#include "flows.h"
#include "lately.h"

#define LOOPBACK_IFINDEX 1 /* in every network namespace */
#define V4_PLAIN 0x45 /* version, and the length of a header without options */
#define V4_FRAGMENT 0x3fff

/* What leaves: @sk is its socket, @port the local one. By its user, and its cgroup. */
static __always_inline int is_sent_by_stranger(const struct __sk_buff *skb, __u64 sk, __u32 state,
					       __u32 port)
{
	return sk && state != STATE_NEW_SYN_RECV && skb->ifindex != LOOPBACK_IFINDEX &&
	       !is_marked(port) && is_strangers(sk);
}

/* A socket that was found, and is let go of. */
static __always_inline int is_had_by_stranger(struct bpf_sock *sk, int is_tcp)
{
	__u64 number;
	int r = 0;

	if (!sk)
		return 0;
	number = as_number(sk);
	if (!is_tcp)
		r = is_strangers(number) && !is_made_by_ours(sk);
	else if (sk->state != STATE_TIME_WAIT && sk->state != STATE_NEW_SYN_RECV &&
		 sk->state != STATE_LISTEN)
		r = is_strangers(number) && !is_pending(number) && !is_made_by_ours(sk);
	bpf_sk_release(sk);
	return r;
}

/*
 * What arrives. A packet without options or extension headers has addresses and ports in the order
 * in which a lookup wants them: they are not even copied.
 */
#define look_up(skb, is_tcp, tuple, size)                                        \
	((is_tcp) ? bpf_skc_lookup_tcp(skb, tuple, size, BPF_F_CURRENT_NETNS, 0) \
		  : bpf_sk_lookup_udp(skb, tuple, size, BPF_F_CURRENT_NETNS, 0))

static __always_inline int is_datagram_for_stranger(struct __sk_buff *skb, void *tuple, __u32 size,
						    __u32 dport)
{
	struct answer *a = answer_of(tuple, size / 4);
	__u32 epoch = settings.epoch;
	__u64 jiffy;

	if (!a)
		return is_had_by_stranger(look_up(skb, 0, tuple, size), 0);
	jiffy = bpf_jiffies64();
	if (is_answered(a, skb, tuple, size / 4, jiffy, dport))
		return 1;
	if (!is_had_by_stranger(look_up(skb, 0, tuple, size), 0))
		return 0;
	answer(a, skb, tuple, size / 4, jiffy, epoch);
	return 1;
}

static __always_inline int is_for_stranger(struct __sk_buff *skb)
{
	__u8 *p = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct bpf_sock_tuple *t;
	int is_tcp;

	if (!settings.is_ether[skb->ifindex & (APPTAP_BPF_SHAPES - 1)])
		return 0;
	p += ETH_BYTES;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (p + 24 > end || p[0] != V4_PLAIN ||
		    (*(__u16 *)(p + 6) & bpf_htons(V4_FRAGMENT)))
			return 0;
		is_tcp = p[9] == PROTO_TCP;
		t = (void *)(p + 12);
		if ((!is_tcp && p[9] != PROTO_UDP) || is_marked(bpf_ntohs(t->ipv4.dport)))
			return 0;
		if (!is_tcp)
			return is_datagram_for_stranger(skb, t, sizeof(t->ipv4),
							bpf_ntohs(t->ipv4.dport));
		return is_had_by_stranger(look_up(skb, 1, t, sizeof(t->ipv4)), 1);
	}
	if (skb->protocol != bpf_htons(ETH_P_IPV6) || p + 44 > end || p[0] >> 4 != 6)
		return 0;
	is_tcp = p[6] == PROTO_TCP;
	t = (void *)(p + 8);
	if ((!is_tcp && p[6] != PROTO_UDP) || is_marked(bpf_ntohs(t->ipv6.dport)))
		return 0;
	if (!is_tcp)
		return is_datagram_for_stranger(skb, t, sizeof(t->ipv6), bpf_ntohs(t->ipv6.dport));
	return is_had_by_stranger(look_up(skb, 1, t, sizeof(t->ipv6)), 1);
}

#endif
