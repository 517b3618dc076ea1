/* maker.h - who has made a socket: kept with it, filled in by process.bpf.c, read packet by packet
 *
 * SPDX-License-Identifier: MIT OR GPL-2.0-only
 */
#ifndef APPTAP_BPF_MAKER_H
#define APPTAP_BPF_MAKER_H

#include "kernel.h"

#define PROTO_TCP 6
#define PROTO_UDP 17
#define STATE_NEW_SYN_RECV 12
#define SETTLING_NS 20000000ULL

struct maker {
	__u64 own; /* the socket's address; its listener's, until somebody is known to have accepted
		    * it
		    */
	__u64 since_ns; /* when it was first met as accepted, but not by whom; 0: it was not */
	__u32 is_ours;
	struct apptap_bpf_who who;
};

/* Goes when the socket goes, and is handed down to what a listener's clients connect to. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct maker);
} makers SEC(".maps");

/* Set before the programs are loaded: what is not wanted costs no packet anything. */
const volatile struct apptap_bpf_wanted wanted = {};

/*
 * @sk may be a connection that the kernel has not made a socket for yet: then its listener's. MPTCP
 * puts sockets of the kernel's own on the wire for what the app has made: the maker is with that,
 * and lent to them, to hand down. @taken: it is its maker's own, or somebody has accepted it.
 */
static __always_inline struct maker *maker_of(struct bpf_sock *sk, int *taken)
{
	struct maker *m, *first;
	void *whole;

	*taken = 0;
	if (sk->state == STATE_NEW_SYN_RECV)
		sk = bpf_get_listener_sock(sk);
	else
		sk = bpf_sk_fullsock(sk);
	if (!sk)
		return 0;
	m = bpf_sk_storage_get(&makers, sk, 0, 0);
	if (m)
		*taken = m->own == as_number(sk);
	if (!wanted.mptcp || sk->protocol != PROTO_TCP)
		return m;
	whole = bpf_skc_to_mptcp_sock(sk);
	if (!whole)
		return m;
	first = bpf_sk_storage_get(&makers, whole, 0, 0);
	if (!first)
		return m;
	*taken = first->own == as_number(whole);
	if (!m) {
		m = bpf_sk_storage_get(&makers, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (m)
			*m = *first;
	}
	return first;
}

/* Accepted: whoever does it is about to say so. If he does not, it stays with its listener's. */
static __always_inline int is_settling(struct maker *m)
{
	__u64 now_ns;

	if (!m || !wanted.processes)
		return 0;
	now_ns = bpf_ktime_get_ns();
	if (!m->since_ns)
		m->since_ns = now_ns;
	return now_ns - m->since_ns < SETTLING_NS;
}

/* Or may be: nobody is known to have accepted it. */
static __always_inline int is_made_by_ours(struct bpf_sock *sk)
{
	struct maker *m;
	int taken;

	if (!wanted.processes)
		return 0;
	m = maker_of(sk, &taken);
	return m && (m->is_ours || !taken);
}

#endif
