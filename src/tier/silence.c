/*
 * silence.c - packets pass, and the rules show nothing of them
 *
 * How it works. While the rules show nothing in one direction, the app's TCP connections are looked
 * at twice a second. Each knows how many bytes it has sent, and how many of those the other end has
 * got; so if it has got some that were sent in the silence, packets have left this machine that we
 * were not shown. What has been received tells the same of the other direction. A program that is
 * idle, or whose packets a filter drops, has no such bytes. One more look makes sure that the
 * packets were not just on their way to us. UDP has no such counts; for an app of that alone, a
 * packet of our own is sent now and then in a silence (beacon.h).
 */
#include "tier/silence.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <netinet/in.h>

#include "base/nfmsg.h"
#include "tier/haste.h"

#define LOOK_NS (500 * APPTAP_NSEC_PER_MSEC)
#define COST_SHARE 100 /* looking takes at most one part in so many */
#define SAMPLES 512 /* connections that are looked at */
#define BEACON_LOOKS 4 /* from one beacon to the next */
#define MISSED_ENOUGH 2 /* in a row */
#define SYN_AND_FIN 2 /* they are acknowledged like bytes, and not counted as sent */

enum way { SENT, CAME, WAYS };

struct carried {
	uint64_t bytes[WAYS]; /* each counted once, sent or received */
	uint64_t acked;
	uint64_t still_ms[WAYS]; /* since the last of them */
	bool told; /* the kernel says all of it: since 4.19 */
};

struct sample {
	uint64_t cookie; /* 0: free */
	uint64_t before[WAYS]; /* bytes that are older than the silence */
	bool present; /* in the look that is under way */
};

struct apptap_silence {
	const struct apptap_scope *scope; /* borrowed, like the next */
	struct apptap_diag *diag;
	struct apptap_nl nl; /* owned */
	uint64_t now_ns, next_ns; /* CLOCK_MONOTONIC: of this look, and of the next */
	uint64_t shown[WAYS];
	uint64_t since_ns[WAYS]; /* the first look of the silence; 0: there is none */
	bool carried[WAYS]; /* bytes that we were not shown */
	struct apptap_beacon *beacon; /* borrowed; NULL: there is none */
	bool lit; /* it was sent at the last look */
	unsigned dark; /* looks since */
	unsigned missed[WAYS]; /* in a row: not shown to us */
	uint64_t lost; /* when it was sent */
	bool crowded; /* there are more connections than samples */
	struct sample samples[SAMPLES]; /* by the low bits of their cookies */
};

int apptap_silence_new(struct apptap_silence **out, const struct apptap_scope *scope,
		       struct apptap_diag *diag, struct apptap_beacon *beacon,
		       struct apptap_error *err)
{
	struct apptap_silence *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return apptap_error_set(err, ENOMEM, "allocating the list of connections");
	s->scope = scope;
	s->diag = diag;
	s->beacon = beacon;
	s->next_ns = apptap_clock_ns(CLOCK_MONOTONIC) + LOOK_NS;
	r = apptap_nl_open(&s->nl, NETLINK_SOCK_DIAG, NULL);
	if (r < 0)
		s->nl = (struct apptap_nl)APPTAP_NL_CLOSED; /* then nothing is to be heard */
	*out = s;
	return 0;
}

void apptap_silence_free(struct apptap_silence *s)
{
	if (!s)
		return;
	apptap_nl_close(&s->nl);
	free(s);
}

/* ---- one connection ---- */

static int take_info(const struct nlmsghdr *msg, void *arg)
{
	struct apptap_view v = { (const uint8_t *)msg, msg->nlmsg_len }, attr;
	struct carried *out = arg;
	struct tcp_info info;
	uint16_t type;

	if (!apptap_view_take(&v, NLMSG_ALIGN(NLMSG_LENGTH(sizeof(struct inet_diag_msg)))))
		return -EBADMSG;
	while (apptap_nfmsg_next(&v, &type, &attr)) {
		if (type != INET_DIAG_INFO ||
		    attr.left < offsetof(struct tcp_info, tcpi_bytes_retrans) + 8)
			continue;
		memset(&info, 0, sizeof(info));
		memcpy(&info, attr.p, MIN(attr.left, sizeof(info)));
		out->bytes[SENT] = info.tcpi_bytes_sent - info.tcpi_bytes_retrans;
		out->bytes[CAME] = info.tcpi_bytes_received;
		out->acked = info.tcpi_bytes_acked;
		out->still_ms[SENT] = info.tcpi_last_data_sent;
		out->still_ms[CAME] = info.tcpi_last_data_recv;
		out->told = true;
	}
	return 0;
}

static void put_address(uint32_t to[4], uint8_t family, const struct apptap_addr *a)
{
	memcpy(to, family == AF_INET ? a->b + 12 : a->b, family == AF_INET ? 4 : 16);
}

static struct carried ask(struct apptap_silence *s, const struct apptap_sighting *found)
{
	struct {
		struct nlmsghdr h;
		struct inet_diag_req_v2 req;
	} m = { .h = { .nlmsg_len = sizeof(m),
		       .nlmsg_type = SOCK_DIAG_BY_FAMILY,
		       .nlmsg_flags = NLM_F_REQUEST } };
	const struct apptap_flow *flow = &found->flow;
	struct carried carried = { 0 };

	m.req.sdiag_family = flow->family;
	m.req.sdiag_protocol = IPPROTO_TCP;
	m.req.idiag_states = ~0U;
	m.req.idiag_ext = 1U << (INET_DIAG_INFO - 1);
	put_address(m.req.id.idiag_src, flow->family, &flow->laddr);
	put_address(m.req.id.idiag_dst, flow->family, &flow->raddr);
	m.req.id.idiag_sport = htons(flow->lport);
	m.req.id.idiag_dport = htons(flow->rport);
	m.req.id.idiag_cookie[0] = (uint32_t)found->cookie;
	m.req.id.idiag_cookie[1] = (uint32_t)(found->cookie >> 32);
	apptap_nl_ask(&s->nl, &m.h, take_info, &carried, NULL);
	return carried;
}

/* What comes from this machine is shown when it is sent. Only an address of ours can be bound. */
static bool is_here(const struct apptap_flow *flow)
{
	auto_close int fd = socket(flow->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };

	memcpy(&v4.sin_addr, flow->raddr.b + 12, sizeof(v4.sin_addr));
	memcpy(&v6.sin6_addr, flow->raddr.b, sizeof(v6.sin6_addr));
	if (flow->family == AF_INET)
		return bind(fd, (struct sockaddr *)&v4, sizeof(v4)) == 0;
	return IN6_IS_ADDR_LINKLOCAL(&v6.sin6_addr) || /* of an interface that we do not know */
	       bind(fd, (struct sockaddr *)&v6, sizeof(v6)) == 0;
}

/* ---- looking at all of them ---- */

/* One that was not there when the silence began has sent nothing before. */
static void begin_sample(struct apptap_silence *s, struct sample *p, const struct carried *now,
			 bool young)
{
	for (int way = SENT; way < WAYS; way++) {
		uint64_t silence_ms = (s->now_ns - s->since_ns[way]) / APPTAP_NSEC_PER_MSEC;
		bool all = young && !s->crowded && now->still_ms[way] < silence_ms;

		if (young || s->since_ns[way] == s->now_ns)
			p->before[way] = all ? 0 : now->bytes[way];
	}
}

static int take_connection(const struct apptap_sighting *found, void *arg)
{
	struct apptap_silence *s = arg;
	struct sample *p = &s->samples[found->cookie % SAMPLES];
	struct carried now;

	if (!found->flow.rport || found->sight != APPTAP_SIGHT_OWNED || !found->cookie ||
	    !apptap_scope_has(s->scope, found->uid))
		return 0;
	if (p->present && p->cookie != found->cookie) {
		s->crowded = true;
		return 0;
	}
	now = ask(s, found);
	if (!now.told)
		return 0;
	begin_sample(s, p, &now, p->cookie != found->cookie);
	p->cookie = found->cookie;
	p->present = true;
	if (s->since_ns[SENT])
		s->carried[SENT] |= now.acked > p->before[SENT] + SYN_AND_FIN;
	if (s->since_ns[CAME] && !s->carried[CAME])
		s->carried[CAME] = now.bytes[CAME] > p->before[CAME] && !is_here(&found->flow);
	return 0;
}

static void look(struct apptap_silence *s)
{
	bool haste = apptap_haste(false); /* there may be many sockets */
	uint64_t cost_ns = apptap_clock_ns(CLOCK_THREAD_CPUTIME_ID);

	for (size_t i = 0; i < SAMPLES; i++)
		s->samples[i].present = false;
	apptap_diag_dump(s->diag, IPPROTO_TCP, take_connection, s, NULL);
	for (size_t i = 0; i < SAMPLES; i++)
		if (!s->samples[i].present)
			s->samples[i].cookie = 0;
	cost_ns = apptap_clock_ns(CLOCK_THREAD_CPUTIME_ID) - cost_ns;
	s->next_ns = s->now_ns + MAX(LOOK_NS, cost_ns * COST_SHARE);
	apptap_haste(haste);
}

/* ---- a packet of our own ---- */

static void hear_beacon(struct apptap_silence *s, uint64_t lost)
{
	static const unsigned bits[WAYS] = { APPTAP_BEACON_SENT, APPTAP_BEACON_ANSWER };
	unsigned missed;

	if (!s->lit)
		return;
	s->lit = false;
	missed = apptap_beacon_missed(s->beacon);
	for (int way = SENT; way < WAYS; way++)
		s->missed[way] = missed & bits[way] && lost == s->lost ? s->missed[way] + 1 : 0;
}

static void light_beacon(struct apptap_silence *s, uint64_t lost)
{
	if (!s->beacon || (s->dark++ % BEACON_LOOKS && !s->missed[SENT] && !s->missed[CAME]))
		return;
	s->lost = lost;
	s->lit = true;
	apptap_beacon_send(s->beacon);
}

/* ---- both together ---- */

static int complain(const struct apptap_silence *s, enum way way, struct apptap_error *err)
{
	static const char *const verbs[WAYS] = { "send", "receive" };
	static const char *const beacons[WAYS] = { "a packet", "the answer to a packet" };

	if (s->carried[way])
		return apptap_error_say(err, ESTALE,
					"the app's connections %s, but our rules in netfilter see "
					"nothing of it",
					verbs[way]);
	return apptap_error_say(err, ESTALE,
				"our rules in netfilter do not see %s of our own any more",
				beacons[way]);
}

static void begin_anew(struct apptap_silence *s, enum way way, uint64_t shown)
{
	s->shown[way] = shown;
	s->since_ns[way] = 0;
	s->carried[way] = false;
	s->missed[way] = 0;
}

int apptap_silence_look(struct apptap_silence *s, uint64_t sent, uint64_t came, uint64_t lost,
			struct apptap_error *err)
{
	const uint64_t shown[WAYS] = { sent, came };
	bool any = false;

	s->now_ns = apptap_clock_ns(CLOCK_MONOTONIC);
	if (s->now_ns < s->next_ns)
		return 0;
	s->next_ns = s->now_ns + LOOK_NS;
	hear_beacon(s, lost);
	for (int way = SENT; way < WAYS; way++) {
		if (shown[way] != s->shown[way]) {
			begin_anew(s, way, shown[way]);
			continue;
		}
		if (s->carried[way] || s->missed[way] >= MISSED_ENOUGH)
			return complain(s, way, err);
		if (!s->since_ns[way])
			s->since_ns[way] = s->now_ns;
		any = true;
	}
	if (!any)
		return 0;
	light_beacon(s, lost);
	if (s->nl.fd >= 0 && !apptap_diag_is_slow(s->diag))
		look(s);
	return 0;
}
