/* kernel.h - the few fields of the kernel's own structs that we read; libbpf finds where they are
 *
 * SPDX-License-Identifier: MIT OR GPL-2.0-only
 */
#ifndef APPTAP_BPF_KERNEL_H
#define APPTAP_BPF_KERNEL_H

#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define RELOCATED __attribute__((preserve_access_index))

typedef struct {
	__u32 val;
} RELOCATED kuid_t;

struct socket;

struct sock_common {
	unsigned char skc_state;
	unsigned short skc_num;
	unsigned short skc_family;
	unsigned long skc_flags;
	struct sock *skc_listener;
} RELOCATED;

struct kernfs_node {
	__u64 id;
} RELOCATED;

struct cgroup;

struct cgroup_subsys_state {
	struct cgroup_subsys_state *parent;
} RELOCATED;

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
} RELOCATED;

struct sock_cgroup_data {
	struct cgroup *cgroup;
	__u64 val; /* before 5.15: the same pointer, or one that net_cls took the place of */
} RELOCATED;

struct sock {
	struct sock_common __sk_common;
	kuid_t sk_uid;
	struct socket *sk_socket;
	__u16 sk_type;
	__u16 sk_protocol;
	unsigned char sk_kern_sock : 1;
	struct sock_cgroup_data sk_cgrp_data;
} RELOCATED;

struct sk_buff {
	unsigned char *head;
	unsigned char *data;
	__u16 network_header;
	__u8 encapsulation : 1;
} RELOCATED;

#endif
