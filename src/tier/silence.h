/* silence.h - packets pass, and the rules show nothing of them */
#ifndef APPTAP_TIER_SILENCE_H
#define APPTAP_TIER_SILENCE_H

#include "base/error.h"
#include "scope/scope.h"
#include "tier/beacon.h"
#include "tier/diag.h"

struct apptap_silence;

/* @scope, @diag and @beacon are borrowed; @beacon may be NULL. */
int apptap_silence_new(struct apptap_silence **out, const struct apptap_scope *scope,
		       struct apptap_diag *diag, struct apptap_beacon *beacon,
		       struct apptap_error *err);
void apptap_silence_free(struct apptap_silence *s); /* NULL is fine */

/*
 * To be called often, when all that has been delivered is read. @sent, @came: packets that the
 * rules have shown so far, by direction; @lost: of what they showed, on its way to us. -ESTALE:
 * they show nothing any more of what the app's connections carry, or of the beacon.
 */
int apptap_silence_look(struct apptap_silence *s, uint64_t sent, uint64_t came, uint64_t lost,
			struct apptap_error *err);

#endif
