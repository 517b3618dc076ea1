/* bpf_probe.h - does the bpf tier work here? Proven by a packet of our own */
#ifndef APPTAP_TIER_BPF_PROBE_H
#define APPTAP_TIER_BPF_PROBE_H

#include "tier/bpf_kernel.h"
#include "tier/bpf_ring.h"

int apptap_bpf_probe(struct apptap_error *err);

/* The same with programs that are to be used: their scope is to be set, and interfaces attached,
 * after it. */
int apptap_bpf_prove(struct apptap_bpf_kernel *k, struct apptap_bpf_ring *ring,
		     struct apptap_error *err);

#endif
