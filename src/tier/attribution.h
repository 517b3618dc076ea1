/* attribution.h - keep, drop or hold: is a packet the app's? For tiers that see everybody's */
#ifndef APPTAP_TIER_ATTRIBUTION_H
#define APPTAP_TIER_ATTRIBUTION_H

#include "tier/deaths.h"
#include "tier/diag.h"
#include "tier/links.h"
#include "tier/tier.h"

enum apptap_attributed {
	APPTAP_ATTR_KEEP, /* the app's; the packet's uid is filled */
	APPTAP_ATTR_FOREIGN, /* another owner's, or nobody's */
	APPTAP_ATTR_NOT_IP, /* no socket owns it */
	APPTAP_ATTR_HOLD, /* not known yet: ask again in some milliseconds */
	APPTAP_ATTR_UNKNOWN, /* the kernel will not say: must not be kept */
};

struct apptap_attribution;

/* All but @out are borrowed and outlive it. */
int apptap_attribution_new(struct apptap_attribution **out, const struct apptap_scope *scope,
			   struct apptap_diag *diag, const struct apptap_links *links,
			   const struct apptap_deaths *deaths, struct apptap_error *err);
void apptap_attribution_free(struct apptap_attribution *a);

/* Lists the sockets that the scope has already; to be called once capturing has begun. */
int apptap_attribution_warm(struct apptap_attribution *a, struct apptap_error *err);

/* An answer that a trigger has got. */
void apptap_attribution_see(struct apptap_attribution *a, const struct apptap_sighting *s);

/* The same, ahead of its turn in time. */
void apptap_attribution_foresee(struct apptap_attribution *a, const struct apptap_sighting *s);

/* Packets were lost at @now_ns. */
void apptap_attribution_gap(struct apptap_attribution *a, uint64_t now_ns);

/*
 * A packet when it is first met, in order of time: dissects it, and notes what others depend on
 * (a SYN, a first fragment). @first_ns: when its datagram passed, which is what counts for it.
 */
void apptap_attribution_note(struct apptap_attribution *a, const struct apptap_packet *pkt,
			     struct apptap_dissect *d, uint64_t *first_ns);

/*
 * Is it the app's? @now_ns: CLOCK_REALTIME, UINT64_MAX when nothing more will come. @may_ask:
 * whether the kernel may be asked (a reader that is falling behind cannot afford to).
 */
enum apptap_attributed apptap_attribution_judge(struct apptap_attribution *a,
						struct apptap_packet *pkt, struct apptap_dissect *d,
						uint64_t *first_ns, uint64_t now_ns, bool may_ask);

/*
 * Local TCP ports that listen, at most @max, the latest first. Return: how many; *@changed whether
 * there are others than at the last call.
 */
size_t apptap_attribution_listeners(struct apptap_attribution *a, uint16_t *ports, size_t max,
				    bool *changed);

uint64_t apptap_attribution_lookups(const struct apptap_attribution *a);

#endif
