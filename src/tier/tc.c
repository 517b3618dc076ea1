/* tc.c - clsact, the place of tc's filters at an interface, and the filters in it (rtnetlink) */
#include "tier/tc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#define FILTERS_MAX 65536

int apptap_tc_open(struct apptap_tc *tc, struct apptap_error *err)
{
	int r;

	tc->nl = (struct apptap_nl)APPTAP_NL_CLOSED;
	tc->msg = malloc(sizeof(*tc->msg));
	if (!tc->msg)
		return apptap_error_set(err, ENOMEM, "allocating tc's messages");
	r = apptap_nl_open(&tc->nl, NETLINK_ROUTE, err);
	if (r < 0)
		apptap_tc_close(tc);
	return r;
}

void apptap_tc_close(struct apptap_tc *tc)
{
	apptap_nl_close(&tc->nl);
	free(apptap_steal(&tc->msg));
}

static void begin(struct apptap_tc *tc, uint16_t type, uint16_t flags, const struct tcmsg *head,
		  const char *what)
{
	apptap_nfmsg_begin_with(tc->msg, type, flags, head, sizeof(*head), what);
}

/* A question that stands alone. */
static int ask(struct apptap_tc *tc, uint16_t type, uint16_t flags, const struct tcmsg *head,
	       apptap_nl_each each, void *arg, struct apptap_error *err)
{
	apptap_nfmsg_init(tc->msg);
	begin(tc, type, flags, head, "");
	return apptap_nl_ask(&tc->nl, (struct nlmsghdr *)(void *)tc->msg->bytes, each, arg, err);
}

/* ---- what is there ---- */

static bool is_text(struct apptap_view v, const char *text)
{
	return v.left == strlen(text) + 1 && memcmp(v.p, text, v.left) == 0;
}

/* The head of a message about tc, its attributes in @attrs. NULL: it is too short. */
static const struct tcmsg *open_message(const struct nlmsghdr *h, struct apptap_view *attrs)
{
	*attrs = (struct apptap_view){ NLMSG_DATA(h), h->nlmsg_len - NLMSG_HDRLEN };
	return apptap_view_take(attrs, NLMSG_ALIGN(sizeof(struct tcmsg)));
}

static enum apptap_tc_place place_of(const struct nlmsghdr *h, int32_t *ifindex)
{
	struct apptap_view attrs, value;
	const struct tcmsg *t = open_message(h, &attrs);
	uint16_t type;

	if (h->nlmsg_type != RTM_NEWQDISC || !t)
		return APPTAP_TC_NOTHING;
	*ifindex = t->tcm_ifindex;
	while (apptap_nfmsg_next(&attrs, &type, &value)) {
		if (type != TCA_KIND)
			continue;
		if (is_text(value, "clsact"))
			return APPTAP_TC_CLSACT;
		if (is_text(value, "ingress"))
			return APPTAP_TC_INGRESS_ONLY;
	}
	return APPTAP_TC_NOTHING;
}

static int take_place(const struct nlmsghdr *h, void *arg)
{
	int32_t ifindex;
	enum apptap_tc_place place = place_of(h, &ifindex);

	if (place != APPTAP_TC_NOTHING)
		*(enum apptap_tc_place *)arg = place;
	return 0;
}

int apptap_tc_place(struct apptap_tc *tc, int32_t ifindex)
{
	struct tcmsg head = { .tcm_ifindex = ifindex, .tcm_parent = TC_H_CLSACT };
	enum apptap_tc_place place = APPTAP_TC_NOTHING;
	/*
	 * Without ECHO the answer goes to those who listen to changes, not to who has asked; and
	 * where a clsact was once, there is none at all but for the ACK.
	 */
	int r = ask(tc, RTM_GETQDISC, NLM_F_ECHO | NLM_F_ACK, &head, take_place, &place, NULL);

	return r == -ENODEV ? r : (int)place;
}

struct places {
	int32_t *list;
	int count;
};

static int add_place(const struct nlmsghdr *h, void *arg)
{
	struct places *p = arg;
	int32_t ifindex, *grown;

	if (place_of(h, &ifindex) != APPTAP_TC_CLSACT)
		return 0;
	grown = reallocarray(p->list, (size_t)p->count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	p->list = grown;
	p->list[p->count++] = ifindex;
	return 0;
}

int apptap_tc_places(struct apptap_tc *tc, int32_t **out, struct apptap_error *err)
{
	struct tcmsg head = { 0 };
	struct places p = { 0 };
	int r = ask(tc, RTM_GETQDISC, NLM_F_DUMP, &head, add_place, &p, NULL);

	if (r < 0) {
		free(p.list);
		return apptap_error_set(err, -r, "listing tc's qdiscs");
	}
	*out = p.list;
	return p.count;
}

static void take_name(struct apptap_view options, struct apptap_tc_filter *f)
{
	struct apptap_view value;
	uint16_t type;

	while (apptap_nfmsg_next(&options, &type, &value))
		if (type == TCA_BPF_NAME)
			memcpy(f->name, value.p, MIN(value.left, sizeof(f->name) - 1));
}

static int take_filter(const struct nlmsghdr *h, void *arg)
{
	struct apptap_tc_filters *to = arg;
	struct apptap_view attrs, value, options = { 0 };
	const struct tcmsg *t = open_message(h, &attrs);
	struct apptap_tc_filter *f;
	uint16_t type;

	/* Without a handle it is a priority that holds filters, and no filter. */
	if (h->nlmsg_type != RTM_NEWTFILTER || !t || !t->tcm_handle)
		return 0;
	if (to->count == FILTERS_MAX)
		return -E2BIG;
	f = reallocarray(to->list, to->count + 1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	to->list = f;
	f += to->count++;
	*f = (struct apptap_tc_filter){ .ifindex = t->tcm_ifindex,
					.parent = t->tcm_parent,
					.prio = (uint16_t)(t->tcm_info >> 16),
					.proto_be = (uint16_t)t->tcm_info,
					.handle = t->tcm_handle };
	while (apptap_nfmsg_next(&attrs, &type, &value)) {
		if (type == TCA_KIND)
			f->is_bpf = is_text(value, "bpf");
		if (type == TCA_OPTIONS)
			options = value;
		if (type == TCA_CHAIN && value.left >= sizeof(f->chain))
			memcpy(&f->chain, value.p, sizeof(f->chain));
	}
	if (f->is_bpf)
		take_name(options, f);
	return 0;
}

int apptap_tc_list(struct apptap_tc *tc, int32_t ifindex, uint32_t parent,
		   struct apptap_tc_filters *to, struct apptap_error *err)
{
	struct tcmsg head = { .tcm_ifindex = ifindex, .tcm_parent = parent };
	int r = ask(tc, RTM_GETTFILTER, NLM_F_DUMP, &head, take_filter, to, NULL);

	return r < 0 ? apptap_error_set(err, -r, "listing tc's filters") : 0;
}

/* ---- changes ---- */

void apptap_tc_begin(struct apptap_tc *tc)
{
	apptap_nfmsg_init(tc->msg);
}

static struct tcmsg clsact_of(int32_t ifindex)
{
	return (struct tcmsg){ .tcm_ifindex = ifindex,
			       .tcm_parent = TC_H_CLSACT,
			       .tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0) };
}

void apptap_tc_add_clsact(struct apptap_tc *tc, int32_t ifindex)
{
	struct tcmsg head = clsact_of(ifindex);

	begin(tc, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, &head, "a clsact");
	apptap_nfmsg_put_str(tc->msg, TCA_KIND, "clsact");
}

void apptap_tc_remove_clsact(struct apptap_tc *tc, int32_t ifindex)
{
	struct tcmsg head = clsact_of(ifindex);

	begin(tc, RTM_DELQDISC, 0, &head, "the end of a clsact");
	apptap_nfmsg_put_str(tc->msg, TCA_KIND, "clsact");
}

static void begin_filter(struct apptap_tc *tc, uint16_t type, uint16_t flags,
			 const struct apptap_tc_filter *f, const char *what)
{
	struct tcmsg head = { .tcm_ifindex = f->ifindex,
			      .tcm_parent = f->parent,
			      .tcm_handle = f->handle,
			      .tcm_info = TC_H_MAKE((uint32_t)f->prio << 16, f->proto_be) };

	begin(tc, type, flags, &head, what);
	apptap_nfmsg_put_str(tc->msg, TCA_KIND, "bpf");
}

void apptap_tc_add(struct apptap_tc *tc, const struct apptap_tc_filter *f, int program)
{
	static const uint32_t direct = TCA_BPF_FLAG_ACT_DIRECT, no_hardware = TCA_CLS_FLAGS_SKIP_HW;
	size_t nest;

	begin_filter(tc, RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, f, "a filter");
	nest = apptap_nfmsg_nest(tc->msg, TCA_OPTIONS);
	apptap_nfmsg_put(tc->msg, TCA_BPF_FD, &program, sizeof(program));
	apptap_nfmsg_put_str(tc->msg, TCA_BPF_NAME, f->name);
	apptap_nfmsg_put(tc->msg, TCA_BPF_FLAGS, &direct, sizeof(direct));
	apptap_nfmsg_put(tc->msg, TCA_BPF_FLAGS_GEN, &no_hardware, sizeof(no_hardware));
	apptap_nfmsg_unnest(tc->msg, nest);
}

void apptap_tc_remove(struct apptap_tc *tc, const struct apptap_tc_filter *f)
{
	begin_filter(tc, RTM_DELTFILTER, 0, f, "the end of a filter");
}

int apptap_tc_send(struct apptap_tc *tc, struct apptap_error *err)
{
	return apptap_nfmsg_send(&tc->nl, tc->msg, err);
}
