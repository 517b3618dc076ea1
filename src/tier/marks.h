/* marks.h - bits of the connection mark: three that nobody uses, and their end */
#ifndef APPTAP_TIER_MARKS_H
#define APPTAP_TIER_MARKS_H

#include "base/error.h"

struct apptap_marks {
	uint32_t mark; /* three bits */
	int lock; /* owned: nobody else of us takes these bits in this network namespace */
};

#define APPTAP_MARKS_NONE  \
	{                  \
		.lock = -1 \
	}

/*
 * Three bits that no rule and no connection uses. -EBUSY: there are none; -EOPNOTSUPP and kin: the
 * kernel lists no connections.
 */
int apptap_marks_take(struct apptap_marks *m, struct apptap_error *err);

/* Clears the bits in every connection that has them. Return: how many had, or -errno. */
int apptap_marks_clear(uint32_t mark, struct apptap_error *err);

void apptap_marks_release(struct apptap_marks *m);

#endif
