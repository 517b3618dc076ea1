/* silence.h - the app's connections carry bytes, and the rules show nothing of them */
#ifndef APPTAP_TIER_SILENCE_H
#define APPTAP_TIER_SILENCE_H

#include "base/error.h"
#include "scope/scope.h"
#include "tier/diag.h"

struct apptap_silence;

/* @scope and @diag are borrowed. */
int apptap_silence_new(struct apptap_silence **out, const struct apptap_scope *scope,
		       struct apptap_diag *diag, struct apptap_error *err);
void apptap_silence_free(struct apptap_silence *s); /* NULL is fine */

/*
 * To be called often, when all that has been delivered is read. @sent, @came: packets that the
 * rules have shown so far, by direction. -ESTALE: they show nothing any more of what the app's
 * connections carry.
 */
int apptap_silence_look(struct apptap_silence *s, uint64_t sent, uint64_t came,
			struct apptap_error *err);

#endif
