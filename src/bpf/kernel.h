/* kernel.h - what we read of the kernel's own structs; where it is, we are told when we are loaded
 *
 * SPDX-License-Identifier: MIT OR GPL-2.0-only
 */
#ifndef APPTAP_BPF_KERNEL_H
#define APPTAP_BPF_KERNEL_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "record.h"

const volatile struct apptap_bpf_layout layout = {};

/*
 * The verifier lets no arithmetic be done on an object's address, nor an offset from it be read
 * that it does not know; negated twice it is the same number and no address any more.
 */
static __always_inline __u64 as_number(const volatile void *object)
{
	__u64 n = (__u64)object;

	asm volatile("%0 = -%0; %0 = -%0" : "+r"(n));
	return n;
}

/* The @size bytes at @offset of @object; zero where they cannot be read. */
#define peek(to, object, offset) \
	bpf_probe_read_kernel(to, sizeof(*(to)), (const void *)((object) + (offset)))

/* Not a function of the kernel's, until the loader has said which. */
static void *(*const cast)(__u64 object, __u32 type) = (void *)APPTAP_BPF_CAST;

/*
 * The same of a @type of which we know the number: without the helper, which alone made up three
 * quarters of what a stranger's packet paid (32 of 42 ns). What cannot be read is zero there too.
 */
#define peek_in(to, object, type, member)                                                         \
	do {                                                                                      \
		if (layout.type##_type_id)                                                        \
			*(to) = *(volatile typeof(*(to)) *)(cast(object, layout.type##_type_id) + \
							    layout.type##_##member);              \
		else                                                                              \
			peek(to, object, layout.type##_##member);                                 \
	} while (0)

/* A pointer, as a number. */
#define peek_pointer(to, object, type, member)                \
	do {                                                  \
		peek_in(to, object, type, member);            \
		*(to) = as_number((const void *)(long)*(to)); \
	} while (0)

static __always_inline int peek_bit(__u64 object, __u32 bit)
{
	__u8 byte = 0;

	peek(&byte, object, bit / 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return byte >> bit % 8 & 1;
#else
	return byte >> (7 - bit % 8) & 1;
#endif
}

#endif
