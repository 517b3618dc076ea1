/* bpf_link.h - a program at one side of an interface (tcx, Linux 6.6); many, made ahead of time */
#ifndef APPTAP_TIER_BPF_LINK_H
#define APPTAP_TIER_BPF_LINK_H

#include <stddef.h>
#include <stdint.h>

enum apptap_bpf_side { APPTAP_BPF_INGRESS, APPTAP_BPF_EGRESS };

struct apptap_bpf_place {
	int32_t ifindex;
	enum apptap_bpf_side side;
};

/* First in the row. Return: a descriptor, -errno. */
int apptap_bpf_link(int program, const struct apptap_bpf_place *place);

struct apptap_bpf_ahead;

/* Begins to make links at @places, which it copies. NULL: it cannot; nothing is lost but time. */
struct apptap_bpf_ahead *apptap_bpf_ahead_start(const struct apptap_bpf_place *places,
						size_t count);

/* The one at @place, from now on with @program; waits while it is still to come. Return: the
 * caller's descriptor, -1: there is none. */
int apptap_bpf_ahead_take(struct apptap_bpf_ahead *a, const struct apptap_bpf_place *place,
			  int program);

/* Lets go of what nobody took; NULL is fine. */
void apptap_bpf_ahead_end(struct apptap_bpf_ahead *a);

#endif
