/* groups.c - who gets a multicast: asked of the kernel, and remembered for a moment */
#include "tier/groups.h"

#define MOMENT_NS (5 * APPTAP_NSEC_PER_MSEC)

/* Costs a dump of the sockets: in a burst of one group's, the answer serves for a moment. */
void apptap_groups_ask(struct apptap_sighting last[APPTAP_GROUPS], const uint64_t key[2],
		       struct apptap_diag *diag, const struct apptap_flow *flow,
		       const struct apptap_scope *scope, struct apptap_sighting *out)
{
	struct apptap_sighting *s = &last[apptap_flow_hash(flow, key) % APPTAP_GROUPS];

	if (s->flow.lport != flow->lport || s->flow.proto != flow->proto ||
	    memcmp(&s->flow.laddr, &flow->laddr, sizeof(flow->laddr)) != 0 ||
	    apptap_clock_ns(CLOCK_REALTIME) - s->asked_ns > MOMENT_NS)
		apptap_diag_ask_group(diag, flow, scope, s);
	*out = *s;
}
