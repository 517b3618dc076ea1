/* marks.h - bits of the connection mark: some that nobody uses, and their end */
#ifndef APPTAP_TIER_MARKS_H
#define APPTAP_TIER_MARKS_H

#include "base/nfmsg.h"
#include "flow/flow.h"

struct apptap_marks {
	uint32_t mark; /* APPTAP_BITS of them */
	int lock; /* owned: nobody else of us takes these bits in this network namespace */
};

#define APPTAP_MARKS_NONE  \
	{                  \
		.lock = -1 \
	}

/*
 * Bits that no rule and no connection uses. -EBUSY: there are none; -EOPNOTSUPP and kin: the
 * kernel lists no connections.
 */
int apptap_marks_take(struct apptap_marks *m, struct apptap_error *err);

/* Clears the bits in every connection that has them. Return: how many had, or -errno. */
int apptap_marks_clear(uint32_t mark, struct apptap_error *err);

/*
 * Sets those of @mask in the mark of the flow's connection to @bits; @m is room to build the
 * message. -ENOENT: conntrack knows no such connection.
 */
int apptap_marks_put(struct apptap_nl *nl, struct apptap_nfmsg *m, const struct apptap_flow *flow,
		     uint32_t mask, uint32_t bits);

void apptap_marks_release(struct apptap_marks *m);

#endif
