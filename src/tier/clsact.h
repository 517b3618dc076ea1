/* clsact.h - programs at interfaces as filters of tc: for kernels without links (before 6.6) */
#ifndef APPTAP_TIER_CLSACT_H
#define APPTAP_TIER_CLSACT_H

#include "base/error.h"

struct apptap_clsact;

/* Nothing is attached yet. @in, @out: borrowed descriptors of the programs. */
int apptap_clsact_open(struct apptap_clsact **out_clsact, int in, int out,
		       struct apptap_error *err);
void apptap_clsact_close(struct apptap_clsact *c); /* NULL is fine; all filters are gone then */

/*
 * Attaches both programs, or the one for what leaves. -ENODEV: the interface is gone; -EBUSY: what
 * stands there leaves no place in front for us; -ENOTSUP: this kernel has no such filters.
 */
int apptap_clsact_attach(struct apptap_clsact *c, int32_t ifindex, bool both,
			 struct apptap_error *err);
void apptap_clsact_detach(struct apptap_clsact *c, int32_t ifindex);

/* Readable when somebody has changed filters. */
int apptap_clsact_fd(const struct apptap_clsact *c);

/* Whether somebody has since the last call: all that is attached is to be made sure of. */
bool apptap_clsact_is_disturbed(struct apptap_clsact *c);

/* Is it there still, before those of others? If not, it is put there again. Return: 1 it had to be,
 * 0, -errno as attach. */
int apptap_clsact_ensure(struct apptap_clsact *c, int32_t ifindex, bool both,
			 struct apptap_error *err);

#endif
