/*
 * capture.bpf.c - whose is a packet? Decided in the kernel, where it passes each interface (tc)
 *
 * SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * How it works. A packet that leaves has its socket with it; for one that arrives the kernel is
 * asked which socket will get it, the way it will ask itself a moment later. Both are answers of
 * the moment, so no port that changes hands can confuse them. What has no socket (any more) is its
 * flow's last owner's: what TIME_WAIT answers, RSTs, replies that come too late, pings. A flow's
 * owner is kept up by every packet that passes with a socket, but for ports that the app never had:
 * so most strangers' packets cost one look at their socket's user, and one at a byte.
 *
 * On loopback both ends are here; a packet is judged once, on its way out.
 */
#include "glance.h"
#include "put.h"

#define NEXT (-1) /* TC_ACT_UNSPEC, TCX_NEXT: whoever else looks at packets is next */
#define PACKET_BROADCAST 1
#define PACKET_MULTICAST 2
#define PACKET_OTHERHOST 3
#define PACKET_OUTGOING 4
#define PACKET_HOST 0
#define AF_PACKET 17

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* What is known of a packet before anything is looked at. */
static __always_inline void begin(struct __sk_buff *skb, struct work *w, __u32 pkttype)
{
	__u64 number = as_number(skb), head = 0, data = 0;
	__u16 offset = 0;

	w->pkttype = (__u8)pkttype;
	w->is_unsure = 0;
	w->is_ether = settings.is_ether[skb->ifindex & (APPTAP_BPF_SHAPES - 1)];
	w->l3 = ETH_BYTES;
	if (w->is_ether)
		return;
	peek(&head, number, layout.skb_head);
	peek(&data, number, layout.skb_data);
	peek(&offset, number, layout.skb_network);
	w->l3 = (__u32)(head + offset - data);
}

/* ---- sockets by flow ---- */

/* Would this machine take the packet for itself? A wildcard socket matches what passes by, too. */
__noinline int is_for_us(struct __sk_buff *skb)
{
	struct bpf_fib_lookup fib = {};
	struct apptap_bpf_flow *f;
	struct work *w = work_of();
	long r;

	if (!w)
		return 0;
	f = &w->flow;
	fib.family = f->family;
	fib.ifindex = skb->ifindex;
	if (f->family == AF_INET) {
		__builtin_memcpy(&fib.ipv4_src, f->raddr + 12, 4);
		__builtin_memcpy(&fib.ipv4_dst, f->laddr + 12, 4);
	} else {
		__builtin_memcpy(fib.ipv6_src, f->raddr, 16);
		__builtin_memcpy(fib.ipv6_dst, f->laddr, 16);
	}
	r = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	/* Its answer is the same for an address of ours and for one without a route. */
	w->is_unsure =
		r < 0 || r == BPF_FIB_LKUP_RET_NOT_FWDED || r == BPF_FIB_LKUP_RET_FWD_DISABLED;
	return w->is_unsure;
}

static __always_inline void tuple_of(const struct apptap_bpf_flow *f, struct bpf_sock_tuple *t)
{
	if (f->family == AF_INET) {
		__builtin_memcpy(&t->ipv4.saddr, f->raddr + 12, 4);
		__builtin_memcpy(&t->ipv4.daddr, f->laddr + 12, 4);
		t->ipv4.sport = f->rport_be;
		t->ipv4.dport = f->lport_be;
		return;
	}
	__builtin_memcpy(t->ipv6.saddr, f->raddr, 16);
	__builtin_memcpy(t->ipv6.daddr, f->laddr, 16);
	t->ipv6.sport = f->rport_be;
	t->ipv6.dport = f->lport_be;
}

/* The socket of a TCP flow, as far as there is one. Return: whether it listens. */
static __always_inline int look_up_tcp(struct __sk_buff *skb, struct bpf_sock_tuple *t, int v4,
				       struct owner *o)
{
	struct bpf_sock *sk;
	struct maker *m;
	__u32 state;

	if (v4)
		sk = bpf_skc_lookup_tcp(skb, t, sizeof(t->ipv4), BPF_F_CURRENT_NETNS, 0);
	else
		sk = bpf_skc_lookup_tcp(skb, t, sizeof(t->ipv6), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	state = sk->state;
	m = look_for_maker(sk, o);
	look_at(as_number(sk), state, 1, m, o);
	bpf_sk_release(sk);
	return state == STATE_LISTEN;
}

/* @is_syn: where only TIME_WAIT is left, a listener may take the connection over. */
__noinline int find_tcp(struct __sk_buff *skb, int is_syn)
{
	struct bpf_sock_tuple t = {};
	struct work *w = work_of();
	int listens, v4;

	if (!w)
		return 0;
	v4 = w->flow.family == AF_INET;
	tuple_of(&w->flow, &t);
	listens = look_up_tcp(skb, &t, v4, &w->owner);
	if (!is_syn || w->owner.sight != SIGHT_NONE)
		return listens;
	if (v4)
		t.ipv4.sport = 0; /* of no connection */
	else
		t.ipv6.sport = 0;
	return look_up_tcp(skb, &t, v4, &w->owner);
}

/* Return: whether the socket takes datagrams for any address. */
__noinline int find_udp(struct __sk_buff *skb)
{
	struct bpf_sock_tuple t = {};
	struct work *w = work_of();
	struct bpf_sock *sk;
	struct maker *m;
	int any;

	if (!w)
		return 0;
	tuple_of(&w->flow, &t);
	if (w->flow.family == AF_INET)
		sk = bpf_sk_lookup_udp(skb, &t, sizeof(t.ipv4), BPF_F_CURRENT_NETNS, 0);
	else
		sk = bpf_sk_lookup_udp(skb, &t, sizeof(t.ipv6), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	m = look_for_maker(sk, &w->owner);
	look_at(as_number(sk), sk->state, 0, m, &w->owner);
	any = w->flow.family == AF_INET
		      ? !sk->src_ip4
		      : !(sk->src_ip6[0] | sk->src_ip6[1] | sk->src_ip6[2] | sk->src_ip6[3]);
	bpf_sk_release(sk);
	return any;
}

/* Whose is the flow in hand now, by its socket; else whose was it last. */
__noinline int find_owner(struct __sk_buff *skb, __u32 local, int is_syn)
{
	struct work *w = work_of();
	int any = 0;

	if (!w)
		return 0;
	w->owner.sight = SIGHT_NONE;
	w->owner.is_ours = 0;
	w->owner.uid = -1;
	__builtin_memset(&w->owner.who, 0, sizeof(w->owner.who));
	if (w->flow.proto == PROTO_TCP)
		any = find_tcp(skb, is_syn);
	else if (w->flow.proto == PROTO_UDP)
		any = find_udp(skb);
	if (w->owner.sight == SIGHT_NONE)
		return recall_flow();
	if (!w->owner.is_ours && w->owner.sight != SIGHT_PENDING) {
		if (is_marked(bpf_ntohs(w->flow.lport_be)))
			note_flow();
		return 0;
	}
	if (any && !local && !is_for_us(skb))
		w->owner.sight = SIGHT_NONE;
	else
		note_flow();
	return 0;
}

/* ---- arriving ---- */

static __always_inline int is_group(const struct packet *p)
{
	__u32 v4 = *(__u32 *)(p->dst + 12);

	if (p->family == AF_INET6)
		return p->dst[0] == 0xff;
	return (p->dst[12] & 0xf0) == 0xe0 || v4 == 0xffffffff;
}

/* The kernel finds sockets for us of two protocols only; pings are known by their requests. */
static __always_inline int is_looked_up(const struct packet *p)
{
	return p->proto == PROTO_TCP || p->proto == PROTO_UDP || p->icmp != ICMP_NONE;
}

/* The flow of all peers: what stands for a socket of the other protocols. */
static __always_inline void widen_flow(struct work *w)
{
	__builtin_memset(w->flow.laddr, 0, sizeof(w->flow.laddr));
	__builtin_memset(w->flow.raddr, 0, sizeof(w->flow.raddr));
	w->flow.rport_be = 0;
}

/* Nothing is known of its flow. is_ours: the last that sent from that port, or by that protocol. */
static __always_inline int kind_of_unknown(struct work *w, int group)
{
	const struct packet *p = &w->p[0];

	if (group)
		return APPTAP_BPF_GROUP;
	if (is_looked_up(p) || settings.is_quiet[p->proto])
		return 0;
	widen_flow(w);
	w->owner.is_ours = 0;
	recall_flow();
	return APPTAP_BPF_ASK;
}

/* Return: the kind of record that the packet deserves; 0: none. */
__noinline int judge_arrival(struct __sk_buff *skb, int local)
{
	struct work *w = work_of();
	struct packet *p;
	int group;

	if (!w)
		return 0;
	p = &w->p[0];
	if (p->fragment == FRAGMENT_LATER)
		return recall_datagram();
	group = local ? is_group(p) : w->pkttype != PACKET_HOST;
	if (p->icmp == ICMP_ERROR) {
		if (parse(skb, p->l4 + 8, 1) < 0 || w->p[1].fragment == FRAGMENT_LATER)
			return 0;
		take_flow(w, 1, 1); /* it quotes what we have sent */
	} else if (p->icmp == ICMP_NONE || p->icmp == ICMP_REPLY) {
		take_flow(w, 0, 0);
	} else {
		return 0;
	}
	if (group && (!p->has_ports || (p->proto != PROTO_UDP && p->proto != PROTO_UDPLITE)))
		return 0;
	find_owner(skb, group || local,
		   (p->tcp_flags & (TCP_FLAG_SYN | TCP_FLAG_ACK)) == TCP_FLAG_SYN);
	if (p->fragment == FRAGMENT_FIRST)
		note_datagram();
	if (w->owner.sight == SIGHT_PENDING)
		return APPTAP_BPF_PENDING;
	if (w->owner.sight == SIGHT_OWNED && w->owner.is_ours)
		return APPTAP_BPF_OURS;
	return w->owner.sight == SIGHT_NONE || group ? kind_of_unknown(w, group) : 0;
}

SEC("apart") /* of tc, like the other: src/tier/bpf_apart.c */
int arrive(struct __sk_buff *skb)
{
	__u32 type = skb->pkt_type;
	struct work *w;

	if (settings.deaf || type > PACKET_MULTICAST)
		return NEXT;
	if (type == PACKET_HOST && is_for_stranger(skb))
		return NEXT;
	w = work_of();
	if (!w)
		return NEXT;
	begin(skb, w, type);
	if (parse(skb, w->l3, 0) < 0)
		return NEXT;
	w->kind = (__u8)judge_arrival(skb, 0);
	if (w->kind)
		put_packet(skb);
	return NEXT;
}

/* ---- leaving ---- */

/* A tunnel's packet keeps the socket of the one that is in it. */
static __always_inline int is_outer(__u64 sk, struct __sk_buff *skb, const struct packet *p)
{
	__u16 type = 0, proto = 0, family = 0, port = 0;

	peek_in(&type, sk, sock, type);
	peek_in(&proto, sk, sock, protocol);
	peek_in(&family, sk, sock, family);
	peek_in(&port, sk, sock, num);
	if (type == TYPE_RAW || family == AF_PACKET)
		return 0;
	if (proto != p->proto)
		return 1;
	/* Ports differ also where the address is translated: that is no tunnel. */
	return p->has_ports && port != bpf_ntohs(p->sport_be) &&
	       peek_bit(as_number(skb), layout.skb_encapsulation_bit);
}

/* Without a socket: what the kernel sends for a flow that was somebody's; what is forwarded. */
__noinline int judge_orphan(struct __sk_buff *skb)
{
	struct work *w = work_of();

	if (!w)
		return 0;
	w->owner.sight = SIGHT_NONE;
	w->owner.is_ours = 0;
	if (w->p[0].fragment == FRAGMENT_LATER)
		return 0;
	if (w->p[0].icmp == ICMP_ERROR) {
		if (parse(skb, w->p[0].l4 + 8, 1) < 0 || w->p[1].fragment == FRAGMENT_LATER)
			return 0;
		take_flow(w, 1, 0); /* it quotes what we got */
		find_owner(skb, 1, 0);
	} else if (w->p[0].icmp == ICMP_NONE) {
		take_flow(w, 0, 1);
		if (!is_marked(bpf_ntohs(w->flow.lport_be)))
			return 0;
		if (skb->ingress_ifindex) { /* forwarded: another machine's, in our address */
			w->owner.sight = SIGHT_OWNED;
			note_flow();
			return 0;
		}
		recall_flow();
	}
	if (w->owner.sight == SIGHT_PENDING)
		return APPTAP_BPF_PENDING;
	return w->owner.sight == SIGHT_OWNED && w->owner.is_ours ? APPTAP_BPF_OURS : 0;
}

/* Return: the kind of record; 0: none, for its sender's sake. @sk: the socket, or 0. */
__noinline int judge_sent(struct __sk_buff *skb, __u64 sk, __u32 state)
{
	struct work *w = work_of();
	struct maker *m = 0;

	if (!w)
		return 0;
	if (!sk || (state != STATE_NEW_SYN_RECV && is_kernels_own(sk)))
		return judge_orphan(skb);
	if (skb->sk)
		m = look_for_maker(skb->sk, &w->owner);
	look_at(sk, state, w->p[0].proto == PROTO_TCP, m, &w->owner);
	if (state != STATE_NEW_SYN_RECV && is_outer(sk, skb, &w->p[0]))
		return 0;
	take_flow(w, 0, 1);
	if (w->p[0].fragment != FRAGMENT_LATER)
		note_flow();
	if (w->p[0].fragment != FRAGMENT_LATER && !is_looked_up(&w->p[0])) {
		widen_flow(w);
		note_flow();
	}
	if (w->owner.sight == SIGHT_PENDING)
		return APPTAP_BPF_PENDING;
	return w->owner.is_ours ? APPTAP_BPF_OURS : 0;
}

/* On loopback the receiver is here too, and gets it in a moment. */
static __always_inline void judge_receiver(struct __sk_buff *skb, struct work *w)
{
	struct apptap_bpf_flow flow = w->flow;
	struct owner owner = w->owner;
	__u8 kind = w->kind;

	w->kind = (__u8)judge_arrival(skb, 1);
	w->pkttype = PACKET_HOST;
	if (kind && !w->kind) { /* it is the sender that is in doubt */
		w->flow = flow;
		w->owner = owner;
		w->kind = kind;
		w->pkttype = PACKET_OUTGOING;
	}
}

SEC("tc")
int leave(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	__u64 number = 0;
	__u32 state = 0;
	struct work *w;

	if (settings.deaf)
		return NEXT;
	if (sk) {
		__u32 port = sk->src_port;

		state = sk->state;
		if (state != STATE_TIME_WAIT)
			number = as_number(sk);
		if (is_sent_by_stranger(skb, number, state, port) && !is_made_by_ours(sk))
			return NEXT;
	}
	w = work_of();
	if (!w)
		return NEXT;
	begin(skb, w, PACKET_OUTGOING);
	if (parse(skb, w->l3, 0) < 0)
		return NEXT;
	w->kind = (__u8)judge_sent(skb, number, state);
	if (skb->ifindex == LOOPBACK_IFINDEX && w->kind != APPTAP_BPF_OURS)
		judge_receiver(skb, w);
	if (w->kind)
		put_packet(skb);
	return NEXT;
}
