/* bpf_doubt.h - connections that nobody has accepted yet: whose will they be? */
#ifndef APPTAP_TIER_BPF_DOUBT_H
#define APPTAP_TIER_BPF_DOUBT_H

#include "bpf/record.h"
#include "scope/scope.h"
#include "tier/diag.h"

struct apptap_bpf_doubts;
struct apptap_bpf_doubt; /* one connection */

struct apptap_bpf_owner {
	uid_t uid;
	struct apptap_bpf_who who;
};

enum apptap_bpf_answer {
	APPTAP_BPF_ANSWER_OURS,
	APPTAP_BPF_ANSWER_FOREIGN,
	APPTAP_BPF_ANSWER_UNKNOWN,
	APPTAP_BPF_ANSWER_WAIT,
};

/* Both are borrowed and outlive it. */
int apptap_bpf_doubts_new(struct apptap_bpf_doubts **out, const struct apptap_scope *scope,
			  struct apptap_diag *diag);
void apptap_bpf_doubts_free(struct apptap_bpf_doubts *d); /* NULL is fine */

/* A packet of a connection in doubt. NULL: there are too many. Each is answered once. */
struct apptap_bpf_doubt *apptap_bpf_doubt_open(struct apptap_bpf_doubts *d,
					       const struct apptap_bpf_record *rec);

/* The kernel says who has accepted it. */
void apptap_bpf_doubts_settle(struct apptap_bpf_doubts *d, const struct apptap_bpf_record *rec);

/*
 * What became of it. Unless it is WAIT, @doubt is gone. All records up to @now_ns (CLOCK_MONOTONIC)
 * have been taken; UINT64_MAX: nothing more will come.
 */
enum apptap_bpf_answer apptap_bpf_doubt_answer(struct apptap_bpf_doubts *d,
					       struct apptap_bpf_doubt *doubt, uint64_t now_ns,
					       struct apptap_bpf_owner *owner);

size_t apptap_bpf_doubts_count(const struct apptap_bpf_doubts *d); /* not settled yet */
uint64_t apptap_bpf_doubts_lookups(const struct apptap_bpf_doubts *d);

#endif
