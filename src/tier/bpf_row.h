/* bpf_row.h - the row of programs at one side of an interface (tcx): is ours the first? */
#ifndef APPTAP_TIER_BPF_ROW_H
#define APPTAP_TIER_BPF_ROW_H

#include "tier/bpf_link.h"

#include <stdbool.h>

/* Zeroed: not looked at yet. */
struct apptap_bpf_row {
	uint64_t revision; /* the kernel's count of its changes, when it was looked at last */
	bool is_first; /* ours was, then */
	unsigned moves; /* how often it had to be put there again */
};

/*
 * Tells other captures that @program is one of ours: they do not mind it before theirs. Return: a
 * descriptor, which says so while it is open; -errno.
 */
int apptap_bpf_row_name(int program);

/* Whether only other captures' programs stand before that of @link, which is at @place. -ENODEV:
 * the interface is gone. */
int apptap_bpf_row_is_first(struct apptap_bpf_row *row, const struct apptap_bpf_place *place,
			    int link);

#endif
