/* packet.h - a packet dissected in the kernel: addresses, ports, fragment, what an ICMP error
 * quotes
 *
 * SPDX-License-Identifier: MIT OR GPL-2.0-only
 */
#ifndef APPTAP_BPF_PACKET_H
#define APPTAP_BPF_PACKET_H

#include <bpf/bpf_endian.h>

#include "maker.h"
#include "record.h"

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define ETH_BYTES 14
#define AF_INET 2
#define AF_INET6 10
#define PROTO_HOPOPTS 0
#define PROTO_ICMP 1
#define PROTO_ROUTING 43
#define PROTO_FRAGMENT 44
#define PROTO_AH 51
#define PROTO_ICMPV6 58
#define PROTO_DSTOPTS 60
#define PROTO_DCCP 33
#define PROTO_SCTP 132
#define PROTO_UDPLITE 136
#define TCP_FLAG_SYN 0x02
#define TCP_FLAG_ACK 0x10

enum fragment { FRAGMENT_NONE, FRAGMENT_FIRST, FRAGMENT_LATER };
enum icmp { ICMP_NONE, ICMP_REQUEST, ICMP_REPLY, ICMP_ERROR, ICMP_OTHER };

struct packet {
	__u8 src[16]; /* IPv4 as v4-mapped */
	__u8 dst[16];
	__u32 frag_id;
	__u32 l4; /* where the transport begins */
	__u16 sport_be;
	__u16 dport_be;
	__u8 proto;
	__u8 family; /* 0: not IP, or cut off */
	__u8 fragment; /* enum fragment */
	__u8 icmp; /* enum icmp */
	__u8 has_ports; /* or an echo's identifier, in both */
	__u8 tcp_flags;
};

static __always_inline void map_v4(__u8 out[16], const __u8 v4[4])
{
	__builtin_memset(out, 0, 16);
	out[10] = out[11] = 0xff;
	__builtin_memcpy(out + 12, v4, 4);
}

static __always_inline int parse_v4(struct __sk_buff *skb, __u32 l3, struct packet *p)
{
	__u8 h[20];
	__u16 frag;

	if (bpf_skb_load_bytes(skb, l3, h, sizeof(h)) < 0 || h[0] >> 4 != 4)
		return -1;
	frag = (__u16)(h[6] << 8 | h[7]);
	p->family = AF_INET;
	p->proto = h[9];
	p->frag_id = h[4] << 8 | h[5];
	p->fragment = frag & 0x1fff   ? FRAGMENT_LATER
		      : frag & 0x2000 ? FRAGMENT_FIRST
				      : FRAGMENT_NONE;
	map_v4(p->src, h + 12);
	map_v4(p->dst, h + 16);
	p->l4 = l3 + (h[0] & 15) * 4;
	return 0;
}

/* Return: 1 stepped over an extension header, 0 there is none, -1 damaged. */
static __always_inline int step_extension(struct __sk_buff *skb, struct packet *p)
{
	__u8 proto = p->proto, ext[8];

	if (p->fragment == FRAGMENT_LATER ||
	    (proto != PROTO_HOPOPTS && proto != PROTO_ROUTING && proto != PROTO_FRAGMENT &&
	     proto != PROTO_DSTOPTS && proto != PROTO_AH))
		return 0;
	if (bpf_skb_load_bytes(skb, p->l4, ext, sizeof(ext)) < 0)
		return -1;
	p->proto = ext[0];
	if (proto != PROTO_FRAGMENT) {
		p->l4 += proto == PROTO_AH ? (ext[1] + 2) * 4 : (ext[1] + 1) * 8;
		return 1;
	}
	p->frag_id = ext[4] << 24 | ext[5] << 16 | ext[6] << 8 | ext[7];
	p->fragment = (ext[2] << 8 | ext[3]) & 0xfff8 ? FRAGMENT_LATER
		      : ext[3] & 1		      ? FRAGMENT_FIRST
						      : FRAGMENT_NONE;
	p->l4 += 8;
	return 1;
}

static __always_inline int parse_v6(struct __sk_buff *skb, __u32 l3, struct packet *p)
{
	__u8 h[40];
	int r = 1;

	if (bpf_skb_load_bytes(skb, l3, h, sizeof(h)) < 0 || h[0] >> 4 != 6)
		return -1;
	p->family = AF_INET6;
	p->proto = h[6];
	__builtin_memcpy(p->src, h + 8, 16);
	__builtin_memcpy(p->dst, h + 24, 16);
	p->l4 = l3 + 40;
	/* RFC 8200 needs six. No loop: 5.10 takes none that is entered by falling into it. */
	if (step_extension(skb, p) > 0 && step_extension(skb, p) > 0 &&
	    step_extension(skb, p) > 0 && step_extension(skb, p) > 0 && step_extension(skb, p) > 0)
		r = step_extension(skb, p);
	return r < 0 ? -1 : 0;
}

static __always_inline __u8 icmp_kind(__u8 proto, __u8 type)
{
	if (proto == PROTO_ICMP)
		return type == 8   ? ICMP_REQUEST
		       : type == 0 ? ICMP_REPLY
		       : type == 3 || type == 4 || type == 5 || type == 11 || type == 12
			       ? ICMP_ERROR
			       : ICMP_OTHER;
	return type == 128		? ICMP_REQUEST
	       : type == 129		? ICMP_REPLY
	       : type >= 1 && type <= 4 ? ICMP_ERROR
					: ICMP_OTHER;
}

static __always_inline void parse_ports(struct __sk_buff *skb, struct packet *p)
{
	__u8 h[14];

	switch (p->proto) {
	case PROTO_TCP:
		if (bpf_skb_load_bytes(skb, p->l4, h, sizeof(h)) < 0)
			break;
		p->tcp_flags = h[13];
		goto ports;
	case PROTO_UDP:
	case PROTO_UDPLITE:
	case PROTO_SCTP:
	case PROTO_DCCP:
		if (bpf_skb_load_bytes(skb, p->l4, h, 4) < 0)
			return;
		goto ports;
	case PROTO_ICMP:
	case PROTO_ICMPV6:
		if (bpf_skb_load_bytes(skb, p->l4, h, 8) < 0)
			return;
		p->icmp = icmp_kind(p->proto, h[0]);
		if (p->icmp == ICMP_REQUEST || p->icmp == ICMP_REPLY) {
			p->sport_be = p->dport_be = *(__u16 *)(h + 4);
			p->has_ports = 1;
		}
		return;
	default:
		return;
	}
	/* The packet that an ICMP error quotes may end behind its ports. */
	if (bpf_skb_load_bytes(skb, p->l4, h, 4) < 0)
		return;
ports:
	p->sport_be = *(__u16 *)h;
	p->dport_be = *(__u16 *)(h + 2);
	p->has_ports = 1;
}

/* The flow of @p: the local end is its source, or its destination. */
static __always_inline void flow_of(const struct packet *p, int local_is_src,
				    struct apptap_bpf_flow *f)
{
	__builtin_memcpy(f->laddr, local_is_src ? p->src : p->dst, 16);
	__builtin_memcpy(f->raddr, local_is_src ? p->dst : p->src, 16);
	f->lport_be = local_is_src ? p->sport_be : p->dport_be;
	f->rport_be = local_is_src ? p->dport_be : p->sport_be;
	f->proto = p->proto;
	f->family = p->family;
	f->zero = 0;
}

#endif
