/* lasting.h - a tier that gives way to the next when it stops receiving, in the same capture */
#ifndef APPTAP_TIER_LASTING_H
#define APPTAP_TIER_LASTING_H

#include "tier/tier.h"

/*
 * Puts *@t into a tier that looks the same. When its dispatch says -ESTALE, the next in the table
 * that works takes its place, with a warning. @cfg is copied; what it points to outlives the tier.
 * On failure *@t is closed.
 */
int apptap_tier_make_lasting(struct apptap_tier **t, const struct apptap_tier_config *cfg,
			     struct apptap_error *err);

#endif
