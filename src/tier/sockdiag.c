/*
 * sockdiag.c - tier 1: every frame reaches the agent, the kernel's socket table says whose it is
 *
 * How it works. Three things look at the same packets. The trigger asks for owners while packets
 * pass; the ring holds the packets until their block is handed over, some milliseconds later; the
 * destroy events tell which sockets have gone meanwhile. The reader takes a block, takes all that
 * the other two have said by then, and judges packet by packet. What it cannot judge yet waits in
 * a queue, together with all that comes after it, so that packets leave in order of time.
 */
#include <errno.h>
#include <linux/if_packet.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include "tier/attribution.h"
#include "tier/filter.h"
#include "tier/hold.h"
#include "tier/interfaces.h"
#include "tier/quiet.h"
#include "tier/ring.h"
#include "tier/sockdiag_probe.h"
#include "tier/tier.h"
#include "tier/trigger.h"

#define RING_BYTES (64U << 20)
#define HOLD_BYTES (8U << 20)
#define HOLD_NS (150 * APPTAP_NSEC_PER_MSEC)
#define HOLD_TICK_MS 4
#define IDLE_TICK_MS 250
#define BLOCKS_A_TURN 16
#define BUSY_FILL 50 /* percent of the ring waiting: little time for questions */
#define BUSY_ASKS 64 /* for a whole block then */
#define SLACK_NS                                                                         \
	(100 * APPTAP_NSEC_PER_USEC) /* by which a trigger's time may be later than ours \
				      */

_Static_assert(APPTAP_INTERFACES_MAX <= APPTAP_FILTER_IFACES_MAX, "a filter takes them all");

struct sockdiag {
	struct apptap_tier base;
	const struct apptap_scope *scope; /* borrowed */
	struct apptap_tier_config cfg; /* interface names are our copies */
	char **interfaces; /* owned */
	struct apptap_members *members; /* owned; NULL: the scope has no cgroups */
	struct apptap_diag *diag; /* owned, like all below */
	struct apptap_links *links;
	struct apptap_deaths *deaths;
	struct apptap_obituaries *obituaries; /* NULL: the kernel has none */
	struct apptap_attribution *attribution;
	struct apptap_ring *ring;
	struct apptap_trigger *trigger; /* NULL: a whole-device capture asks nothing */
	struct apptap_hold *hold;
	uint64_t heard_ns; /* the time of the latest packet taken from the ring */
	uint16_t listeners[APPTAP_FILTER_PORTS_MAX]; /* local TCP ports */
	size_t listener_count;
	uint64_t dropped; /* by the ring, when last looked */
	int timer;
	long timer_ms; /* its interval; 0: not armed */
	bool deaf; /* draining: the filter lets nothing in */
	struct apptap_quiet quiet;
	struct apptap_tier_counters n;
};

static struct sockdiag *sockdiag_of(struct apptap_tier *t)
{
	return apptap_container_of(t, struct sockdiag, base);
}

/* Both filters, from the interfaces there are and the ports that are quiet now. */
static int set_filters(struct sockdiag *s, bool ring_too, struct apptap_error *err)
{
	int32_t ifindexes[APPTAP_FILTER_IFACES_MAX];
	struct apptap_filter_config cfg = { .all_interfaces = s->cfg.interface_count == 0,
					    .ifindexes = ifindexes,
					    .quiet_ports = s->quiet.ports,
					    .quiet_count = s->quiet.count,
					    .tcp_ports = s->listeners,
					    .tcp_count = s->listener_count };
	struct apptap_filter f;
	struct sock_fprog prog;
	int r = 0;

	for (size_t i = 0; i < s->cfg.interface_count; i++) {
		int32_t index = apptap_links_index(s->links, s->interfaces[i]);

		if (index > 0 && cfg.ifindex_count < ARRAY_SIZE(ifindexes))
			ifindexes[cfg.ifindex_count++] = index;
	}
	if (ring_too) {
		apptap_filter_ring(&f, &cfg);
		prog = apptap_filter_prog(&f);
		r = apptap_ring_filter(s->ring, &prog, err);
	}
	if (r == 0 && s->trigger) {
		apptap_filter_trigger(&f, &cfg, APPTAP_TRIGGER_SNAPLEN);
		prog = apptap_filter_prog(&f);
		r = apptap_trigger_filter(s->trigger, &prog, err);
	}
	s->quiet.changed = false;
	return r;
}

/* A socket of this port has died: the next to take the port must be asked about at once. */
static void udp_left(void *arg, uint16_t port)
{
	struct sockdiag *s = arg;

	apptap_quiet_remove(&s->quiet, port);
}

static int tend_filter(struct sockdiag *s, uint64_t now_ns, struct apptap_error *err)
{
	bool changed;
	uint16_t port;

	if (!s->trigger)
		return 0;
	while (apptap_trigger_busy(s->trigger, &port))
		apptap_quiet_add(&s->quiet, port);
	apptap_quiet_tend(&s->quiet, now_ns);
	s->listener_count = apptap_attribution_listeners(s->attribution, s->listeners,
							 ARRAY_SIZE(s->listeners), &changed);
	return s->quiet.changed || changed ? set_filters(s, false, err) : 0;
}

/* ---- judging ---- */

static int keep(struct sockdiag *s, const struct apptap_packet *pkt, struct apptap_consumer *c,
		struct apptap_error *err)
{
	struct apptap_packet cut = *pkt;

	if (cut.len > s->cfg.snaplen)
		cut.len = s->cfg.snaplen;
	s->n.kept++;
	s->n.kept_bytes += cut.wire_len;
	return c->packet(c, &cut, err);
}

static void count_lost(struct sockdiag *s, enum apptap_attributed what)
{
	if (what == APPTAP_ATTR_NOT_IP)
		s->n.not_ip++;
	else if (what == APPTAP_ATTR_FOREIGN)
		s->n.foreign++;
	else
		s->n.unattributed++;
}

/* Hands over what waits at the head of the queue, as far as it is known. */
static int pump(struct sockdiag *s, struct apptap_consumer *c, uint64_t now_ns,
		struct apptap_error *err)
{
	struct apptap_held *p;
	bool any = false;
	int r = 0;

	for (p = apptap_hold_first(s->hold); p && r >= 0; p = p->next) {
		enum apptap_attributed what = APPTAP_ATTR_KEEP;

		/* Others wait behind it: at some time it is decided by what is there. */
		if (!p->known)
			what = apptap_attribution_judge(
				s->attribution, &p->pkt, &p->dissect, &p->first_ns,
				now_ns > p->since_ns + HOLD_NS ? UINT64_MAX : now_ns, true);
		if (what == APPTAP_ATTR_HOLD)
			break;
		if (what == APPTAP_ATTR_KEEP)
			r = keep(s, &p->pkt, c, err);
		else
			count_lost(s, what);
		p->handed_over = true;
		any = true;
	}
	if (any && r >= 0)
		r = c->flush(c, err); /* the copies go with their places in the queue */
	while ((p = apptap_hold_first(s->hold)) && p->handed_over)
		apptap_hold_pop(s->hold);
	return r;
}

static int take_packet(struct sockdiag *s, struct apptap_packet *pkt, struct apptap_consumer *c,
		       uint64_t now_ns, bool may_ask, struct apptap_error *err)
{
	bool waiting = apptap_hold_count(s->hold) > 0;
	struct apptap_dissect d;
	uint64_t first_ns;
	enum apptap_attributed what;

	s->n.seen++;
	if (s->scope->whole_device)
		return keep(s, pkt, c, err);
	apptap_attribution_note(s->attribution, pkt, &d, &first_ns);
	apptap_quiet_count(&s->quiet, pkt->pkttype == PACKET_OUTGOING ? d.sport : d.dport);
	what = apptap_attribution_judge(s->attribution, pkt, &d, &first_ns, now_ns, may_ask);
	if (what == APPTAP_ATTR_HOLD) {
		if (apptap_hold_push(s->hold, pkt, &d, first_ns, false))
			return 0;
		what = APPTAP_ATTR_UNKNOWN; /* no room to wait */
	}
	if (what != APPTAP_ATTR_KEEP) {
		count_lost(s, what);
		return 0;
	}
	/* Behind others that wait; when there is no room for that, order gives way, never a packet.
	 */
	if (waiting && apptap_hold_push(s->hold, pkt, &d, first_ns, true))
		return 0;
	return keep(s, pkt, c, err);
}

/* What the triggers said of packets up to @until_ns: in step with the packets, for a flow may have
 * had more owners within one block than its few spans can tell apart. */
static void hear(struct sockdiag *s, uint64_t until_ns)
{
	struct apptap_sighting sighting;

	while (s->trigger && apptap_trigger_pop(s->trigger, until_ns, &sighting))
		apptap_attribution_see(s->attribution, &sighting);
	s->heard_ns = MAX(s->heard_ns, until_ns);
}

static void foresee(const struct apptap_sighting *sighting, void *arg)
{
	struct sockdiag *s = arg;

	apptap_attribution_foresee(s->attribution, sighting);
}

/* The destroy events, and whose the sockets were of which they tell: triggers asked before them. */
static void hear_deaths(struct sockdiag *s)
{
	if (s->obituaries)
		apptap_obituaries_read(s->obituaries, s->deaths, udp_left, s);
	if (s->trigger)
		apptap_trigger_scan(s->trigger, foresee, s);
}

/* After a loss nothing is sure that rests on having seen every SYN. */
static void note_losses(struct sockdiag *s)
{
	uint64_t dropped = apptap_ring_dropped(s->ring);

	if (dropped != s->dropped)
		apptap_attribution_gap(s->attribution, apptap_clock_ns(CLOCK_REALTIME));
	s->dropped = dropped;
}

static int take_block(struct sockdiag *s, struct apptap_consumer *c, struct apptap_error *err)
{
	bool busy = apptap_ring_fill(s->ring) >= BUSY_FILL;
	uint64_t asked = apptap_attribution_lookups(s->attribution);
	struct apptap_packet pkt;
	uint64_t now_ns;
	int r = 0;

	note_losses(s);
	hear_deaths(s);
	now_ns = apptap_clock_ns(CLOCK_REALTIME);
	while (r >= 0 && apptap_ring_packet(s->ring, &pkt)) {
		bool may_ask =
			!busy || apptap_attribution_lookups(s->attribution) - asked < BUSY_ASKS;

		if (s->trigger)
			hear(s, pkt.ts_ns + SLACK_NS);
		r = take_packet(s, &pkt, c, now_ns, may_ask, err);
	}
	if (r >= 0)
		r = c->flush(c, err);
	apptap_ring_release(s->ring);
	return r;
}

static void link_gone(void *arg, const char *name)
{
	struct sockdiag *s = arg;

	apptap_interfaces_gone(&s->cfg, s->interfaces, s->cfg.interface_count, name);
}

/* Often while packets wait, else now and then: for ports that have begun to listen. */
static void arm_timer(struct sockdiag *s)
{
	long ms = apptap_hold_count(s->hold) > 0 ? HOLD_TICK_MS : IDLE_TICK_MS;
	struct itimerspec t = { .it_value.tv_nsec = ms * 1000000L,
				.it_interval.tv_nsec = ms * 1000000L };

	if (ms == s->timer_ms)
		return;
	timerfd_settime(s->timer, 0, &t, NULL);
	s->timer_ms = ms;
}

static int sockdiag_dispatch(struct apptap_tier *t, struct apptap_consumer *c,
			     struct apptap_error *err)
{
	struct sockdiag *s = sockdiag_of(t);
	uint64_t ticks;
	int r = 0;

	if (read(s->timer, &ticks, sizeof(ticks)) < 0 && errno != EAGAIN)
		return apptap_error_set(err, errno, "reading a timer");
	if (s->trigger && read(apptap_trigger_fd(s->trigger), &ticks, sizeof(ticks)) > 0 &&
	    !s->deaf) {
		hear_deaths(s); /* and which ports listen */
		r = tend_filter(s, apptap_clock_ns(CLOCK_REALTIME), err);
		if (r < 0)
			return r;
	}
	if (apptap_links_read(s->links, link_gone, s) > 0 && s->cfg.interface_count && !s->deaf)
		r = set_filters(s, true, err);
	for (int i = 0; r >= 0 && i < BLOCKS_A_TURN && apptap_ring_block(s->ring); i++)
		r = take_block(s, c, err);
	if (r < 0)
		return r;
	note_losses(s);
	hear(s, s->heard_ns);
	hear_deaths(s);
	r = pump(s, c, apptap_clock_ns(CLOCK_REALTIME), err);
	if (r == 0)
		r = c->flush(c, err);
	if (r == 0 && !s->deaf)
		r = tend_filter(s, apptap_clock_ns(CLOCK_REALTIME), err);
	arm_timer(s);
	return r < 0 ? r : 0;
}

/* What is in the block that fills now becomes readable when it is retired, a timeout away. */
static int sockdiag_drain(struct apptap_tier *t, struct apptap_consumer *c,
			  struct apptap_error *err)
{
	struct sockdiag *s = sockdiag_of(t);
	uint64_t end_ns = apptap_clock_ns(CLOCK_MONOTONIC) +
			  2 * apptap_ring_delay_ms(s->ring) * APPTAP_NSEC_PER_MSEC;
	struct apptap_filter f;
	struct sock_fprog prog;
	struct epoll_event events[4];
	uint64_t now_ns;
	int r;

	apptap_filter_none(&f);
	prog = apptap_filter_prog(&f);
	s->deaf = true;
	r = apptap_ring_filter(s->ring, &prog, err);
	/* Who passed the filter just before is still being copied: looked for at least twice. */
	for (int i = 0; r == 0 && (now_ns = apptap_clock_ns(CLOCK_MONOTONIC)) < end_ns; i++) {
		bool more = apptap_ring_pending(s->ring) || apptap_hold_count(s->hold) > 0;

		if (!more && i > 1)
			break;
		epoll_wait(s->base.fd, events, ARRAY_SIZE(events),
			   more ? (int)((end_ns - now_ns) / APPTAP_NSEC_PER_MSEC) + 1 : 1);
		r = sockdiag_dispatch(t, c, err);
	}
	while (r == 0 && apptap_ring_block(s->ring))
		r = take_block(s, c, err);
	if (r == 0)
		r = pump(s, c, UINT64_MAX, err);
	if (r == 0)
		r = c->flush(c, err);
	return r;
}

/* Whoever has come to it may have sockets already. */
static int sockdiag_rescope(struct apptap_tier *t, struct apptap_error *err)
{
	struct sockdiag *s = sockdiag_of(t);
	int r = 0;

	if (s->trigger)
		r = apptap_trigger_rescope(s->trigger, s->scope, err);
	if (r == 0 && s->trigger)
		r = apptap_attribution_warm(s->attribution, err);
	return r;
}

static void sockdiag_counters(const struct apptap_tier *t, struct apptap_tier_counters *out)
{
	struct sockdiag *s = sockdiag_of((struct apptap_tier *)t);
	struct apptap_trigger_counters trigger = { 0 };

	if (s->trigger)
		apptap_trigger_counters(s->trigger, &trigger);
	*out = s->n;
	out->held = apptap_hold_count(s->hold);
	note_losses(s);
	out->dropped_kernel = s->dropped;
	out->lookups = trigger.asked + apptap_attribution_lookups(s->attribution);
}

static const char *sockdiag_ifname(const struct apptap_tier *t, int32_t ifindex)
{
	return apptap_links_name(sockdiag_of((struct apptap_tier *)t)->links, ifindex);
}

static void sockdiag_close(struct apptap_tier *t)
{
	struct sockdiag *s;

	if (!t)
		return;
	s = sockdiag_of(t);
	if (s->trigger)
		apptap_trigger_stop(s->trigger); /* at the same time as the ring */
	apptap_ring_close(s->ring);
	apptap_trigger_close(s->trigger);
	apptap_hold_free(s->hold);
	apptap_attribution_free(s->attribution);
	apptap_obituaries_close(s->obituaries);
	apptap_deaths_free(s->deaths);
	apptap_links_close(s->links);
	apptap_diag_close(s->diag);
	apptap_members_free(s->members);
	apptap_interfaces_free(s->interfaces, s->cfg.interface_count);
	if (s->timer >= 0)
		close(s->timer);
	if (s->base.fd >= 0)
		close(s->base.fd);
	free(s);
}

/* ---- opening ---- */

static int watch(struct sockdiag *s, int fd, struct apptap_error *err)
{
	struct epoll_event e = { .events = EPOLLIN };

	if (epoll_ctl(s->base.fd, EPOLL_CTL_ADD, fd, &e) < 0)
		return apptap_error_set(err, errno, "watching a descriptor");
	return 0;
}

static int open_witnesses(struct sockdiag *s, struct apptap_error *err)
{
	struct apptap_filter f;
	struct sock_fprog prog;
	bool realtime = true;
	int r;

	r = apptap_obituaries_open(&s->obituaries, NULL);
	if (r < 0) {
		apptap_tier_warn(
			&s->cfg,
			"the kernel does not tell when sockets close: a packet whose port may have changed hands is left out");
		apptap_deaths_lost(s->deaths, UINT64_MAX);
	} else {
		r = watch(s, apptap_obituaries_fd(s->obituaries), err);
		if (r < 0)
			return r;
	}
	apptap_filter_none(&f);
	prog = apptap_filter_prog(&f);
	r = apptap_trigger_open(&s->trigger, s->scope, s->members, &prog, &realtime, err);
	if (r == 0)
		r = watch(s, apptap_trigger_fd(s->trigger), err);
	if (r == 0 && !realtime)
		apptap_tier_warn(
			&s->cfg,
			"no real-time priority (CAP_SYS_NICE): sockets that close at once may be missed");
	return r;
}

static int open_parts(struct sockdiag *s, const struct apptap_tier_config *cfg,
		      struct apptap_error *err)
{
	int r = apptap_diag_open(&s->diag, err);

	if (r == 0)
		r = apptap_members_new(&s->members, s->scope, err);
	if (r == 0)
		r = apptap_diag_tell_members(s->diag, s->members, err);
	if (r == 0)
		r = apptap_links_open(&s->links, err);
	if (r == 0)
		r = apptap_interfaces_copy(&s->interfaces, &s->cfg.interface_count, s->links, cfg,
					   err);
	if (r < 0)
		return r;
	if (apptap_deaths_new(&s->deaths) < 0 || apptap_hold_new(&s->hold, HOLD_BYTES) < 0)
		return apptap_error_set(err, ENOMEM, "allocating the hold queue");
	r = apptap_attribution_new(&s->attribution, s->scope, s->diag, s->links, s->deaths, err);
	/* Before the ring: the kernel begins to stamp packets some milliseconds after it is asked,
	 * and the ring takes longer to make. (tests/kernel/tap_time.c) */
	if (r == 0 && !s->scope->whole_device)
		r = open_witnesses(s, err);
	if (r == 0)
		r = apptap_ring_open(&s->ring, cfg->ring_bytes ? cfg->ring_bytes : RING_BYTES, err);
	if (r == 0)
		r = watch(s, apptap_ring_fd(s->ring), err);
	if (r == 0)
		r = watch(s, apptap_links_fd(s->links), err);
	if (r == 0)
		r = watch(s, s->timer, err);
	return r;
}

static int sockdiag_open(struct apptap_tier **t, const struct apptap_tier_config *cfg,
			 struct apptap_error *err)
{
	struct sockdiag *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return apptap_error_set(err, ENOMEM, "allocating the sockdiag tier");
	s->base.ops = &apptap_tier_sockdiag;
	s->cfg = *cfg;
	s->cfg.interface_count = 0;
	s->scope = cfg->scope;
	s->base.fd = epoll_create1(EPOLL_CLOEXEC);
	s->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (s->base.fd < 0 || s->timer < 0)
		r = apptap_error_set(err, errno, "making an event queue");
	else
		r = open_parts(s, cfg, err);
	/* Witnesses first, so that no packet in the ring is older than they are. */
	if (r == 0)
		r = set_filters(s, true, err);
	if (r == 0)
		r = apptap_ring_start(s->ring, err);
	if (r == 0 && !s->scope->whole_device)
		r = apptap_attribution_warm(s->attribution, err);
	if (r == 0 && !s->scope->whole_device)
		r = tend_filter(s, 0, err); /* the listening ports */
	if (r == 0 && !s->scope->whole_device)
		arm_timer(s);
	if (r < 0) {
		sockdiag_close(&s->base);
		return r;
	}
	if (s->members && !apptap_members_is_told(s->members))
		apptap_tier_warn(
			&s->cfg,
			"the kernel does not tell of forks: sockets of descendants that live for a moment may be missed");
	if (apptap_diag_is_slow(s->diag) && !s->scope->whole_device)
		apptap_tier_warn(
			&s->cfg,
			"SOCK_DIAG does not answer here: owners come from /proc/net, which misses short-lived sockets");
	*t = &s->base;
	return 0;
}

const struct apptap_tier_ops apptap_tier_sockdiag = {
	.name = "sockdiag",
	.gist = "every packet, its owner asked of the kernel's socket table",
	.scopes = APPTAP_TIER_CGROUPS | APPTAP_TIER_PROCESSES,
	.probe = apptap_sockdiag_probe,
	.open = sockdiag_open,
	.dispatch = sockdiag_dispatch,
	.drain = sockdiag_drain,
	.rescope = sockdiag_rescope,
	.counters = sockdiag_counters,
	.ifname = sockdiag_ifname,
	.close = sockdiag_close,
};
