/*
 * bpf.c - tier 3: programs in the kernel decide whose a packet is, and hand over the app's alone
 *
 * How it works. The programs (src/bpf) write records into a ring; the first wakes us, then we look
 * every few milliseconds until nothing more comes. What they could not know when the packet passed
 * waits here, and all behind it: a connection for whoever accepts it (bpf_doubt.c), a fragment that
 * has overtaken its first. Multicast that the kernel's own lookup gives to somebody else is asked
 * of the socket table, for there it is everybody's who is bound to the port.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include "tier/bpf_kernel.h"
#include "tier/bpf_probe.h"
#include "tier/bpf_reader.h"
#include "tier/bpf_ring.h"
#include "tier/interfaces.h"
#include "tier/links.h"
#include "tier/tier.h"

#define RING_BYTES ((size_t)64 << 20)
#define LOOK_MS 8
#define DOUBT_MS 4
#define IDLE_LOOKS 4 /* in vain, before we sleep until we are woken */
#define LOOKS_A_TURN 16
#define SETTLE_NS (200 * APPTAP_NSEC_PER_USEC) /* by which CPUs may write out of order */
#define DRAIN_NS (60 * APPTAP_NSEC_PER_MSEC)

struct bpf {
	struct apptap_tier base;
	const struct apptap_scope *scope; /* borrowed */
	struct apptap_tier_config cfg; /* interface names are our copies */
	char **interfaces; /* owned, like all below */
	struct apptap_bpf_kernel *kernel;
	struct apptap_bpf_ring *ring; /* borrowed from kernel */
	struct apptap_links *links;
	struct apptap_bpf_reader *reader;
	int timer;
	long timer_ms; /* 0: asleep, the next record wakes us */
	unsigned vain; /* looks since the last record */
	bool told_lost; /* processes for which there was no room */
};

static struct bpf *bpf_of(const struct apptap_tier *t)
{
	return apptap_container_of((struct apptap_tier *)t, struct bpf, base);
}

/* ---- turns ---- */

static void arm_timer(struct bpf *s, long ms)
{
	struct itimerspec t = { .it_value.tv_nsec = ms * 1000000L,
				.it_interval.tv_nsec = ms * 1000000L };

	if (ms == s->timer_ms)
		return;
	timerfd_settime(s->timer, 0, &t, NULL);
	s->timer_ms = ms;
}

/* Looking every few milliseconds costs less than being woken by each packet, unless none come. */
static void tend_sleep(struct bpf *s, bool any)
{
	struct apptap_bpf_settings *settings = apptap_bpf_kernel_settings(s->kernel);

	s->vain = any ? 0 : s->vain + 1;
	if (apptap_bpf_reader_holds(s->reader)) {
		arm_timer(s, DOUBT_MS);
		return;
	}
	if (s->vain < IDLE_LOOKS || apptap_bpf_reader_is_asking(s->reader)) {
		arm_timer(s, LOOK_MS);
		return;
	}
	__atomic_store_n(&settings->asleep, 1, __ATOMIC_SEQ_CST);
	/* What came just before would wake nobody. */
	if (apptap_bpf_ring_pending(s->ring)) {
		__atomic_store_n(&settings->asleep, 0, __ATOMIC_SEQ_CST);
		arm_timer(s, LOOK_MS);
		return;
	}
	arm_timer(s, 0);
}

/* All records that are not younger than @until_ns. Return: records, -errno. */
static int take_all(struct bpf *s, uint64_t until_ns, struct apptap_consumer *c,
		    struct apptap_error *err)
{
	struct apptap_bpf_item item;
	int taken = 0, r = 0;

	for (int i = 0; r >= 0 && i < LOOKS_A_TURN; i++) {
		int before = taken;

		apptap_bpf_ring_look(s->ring);
		while (r >= 0 && apptap_bpf_ring_take(s->ring, until_ns, &item)) {
			r = apptap_bpf_reader_take(s->reader, &item);
			taken++;
		}
		if (r >= 0)
			r = c->flush(c, err);
		apptap_bpf_ring_release(s->ring);
		if (taken == before)
			break;
	}
	return r < 0 ? r : taken;
}

static void link_gone(void *arg, const char *name)
{
	struct bpf *s = arg;

	apptap_interfaces_gone(&s->cfg, s->interfaces, s->cfg.interface_count, name);
}

static void restore(struct bpf *s)
{
	struct apptap_error err = { 0 };

	if (apptap_bpf_kernel_restore(s->kernel, &err) > 0)
		apptap_tier_warn(&s->cfg, "%s", err.msg);
}

static int follow_links(struct bpf *s)
{
	struct apptap_error err = { 0 };

	restore(s);
	if (apptap_links_read(s->links, link_gone, s) > 0 &&
	    apptap_bpf_kernel_attach(s->kernel, s->interfaces, s->cfg.interface_count, &err) < 0)
		apptap_tier_warn(&s->cfg, "a new interface is not captured: %.200s", err.msg);
	return 0;
}

static void tend_processes(struct bpf *s)
{
	if (s->told_lost || !apptap_bpf_kernel_lost_processes(s->kernel))
		return;
	s->told_lost = true;
	apptap_tier_warn(&s->cfg, "there are too many processes at once: some are not captured");
}

static int bpf_dispatch(struct apptap_tier *t, struct apptap_consumer *c, struct apptap_error *err)
{
	struct bpf *s = bpf_of(t);
	struct epoll_event events[4];
	uint64_t ticks, now_ns;
	int r, taken;

	/* Edges are reported once: to whoever asks. */
	if (epoll_wait(s->base.fd, events, ARRAY_SIZE(events), 0) < 0 && errno != EINTR)
		return apptap_error_set(err, errno, "waiting for packets");
	if (read(s->timer, &ticks, sizeof(ticks)) < 0 && errno != EAGAIN)
		return apptap_error_set(err, errno, "reading a timer");
	follow_links(s);
	tend_processes(s);
	apptap_bpf_reader_begin(s->reader, c, err);
	now_ns = apptap_clock_ns(CLOCK_MONOTONIC) - SETTLE_NS;
	taken = take_all(s, now_ns, c, err);
	if (taken < 0)
		return taken;
	r = apptap_bpf_reader_pump(s->reader, now_ns);
	tend_sleep(s, taken > 0);
	return r < 0 ? r : 0;
}

static int bpf_drain(struct apptap_tier *t, struct apptap_consumer *c, struct apptap_error *err)
{
	struct bpf *s = bpf_of(t);
	uint64_t end_ns = apptap_clock_ns(CLOCK_MONOTONIC) + DRAIN_NS;
	int r = 1;

	__atomic_store_n(&apptap_bpf_kernel_settings(s->kernel)->deaf, 1, __ATOMIC_SEQ_CST);
	apptap_bpf_reader_begin(s->reader, c, err);
	/* Who was in a program just now is done with it in some microseconds. */
	while (r >= 0 && apptap_clock_ns(CLOCK_MONOTONIC) < end_ns) {
		usleep(SETTLE_NS / APPTAP_NSEC_PER_USEC);
		r = take_all(s, UINT64_MAX, c, err);
		if (r == 0 && !apptap_bpf_ring_pending(s->ring))
			break;
	}
	return r < 0 ? r : apptap_bpf_reader_pump(s->reader, UINT64_MAX);
}

static int bpf_rescope(struct apptap_tier *t, struct apptap_error *err)
{
	struct bpf *s = bpf_of(t);

	(void)err;
	apptap_bpf_kernel_scope(s->kernel, s->scope);
	return 0;
}

static void bpf_counters(const struct apptap_tier *t, struct apptap_tier_counters *out)
{
	const struct bpf *s = bpf_of(t);
	const struct apptap_bpf_counts *counts = apptap_bpf_kernel_counts(s->kernel);

	apptap_bpf_reader_counters(s->reader, out);
	out->dropped_kernel = counts->lost + apptap_bpf_ring_damaged(s->ring);
}

static const char *bpf_ifname(const struct apptap_tier *t, int32_t ifindex)
{
	return apptap_links_name(bpf_of(t)->links, ifindex);
}

static void bpf_close(struct apptap_tier *t)
{
	struct bpf *s;

	if (!t)
		return;
	s = bpf_of(t);
	apptap_bpf_reader_free(s->reader);
	apptap_bpf_kernel_close(s->kernel);
	apptap_links_close(s->links);
	apptap_interfaces_free(s->interfaces, s->cfg.interface_count);
	if (s->timer >= 0)
		close(s->timer);
	if (s->base.fd >= 0)
		close(s->base.fd);
	free(s);
}

/* ---- opening ---- */

static int watch(struct bpf *s, int fd, uint32_t events, struct apptap_error *err)
{
	struct epoll_event e = { .events = events };

	if (epoll_ctl(s->base.fd, EPOLL_CTL_ADD, fd, &e) < 0)
		return apptap_error_set(err, errno, "watching a descriptor");
	return 0;
}

static int open_kernel(struct bpf *s, const struct apptap_tier_config *cfg,
		       struct apptap_error *err)
{
	const struct apptap_bpf_wanted wanted = { .makers = 1,
						  .processes = s->scope->process_count > 0 };
	struct apptap_bpf_settings *settings;
	int fd, r;

	r = apptap_bpf_kernel_open(&s->kernel, cfg->ring_bytes ? cfg->ring_bytes : RING_BYTES,
				   &wanted, s->interfaces, s->cfg.interface_count, err);
	if (r < 0)
		return r;
	settings = apptap_bpf_kernel_settings(s->kernel);
	settings->snaplen = MIN(cfg->snaplen, (uint32_t)APPTAP_BPF_DATA_MAX);
	s->ring = apptap_bpf_kernel_ring(s->kernel, &fd);
	r = apptap_bpf_prove(s->kernel, s->ring, err);
	apptap_bpf_kernel_scope(s->kernel, s->scope);
	settings->asleep = 1;
	if (r == 0)
		r = apptap_bpf_kernel_follow(s->kernel, s->scope, err);
	if (r == 0)
		r = watch(s, fd, EPOLLIN | EPOLLET, err);
	return r;
}

static int open_parts(struct bpf *s, const struct apptap_tier_config *cfg, struct apptap_error *err)
{
	int r = apptap_links_open(&s->links, err);

	if (r == 0)
		r = apptap_interfaces_copy(&s->interfaces, &s->cfg.interface_count, s->links, cfg,
					   err);
	if (r == 0)
		r = open_kernel(s, cfg, err);
	if (r == 0)
		r = apptap_bpf_reader_new(&s->reader, s->scope,
					  apptap_bpf_kernel_settings(s->kernel), s->links, err);
	if (r == 0)
		r = watch(s, apptap_links_fd(s->links), EPOLLIN, err);
	if (r == 0)
		r = watch(s, s->timer, EPOLLIN, err);
	if (r == 0)
		r = watch(s, apptap_bpf_kernel_attach_fd(s->kernel), EPOLLIN, err);
	/* Last: from here on packets are captured. */
	return r < 0 ? r
		     : apptap_bpf_kernel_attach(s->kernel, s->interfaces, s->cfg.interface_count,
						err);
}

static int bpf_open(struct apptap_tier **t, const struct apptap_tier_config *cfg,
		    struct apptap_error *err)
{
	struct bpf *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return apptap_error_set(err, ENOMEM, "allocating the bpf tier");
	s->base.ops = &apptap_tier_bpf;
	s->cfg = *cfg;
	s->cfg.interface_count = 0;
	s->scope = cfg->scope;
	s->base.fd = epoll_create1(EPOLL_CLOEXEC);
	s->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (cfg->scope->whole_device)
		r = apptap_error_say(err, ENOTSUP,
				     "a whole device is not what the tier bpf is for");
	else if (s->base.fd < 0 || s->timer < 0)
		r = apptap_error_set(err, errno, "making an event queue");
	else
		r = open_parts(s, cfg, err);
	if (r < 0) {
		bpf_close(&s->base);
		return r;
	}
	*t = &s->base;
	return 0;
}

const struct apptap_tier_ops apptap_tier_bpf = {
	.name = "bpf",
	.gist = "programs in the kernel decide whose a packet is, and copy the app's (eBPF)",
	.scopes = APPTAP_TIER_CGROUPS | APPTAP_TIER_PROCESSES,
	.open_proves = true,
	.probe = apptap_bpf_probe,
	.open = bpf_open,
	.dispatch = bpf_dispatch,
	.drain = bpf_drain,
	.rescope = bpf_rescope,
	.counters = bpf_counters,
	.ifname = bpf_ifname,
	.close = bpf_close,
};
