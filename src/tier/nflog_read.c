/*
 * nflog_read.c - what NFLOG delivers: a netlink socket, and a parser of its messages
 *
 * How it works. While little comes, every packet is a message of its own and wakes us at once: its
 * time of arrival is then its time. When much comes the kernel is told to gather many in a message,
 * which costs it and us less; a timer of the kernel's (10 ms) sends what has not filled up.
 * Each packet carries a number, so what is lost is known to the packet.
 */
#include "tier/nflog_read.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <net/if_arp.h>
#include <pthread.h>
#include <sys/socket.h>

#include "base/nfmsg.h"

#define GROUPS_TRIED 32
#define MESSAGES 16 /* of one read */
/* What the kernel gathers in: 128 KiB and its bookkeeping, rounded up to the next power of two. */
#define MESSAGE_BYTES (256U << 10)
#define GATHER_BYTES (30U << 10) /* what needs more pages in a row is often refused, and lost */
#define GATHER_PACKETS 512 /* mostly it is full before */
#define ALONE_BYTES 2048 /* the buffer of a small message: its size counts, not what is in it */
#define TIMEOUT_CS 1 /* hundredths of a second */
#define BUFFER_BYTES (256U << 20) /* a packet of 64 KiB takes up twice that; nothing while idle */
#define BUSY_NS (20 * APPTAP_NSEC_PER_MSEC) /* what is measured, and how many make it busy */
#define BUSY_PACKETS 400
#define QUIET_PACKETS 100
#define FLOOD_PACKETS 1200

struct apptap_nflog_reader {
	struct apptap_nl nl; /* owned: packets come here */
	uint16_t group;
	bool gathering, flood;
	bool any_seq;
	uint32_t seq; /* of the next packet */
	uint64_t lost, overruns;
	uint64_t since_ns; /* CLOCK_MONOTONIC */
	uint32_t packets; /* since then */
	uint8_t *buffers; /* owned: MESSAGES of MESSAGE_BYTES */
	struct apptap_nfmsg msg;
};

/* ---- parsing ---- */

static uint32_t get_be32(struct apptap_view v)
{
	return v.left >= 4 ? apptap_get_be32(v.p) : 0;
}

static void take_header(struct apptap_view v, struct apptap_nflog_packet *out)
{
	const struct nfulnl_msg_packet_hdr *h = apptap_view_peek(&v, sizeof(*h));

	if (!h)
		return;
	out->protocol = apptap_get_be16(&h->hw_protocol);
	out->hook = h->hook;
}

static void take_address(struct apptap_view v, struct apptap_nflog_packet *out)
{
	const struct nfulnl_msg_packet_hw *h = apptap_view_peek(&v, sizeof(*h));

	if (!h)
		return;
	out->halen = (uint8_t)MIN((size_t)apptap_get_be16(&h->hw_addrlen), sizeof(h->hw_addr));
	memcpy(out->haddr, h->hw_addr, out->halen);
}

static void take_time(struct apptap_view v, struct apptap_nflog_packet *out)
{
	uint64_t sec, usec;

	if (v.left < 16)
		return;
	sec = (uint64_t)apptap_get_be32(v.p) << 32 | apptap_get_be32(v.p + 4);
	usec = (uint64_t)apptap_get_be32(v.p + 8) << 32 | apptap_get_be32(v.p + 12);
	out->rx_ns = sec * APPTAP_NSEC_PER_SEC + usec * APPTAP_NSEC_PER_USEC;
}

static void take_attr(uint16_t type, struct apptap_view v, struct apptap_nflog_packet *out)
{
	switch (type) {
	case NFULA_PACKET_HDR:
		take_header(v, out);
		break;
	case NFULA_IFINDEX_INDEV:
		out->indev = (int32_t)get_be32(v);
		break;
	case NFULA_IFINDEX_OUTDEV:
		out->outdev = (int32_t)get_be32(v);
		break;
	case NFULA_HWADDR:
		take_address(v, out);
		break;
	case NFULA_HWTYPE:
		out->arphrd = v.left >= 2 ? apptap_get_be16(v.p) : 0;
		break;
	case NFULA_PAYLOAD:
		out->data = v.p;
		out->len = (uint32_t)v.left;
		break;
	case NFULA_PREFIX:
		out->prefix = (const char *)v.p;
		out->prefix_len = strnlen(out->prefix, MIN(v.left, APPTAP_NFLOG_PREFIX_MAX));
		break;
	case NFULA_UID:
		out->has_uid = v.left >= 4;
		out->uid = get_be32(v);
		break;
	case NFULA_TIMESTAMP:
		take_time(v, out);
		break;
	case NFULA_SEQ:
		out->has_seq = v.left >= 4;
		out->seq = get_be32(v);
		break;
	default:
		break;
	}
}

bool apptap_nflog_parse(struct apptap_view v, struct apptap_nflog_packet *out)
{
	const struct nfgenmsg *g = apptap_view_take(&v, sizeof(*g));
	struct apptap_view payload;
	uint16_t type;

	memset(out, 0, sizeof(*out));
	if (!g)
		return false;
	out->group = apptap_get_be16(&g->res_id);
	while (apptap_nfmsg_next(&v, &type, &payload))
		take_attr(type, payload, out);
	return out->data && out->prefix;
}

/* ---- the socket ---- */

static void config_begin(struct apptap_nflog_reader *r, const char *what)
{
	apptap_nfmsg_begin(&r->msg, NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG, 0, AF_UNSPEC,
			   r->group, what);
}

static void put_gathering(struct apptap_nflog_reader *r, bool gather)
{
	apptap_nfmsg_put_be32(&r->msg, NFULA_CFG_NLBUFSIZ, gather ? GATHER_BYTES : ALONE_BYTES);
	apptap_nfmsg_put_be32(&r->msg, NFULA_CFG_QTHRESH, gather ? GATHER_PACKETS : 1);
}

/* The group belongs to the socket that binds it, so this goes out by the one that listens. */
static int bind_group(struct apptap_nflog_reader *r, uint32_t copy_bytes, struct apptap_error *err)
{
	struct nfulnl_msg_config_cmd bind = { .command = NFULNL_CFG_CMD_BIND };
	struct nfulnl_msg_config_mode mode = { .copy_mode = NFULNL_COPY_PACKET };

	apptap_nfmsg_init(&r->msg);
	config_begin(r, "a listener for NFLOG (nfnetlink_log)");
	apptap_nfmsg_put(&r->msg, NFULA_CFG_CMD, &bind, sizeof(bind));
	mode.copy_range = htonl(MIN(copy_bytes, 0xffffU)); /* packed: no pointer to it */
	config_begin(r, "the settings of NFLOG");
	apptap_nfmsg_put(&r->msg, NFULA_CFG_MODE, &mode, sizeof(mode));
	put_gathering(r, false);
	apptap_nfmsg_put_be32(&r->msg, NFULA_CFG_TIMEOUT, TIMEOUT_CS);
	apptap_nfmsg_put_be16(&r->msg, NFULA_CFG_FLAGS, NFULNL_CFG_F_SEQ);
	return apptap_nfmsg_send(&r->nl, &r->msg, err);
}

int apptap_nflog_open(struct apptap_nflog_reader **out, uint16_t group, uint32_t copy_bytes,
		      size_t buffer_bytes, struct apptap_error *err)
{
	struct apptap_nflog_reader *r = calloc(1, sizeof(*r));
	int bytes = (int)MIN(buffer_bytes ? buffer_bytes : BUFFER_BYTES, (size_t)INT32_MAX / 2);
	int code;

	if (!r)
		return apptap_error_set(err, ENOMEM, "allocating an NFLOG reader");
	r->nl = (struct apptap_nl)APPTAP_NL_CLOSED;
	r->group = group;
	r->buffers = malloc((size_t)MESSAGES * MESSAGE_BYTES);
	if (!r->buffers)
		code = apptap_error_set(err, ENOMEM, "allocating an NFLOG reader");
	else
		code = apptap_nl_open(&r->nl, NETLINK_NETFILTER, err);
	if (code == 0) {
		if (setsockopt(r->nl.fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
			setsockopt(r->nl.fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
		code = bind_group(r, copy_bytes, err);
	}
	if (code < 0) {
		apptap_nflog_close(r);
		return code;
	}
	*out = r;
	return 0;
}

int apptap_nflog_open_free(struct apptap_nflog_reader **out, uint16_t *group, uint32_t copy_bytes,
			   size_t buffer_bytes, struct apptap_error *err)
{
	int r = apptap_nflog_open(out, *group, copy_bytes, buffer_bytes, err);

	/* The kernel says EPERM where another socket has the group. */
	for (int i = 1; (r == -EPERM || r == -EBUSY) && i < GROUPS_TRIED; i++)
		r = apptap_nflog_open(out, ++*group, copy_bytes, buffer_bytes, err);
	return r;
}

void apptap_nflog_close(struct apptap_nflog_reader *r)
{
	if (!r)
		return;
	apptap_nl_close(&r->nl);
	free(r->buffers);
	free(r);
}

int apptap_nflog_fd(const struct apptap_nflog_reader *r)
{
	return r->nl.fd;
}

/* Not waited for: its answer, if an error, is passed over among the packets. */
static void set_gathering(struct apptap_nflog_reader *r, bool gather)
{
	static const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

	apptap_nfmsg_init(&r->msg);
	config_begin(r, "the settings of NFLOG");
	put_gathering(r, gather);
	if (sendto(r->nl.fd, r->msg.bytes, r->msg.len, 0, (const struct sockaddr *)&kernel,
		   sizeof(kernel)) >= 0)
		r->gathering = gather;
}

static void choose_gathering(struct apptap_nflog_reader *r)
{
	uint64_t now = apptap_clock_ns(CLOCK_MONOTONIC);
	uint64_t passed = now - r->since_ns;
	bool gather = r->gathering;

	if (r->packets >= BUSY_PACKETS && passed <= BUSY_NS)
		gather = true;
	else if (passed < BUSY_NS)
		return;
	else if (r->packets * BUSY_NS / passed < QUIET_PACKETS)
		gather = false;
	if (gather != r->gathering)
		set_gathering(r, gather);
	r->flood = r->packets * BUSY_NS / MAX(passed, 1U) >= FLOOD_PACKETS;
	r->since_ns = now;
	r->packets = 0;
}

struct taking {
	int (*each)(const struct apptap_nflog_packet *pkt, void *arg);
	void *arg;
	int count;
};

static void count_lost(struct apptap_nflog_reader *r, const struct apptap_nflog_packet *pkt)
{
	if (!pkt->has_seq)
		return;
	if (r->any_seq)
		r->lost += (uint32_t)(pkt->seq - r->seq);
	else
		r->lost += pkt->seq; /* the first of all is number 0 */
	r->any_seq = true;
	r->seq = pkt->seq + 1;
}

static int take_message(struct apptap_nflog_reader *r, const uint8_t *buf, size_t len,
			struct taking *t)
{
	const struct nlmsghdr *h = (const void *)buf;
	int code = 0;

	for (; code >= 0 && NLMSG_OK(h, len); h = NLMSG_NEXT(h, len)) {
		struct apptap_view v = { NLMSG_DATA(h), h->nlmsg_len - NLMSG_HDRLEN };
		struct apptap_nflog_packet pkt;

		if (h->nlmsg_type != (NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET) ||
		    !apptap_nflog_parse(v, &pkt) || pkt.group != r->group)
			continue;
		count_lost(r, &pkt);
		t->count++;
		code = t->each(&pkt, t->arg);
	}
	return code;
}

int apptap_nflog_read(struct apptap_nflog_reader *r,
		      int (*each)(const struct apptap_nflog_packet *pkt, void *arg), void *arg,
		      struct apptap_error *err)
{
	struct taking t = { each, arg, 0 };
	struct sockaddr_nl from[MESSAGES];
	struct mmsghdr msgs[MESSAGES];
	struct iovec iov[MESSAGES];
	int n;

	memset(msgs, 0, sizeof(msgs));
	for (size_t i = 0; i < MESSAGES; i++) {
		iov[i] = (struct iovec){ r->buffers + i * MESSAGE_BYTES, MESSAGE_BYTES };
		msgs[i].msg_hdr.msg_iov = &iov[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
		msgs[i].msg_hdr.msg_name = &from[i];
		msgs[i].msg_hdr.msg_namelen = sizeof(from[i]);
	}
	do
		n = recvmmsg(r->nl.fd, msgs, MESSAGES, MSG_DONTWAIT, NULL);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == ENOBUFS) {
		r->overruns++;
		return 1; /* read on; the numbers tell how many were lost */
	}
	if (n < 0)
		return errno == EAGAIN ? 0
				       : apptap_error_set(err, errno, "reading what NFLOG sends");
	for (int i = 0; i < n; i++) {
		int code = 0;

		if (from[i].nl_pid == 0)
			code = take_message(r, iov[i].iov_base, msgs[i].msg_len, &t);
		if (code < 0)
			return code;
	}
	r->packets += (uint32_t)t.count;
	choose_gathering(r);
	return MAX(t.count, 1);
}

int apptap_nflog_wait(struct apptap_nflog_reader *r,
		      int (*each)(const struct apptap_nflog_packet *pkt, void *arg), void *arg,
		      struct apptap_error *err)
{
	struct taking t = { each, arg, 0 };
	struct sockaddr_nl from = { 0 };
	socklen_t from_len = sizeof(from);
	ssize_t n;
	int code, cancel;

	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &cancel);
	n = recvfrom(r->nl.fd, r->buffers, MESSAGE_BYTES, 0, (struct sockaddr *)&from, &from_len);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	if (n < 0)
		return errno == EINTR || errno == ENOBUFS
			       ? 0
			       : apptap_error_set(err, errno, "reading what NFLOG sends");
	code = from.nl_pid == 0 ? take_message(r, r->buffers, (size_t)n, &t) : 0;
	return code < 0 ? code : t.count;
}

bool apptap_nflog_is_busy(const struct apptap_nflog_reader *r)
{
	return r->gathering;
}

bool apptap_nflog_is_flood(const struct apptap_nflog_reader *r)
{
	return r->flood;
}

int apptap_nflog_delay_ms(const struct apptap_nflog_reader *r)
{
	return r->gathering ? 2 * 10 * TIMEOUT_CS : 0;
}

uint64_t apptap_nflog_lost(const struct apptap_nflog_reader *r)
{
	return r->lost ? r->lost : r->overruns;
}
