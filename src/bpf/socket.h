/* socket.h - whose is a socket: its user, its cgroup, and whether somebody has accepted it
 *
 * SPDX-License-Identifier: MIT OR GPL-2.0-only
 */
#ifndef APPTAP_BPF_SOCKET_H
#define APPTAP_BPF_SOCKET_H

#include "maker.h"

#define STATE_TIME_WAIT 6
#define STATE_LISTEN 10
#define FLAG_DEAD 1UL /* SOCK_DEAD, the first of enum sock_flags */
#define TYPE_RAW 3
#define CGROUP_DEPTH 32

enum sight {
	SIGHT_NONE, /* there is none, or only what is left of one: it has no owner any more */
	SIGHT_OWNED,
	SIGHT_PENDING, /* nobody has accepted it yet: uid is who listens */
};

struct owner {
	__u32 uid;
	__u8 sight; /* enum sight */
	__u8 is_ours;
	__u8 is_made; /* by one of the scope's processes */
	__u8 is_taken; /* known not to wait for anybody to accept it */
	struct apptap_bpf_who who;
};

struct apptap_bpf_settings settings = {};

static __always_inline __u32 uid_of(__u64 sk)
{
	__u32 uid = -1;

	peek_in(&uid, sk, sock, uid);
	return uid;
}

/* A function that is not static is checked once when the programs load, not at each of its calls.
 */
__noinline int is_wanted_cgroup(__u64 id)
{
	for (__u32 i = 0; i < APPTAP_BPF_CGROUPS_MAX; i++)
		if (i < settings.cgroup_count && settings.cgroups[i] == id)
			return 1;
	return 0;
}

/* Is the socket's cgroup, or one above it, of the scope? */
__noinline int in_cgroups(__u64 sk)
{
	__u64 cgroup = 0, node = 0, id = 0;

	peek_pointer(&cgroup, sk, sock, cgroup);
	for (int depth = 0; cgroup && depth < CGROUP_DEPTH; depth++) {
		peek_pointer(&node, cgroup, cgroup, node);
		peek_in(&id, node, node, id);
		if (is_wanted_cgroup(id))
			return 1;
		/* self is the first member of struct cgroup, so its parent is the parent. */
		peek_pointer(&cgroup, cgroup, cgroup, parent);
	}
	return 0;
}

__noinline int in_scope(__u64 sk, __u32 uid)
{
	if (settings.cgroup_count && in_cgroups(sk))
		return 1;
	for (__u32 i = 0; i < APPTAP_BPF_UIDS_MAX; i++) {
		if (i >= settings.uid_count)
			break;
		if (settings.uids[i] == uid)
			return 1;
	}
	return 0;
}

/* The same where it is asked of every packet: mostly there is one user. */
static __always_inline int is_strangers(__u64 sk)
{
	__u32 uid = uid_of(sk);

	if (settings.uid_count <= 1 && !settings.cgroup_count)
		return !settings.uid_count || uid != settings.uids[0];
	return !in_scope(sk, uid);
}

/* Nobody has it as a file, and nobody had: a connection that still waits to be accepted. */
static __always_inline int is_pending(__u64 sk)
{
	__u64 file = 0;
	unsigned long flags = FLAG_DEAD;

	peek_pointer(&file, sk, sock, socket);
	if (file)
		return 0;
	peek_in(&flags, sk, sock, flags);
	return !(flags & FLAG_DEAD);
}

/* Interfaces may carry what other network namespaces send (macvlan): not what was asked for. */
static __always_inline int is_here(__u64 sk)
{
	__u64 net = 0;

	peek_pointer(&net, sk, sock, net);
	if (!settings.net)
		settings.net = net; /* our own, when the tier is proven */
	return settings.net == net;
}

/* Who has made the socket, or listens for it. */
static __always_inline struct maker *look_for_maker(struct bpf_sock *sk, struct owner *o)
{
	struct maker *m = 0;
	int taken = 0;

	if (wanted.makers)
		m = maker_of(sk, &taken);
	o->is_taken = (__u8)taken;
	o->is_made = m && wanted.processes && m->is_ours;
	if (m)
		o->who = m->who;
	else
		__builtin_memset(&o->who, 0, sizeof(o->who));
	return m;
}

/* @state: of @sk, as the program's own access to it says. @m: what look_for_maker() has found. */
static __always_inline void look_at(__u64 sk, __u32 state, int is_tcp, struct maker *m,
				    struct owner *o)
{
	o->sight = SIGHT_OWNED;
	if (state == STATE_TIME_WAIT) {
		o->sight = SIGHT_NONE;
		o->uid = -1;
		o->is_ours = 0;
		return;
	}
	if (state == STATE_NEW_SYN_RECV) {
		peek_pointer(&sk, sk, sock, listener);
		o->sight = SIGHT_PENDING;
	} else if (is_tcp && (state == STATE_LISTEN ||
			      (!o->is_taken && (is_pending(sk) || is_settling(m))))) {
		o->sight = SIGHT_PENDING;
	}
	o->uid = uid_of(sk);
	o->is_ours = (o->is_made || in_scope(sk, o->uid)) && is_here(sk);
}

/* The kernel's own raw sockets send RSTs, ICMP errors and what TIME_WAIT answers: nobody's. */
static __always_inline int is_kernels_own(__u64 sk)
{
	__u16 type = 0;

	peek_in(&type, sk, sock, type);
	return type == TYPE_RAW && peek_bit(sk, layout.sock_kern_bit);
}

#endif
