/* bpf_attach.h - the programs at each interface: put there, followed, let go */
#ifndef APPTAP_TIER_BPF_ATTACH_H
#define APPTAP_TIER_BPF_ATTACH_H

#include "tier/bpf_ring.h"

struct apptap_bpf_attach;

/* Begins with what takes the kernel longest, at the interfaces @names; count 0: all. */
int apptap_bpf_attach_open(struct apptap_bpf_attach **out, char *const *names, size_t count,
			   struct apptap_error *err);

/* What to attach. @in, @out: borrowed descriptors; @settings: borrowed, shared with them. */
int apptap_bpf_attach_programs(struct apptap_bpf_attach *a, int in, int out,
			       struct apptap_bpf_settings *settings, struct apptap_error *err);
void apptap_bpf_attach_close(struct apptap_bpf_attach *a); /* NULL is fine */

/* Attaches to what is there and was not before; lets go of what is gone. @names: count 0: all. */
int apptap_bpf_attach_follow(struct apptap_bpf_attach *a, char *const *names, size_t count,
			     struct apptap_error *err);

/* Readable when somebody may have changed what is attached. */
int apptap_bpf_attach_fd(const struct apptap_bpf_attach *a);

/* Puts back what others have removed, and in front of what others have put there. Return: 1 @err
 * says what a user should know of it, 0 there is nothing. */
int apptap_bpf_attach_restore(struct apptap_bpf_attach *a, struct apptap_error *err);

#endif
