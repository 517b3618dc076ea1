/* refused.h - who owns a TCP socket whose connection was refused before anybody could ask */
#ifndef APPTAP_TIER_REFUSED_H
#define APPTAP_TIER_REFUSED_H

#include "scope/scope.h"
#include "tier/sighting.h"

struct apptap_refused;

/*
 * A thread on @cpu, of a priority above all ordinary ones and below the trigger's: what it looks
 * for must not run on, what asks it must not wait. @scope is copied, @members (may be NULL)
 * borrowed: only processes of its users and cgroups are ever looked into.
 */
int apptap_refused_open(struct apptap_refused **out, int cpu, const struct apptap_scope *scope,
			struct apptap_members *members, struct apptap_error *err);
void apptap_refused_close(struct apptap_refused *r); /* NULL is fine */

/* Users that have come to @scope are looked at too, from now on. */
void apptap_refused_rescope(struct apptap_refused *r, const struct apptap_scope *scope);

/*
 * To look for the socket that has just sent this SYN among the descriptors of the scope's
 * processes. Called by the trigger's thread on that CPU; never waits.
 */
void apptap_refused_ask(struct apptap_refused *r, const struct apptap_sighting *syn);

/* Where OWNED sightings come out, for the reader. What is not found does not come. */
struct apptap_sighting_queue *apptap_refused_answers(struct apptap_refused *r);

#endif
