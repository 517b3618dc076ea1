/* bpf_kernel.h - the programs in the kernel: loaded, told what is wanted, attached to interfaces */
#ifndef APPTAP_TIER_BPF_KERNEL_H
#define APPTAP_TIER_BPF_KERNEL_H

#include "tier/bpf_ring.h"
#include "tier/tier.h"

struct apptap_bpf_kernel;

/* Loads the programs; they see nothing yet, but @wanted->makers: from now on, makers of sockets.
 * @ring_bytes: rounded up to a power of two. @names: where they will be attached; count 0: all. */
int apptap_bpf_kernel_open(struct apptap_bpf_kernel **out, size_t ring_bytes,
			   const struct apptap_bpf_wanted *wanted, char *const *names, size_t count,
			   struct apptap_error *err);
void apptap_bpf_kernel_close(struct apptap_bpf_kernel *k); /* NULL is fine; all is gone then */

/* Memory shared with the programs: what is written there counts from the next packet on. */
struct apptap_bpf_settings *apptap_bpf_kernel_settings(struct apptap_bpf_kernel *k);
const struct apptap_bpf_counts *apptap_bpf_kernel_counts(const struct apptap_bpf_kernel *k);
void apptap_bpf_kernel_scope(struct apptap_bpf_kernel *k, const struct apptap_scope *scope);

/* Follows the scope's processes, and visits what was there before us. */
int apptap_bpf_kernel_follow(struct apptap_bpf_kernel *k, const struct apptap_scope *scope,
			     struct apptap_error *err);

/* Processes of the scope for which there was no room. */
uint64_t apptap_bpf_kernel_lost_processes(const struct apptap_bpf_kernel *k);

/* Borrowed; @fd: can be waited for. */
struct apptap_bpf_ring *apptap_bpf_kernel_ring(const struct apptap_bpf_kernel *k, int *fd);

/* Attaches to what is there and was not before; lets go of what is gone. @names: count 0: all. */
int apptap_bpf_kernel_attach(struct apptap_bpf_kernel *k, char *const *names, size_t count,
			     struct apptap_error *err);

/* Readable when somebody may have changed what is attached. */
int apptap_bpf_kernel_attach_fd(const struct apptap_bpf_kernel *k);

/* Puts back what others have removed, and in front of what others have put there. Return: 1 @err
 * says what a user should know of it, 0 there is nothing. */
int apptap_bpf_kernel_restore(struct apptap_bpf_kernel *k, struct apptap_error *err);

#endif
