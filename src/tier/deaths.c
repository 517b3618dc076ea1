/* deaths.c - sockets that the kernel has destroyed: which cookie left which local port, and when */
#include "tier/deaths.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>

#include "base/netlink.h"

#define PLACES 65536 /* a protocol: UDP's and others' ports, TCP's hashed flows */
#define RCVBUF_BYTES (32 << 20) /* 1 s of 40,000 sockets a second, should the reader stall */
#define LOG_DEATHS (1u << 18) /* 6 s of them */
#define WALK_MAX 256 /* of one place: which more have left is not told */

/* One death, and the one before it at the same place. */
struct death {
	uint64_t cookie;
	uint64_t when_ns;
	uint32_t before; /* its number in the log, plus one; 0: none */
	uint16_t tag; /* TCP: tells flows of one place apart */
};

struct apptap_deaths {
	uint64_t lost_ns;
	uint32_t count; /* ever added, modulo 2^32 */
	uint32_t latest[3][PLACES]; /* as before above: TCP, UDP, others */
	struct death log[LOG_DEATHS]; /* untouched pages cost nothing */
};

int apptap_deaths_new(struct apptap_deaths **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

void apptap_deaths_free(struct apptap_deaths *d)
{
	free(d);
}

/* Where in @d->latest the flow has its chain. */
static const uint32_t *place_of(const struct apptap_deaths *d, const struct apptap_flow *flow,
				uint16_t *tag)
{
	uint32_t h = flow->lport;

	*tag = 0;
	if (flow->proto == IPPROTO_UDP)
		return &d->latest[1][h];
	if (flow->proto != IPPROTO_TCP)
		return &d->latest[2][h];
	/* The ends of addresses differ most, and are the same for IPv4 in either family. */
	h = (h << 16 | flow->rport) * 2654435761U;
	h = (h ^ h >> 15 ^ apptap_get_be32(flow->laddr.b + 12)) * 2654435761U;
	h = (h ^ h >> 15 ^ apptap_get_be32(flow->raddr.b + 12)) * 2654435761U;
	*tag = (uint16_t)(h >> 3);
	return &d->latest[0][h >> 16];
}

/* The death that @link names; NULL: none, or it has been written over, and @forgot says so. */
static const struct death *follow(const struct apptap_deaths *d, uint32_t link, bool *forgot)
{
	if (!link)
		return NULL;
	if (d->count - (link - 1) <= LOG_DEATHS)
		return &d->log[(link - 1) % LOG_DEATHS];
	*forgot = true;
	return NULL;
}

void apptap_deaths_add(struct apptap_deaths *d, const struct apptap_flow *flow, uint64_t cookie,
		       uint64_t now_ns)
{
	uint16_t tag;
	uint32_t *latest = (uint32_t *)place_of(d, flow, &tag);

	if (d->count == UINT32_MAX) { /* numbers begin again: what they named is unknown */
		memset(d->latest, 0, sizeof(d->latest));
		d->count = 0;
		apptap_deaths_lost(d, now_ns);
	}
	d->log[d->count % LOG_DEATHS] = (struct death){ cookie, now_ns, *latest, tag };
	*latest = ++d->count;
}

void apptap_deaths_lost(struct apptap_deaths *d, uint64_t now_ns)
{
	d->lost_ns = now_ns;
}

uint32_t apptap_deaths_count(const struct apptap_deaths *d)
{
	return d->count;
}

bool apptap_deaths_blind(const struct apptap_deaths *d)
{
	return d->lost_ns == UINT64_MAX;
}

int apptap_deaths_between(const struct apptap_deaths *d, const struct apptap_flow *flow,
			  uint64_t since_ns, uint64_t until_ns,
			  uint64_t cookies[APPTAP_DEATHS_A_PORT])
{
	const struct death *k;
	bool forgot = false;
	uint16_t tag;
	uint32_t link = *place_of(d, flow, &tag);
	int n = 0, walked = 0;

	if (d->lost_ns >= since_ns)
		return -1;
	for (; (k = follow(d, link, &forgot)) && k->when_ns >= since_ns; link = k->before) {
		if (++walked > WALK_MAX)
			return -1;
		if (k->tag != tag || k->when_ns > until_ns)
			continue;
		if (n == APPTAP_DEATHS_A_PORT)
			return -1;
		cookies[n++] = k->cookie;
	}
	/* What was written over may have been as young only if the log's oldest is. */
	if (forgot && d->log[d->count % LOG_DEATHS].when_ns >= since_ns)
		return -1;
	return n;
}

int apptap_deaths_since(const struct apptap_deaths *d, const struct apptap_flow *flow,
			uint64_t since_ns, uint64_t cookies[APPTAP_DEATHS_A_PORT])
{
	return apptap_deaths_between(d, flow, since_ns, UINT64_MAX, cookies);
}

bool apptap_deaths_has(const struct apptap_deaths *d, const struct apptap_flow *flow,
		       uint64_t cookie)
{
	const struct death *k;
	bool forgot = false;
	uint16_t tag;
	uint32_t link = *place_of(d, flow, &tag);

	for (int i = 0; i < WALK_MAX && (k = follow(d, link, &forgot)); i++, link = k->before)
		if (k->cookie == cookie)
			return true;
	return false;
}

struct apptap_obituaries {
	struct apptap_nl nl; /* owned */
};

int apptap_obituaries_open(struct apptap_obituaries **out, struct apptap_error *err)
{
	static const uint32_t groups[] = { SKNLGRP_INET_TCP_DESTROY, SKNLGRP_INET_UDP_DESTROY,
					   SKNLGRP_INET6_TCP_DESTROY, SKNLGRP_INET6_UDP_DESTROY };
	struct apptap_obituaries *o = calloc(1, sizeof(*o));
	int r;

	if (!o)
		return apptap_error_set(err, ENOMEM, "allocating a destroy listener");
	r = apptap_nl_open(&o->nl, NETLINK_SOCK_DIAG, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(groups); i++)
		r = apptap_nl_join(&o->nl, groups[i], RCVBUF_BYTES, err);
	if (r < 0) {
		apptap_obituaries_close(o);
		return apptap_error_wrap(err, r, "listening for destroyed sockets");
	}
	*out = o;
	return 0;
}

int apptap_obituaries_fd(const struct apptap_obituaries *o)
{
	return o->nl.fd;
}

struct reading {
	struct apptap_deaths *deaths;
	void (*udp_left)(void *arg, uint16_t lport);
	void *arg;
};

/* The message has the group's protocol only as an attribute; without it, it is not ours to judge.
 */
static uint8_t protocol_of(const struct nlmsghdr *msg)
{
	const struct inet_diag_msg *d = NLMSG_DATA(msg);
	size_t left = msg->nlmsg_len - NLMSG_LENGTH(sizeof(*d));
	const struct nlattr *a = (const void *)((const uint8_t *)d + NLMSG_ALIGN(sizeof(*d)));

	if (msg->nlmsg_len < NLMSG_SPACE(sizeof(*d)))
		return 0;
	while (left >= sizeof(*a) && a->nla_len >= sizeof(*a) && a->nla_len <= left) {
		if ((a->nla_type & NLA_TYPE_MASK) == INET_DIAG_PROTOCOL && a->nla_len > sizeof(*a))
			return *(const uint8_t *)(a + 1);
		if ((size_t)NLA_ALIGN(a->nla_len) >= left)
			break;
		left -= NLA_ALIGN(a->nla_len);
		a = (const void *)((const uint8_t *)a + NLA_ALIGN(a->nla_len));
	}
	return 0;
}

static int take_death(const struct nlmsghdr *msg, void *arg)
{
	const struct reading *r = arg;
	const struct inet_diag_msg *d = NLMSG_DATA(msg);
	/* After the reading: what died between a look at the clock and the reading died later. */
	uint64_t now_ns = apptap_clock_ns(CLOCK_REALTIME);
	struct apptap_flow flow = { 0 };

	if (msg->nlmsg_len < NLMSG_LENGTH(sizeof(*d)))
		return 0;
	flow.proto = protocol_of(msg);
	flow.lport = ntohs(d->id.idiag_sport);
	flow.rport = ntohs(d->id.idiag_dport);
	apptap_addr_set(&flow.laddr, d->idiag_family, d->id.idiag_src);
	apptap_addr_set(&flow.raddr, d->idiag_family, d->id.idiag_dst);
	apptap_deaths_add(r->deaths, &flow,
			  (uint64_t)d->id.idiag_cookie[1] << 32 | d->id.idiag_cookie[0], now_ns);
	if (flow.proto == IPPROTO_UDP && r->udp_left)
		r->udp_left(r->arg, flow.lport);
	return 0;
}

int apptap_obituaries_read(struct apptap_obituaries *o, struct apptap_deaths *d,
			   void (*udp_left)(void *arg, uint16_t lport), void *arg)
{
	struct reading r = { d, udp_left, arg };
	int n = apptap_nl_drain(&o->nl, take_death, &r);

	if (n == -ENOBUFS) {
		apptap_deaths_lost(d, apptap_clock_ns(CLOCK_REALTIME));
		n = 0;
	}
	return n;
}

void apptap_obituaries_close(struct apptap_obituaries *o)
{
	if (!o)
		return;
	apptap_nl_close(&o->nl);
	free(o);
}
