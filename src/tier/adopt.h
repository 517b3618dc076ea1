/* adopt.h - sockets of the app that the rules do not know as such, and ports that it has bound */
#ifndef APPTAP_TIER_ADOPT_H
#define APPTAP_TIER_ADOPT_H

#include "tier/claims.h"
#include "tier/diag.h"
#include "tier/rules.h"

struct apptap_adopt;

/* All but @out are borrowed and outlive it. @given: the bit of the mark that says so. */
int apptap_adopt_new(struct apptap_adopt **out, const struct apptap_scope *scope,
		     struct apptap_diag *diag, struct apptap_claims *claims,
		     struct apptap_rules *rules, uint32_t given, struct apptap_error *err);
void apptap_adopt_free(struct apptap_adopt *a); /* NULL is fine */

/* The scope has more users: looks for their sockets now, as at the start. */
int apptap_adopt_rescope(struct apptap_adopt *a, struct apptap_error *err);

/* Looks through the socket table, if it is time to. */
int apptap_adopt_tend(struct apptap_adopt *a, struct apptap_error *err);

#endif
