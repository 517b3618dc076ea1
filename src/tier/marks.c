/*
 * marks.c - bits of the connection mark: some that nobody uses, and their end
 *
 * How it works. A mark has 32 bits, which all rules of a machine share; which are in use is
 * gathered from the rules of nftables (iptables-nft's among them) that speak of marks, and from the
 * marks that connections have. Captures at the same time are kept apart by the name of a socket,
 * which goes with its process however that ends.
 */
#include "tier/marks.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/nfmsg.h"
#include "tier/ipt.h"
#include "tier/rules.h"

#define SETS (30 / APPTAP_BITS)
#define FIRST_BIT 29 /* the highest: others begin at the low end, or take whole bytes */

static uint32_t bits_of(unsigned nth)
{
	return ((1U << APPTAP_BITS) - 1) << (FIRST_BIT + 1 - APPTAP_BITS - APPTAP_BITS * nth);
}

/* ---- what rules use ---- */

struct rule_scan {
	uint32_t used;
	bool of_marks; /* the rule reads or sets a mark */
	uint32_t constants;
};

/* A mask selects bits, or spares them: whichever are fewer are those that matter. */
static uint32_t fewer(uint32_t v)
{
	return __builtin_popcount(v) > 16 ? ~v : v;
}

static bool name_is(struct apptap_view v, const char *name)
{
	return v.left && strnlen((const char *)v.p, v.left) == strlen(name) &&
	       memcmp(v.p, name, strlen(name)) == 0;
}

/* Constants anywhere below an expression's data; the kernel's nesting is shallow. */
static void scan_constants(struct apptap_view v, struct rule_scan *s)
{
	struct apptap_view stack[4] = { v }, payload;
	size_t depth = 1;

	while (depth) {
		uint32_t value;
		uint16_t type;

		if (!apptap_nfmsg_next(&stack[depth - 1], &type, &payload)) {
			depth--;
		} else if (type == NFTA_DATA_VALUE && payload.left == sizeof(value)) {
			memcpy(&value, payload.p, sizeof(value));
			s->constants |= fewer(value);
		} else if (payload.left > 4 && depth < ARRAY_SIZE(stack)) {
			stack[depth++] = payload;
		}
	}
}

/* An extension of iptables-nft: mark, CONNMARK and kin keep values and masks in front. */
static void scan_extension(struct apptap_view v, struct rule_scan *s)
{
	struct apptap_view payload;
	bool mark = false;
	uint16_t type;

	while (apptap_nfmsg_next(&v, &type, &payload)) {
		uint32_t words[3];

		if (type == NFTA_TARGET_NAME)
			mark = name_is(payload, "CONNMARK") || name_is(payload, "connmark") ||
			       name_is(payload, "MARK") || name_is(payload, "mark");
		if (type != NFTA_TARGET_INFO || !mark || payload.left < 8)
			continue;
		memset(words, 0, sizeof(words));
		memcpy(words, payload.p, MIN(payload.left, sizeof(words)));
		s->used |= fewer(words[0]) | fewer(words[1]) |
			   (payload.left >= 12 ? fewer(words[2]) : 0);
	}
}

static void scan_expr(struct apptap_view v, struct rule_scan *s)
{
	struct apptap_view payload, name = { NULL, 0 }, data = { NULL, 0 };
	uint16_t type;

	while (apptap_nfmsg_next(&v, &type, &payload)) {
		if (type == NFTA_EXPR_NAME)
			name = payload;
		else if (type == NFTA_EXPR_DATA)
			data = payload;
	}
	if (name_is(name, "match") || name_is(name, "target")) {
		scan_extension(data, s);
	} else if (name_is(name, "ct") || name_is(name, "meta")) {
		uint32_t key = name_is(name, "ct") ? NFT_CT_MARK : NFT_META_MARK;
		uint16_t attr = name_is(name, "ct") ? NFTA_CT_KEY : NFTA_META_KEY;

		while (apptap_nfmsg_next(&data, &type, &payload))
			s->of_marks |= type == attr && payload.left >= 4 &&
				       apptap_get_be32(payload.p) == key;
	} else {
		scan_constants(data, s);
	}
}

static int scan_rule(const struct nlmsghdr *h, void *arg)
{
	struct apptap_view v = { NLMSG_DATA(h), h->nlmsg_len - NLMSG_HDRLEN }, exprs, expr;
	struct rule_scan *s = arg;
	uint16_t type;

	if (!apptap_view_take(&v, sizeof(struct nfgenmsg)))
		return 0;
	s->of_marks = false;
	s->constants = 0;
	while (apptap_nfmsg_next(&v, &type, &exprs)) {
		if (type != NFTA_RULE_EXPRESSIONS)
			continue;
		while (apptap_nfmsg_next(&exprs, &type, &expr))
			scan_expr(expr, s);
	}
	if (s->of_marks)
		s->used |= s->constants;
	return 0;
}

/* ---- what connections use ---- */

static int scan_mark(const struct nlmsghdr *h, void *arg)
{
	struct apptap_view v = { NLMSG_DATA(h), h->nlmsg_len - NLMSG_HDRLEN }, payload;
	uint32_t *used = arg;
	uint16_t type;

	if (!apptap_view_take(&v, sizeof(struct nfgenmsg)))
		return 0;
	while (apptap_nfmsg_next(&v, &type, &payload))
		if (type == CTA_MARK && payload.left >= 4)
			*used |= apptap_get_be32(payload.p);
	return 0;
}

static int ask(struct apptap_nfmsg *m, apptap_nl_each each, void *arg, struct apptap_error *err)
{
	struct apptap_nl nl = APPTAP_NL_CLOSED;
	int r = apptap_nl_open(&nl, NETLINK_NETFILTER, err);

	if (r < 0)
		return r;
	r = apptap_nl_ask(&nl, (struct nlmsghdr *)(void *)m->bytes, each, arg, err);
	apptap_nl_close(&nl);
	return r;
}

/* Dumps the connections whose mark has any of @mask, or all of them; one bit may be asked for. */
static void dump_connections(struct apptap_nfmsg *m, uint32_t bit)
{
	apptap_nfmsg_init(m);
	apptap_nfmsg_begin(m, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, NLM_F_DUMP, AF_UNSPEC,
			   0, "a list of connections");
	if (bit) {
		apptap_nfmsg_put_be32(m, CTA_MARK, bit);
		apptap_nfmsg_put_be32(m, CTA_MARK_MASK, bit);
	}
}

static int used_bits(uint32_t *rules, uint32_t *connections, struct apptap_error *err)
{
	struct rule_scan s = { 0 };
	auto_free struct apptap_nfmsg *m = malloc(sizeof(*m));
	int r;

	if (!m)
		return apptap_error_set(err, ENOMEM, "listing marks");
	apptap_nfmsg_init(m);
	apptap_nfmsg_begin(m, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE, NLM_F_DUMP,
			   NFPROTO_UNSPEC, 0, "a list of rules");
	ask(m, scan_rule, &s, NULL); /* a kernel without nftables has none */
	*rules = s.used;
	for (int i = APPTAP_IPT_V4; i <= APPTAP_IPT_V6; i++) /* what nftables does not list */
		*rules |= apptap_ipt_legacy_marks((enum apptap_ipt_family)i);
	*connections = 0;
	dump_connections(m, 0);
	r = ask(m, scan_mark, connections, err);
	if (r < 0)
		return apptap_error_wrap(err, r, "listing the connections (nf_conntrack_netlink)");
	return 0;
}

/* A name in this network namespace, which nobody else can have at the same time. */
static int lock_bits(unsigned nth)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int len = snprintf(a.sun_path + 1, sizeof(a.sun_path) - 1, "apptap-mark-%u", nth);
	auto_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 ||
	    bind(fd, (struct sockaddr *)&a,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len)) < 0)
		return -1;
	return apptap_steal_fd(&fd);
}

int apptap_marks_take(struct apptap_marks *m, struct apptap_error *err)
{
	uint32_t rules = 0, connections = 0;
	int r = used_bits(&rules, &connections, err);

	if (r < 0)
		return r;
	/* Better bits that no connection has; else those that a killed capture has left behind. */
	for (unsigned i = 0; i < 2 * SETS; i++) {
		uint32_t mark = bits_of(i % SETS);

		if (mark & rules || (i < SETS && mark & connections))
			continue;
		m->lock = lock_bits(i % SETS);
		if (m->lock < 0)
			continue;
		m->mark = mark;
		if (mark & connections)
			apptap_marks_clear(mark, NULL);
		return 0;
	}
	r = apptap_error_say(err, EBUSY,
			     "rules of this machine use all bits of the connection mark");
	apptap_error_hint(err, "--tier sockdiag needs none");
	return r;
}

/* ---- clearing ---- */

#define CLEAR_A_SEND 32
#define FEW 20000 /* connections; the kernel's walk alone takes as long as telling of so many */

struct clearing {
	uint32_t mark;
	struct apptap_nl nl;
	struct apptap_nfmsg *msg;
	int count;
};

static int send_clearing(struct clearing *c)
{
	int r = c->msg->count ? apptap_nfmsg_send(&c->nl, c->msg, NULL) : 0;

	apptap_nfmsg_init(c->msg);
	return r == -ENOENT ? 0 : r; /* it has ended meanwhile */
}

static int clear_one(const struct nlmsghdr *h, void *arg)
{
	struct apptap_view v = { NLMSG_DATA(h), h->nlmsg_len - NLMSG_HDRLEN }, payload, tuple, zone;
	const struct nfgenmsg *g = apptap_view_take(&v, sizeof(*g));
	struct clearing *c = arg;
	bool marked = false;
	uint16_t type;

	tuple = zone = (struct apptap_view){ NULL, 0 };
	while (g && apptap_nfmsg_next(&v, &type, &payload)) {
		if (type == CTA_TUPLE_ORIG)
			tuple = payload;
		else if (type == CTA_ZONE)
			zone = payload;
		else if (type == CTA_MARK && payload.left >= 4)
			marked = apptap_get_be32(payload.p) & c->mark;
	}
	if (!tuple.p || !marked)
		return 0;
	apptap_nfmsg_begin(c->msg, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW, 0,
			   g->nfgen_family, 0, "a new mark of a connection");
	apptap_nfmsg_put(c->msg, CTA_TUPLE_ORIG | NLA_F_NESTED, tuple.p, tuple.left);
	if (zone.p)
		apptap_nfmsg_put(c->msg, CTA_ZONE, zone.p, zone.left);
	apptap_nfmsg_put_be32(c->msg, CTA_MARK, 0);
	apptap_nfmsg_put_be32(c->msg, CTA_MARK_MASK, c->mark);
	c->count++;
	return c->msg->count == CLEAR_A_SEND ? send_clearing(c) : 0;
}

static bool are_few(void)
{
	auto_close int fd =
		open("/proc/sys/net/netfilter/nf_conntrack_count", O_RDONLY | O_CLOEXEC);
	char text[32] = "";

	return fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && strtoul(text, NULL, 10) < FEW;
}

int apptap_marks_clear(uint32_t mark, struct apptap_error *err)
{
	struct clearing c = { .mark = mark, .nl = APPTAP_NL_CLOSED };
	auto_free struct apptap_nfmsg *msg = malloc(2 * sizeof(*msg));
	bool few = are_few();
	int r;

	if (!msg)
		return apptap_error_set(err, ENOMEM, "clearing marks");
	c.msg = msg + 1;
	apptap_nfmsg_init(c.msg);
	r = apptap_nl_open(&c.nl, NETLINK_NETFILTER, err);
	/* A filter is a mask and a value: one bit at a time. Without one all are told of. */
	for (uint32_t left = mark; r >= 0 && left; left = few ? 0 : left & (left - 1)) {
		dump_connections(msg, few ? 0 : left & -left);
		r = ask(msg, clear_one, &c, err);
		if (r >= 0)
			r = send_clearing(&c);
	}
	apptap_nl_close(&c.nl);
	return r < 0 ? r : c.count;
}

static void put_address(struct apptap_nfmsg *m, uint16_t attr, uint8_t family,
			const struct apptap_addr *a)
{
	if (family == AF_INET)
		apptap_nfmsg_put(m, attr == 0 ? CTA_IP_V4_SRC : CTA_IP_V4_DST, a->b + 12, 4);
	else
		apptap_nfmsg_put(m, attr == 0 ? CTA_IP_V6_SRC : CTA_IP_V6_DST, a->b, 16);
}

int apptap_marks_put(struct apptap_nl *nl, struct apptap_nfmsg *m, const struct apptap_flow *flow,
		     uint32_t mask, uint32_t bits)
{
	size_t tuple, part;

	apptap_nfmsg_init(m);
	apptap_nfmsg_begin(m, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW, 0, flow->family, 0,
			   "a new mark of a connection");
	tuple = apptap_nfmsg_nest(m, CTA_TUPLE_ORIG);
	part = apptap_nfmsg_nest(m, CTA_TUPLE_IP);
	put_address(m, 0, flow->family, &flow->laddr);
	put_address(m, 1, flow->family, &flow->raddr);
	apptap_nfmsg_unnest(m, part);
	part = apptap_nfmsg_nest(m, CTA_TUPLE_PROTO);
	apptap_nfmsg_put_u8(m, CTA_PROTO_NUM, flow->proto);
	apptap_nfmsg_put_be16(m, CTA_PROTO_SRC_PORT, flow->lport);
	apptap_nfmsg_put_be16(m, CTA_PROTO_DST_PORT, flow->rport);
	apptap_nfmsg_unnest(m, part);
	apptap_nfmsg_unnest(m, tuple);
	apptap_nfmsg_put_be32(m, CTA_MARK, bits);
	apptap_nfmsg_put_be32(m, CTA_MARK_MASK, mask);
	return apptap_nfmsg_send(nl, m, NULL);
}

void apptap_marks_release(struct apptap_marks *m)
{
	if (m->lock >= 0)
		close(m->lock);
	m->lock = -1;
}
