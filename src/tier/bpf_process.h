/* bpf_process.h - the programs that know who makes sockets, and follow the processes of a scope */
#ifndef APPTAP_TIER_BPF_PROCESS_H
#define APPTAP_TIER_BPF_PROCESS_H

#include "base/error.h"
#include "bpf/record.h"
#include "scope/scope.h"
#include "tier/btf.h"

/* What this kernel is like, as far as they need to know. */
struct apptap_bpf_facts {
	struct apptap_bpf_layout layout;
	uint32_t
		visit_task; /* BTF's number of the kernel's walk over processes; 0: there is none */
	uint32_t visit_file; /* the same of what they have open */
	uint32_t cast; /* and of bpf_rdonly_cast; 0: this kernel has none */
	bool mptcp;
	bool release; /* programs hear of sockets that close (Linux 5.9) */
};

void apptap_bpf_facts_find(struct apptap_bpf_facts *f, const struct apptap_btf *b);

struct apptap_bpf_process;

/*
 * Loads them and puts them at the root of cgroup2: from here on the maker of each new socket is
 * kept in the map @makers_fd, and what happens to ports in @changed_fd (both borrowed). -ENOTSUP:
 * this machine does not let us.
 */
int apptap_bpf_process_open(struct apptap_bpf_process **out, const struct apptap_bpf_facts *facts,
			    const struct apptap_bpf_wanted *wanted, int makers_fd, int changed_fd,
			    struct apptap_error *err);
void apptap_bpf_process_close(struct apptap_bpf_process *p); /* NULL is fine; all is gone then */

/*
 * The processes of @scope are followed from now on, and what is older than we are has been visited:
 * processes, and the sockets that they hold. -ESRCH: none of them lives.
 */
int apptap_bpf_process_follow(struct apptap_bpf_process *p, const struct apptap_scope *scope,
			      struct apptap_error *err);

/* Whether all that happens to ports, on all of the machine, is told. */
bool apptap_bpf_process_tells_ports(const struct apptap_bpf_process *p);

const struct apptap_bpf_process_counts *
apptap_bpf_process_counts(const struct apptap_bpf_process *p);

#endif
