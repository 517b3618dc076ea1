/* bpf_apart.h - a program that a thread gives to the kernel, while libbpf gives it the others */
#ifndef APPTAP_TIER_BPF_APART_H
#define APPTAP_TIER_BPF_APART_H

struct apptap_bpf_apart;

/* From before the object is opened. Programs of SEC("apart") are meant; there may be one. NULL: it
 * cannot. */
struct apptap_bpf_apart *apptap_bpf_apart_begin(void);

/* Once libbpf is done, with whatever result. Frees @a. Return: the program, the caller's; -errno.
 */
int apptap_bpf_apart_end(struct apptap_bpf_apart *a);

#endif
