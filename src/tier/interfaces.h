/* interfaces.h - the interfaces that a capture was told to look at, by their names */
#ifndef APPTAP_TIER_INTERFACES_H
#define APPTAP_TIER_INTERFACES_H

#include "tier/links.h"
#include "tier/tier.h"

#define APPTAP_INTERFACES_MAX 64

/*
 * Copies of the names in @cfg, which must all be there now; *@names is NULL at first. To be freed
 * also when this fails.
 */
int apptap_interfaces_copy(char ***names, size_t *count, const struct apptap_links *l,
			   const struct apptap_tier_config *cfg, struct apptap_error *err);
void apptap_interfaces_free(char **names, size_t count); /* NULL is fine */

bool apptap_interfaces_have(char *const *names, size_t count, const char *name);

/* One that was named has gone: says so. */
void apptap_interfaces_gone(const struct apptap_tier_config *cfg, char *const *names, size_t count,
			    const char *name);

#endif
