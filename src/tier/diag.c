/* diag.c - ask the kernel which user owns a socket (NETLINK_SOCK_DIAG) */
#include "tier/diag.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "base/nfmsg.h"
#include "tier/procnet.h"

#define SYN_RECV_NEW 12 /* TCP_NEW_SYN_RECV: what a request socket calls itself on some kernels */

struct apptap_diag {
	struct apptap_nl nl; /* owned */
	struct apptap_members *members; /* borrowed; NULL: a scope without cgroups */
	bool slow; /* SOCK_DIAG does not answer: /proc/net instead */
};

struct request {
	struct nlmsghdr h;
	struct inet_diag_req_v2 req;
};

static bool is_udp(uint8_t proto)
{
	return proto == IPPROTO_UDP || proto == IPPROTO_UDPLITE;
}

static void copy_addr(uint32_t to[4], uint8_t family, const struct apptap_addr *a)
{
	if (family == AF_INET)
		memcpy(to, a->b + 12, 4);
	else
		memcpy(to, a->b, 16);
}

static void begin(struct request *m, uint8_t family, uint8_t proto, uint16_t flags)
{
	memset(m, 0, sizeof(*m));
	m->h.nlmsg_len = sizeof(*m);
	m->h.nlmsg_type = SOCK_DIAG_BY_FAMILY;
	m->h.nlmsg_flags = NLM_F_REQUEST | flags;
	m->req.sdiag_family = family;
	m->req.sdiag_protocol = proto;
	m->req.idiag_states = ~0U;
	m->req.id.idiag_cookie[0] = INET_DIAG_NOCOOKIE;
	m->req.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
}

/* INET_DIAG_CGROUP_ID behind @d: since 5.8, and only of whole sockets, not of TIME_WAIT and
 * requests. false: it is not there. */
static bool find_cgroup(const struct nlmsghdr *msg, uint64_t *id)
{
	const uint8_t *p = (const uint8_t *)msg;
	struct apptap_view v = { p, msg->nlmsg_len }, attr;
	uint16_t type;

	if (!apptap_view_take(&v, NLMSG_ALIGN(NLMSG_LENGTH(sizeof(struct inet_diag_msg)))))
		return false;
	while (apptap_nfmsg_next(&v, &type, &attr)) {
		if (type != INET_DIAG_CGROUP_ID || attr.left != sizeof(*id))
			continue;
		memcpy(id, attr.p, sizeof(*id));
		return true;
	}
	return false;
}

/*
 * A socket belongs for good to the cgroup that its maker was in, an accepted one to its listener's:
 * nobody need have accepted it, nor is it forgotten when the socket is closed.
 * (tests/kernel/diag_cgroup.c)
 */
static void judge_cgroup(struct apptap_members *members, const struct nlmsghdr *msg,
			 struct apptap_sighting *out)
{
	uint64_t id;

	if (!apptap_members_by_cgroup(members) || !find_cgroup(msg, &id))
		return;
	out->member = apptap_members_cgroup(members, id);
	if (out->member == APPTAP_MEMBER_IN)
		out->sight = APPTAP_SIGHT_OWNED;
}

/* Without an inode: whoever has accepted a connection, and closes it, leaves these states. */
static bool is_unaccepted(uint8_t state)
{
	return state == TCP_ESTABLISHED || state == TCP_CLOSE_WAIT;
}

/*
 * What the kernel means (kernel.md, "SOCK_DIAG"): TIME_WAIT, SYN_RECV and orphans past FIN_WAIT1
 * say UID 0 and inode 0, which is "unknown", never root. A connection that nobody accepted yet has
 * no inode, and its listener's UID; on older kernels (5.10, 6.1, 6.12: tests/vm) 0 as well.
 */
static void judge_user(const struct inet_diag_msg *d, uint8_t proto, struct apptap_sighting *out)
{
	out->cookie = (uint64_t)d->id.idiag_cookie[1] << 32 | d->id.idiag_cookie[0];
	out->uid = d->idiag_uid;
	out->sight = APPTAP_SIGHT_OWNED;
	out->wildcard = is_udp(proto) && d->id.idiag_dport == 0;
	if (d->idiag_inode)
		return;
	if (d->idiag_uid == 0) {
		out->sight = APPTAP_SIGHT_ORPHAN;
		out->uid = APPTAP_UID_NONE;
	} else if (proto == IPPROTO_TCP && is_unaccepted(d->idiag_state)) {
		out->sight = APPTAP_SIGHT_PENDING;
	}
}

/* By whoever holds it open; one that nobody has accepted yet is its listener's until then. */
static void judge_process(struct apptap_members *members, const struct inet_diag_msg *d,
			  struct apptap_sighting *out)
{
	if (!apptap_members_by_process(members) || out->member == APPTAP_MEMBER_IN ||
	    out->sight == APPTAP_SIGHT_PENDING || !out->cookie)
		return;
	out->member = apptap_members_socket(members, out->cookie, d->idiag_inode);
	if (out->member == APPTAP_MEMBER_IN)
		out->sight = APPTAP_SIGHT_OWNED;
}

static void judge(struct apptap_members *members, const struct nlmsghdr *msg, uint8_t proto,
		  struct apptap_sighting *out)
{
	judge_user(NLMSG_DATA(msg), proto, out);
	out->member = APPTAP_MEMBER_BY_UID;
	if (!members)
		return;
	judge_cgroup(members, msg, out);
	judge_process(members, NLMSG_DATA(msg), out);
}

struct answer {
	uint8_t proto;
	uint8_t state;
	struct apptap_members *members;
	struct apptap_sighting *out;
};

static int take_answer(const struct nlmsghdr *msg, void *arg)
{
	struct answer *a = arg;
	const struct inet_diag_msg *d = NLMSG_DATA(msg);

	if (msg->nlmsg_type != SOCK_DIAG_BY_FAMILY || msg->nlmsg_len < NLMSG_LENGTH(sizeof(*d)))
		return -EBADMSG;
	a->state = d->idiag_state;
	judge(a->members, msg, a->proto, a->out);
	a->out->queued = is_udp(a->proto) && d->idiag_rqueue > 0;
	return 0;
}

static int lookup(struct apptap_diag *d, const struct apptap_flow *flow, uint16_t rport,
		  int ifindex, struct answer *a)
{
	struct request m;
	struct inet_diag_sockid *id = &m.req.id;
	/* UDP takes the remote end as source: swapped "for historical reasons", says the kernel. */
	bool swap = is_udp(flow->proto);

	begin(&m, flow->family, flow->proto, 0);
	copy_addr(id->idiag_src, flow->family, swap ? &flow->raddr : &flow->laddr);
	copy_addr(id->idiag_dst, flow->family, swap ? &flow->laddr : &flow->raddr);
	id->idiag_sport = htons(swap ? rport : flow->lport);
	id->idiag_dport = htons(swap ? flow->lport : rport);
	id->idiag_if = (uint32_t)ifindex;
	a->out->sight = APPTAP_SIGHT_NONE;
	a->out->uid = APPTAP_UID_NONE;
	a->out->cookie = 0;
	a->out->member = APPTAP_MEMBER_BY_UID;
	return apptap_nl_ask(&d->nl, &m.h, take_answer, a, NULL);
}

/*
 * The kernel looks at the UID first, then at the inode: where a connection is accepted between the
 * two, it says the listener's UID, and yet that it is somebody's. Who has an inode by now has a
 * UID.
 */
static void make_sure(struct apptap_diag *d, const struct apptap_flow *flow, int ifindex,
		      struct answer *a)
{
	struct apptap_sighting first = *a->out;
	uint8_t state = a->state;

	if (lookup(d, flow, flow->rport, ifindex, a) == 0 && a->out->cookie == first.cookie &&
	    a->out->sight == APPTAP_SIGHT_OWNED)
		return;
	*a->out = first; /* it has been closed meanwhile */
	a->state = state;
}

void apptap_diag_ask(struct apptap_diag *d, const struct apptap_flow *flow, int ifindex,
		     struct apptap_sighting *out)
{
	struct answer a = { .proto = flow->proto, .members = d->members, .out = out };

	if (d->slow || !(flow->proto == IPPROTO_TCP || is_udp(flow->proto) ||
			 flow->proto == IPPROTO_SCTP || flow->proto == IPPROTO_DCCP)) {
		apptap_procnet_ask(flow, out);
		if (d->members && out->sight == APPTAP_SIGHT_OWNED)
			out->member = out->several ? APPTAP_MEMBER_UNSURE
						   : apptap_members_inode(d->members, out->cookie);
		return;
	}
	memset(out, 0, sizeof(*out));
	out->flow = *flow;
	if (lookup(d, flow, flow->rport, ifindex, &a) == 0 && flow->proto == IPPROTO_TCP) {
		if (out->sight == APPTAP_SIGHT_OWNED && a.state != TCP_SYN_SENT)
			make_sure(d, flow, ifindex, &a);
		bool ownerless = a.state == TCP_SYN_RECV || a.state == SYN_RECV_NEW ||
				 (out->sight == APPTAP_SIGHT_ORPHAN && is_unaccepted(a.state)) ||
				 (out->sight == APPTAP_SIGHT_PENDING && d->members &&
				  apptap_members_by_process(d->members));

		/* A request socket knows no owner; its listener does, and any stranger's port finds
		 * it. */
		if (ownerless)
			lookup(d, flow, 0, ifindex, &a);
		if (ownerless || a.state == TCP_LISTEN) {
			if (out->sight == APPTAP_SIGHT_OWNED)
				out->sight = APPTAP_SIGHT_PENDING;
			out->cookie = 0;
		}
	}
	out->asked_ns = apptap_clock_ns(CLOCK_REALTIME);
}

struct dump {
	uint8_t proto;
	bool listening; /* only those */
	struct apptap_members *members;
	uint8_t family; /* of the list; a v6 socket that talks IPv4 stands in that of IPv6 */
	int (*each)(const struct apptap_sighting *s, void *arg);
	void *arg;
};

/*
 * A dump lists a v6 socket talking to a v4 peer under AF_INET6 only, with mapped addresses, and
 * Java's sockets are v6; on the wire it is IPv4. (tests/kernel/diag_mapped.c)
 */
static uint8_t wire_family(uint8_t family, const struct apptap_addr *raddr)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	return memcmp(raddr->b, mapped, sizeof(mapped)) == 0 ? AF_INET : family;
}

static int take_socket(const struct nlmsghdr *msg, void *arg)
{
	const struct dump *dump = arg;
	const struct inet_diag_msg *d = NLMSG_DATA(msg);
	struct apptap_sighting s = { 0 };

	if (msg->nlmsg_type != SOCK_DIAG_BY_FAMILY || msg->nlmsg_len < NLMSG_LENGTH(sizeof(*d)))
		return 0;
	s.flow.proto = dump->proto;
	apptap_addr_set(&s.flow.laddr, d->idiag_family, d->id.idiag_src);
	apptap_addr_set(&s.flow.raddr, d->idiag_family, d->id.idiag_dst);
	s.flow.lport = ntohs(d->id.idiag_sport);
	s.flow.rport = ntohs(d->id.idiag_dport);
	s.flow.family = wire_family(d->idiag_family, &s.flow.raddr);
	judge(dump->members, msg, dump->proto, &s);
	s.asked_ns = apptap_clock_ns(CLOCK_REALTIME);
	return dump->each(&s, dump->arg);
}

static int take_line(const struct apptap_procnet_line *line, void *arg)
{
	const struct dump *dump = arg;
	struct apptap_sighting s = { .cookie = line->inode, .uid = line->uid };

	s.flow.proto = dump->proto;
	s.flow.family = wire_family(dump->family, &line->raddr);
	s.flow.laddr = line->laddr;
	s.flow.raddr = line->raddr;
	s.flow.lport = line->lport;
	s.flow.rport = line->rport;
	s.wildcard = is_udp(dump->proto) && line->rport == 0;
	s.sight = line->inode || line->uid ? APPTAP_SIGHT_OWNED : APPTAP_SIGHT_ORPHAN;
	s.asked_ns = apptap_clock_ns(CLOCK_REALTIME);
	return dump->each(&s, dump->arg);
}

/* A dump whose bytecode lets through one local port only; 0: no bytecode, all sockets. */
static int dump_family(struct apptap_diag *d, uint8_t family, struct dump *dump, uint16_t lport,
		       struct apptap_error *err)
{
	struct {
		struct request r;
		struct nlattr attr;
		struct inet_diag_bc_op ops[4];
	} m;

	_Static_assert(sizeof(struct inet_diag_bc_op) == 4, "kernel layout");
	begin(&m.r, family, dump->proto, NLM_F_DUMP);
	m.r.req.idiag_states = ~(1U << TCP_TIME_WAIT); /* thousands, and nobody has one */
	if (dump->listening)
		m.r.req.idiag_states = 1U << TCP_LISTEN;
	if (lport) {
		/* sport >= lport, sport <= lport: each compare is two ops, the second holds the
		 * port */
		memset(m.ops, 0, sizeof(m.ops));
		m.ops[0] = (struct inet_diag_bc_op){ INET_DIAG_BC_S_GE, 8, 20 };
		m.ops[1] = (struct inet_diag_bc_op){ INET_DIAG_BC_NOP, 4, lport };
		m.ops[2] = (struct inet_diag_bc_op){ INET_DIAG_BC_S_LE, 8, 12 };
		m.ops[3] = (struct inet_diag_bc_op){ INET_DIAG_BC_NOP, 4, lport };
		m.attr.nla_type = INET_DIAG_REQ_BYTECODE;
		m.attr.nla_len = sizeof(m.attr) + sizeof(m.ops);
		m.r.h.nlmsg_len = sizeof(m);
	}
	return apptap_nl_ask(&d->nl, &m.r.h, take_socket, dump, err);
}

static int dump_port(struct apptap_diag *d, struct dump *dump, uint16_t lport,
		     struct apptap_error *err)
{
	static const uint8_t families[] = { AF_INET, AF_INET6 };
	int r;

	dump->members = d->members;
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		dump->family = families[i];
		if (d->slow)
			r = apptap_procnet_each(dump->proto, families[i], take_line, dump, err);
		else
			r = dump_family(d, families[i], dump, lport, err);
		if (r < 0 && r != -ENOENT && !(d->slow && families[i] == AF_INET6))
			return apptap_error_wrap(err, r, "listing the sockets of protocol %d",
						 dump->proto);
	}
	return 0;
}

int apptap_diag_dump(struct apptap_diag *d, int proto,
		     int (*each)(const struct apptap_sighting *s, void *arg), void *arg,
		     struct apptap_error *err)
{
	struct dump dump = { .proto = (uint8_t)proto, .each = each, .arg = arg };

	return dump_port(d, &dump, 0, err);
}

struct port {
	uint16_t lport;
	int (*each)(const struct apptap_sighting *s, void *arg);
	void *arg;
};

/* Bytecode has kept the others out already; /proc/net has not. */
static int take_bound(const struct apptap_sighting *s, void *arg)
{
	const struct port *p = arg;

	return s->flow.lport == p->lport ? p->each(s, p->arg) : 0;
}

void apptap_diag_port(struct apptap_diag *d, int proto, uint16_t lport,
		      int (*each)(const struct apptap_sighting *s, void *arg), void *arg)
{
	struct port port = { lport, each, arg };
	struct dump dump = { .proto = (uint8_t)proto, .each = take_bound, .arg = &port };

	dump_port(d, &dump, lport, NULL);
}

int apptap_diag_listeners(struct apptap_diag *d,
			  int (*each)(const struct apptap_sighting *s, void *arg), void *arg,
			  struct apptap_error *err)
{
	struct dump dump = { .proto = IPPROTO_TCP, .listening = true, .each = each, .arg = arg };

	return d->slow ? 0 : dump_port(d, &dump, 0, err);
}

struct group {
	const struct apptap_flow *flow;
	const struct apptap_scope *scope;
	struct apptap_sighting *out;
};

static int take_member(const struct apptap_sighting *s, void *arg)
{
	const struct group *g = arg;

	if (s->flow.lport != g->flow->lport || s->sight != APPTAP_SIGHT_OWNED ||
	    !apptap_scope_owns(g->scope, s->uid, s->member))
		return 0;
	if (!apptap_addr_is_any(&s->flow.laddr) &&
	    memcmp(&s->flow.laddr, &g->flow->laddr, sizeof(s->flow.laddr)) != 0)
		return 0;
	g->out->sight = APPTAP_SIGHT_OWNED;
	g->out->uid = s->uid;
	g->out->member = s->member;
	g->out->cookie = s->cookie;
	return 0;
}

void apptap_diag_ask_group(struct apptap_diag *d, const struct apptap_flow *flow,
			   const struct apptap_scope *scope, struct apptap_sighting *out)
{
	struct group g = { flow, scope, out };
	struct dump dump = { .proto = flow->proto, .each = take_member, .arg = &g };

	memset(out, 0, sizeof(*out));
	out->flow = *flow;
	out->group = true;
	out->uid = APPTAP_UID_NONE;
	out->sight = APPTAP_SIGHT_NONE;
	dump_port(d, &dump, flow->lport, NULL);
	out->asked_ns = apptap_clock_ns(CLOCK_REALTIME);
}

static int ignore_answer(const struct nlmsghdr *msg, void *arg)
{
	(void)msg;
	(void)arg;
	return 0;
}

/* Does SOCK_DIAG answer for TCP and UDP? Asked of a socket that cannot be: ENOENT is a yes. */
static bool answers(struct apptap_diag *d)
{
	static const uint8_t protos[] = { IPPROTO_TCP, IPPROTO_UDP };

	for (size_t i = 0; i < ARRAY_SIZE(protos); i++) {
		struct request m;
		int r;

		begin(&m, AF_INET, protos[i], 0);
		r = apptap_nl_ask(&d->nl, &m.h, ignore_answer, NULL, NULL);
		if (r < 0 && r != -ENOENT)
			return false;
	}
	return true;
}

int apptap_diag_open(struct apptap_diag **out, struct apptap_error *err)
{
	struct apptap_diag *d = calloc(1, sizeof(*d));

	if (!d)
		return apptap_error_set(err, ENOMEM, "allocating a sock_diag handle");
	if (apptap_nl_open(&d->nl, NETLINK_SOCK_DIAG, NULL) < 0 || !answers(d) ||
	    secure_getenv("APPTAP_NO_SOCK_DIAG"))
		d->slow = true;
	*out = d;
	return 0;
}

void apptap_diag_close(struct apptap_diag *d)
{
	if (!d)
		return;
	apptap_nl_close(&d->nl);
	free(d);
}

int apptap_diag_tell_members(struct apptap_diag *d, struct apptap_members *m,
			     struct apptap_error *err)
{
	auto_close int own = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);
	struct apptap_flow flow = { .family = AF_INET, .proto = IPPROTO_UDP };
	struct apptap_sighting s;

	if (!m)
		return 0;
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (own < 0 || bind(own, (struct sockaddr *)&a, len) < 0 ||
	    getsockname(own, (struct sockaddr *)&a, &len) < 0)
		return apptap_error_set(err, errno, "opening a UDP socket");
	apptap_addr_set(&flow.laddr, AF_INET, &a.sin_addr);
	flow.raddr = flow.laddr;
	flow.lport = ntohs(a.sin_port);
	flow.rport = 9;
	d->members = m;
	apptap_diag_ask(d, &flow, 0, &s);
	if (!d->slow && s.sight == APPTAP_SIGHT_OWNED && s.member != APPTAP_MEMBER_BY_UID)
		return 0;
	d->members = NULL;
	if (d->slow)
		return apptap_error_say(err, EOPNOTSUPP, "SOCK_DIAG does not answer here");
	apptap_error_say(err, EOPNOTSUPP, "this kernel does not tell the cgroup of a socket");
	apptap_error_hint(err, "it needs Linux 5.8 or later with cgroup2; or name a user: --user");
	return -EOPNOTSUPP;
}

bool apptap_diag_is_slow(const struct apptap_diag *d)
{
	return d->slow;
}
