/*
 * process.bpf.c - who makes sockets, and which processes belong to those that are captured
 *
 * SPDX-License-Identifier: MIT OR GPL-2.0-only
 *
 * How it works. The kernel asks the programs of the root cgroup whenever a process makes a socket
 * of IP: then the process is the current one. What is found out is kept with the socket (maker.h),
 * so it is as old as the socket, and dies with it. Connections inherit their listener's; whoever
 * accepts one and asks for the peer's address makes it his. A fork is told before the child runs:
 * so a child is known before its first socket, and a number that passes to somebody else's process
 * is taken out before that runs. What was there before us is visited once.
 *
 * The same hooks tell which ports' sockets change, for the capture's own lookups (lately.h).
 */
#include "changed.h"
#include "maker.h"

#define AF_INET 2
#define AF_INET6 10
#define PROCESSES_MAX 16384

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* The processes that are captured, by number. The value: their descendants are, too. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PROCESSES_MAX);
	__type(key, __u32);
	__type(value, __u32);
} family SEC(".maps");

struct apptap_bpf_process_counts counts = {};

static __always_inline void sign(struct maker *m, __u64 own, __u64 task)
{
	peek(&m->who.pid, task, layout.task_tgid);
	peek(&m->who.comm, task, layout.task_comm);
	m->is_ours = bpf_map_lookup_elem(&family, &m->who.pid) != 0;
	barrier(); /* who sees that it is taken must see by whom */
	m->own = own;
}

/* ---- sockets ---- */

SEC("cgroup/sock_create")
int made(struct bpf_sock *sk)
{
	struct maker *m = bpf_sk_storage_get(&makers, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (m)
		sign(m, as_number(sk), bpf_get_current_task());
	else
		__sync_fetch_and_add(&counts.lost_sockets, 1);
	return 1;
}

/* Asked for when a connection is accepted, too; the first who asks is he who does. */
static __always_inline int accept_by_current(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct maker *m;
	__u64 own;

	if (!sk)
		return 1;
	own = as_number(sk);
	m = bpf_sk_storage_get(&makers, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (m && m->own != own)
		sign(m, own, bpf_get_current_task());
	return 1;
}

SEC("cgroup/getpeername4")
int accepted4(struct bpf_sock_addr *ctx)
{
	return accept_by_current(ctx);
}

SEC("cgroup/getpeername6")
int accepted6(struct bpf_sock_addr *ctx)
{
	return accept_by_current(ctx);
}

/* ---- ports ---- */

static __always_inline void note_change(__u32 port)
{
	__u16 *jiffy = change_of(port);

	if (jiffy)
		*jiffy = (__u16)bpf_jiffies64();
}

/* About to be bound. A port that the kernel will choose is one that nobody has: any more. */
static __always_inline int bind_by_current(struct bpf_sock_addr *ctx)
{
	if (ctx->protocol == PROTO_UDP)
		note_change(bpf_ntohs((__u16)ctx->user_port));
	return 1;
}

SEC("cgroup/bind4")
int bound4(struct bpf_sock_addr *ctx)
{
	return bind_by_current(ctx);
}

SEC("cgroup/bind6")
int bound6(struct bpf_sock_addr *ctx)
{
	return bind_by_current(ctx);
}

/* About to be closed: another socket may get what came for it. */
SEC("cgroup/sock_release")
int closed(struct bpf_sock *sk)
{
	__u16 port = 0;

	if (sk->protocol != PROTO_UDP)
		return 1;
	peek(&port, as_number(sk), layout.sock_num);
	note_change(port);
	return 1;
}

/* ---- processes ---- */

static __always_inline void take_in(__u32 pid)
{
	__u32 with_children = 1;

	if (bpf_map_update_elem(&family, &pid, &with_children, BPF_ANY) < 0)
		__sync_fetch_and_add(&counts.lost_processes, 1);
	else
		__sync_fetch_and_add(&counts.taken_in, 1);
}

SEC("raw_tp/sched_process_fork")
int forked(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 parent = 0, child = 0, thread = 0, *with_children;

	peek(&thread, ctx->args[1], layout.task_pid);
	peek(&child, ctx->args[1], layout.task_tgid);
	if (thread != child)
		return 0;
	peek(&parent, ctx->args[0], layout.task_tgid);
	with_children = bpf_map_lookup_elem(&family, &parent);
	if (with_children && *with_children)
		take_in(child);
	else
		bpf_map_delete_elem(&family, &child); /* a number that was somebody's before */
	return 0;
}

/* With its last thread. */
SEC("raw_tp/sched_process_exit")
int ended(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 signal = 0;
	__u32 pid = 0;
	int live = 1;

	peek(&pid, ctx->args[0], layout.task_tgid);
	if (!bpf_map_lookup_elem(&family, &pid))
		return 0;
	peek(&signal, ctx->args[0], layout.task_signal);
	peek(&live, signal, layout.signal_live);
	if (live <= 0)
		bpf_map_delete_elem(&family, &pid);
	return 0;
}

/* ---- what was there before: each is visited by the kernel's own walks ---- */

struct visit {
	__u64 meta;
	void *task;
	__u64 fd;
	void *file;
};

SEC("visit/task")
int visit_task(struct visit *ctx)
{
	__u32 pid = 0, thread = 0, parent_pid = 0, *with_children;
	void *task = ctx->task;
	__u64 parent = 0, number;

	if (!task)
		return 0;
	number = as_number(task);
	peek(&thread, number, layout.task_pid);
	peek(&pid, number, layout.task_tgid);
	if (thread != pid || bpf_map_lookup_elem(&family, &pid))
		return 0;
	peek(&parent, number, layout.task_parent);
	peek(&parent_pid, parent, layout.task_tgid);
	with_children = bpf_map_lookup_elem(&family, &parent_pid);
	if (with_children && *with_children)
		take_in(pid);
	return 0;
}

/* Whoever holds a socket that is older than we are counts as its maker: the first that is met. */
SEC("visit/task_file")
int visit_file(struct visit *ctx)
{
	void *task = ctx->task, *file = ctx->file, *sk;
	struct socket *sock;
	struct maker *m;
	__u16 net = 0;
	__u32 pid = 0;

	if (!task || !file)
		return 0;
	sock = bpf_sock_from_file(file);
	if (!sock)
		return 0;
	sk = *(void **)((char *)sock + APPTAP_BPF_SOCKET_SK);
	if (!sk)
		return 0;
	peek(&net, as_number(sk), layout.sock_family);
	if (net != AF_INET && net != AF_INET6)
		return 0;
	m = bpf_sk_storage_get(&makers, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!m)
		return 0;
	if (!m->own)
		sign(m, as_number(sk), as_number(task));
	peek(&pid, as_number(task), layout.task_tgid);
	if (bpf_map_lookup_elem(&family, &pid) || bpf_map_lookup_elem(&family, &m->who.pid))
		m->is_ours = 1;
	return 0;
}
