/* fence.h - have all sockets been told dead that were closed until now? */
#ifndef APPTAP_TIER_FENCE_H
#define APPTAP_TIER_FENCE_H

#include "tier/deaths.h"

struct apptap_fence;

/* @deaths is borrowed; somebody reads the kernel's word into it. */
int apptap_fence_new(struct apptap_fence **out, const struct apptap_deaths *deaths);
void apptap_fence_free(struct apptap_fence *f); /* NULL is fine */

/*
 * Has every socket been told dead that was closed by @wanted_ns (CLOCK_REALTIME), but for those
 * that are still sending? @told_ns: by then; so what is told later died after @wanted_ns. If not,
 * this goes on: ask again.
 */
bool apptap_fence_passed(struct apptap_fence *f, uint64_t wanted_ns, uint64_t *told_ns);

#endif
