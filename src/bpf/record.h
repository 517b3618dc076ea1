/* record.h - what the kernel half of the bpf tier says to the other: records of its ring, settings
 *
 * SPDX-License-Identifier: MIT OR GPL-2.0-only
 */
#ifndef APPTAP_BPF_RECORD_H
#define APPTAP_BPF_RECORD_H

#include <linux/types.h>

#define APPTAP_BPF_UIDS_MAX 256
#define APPTAP_BPF_CGROUPS_MAX 16
#define APPTAP_BPF_SHAPES 1024 /* a power of two */
#define APPTAP_BPF_DATA_MAX (512 * 1024 + 128) /* BIG TCP, and its headers */

enum apptap_bpf_kind {
	APPTAP_BPF_OURS = 1, /* a packet of the app's */
	APPTAP_BPF_PENDING, /* of a connection that nobody has accepted yet */
	APPTAP_BPF_GROUP, /* multicast or broadcast: whose, the socket table must say */
	APPTAP_BPF_ASK, /* of a protocol whose sockets cannot be looked up in the kernel */
	APPTAP_BPF_FRAGMENT, /* a later fragment, its first has not been seen */
	APPTAP_BPF_SETTLED, /* no packet: who accepted a connection */
};

/* A flow as this host sees it; the same bytes as struct apptap_flow, but ports as on the wire. */
struct apptap_bpf_flow {
	__u8 laddr[16];
	__u8 raddr[16];
	__u16 lport_be;
	__u16 rport_be;
	__u8 proto;
	__u8 family;
	__u16 zero;
};

/* The process that made a socket. */
struct apptap_bpf_who {
	__u32 pid; /* 0: not known */
	char comm[16]; /* its command when it did, raw */
};

/* One record; data follows. No padding: it is read as bytes. */
struct apptap_bpf_record {
	__u64 mono_ns; /* CLOCK_MONOTONIC */
	__u32 len; /* bytes of data */
	__u32 wire_len; /* bytes that the packet had, from the network header on */
	__u32 ifindex;
	__u32 uid; /* OURS, SETTLED: the owner. PENDING: who listens */
	__u16 protocol_be; /* EtherType */
	__u16 vlan_tpid_be; /* 0: no tag */
	__u16 vlan_tci;
	__u8 kind; /* enum apptap_bpf_kind */
	__u8 pkttype; /* PACKET_HOST ... PACKET_OUTGOING */
	__u8 halen;
	__u8 is_ours; /* PENDING: the listener is. SETTLED: it is the app's. ASK: who sent last */
	__u8 haddr[8];
	__u8 is_unsure; /* the socket takes any address: is the packet's one of ours? */
	__u8 zero;
	struct apptap_bpf_who who;
	struct apptap_bpf_flow flow; /* of all but OURS */
};

/* Where the kernel keeps what we read, in bytes from the start of the struct; in bits where it is
 * a single one. Set before the programs are loaded. */
struct apptap_bpf_layout {
	__u32 sock_state; /* struct sock */
	__u32 sock_num;
	__u32 sock_family;
	__u32 sock_flags;
	__u32 sock_listener;
	__u32 sock_net;
	__u32 sock_uid;
	__u32 sock_socket;
	__u32 sock_type;
	__u32 sock_protocol;
	__u32 sock_cgroup;
	__u32 cgroup_node; /* struct cgroup */
	__u32 cgroup_parent;
	__u32 node_id; /* struct kernfs_node */
	__u32 skb_head; /* struct sk_buff */
	__u32 skb_data;
	__u32 skb_network;
	__u32 task_pid; /* struct task_struct */
	__u32 task_tgid;
	__u32 task_comm;
	__u32 task_parent;
	__u32 task_signal;
	__u32 signal_live; /* struct signal_struct */
	__u32 sock_kern_bit;
	__u32 skb_encapsulation_bit;
	/* The numbers of these structs in the kernel's BTF; 0: they are read by a helper only. */
	__u32 sock_type_id;
	__u32 cgroup_type_id;
	__u32 node_type_id;
};

/* Stands in the programs where the loader puts the number of bpf_rdonly_cast (Linux 6.2). */
#define APPTAP_BPF_CAST 0x41434153

/* Of what the programs know about makers of sockets: what is wanted. Set like the layout. */
struct apptap_bpf_wanted {
	__u8 makers; /* their names, at least */
	__u8 processes; /* the scope has some */
	__u8 mptcp; /* this kernel has it */
};

/* Where struct socket has its sk, which the verifier wants to know when it is compiled. */
#define APPTAP_BPF_SOCKET_SK 24

/*
 * What the user half sets; in memory that both share. A 32-bit user half puts 64-bit members where
 * the kernel half does only if no padding is needed: those come first.
 */
struct apptap_bpf_settings {
	__u64 net; /* the network namespace that is captured; 0: the first socket's of the scope */
	__u64 cgroups[APPTAP_BPF_CGROUPS_MAX];
	__u32 uid_count;
	__u32 cgroup_count;
	__u32 snaplen;
	__u32 asleep; /* the reader wants to be woken by the next record */
	__u32 deaf; /* nothing more is wanted */
	__u32 wake_bytes; /* that many unread wake it in any case */
	__u32 unused; /* the whole is a multiple of 8 */
	__u32 epoch; /* the scope's: another one after each change; 0: nobody is told of sockets
		      * that change (changed.h)
		      */
	__u32 uids[APPTAP_BPF_UIDS_MAX];
	/* By ifindex: 1 where all interfaces of that remainder begin with an Ethernet header. */
	__u8 is_ether[APPTAP_BPF_SHAPES];
	/* By IP protocol: 1 while none of its packets need be asked about (APPTAP_BPF_ASK). */
	__u8 is_quiet[256];
};

/* What the kernel half counts; only ever grows. */
struct apptap_bpf_counts {
	__u64 lost; /* packets for which the ring had no room */
	__u64 lost_settled; /* SETTLED likewise */
};

/* The same of those that look at processes. */
struct apptap_bpf_process_counts {
	__u64 taken_in; /* processes, as descendants */
	__u64 lost_processes; /* for which there was no room */
	__u64 lost_sockets; /* whose makers could not be kept */
};

_Static_assert(sizeof(struct apptap_bpf_flow) == 40, "compared as bytes, no padding");
_Static_assert(sizeof(struct apptap_bpf_record) == 104, "read as bytes, no padding");

#endif
