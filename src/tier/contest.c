/*
 * contest.c - ports of datagrams that pass from user to user: whose was what came to them?
 *
 * How it works. NFLOG tells of a datagram some 50 us after it came; a program may have read it by
 * then, closed its socket, and another may have the port. The tap's real-time threads (trigger.c)
 * ask within a few, on the CPU where it came in. They interrupt whoever works there, for every
 * datagram, so they are there only while a port of the app's is being taken by others.
 */
#include "tier/contest.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>

#include "tier/trigger.h"

#define FLOWS_MAX 16384
#define LATE_NS                                                                          \
	(150 * APPTAP_NSEC_PER_USEC) /* then it tells of the moment it was asked at only \
				      */
#define SLACK_NS (100 * APPTAP_NSEC_PER_USEC) /* by which its answer may be later than a packet */
#define FORGET_NS (100 * APPTAP_NSEC_PER_MSEC) /* nobody asks about what is older */
#define STAMP_NS 999 /* what a time has lost that was cut to the microsecond */

struct apptap_contest {
	struct apptap_diag *diag; /* borrowed */
	struct apptap_trigger *trigger; /* owned, like the next */
	struct apptap_owners *owners;
	uint64_t from_ns; /* CLOCK_REALTIME: it heard nothing before */
	uint64_t lookups;
};

/* UDP without extension headers, in and out; the second sight of loopback's too, for nothing. */
static struct sock_filter datagrams[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OTHERHOST, 9, 0),
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_PROTOCOL)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, 4),
	BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 6),
	BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x1fff, 5, 0), /* a later fragment */
	BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 9),
	BPF_JUMP(BPF_JMP | BPF_JA, 2, 0, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IPV6, 0, 2),
	BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 6),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 1, 0),
	BPF_STMT(BPF_RET | BPF_K, 0),
	BPF_STMT(BPF_RET | BPF_K, APPTAP_TRIGGER_SNAPLEN),
};

int apptap_contest_open(struct apptap_contest **out, const struct apptap_scope *scope,
			struct apptap_diag *diag, const struct apptap_deaths *deaths,
			struct apptap_error *err)
{
	struct sock_fprog filter = { .len = ARRAY_SIZE(datagrams), .filter = datagrams };
	struct apptap_contest *c = calloc(1, sizeof(*c));
	bool realtime = false;
	int r;

	if (!c)
		return apptap_error_set(err, ENOMEM, "allocating the table of contested ports");
	c->diag = diag;
	r = apptap_owners_new(&c->owners, FLOWS_MAX, scope, deaths);
	if (r < 0)
		apptap_error_set(err, -r, "allocating the table of contested ports");
	else
		r = apptap_trigger_open(&c->trigger, scope, NULL, &filter, &realtime, err);
	if (r < 0) {
		apptap_contest_close(c);
		return r;
	}
	c->from_ns = apptap_clock_ns(CLOCK_REALTIME);
	*out = c;
	return 0;
}

void apptap_contest_close(struct apptap_contest *c)
{
	if (!c)
		return;
	apptap_trigger_close(c->trigger);
	apptap_owners_free(c->owners);
	free(c);
}

static void foresee(const struct apptap_sighting *s, void *arg)
{
	struct apptap_contest *c = arg;

	apptap_owners_foresee(c->owners, s);
}

/* In step with the packets: a flow may have had more owners than its few spans can tell apart. */
static void hear(struct apptap_contest *c, uint64_t until_ns)
{
	struct apptap_sighting s;

	while (apptap_trigger_pop(c->trigger, until_ns, &s))
		if (!s.group)
			apptap_owners_see(c->owners, &s);
}

void apptap_contest_hear(struct apptap_contest *c, uint64_t now_ns)
{
	apptap_trigger_scan(c->trigger, foresee, c);
	hear(c, now_ns - FORGET_NS);
}

enum apptap_verdict apptap_contest_judge(struct apptap_contest *c, const struct apptap_flow *flow,
					 uint64_t rx_ns, uint64_t now_ns,
					 struct apptap_owner *owner)
{
	struct apptap_sighting s;
	enum apptap_verdict v;

	if (rx_ns < c->from_ns)
		return APPTAP_VERDICT_UNKNOWN;
	hear(c, rx_ns + SLACK_NS);
	v = apptap_owners_judge(c->owners, flow, false, rx_ns + STAMP_NS, now_ns, owner);
	if (v != APPTAP_VERDICT_ASK)
		return v == APPTAP_VERDICT_NOBODY ? APPTAP_VERDICT_UNKNOWN : v;
	apptap_diag_ask(c->diag, flow, 0, &s);
	c->lookups++;
	apptap_owners_see(c->owners, &s);
	v = apptap_owners_judge(c->owners, flow, false, rx_ns + STAMP_NS, now_ns, owner);
	return v == APPTAP_VERDICT_KNOWN || v == APPTAP_VERDICT_WAIT ? v : APPTAP_VERDICT_UNKNOWN;
}

uint64_t apptap_contest_lookups(const struct apptap_contest *c)
{
	struct apptap_trigger_counters n;

	apptap_trigger_counters(c->trigger, &n);
	return c->lookups + n.asked;
}
