/* lately.h - flows of UDP that had a stranger's socket a moment ago: they need no other lookup
 *
 * SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * How it works. A lookup makes up most of what a stranger's datagram pays. So an answer stands for
 * the datagrams of exactly that flow that follow it in the same jiffy, fifteen at most. Whoever
 * binds a port or closes a socket of it is heard of before he has done it (process.bpf.c): then
 * each datagram of the port is looked up for so many jiffies that he has, by their end. So no
 * answer is older than the sockets that it tells of. Where nobody would be heard of, there are
 * none.
 *
 * Each CPU has its own, so they are never half written.
 */
#ifndef APPTAP_BPF_LATELY_H
#define APPTAP_BPF_LATELY_H

#include "changed.h"
#include "socket.h"

#define ANSWERS 64 /* a power of two */
#define ANSWER_SERVES 15
#define UNSETTLED 32 /* jiffies: a port, after its sockets were about to change */
#define V4_WORDS 3 /* of a tuple: addresses and ports, as in the packet */
#define V6_WORDS 9

struct answer {
	__u64 jiffy;
	__u32 epoch; /* settings.epoch then */
	__u32 ifindex;
	__u32 words; /* of tuple; so it tells the family, too */
	__u32 left; /* datagrams that it may still serve */
	__u32 tuple[V6_WORDS];
	__u32 zero;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ANSWERS);
	__type(key, __u32);
	__type(value, struct answer);
} answers SEC(".maps");

/* The place for the flow's answer; NULL: there are none. */
static __always_inline struct answer *answer_of(const __u32 *tuple, __u32 words)
{
	__u32 place = tuple[words - 1]; /* the ports */

	if (!settings.epoch)
		return 0;
	place = (place ^ place >> 16 ^ place >> 8 ^ place >> 24) & (ANSWERS - 1);
	return bpf_map_lookup_elem(&answers, &place);
}

/* Has a stranger's socket just been found for the flow? */
static __always_inline int is_answered(struct answer *a, const struct __sk_buff *skb,
				       const __u32 *tuple, __u32 words, __u64 jiffy, __u32 dport)
{
	const __u16 *change = change_of(dport);
	__u32 other = 0;

	if (!change || (__u16)(jiffy - *change) <= UNSETTLED || a->jiffy != jiffy || !a->left ||
	    a->words != words || a->ifindex != skb->ifindex || a->epoch != settings.epoch)
		return 0;
	for (__u32 i = 0; i < V6_WORDS; i++)
		if (i < words)
			other |= a->tuple[i] ^ tuple[i];
	if (other)
		return 0;
	a->left--;
	return 1;
}

/* @epoch: as it was before the lookup. */
static __always_inline void answer(struct answer *a, const struct __sk_buff *skb,
				   const __u32 *tuple, __u32 words, __u64 jiffy, __u32 epoch)
{
	a->jiffy = jiffy;
	a->epoch = epoch;
	a->ifindex = skb->ifindex;
	a->words = words;
	a->left = ANSWER_SERVES;
	for (__u32 i = 0; i < V6_WORDS; i++)
		if (i < words)
			a->tuple[i] = tuple[i];
}

#endif
