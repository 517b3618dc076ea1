/* changed.h - when the sockets of a UDP port changed last: told by process.bpf.c, for glance.h
 *
 * SPDX-License-Identifier: MIT OR GPL-2.0-only
 */
#ifndef APPTAP_BPF_CHANGED_H
#define APPTAP_BPF_CHANGED_H

#include "kernel.h"
#include <bpf/bpf_endian.h>

#define PORTS 65536

/* By local port, the low bits of jiffies. */
struct changes {
	__u16 jiffy[PORTS];
};

/* One and the same for both objects (bpf_process.c). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct changes);
} changed SEC(".maps");

/* Before 6.13 the verifier does not know that a port of which the bytes were turned has 16 bits. */
static __always_inline __u32 port_index(__u32 port)
{
	barrier_var(port);
	return port & (PORTS - 1);
}

static __always_inline __u16 *change_of(__u32 port)
{
	__u32 zero = 0;
	struct changes *c = bpf_map_lookup_elem(&changed, &zero);

	return c ? &c->jiffy[port_index(port)] : 0;
}

#endif
