/*
 * clsact.c - programs at interfaces as filters of tc: for kernels without links (before 6.6)
 *
 * How it works. Filters stay when their maker dies, so a guardian removes them then. Each tells by
 * its name whose it is, for a later run to find should the guardian be killed as well. A clsact
 * that has to be made for them is made in the same message: the kernel does both, or none. We are
 * the first that a packet meets, and always let the next have its say. Unlike a link, a filter can
 * be removed by others: then we hear of it, and put it there again.
 */
#include "tier/clsact.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <stdio.h>
#include <sys/socket.h>

#include "tier/clsact_end.h"
#include "tier/guardian.h"

#define PRIO_FIRST 1
#define EVENTS_BYTES (256 << 10)

struct apptap_clsact {
	struct apptap_tc tc; /* owned, like all below */
	struct apptap_nl events; /* what anybody does to filters here */
	struct apptap_guardian guardian;
	int held; /* the name of our filters */
	int in, out; /* borrowed: programs */
	uint32_t port; /* of tc: what we do ourselves is no news */
	char tag[APPTAP_TAG_BYTES + 1];
	bool is_disturbed;
};

static int open_netlink(struct apptap_clsact *c, struct apptap_error *err)
{
	struct sockaddr_nl a = { 0 };
	socklen_t len = sizeof(a);
	int r = apptap_tc_open(&c->tc, err);

	if (r == 0)
		r = apptap_nl_open(&c->events, NETLINK_ROUTE, err);
	if (r == 0)
		r = apptap_nl_join(&c->events, RTNLGRP_TC, EVENTS_BYTES, err);
	if (r == 0 && getsockname(c->tc.nl.fd, (struct sockaddr *)&a, &len) == 0)
		c->port = a.nl_pid;
	return r;
}

int apptap_clsact_open(struct apptap_clsact **out_clsact, int in, int out, struct apptap_error *err)
{
	struct apptap_clsact *c = calloc(1, sizeof(*c));
	struct apptap_guardian_orders orders = { .what = APPTAP_CLSACT_HELD };
	int r;

	if (!c)
		return apptap_error_set(err, ENOMEM, "allocating tc's filters");
	c->tc.nl = c->events = (struct apptap_nl)APPTAP_NL_CLOSED;
	c->guardian = (struct apptap_guardian)APPTAP_GUARDIAN_NONE;
	c->in = in;
	c->out = out;
	r = open_netlink(c, err);
	apptap_clsact_heal(NULL); /* what a power cut for a guardian has left */
	apptap_tag_make(c->tag);
	c->held = apptap_tag_hold(APPTAP_CLSACT_HELD, c->tag);
	if (r == 0 && c->held < 0)
		r = apptap_error_set(err, -c->held, "naming our filters");
	orders.tag = c->tag;
	orders.held = c->held;
	if (r == 0)
		r = apptap_guardian_start(&c->guardian, &orders, err);
	if (r < 0) {
		apptap_clsact_close(c);
		return r;
	}
	*out_clsact = c;
	return 0;
}

void apptap_clsact_close(struct apptap_clsact *c)
{
	if (!c)
		return;
	apptap_guardian_end(&c->guardian);
	if (c->held >= 0)
		close(c->held);
	apptap_nl_close(&c->events);
	apptap_tc_close(&c->tc);
	free(c);
}

/* ---- attaching ---- */

static struct apptap_tc_filter filter_of(const struct apptap_clsact *c, int32_t ifindex,
					 uint32_t parent, bool made)
{
	struct apptap_tc_filter f = {
		.ifindex = ifindex,
		.parent = parent,
		.prio = PRIO_FIRST,
		.proto_be = htons(ETH_P_ALL),
		/* Of our own, so that it never stands for another's. */
		.handle = (uint32_t)strtoul(c->tag, NULL, 16) | 1U << 31,
		.is_bpf = true,
	};

	apptap_clsact_name(f.name, c->tag, parent, made);
	return f;
}

/* What one side holds: whether it leaves us the first place, and what the names of ours tell. */
struct side {
	struct apptap_tc_filter own; /* without a handle: there is none */
	bool is_first; /* before all that are not of our kind */
	bool made; /* one of our kind says that clsact is */
};

static int look_at(struct apptap_clsact *c, int32_t ifindex, uint32_t parent, struct side *s,
		   struct apptap_error *err)
{
	struct apptap_tc_filters all = { 0 };
	int r = apptap_tc_list(&c->tc, ifindex, parent, &all, err);
	auto_free struct apptap_tc_filter *list = all.list;
	bool strangers = false;

	for (size_t i = 0; r == 0 && i < all.count; i++) {
		const struct apptap_tc_filter *f = &list[i];
		char whose[APPTAP_TAG_BYTES + 1];
		bool made;

		if (!apptap_clsact_parse(f, whose, &made)) {
			if (f->chain)
				continue; /* not met on the way, unless another filter says so */
			strangers = true;
			/* A priority has one kind of filters, for one protocol. */
			if (f->prio <= PRIO_FIRST &&
			    (!f->is_bpf || f->proto_be != htons(ETH_P_ALL)))
				return apptap_error_say(
					err, EBUSY,
					"a filter of somebody else has the first place in tc "
					"(pref %u), and may keep packets from those behind it",
					f->prio);
			continue;
		}
		s->made |= made;
		if (strcmp(whose, c->tag) != 0)
			continue;
		s->own = *f;
		s->is_first = !strangers;
	}
	return r;
}

static const uint32_t sides[] = { APPTAP_TC_OUT, APPTAP_TC_IN };

static int look_at_both(struct apptap_clsact *c, int32_t ifindex, struct side found[2],
			struct apptap_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(sides); i++)
		r = look_at(c, ifindex, sides[i], &found[i], err);
	return r;
}

/* The kernel's word for what it cannot do is that it does not find it. */
static int explain(int r, struct apptap_error *err)
{
	if (r != -ENOENT)
		return r;
	return apptap_error_say(err, ENOTSUP,
				"this kernel has no filters of programs for tc either "
				"(CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_BPF)");
}

/* With the lock. */
static int put(struct apptap_clsact *c, int32_t ifindex, bool both, struct apptap_error *err)
{
	struct side found[2] = { 0 };
	bool made, fresh;
	int r = apptap_tc_place(&c->tc, ifindex);

	if (r < 0)
		return r;
	if (r == APPTAP_TC_INGRESS_ONLY)
		return apptap_error_say(err, EBUSY,
					"there is a qdisc 'ingress', which has no place for what "
					"leaves; 'clsact' would have both");
	fresh = r == APPTAP_TC_NOTHING;
	if (!fresh) {
		r = look_at_both(c, ifindex, found, err);
		if (r < 0)
			return r;
	}
	made = fresh || found[0].made || found[1].made;
	apptap_tc_begin(&c->tc);
	if (fresh)
		apptap_tc_add_clsact(&c->tc, ifindex);
	for (size_t i = 0; i < (both ? 2 : 1); i++) {
		struct apptap_tc_filter f = filter_of(c, ifindex, sides[i], made);

		if (found[i].own.handle && found[i].is_first)
			continue;
		if (found[i].own.handle)
			apptap_tc_remove(&c->tc, &found[i].own);
		apptap_tc_add(&c->tc, &f, sides[i] == APPTAP_TC_OUT ? c->out : c->in);
	}
	r = apptap_tc_send(&c->tc, err);
	if (r < 0)
		apptap_clsact_remove_at(
			&c->tc, ifindex, c->tag,
			fresh && r != -EEXIST ? APPTAP_CLSACT_OURS : APPTAP_CLSACT_THEIRS, NULL);
	return r;
}

int apptap_clsact_attach(struct apptap_clsact *c, int32_t ifindex, bool both,
			 struct apptap_error *err)
{
	int lock = apptap_tag_lock(APPTAP_CLSACT_LOCK);
	int r = put(c, ifindex, both, err);

	if (r == -EEXIST) /* somebody has just made a clsact as well: it is his */
		r = put(c, ifindex, both, err);
	apptap_tag_unlock(lock);
	return explain(r, err);
}

void apptap_clsact_detach(struct apptap_clsact *c, int32_t ifindex)
{
	int lock = apptap_tag_lock(APPTAP_CLSACT_LOCK);

	apptap_clsact_remove_at(&c->tc, ifindex, c->tag, APPTAP_CLSACT_AS_NAMED, NULL);
	apptap_tag_unlock(lock);
}

/* ---- what others do ---- */

int apptap_clsact_fd(const struct apptap_clsact *c)
{
	return c->events.fd;
}

static int note_change(const struct nlmsghdr *h, void *arg)
{
	struct apptap_clsact *c = arg;

	if (h->nlmsg_pid != c->port &&
	    (h->nlmsg_type == RTM_NEWTFILTER || h->nlmsg_type == RTM_DELTFILTER ||
	     h->nlmsg_type == RTM_DELQDISC))
		c->is_disturbed = true;
	return 0;
}

bool apptap_clsact_is_disturbed(struct apptap_clsact *c)
{
	bool any;

	while (apptap_nl_drain(&c->events, note_change, c) == -ENOBUFS)
		c->is_disturbed = true;
	any = c->is_disturbed;
	c->is_disturbed = false;
	return any;
}

int apptap_clsact_ensure(struct apptap_clsact *c, int32_t ifindex, bool both,
			 struct apptap_error *err)
{
	struct side found[2] = { 0 };
	int r = look_at_both(c, ifindex, found, err);

	if (r == 0 && found[0].own.handle && found[0].is_first &&
	    (!both || (found[1].own.handle && found[1].is_first)))
		return 0;
	r = apptap_clsact_attach(c, ifindex, both, err);
	return r < 0 ? r : 1;
}
