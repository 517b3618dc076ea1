/* lasting.c - a tier that gives way to the next when it stops receiving, in the same capture */
#include "tier/lasting.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>

struct lasting {
	struct apptap_tier base;
	struct apptap_tier_ops ops; /* ours, under the name of the tier within */
	struct apptap_tier *inner; /* owned */
	struct apptap_tier_config cfg;
	struct apptap_tier_counters before; /* of those that have given way */
};

static struct lasting *lasting_of(const struct apptap_tier *t)
{
	return apptap_container_of((struct apptap_tier *)t, struct lasting, base);
}

static int watch(struct lasting *l, struct apptap_error *err)
{
	struct epoll_event e = { .events = EPOLLIN };

	if (epoll_ctl(l->base.fd, EPOLL_CTL_ADD, l->inner->fd, &e) < 0)
		return apptap_error_set(err, errno, "watching a tier");
	l->ops.name = l->inner->ops->name;
	l->ops.gist = l->inner->ops->gist;
	return 0;
}

static void add(struct apptap_tier_counters *sum, const struct apptap_tier_counters *n)
{
	sum->seen += n->seen;
	sum->kept += n->kept;
	sum->kept_bytes += n->kept_bytes;
	sum->foreign += n->foreign;
	sum->not_ip += n->not_ip;
	sum->unattributed += n->unattributed;
	sum->dropped_kernel += n->dropped_kernel;
	sum->lookups += n->lookups;
}

/* The first that works of those behind the one that has failed. */
static int open_next(struct lasting *l, struct apptap_tier **next, struct apptap_error *err)
{
	bool behind = false;

	for (size_t i = 0; apptap_tiers[i]; i++) {
		struct apptap_error why = { 0 };

		if (behind || !apptap_tiers[i + 1]) {
			int r = apptap_tiers[i]->probe(&why);

			if (r >= 0)
				r = apptap_tiers[i]->open(next, &l->cfg, &why);
			if (r >= 0)
				return 0;
			apptap_error_wrap(err, r, "%s", why.msg);
		}
		behind |= apptap_tiers[i] == l->inner->ops;
	}
	return -ENOTSUP;
}

static int give_way(struct lasting *l, struct apptap_consumer *c, struct apptap_error *err)
{
	struct apptap_tier_counters n = { 0 };
	struct apptap_tier *next = NULL;
	char text[sizeof(err->msg) + 64];
	int r;

	snprintf(text, sizeof(text), "%s", err->msg);
	r = open_next(l, &next, err);
	if (r < 0)
		return r;
	snprintf(text + strlen(text), sizeof(text) - strlen(text),
		 "; capturing with %s from now on", next->ops->name);
	r = l->inner->ops->drain(l->inner, c, err);
	l->inner->ops->counters(l->inner, &n);
	add(&l->before, &n);
	epoll_ctl(l->base.fd, EPOLL_CTL_DEL, l->inner->fd, NULL);
	l->inner->ops->close(l->inner);
	l->inner = next;
	if (l->cfg.warn)
		l->cfg.warn(l->cfg.warn_arg, text);
	return r < 0 ? r : watch(l, err);
}

static int lasting_dispatch(struct apptap_tier *t, struct apptap_consumer *c,
			    struct apptap_error *err)
{
	struct lasting *l = lasting_of(t);
	int r = l->inner->ops->dispatch(l->inner, c, err);

	return r == -ESTALE ? give_way(l, c, err) : r;
}

static int lasting_drain(struct apptap_tier *t, struct apptap_consumer *c, struct apptap_error *err)
{
	struct apptap_tier *inner = lasting_of(t)->inner;

	return inner->ops->drain(inner, c, err);
}

static int lasting_rescope(struct apptap_tier *t, struct apptap_error *err)
{
	struct apptap_tier *inner = lasting_of(t)->inner;

	return inner->ops->rescope ? inner->ops->rescope(inner, err) : 0;
}

static void lasting_counters(const struct apptap_tier *t, struct apptap_tier_counters *out)
{
	const struct lasting *l = lasting_of(t);

	l->inner->ops->counters(l->inner, out);
	add(out, &l->before);
}

static const char *lasting_ifname(const struct apptap_tier *t, int32_t ifindex)
{
	const struct apptap_tier *inner = lasting_of(t)->inner;

	return inner->ops->ifname(inner, ifindex);
}

static void lasting_close(struct apptap_tier *t)
{
	struct lasting *l;

	if (!t)
		return;
	l = lasting_of(t);
	l->inner->ops->close(l->inner);
	if (l->base.fd >= 0)
		close(l->base.fd);
	free(l);
}

int apptap_tier_make_lasting(struct apptap_tier **t, const struct apptap_tier_config *cfg,
			     struct apptap_error *err)
{
	struct lasting *l = calloc(1, sizeof(*l));
	int r;

	if (!l) {
		(*t)->ops->close(*t);
		return apptap_error_set(err, ENOMEM, "allocating a tier");
	}
	l->inner = *t;
	l->cfg = *cfg;
	l->ops = *l->inner->ops;
	l->ops.dispatch = lasting_dispatch;
	l->ops.drain = lasting_drain;
	l->ops.rescope = lasting_rescope;
	l->ops.counters = lasting_counters;
	l->ops.ifname = lasting_ifname;
	l->ops.close = lasting_close;
	l->base.ops = &l->ops;
	l->base.fd = epoll_create1(EPOLL_CLOEXEC);
	r = l->base.fd < 0 ? apptap_error_set(err, errno, "making an event queue") : watch(l, err);
	if (r < 0) {
		lasting_close(&l->base);
		return r;
	}
	*t = &l->base;
	return 0;
}
