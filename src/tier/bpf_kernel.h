/* bpf_kernel.h - the programs in the kernel: loaded, told what is wanted, attached to interfaces */
#ifndef APPTAP_TIER_BPF_KERNEL_H
#define APPTAP_TIER_BPF_KERNEL_H

#include "tier/bpf_ring.h"
#include "tier/tier.h"

struct apptap_bpf_kernel;

/* Loads the programs; they see nothing yet. @ring_bytes: rounded up to a power of two. */
int apptap_bpf_kernel_open(struct apptap_bpf_kernel **out, size_t ring_bytes,
			   struct apptap_error *err);
void apptap_bpf_kernel_close(struct apptap_bpf_kernel *k); /* NULL is fine; all is gone then */

/* Memory shared with the programs: what is written there counts from the next packet on. */
struct apptap_bpf_settings *apptap_bpf_kernel_settings(struct apptap_bpf_kernel *k);
const struct apptap_bpf_counts *apptap_bpf_kernel_counts(const struct apptap_bpf_kernel *k);
void apptap_bpf_kernel_scope(struct apptap_bpf_kernel *k, const struct apptap_scope *scope);

/* Borrowed; @fd: can be waited for. */
struct apptap_bpf_ring *apptap_bpf_kernel_ring(const struct apptap_bpf_kernel *k, int *fd);

/* Attaches to what is there and was not before; lets go of what is gone. @names: count 0: all. */
int apptap_bpf_kernel_attach(struct apptap_bpf_kernel *k, char *const *names, size_t count,
			     struct apptap_error *err);

/* Readable when somebody may have changed what is attached; -1: nobody else can. */
int apptap_bpf_kernel_attach_fd(const struct apptap_bpf_kernel *k);

/* Puts back what others have removed. Return: how many, @err names one; -errno. */
int apptap_bpf_kernel_restore(struct apptap_bpf_kernel *k, struct apptap_error *err);

#endif
