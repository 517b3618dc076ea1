/* portshare.c - UDP ports that our app and somebody else have bound at the same time */
#include "tier/portshare.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>

#define PLACES 256
#define CHECK_NS (1 * APPTAP_NSEC_PER_SEC)
#define EPHEMERAL_DEFAULT 32768

struct place {
	uint16_t port;
	bool mixed;
	uint64_t checked_ns;
};

struct apptap_portshare {
	const struct apptap_scope *scope; /* borrowed */
	uint16_t ephemeral; /* the first port that the kernel gives by itself: these are not shared
			     */
	struct place places[PLACES];
};

static uint16_t first_ephemeral(void)
{
	FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
	unsigned low = EPHEMERAL_DEFAULT;

	if (!f)
		return EPHEMERAL_DEFAULT;
	if (fscanf(f, "%u", &low) != 1 || low > UINT16_MAX)
		low = EPHEMERAL_DEFAULT;
	fclose(f);
	return (uint16_t)low;
}

int apptap_portshare_new(struct apptap_portshare **out, const struct apptap_scope *scope)
{
	struct apptap_portshare *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->scope = scope;
	p->ephemeral = first_ephemeral();
	*out = p;
	return 0;
}

void apptap_portshare_free(struct apptap_portshare *p)
{
	free(p);
}

struct owners {
	const struct apptap_scope *scope;
	bool ours;
	bool others;
};

static int take_owner(const struct apptap_sighting *s, void *arg)
{
	struct owners *o = arg;

	if (!s->wildcard || s->sight != APPTAP_SIGHT_OWNED)
		return 0;
	if (apptap_scope_owns(o->scope, s->uid, s->member))
		o->ours = true;
	else
		o->others = true;
	return 0;
}

bool apptap_portshare_mixed(struct apptap_portshare *p, struct apptap_diag *diag, uint16_t lport,
			    uint64_t now_ns)
{
	struct place *place = &p->places[lport % PLACES];
	struct owners o = { .scope = p->scope };

	if (lport >= p->ephemeral)
		return false;
	if (place->port == lport && now_ns < place->checked_ns + CHECK_NS)
		return place->mixed;
	apptap_diag_port(diag, IPPROTO_UDP, lport, take_owner, &o);
	*place = (struct place){ .port = lport,
				 .mixed = o.ours && o.others,
				 .checked_ns = apptap_clock_ns(CLOCK_REALTIME) };
	return place->mixed;
}
