/* nfmsg.c - netlink messages, netfilter's above all: built in a buffer, sent as one transaction */
#include "base/nfmsg.h"

#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

#define ANSWER_TIMEOUT_MS 2000 /* a commit waits for the kernel's grace periods */

void apptap_nfmsg_init(struct apptap_nfmsg *m)
{
	m->len = m->begun = m->count = 0;
	m->full = false;
}

static void *room(struct apptap_nfmsg *m, size_t len)
{
	size_t padded = NLMSG_ALIGN(len);
	uint8_t *p = m->bytes + m->len;

	if (m->full || sizeof(m->bytes) - m->len < padded) {
		m->full = true;
		return NULL;
	}
	memset(p, 0, padded);
	m->len += padded;
	return p;
}

/* The length of a message is set as it grows. */
static void grown(struct apptap_nfmsg *m)
{
	struct nlmsghdr *h = (void *)(m->bytes + m->begun);

	if (!m->full)
		h->nlmsg_len = (uint32_t)(m->len - m->begun);
}

void apptap_nfmsg_begin_with(struct apptap_nfmsg *m, uint16_t type, uint16_t flags,
			     const void *head, size_t len, const char *what)
{
	size_t begun = m->len;
	struct nlmsghdr *h = room(m, sizeof(*h) + len);

	if (!h || m->count == APPTAP_NFMSG_MAX) {
		m->full = true;
		return;
	}
	h->nlmsg_type = type;
	h->nlmsg_flags = NLM_F_REQUEST | flags;
	memcpy(NLMSG_DATA(h), head, len);
	m->what[m->count++] = what;
	m->begun = begun;
	grown(m);
}

void apptap_nfmsg_begin(struct apptap_nfmsg *m, uint16_t type, uint16_t flags, uint8_t family,
			uint16_t res_id, const char *what)
{
	struct nfgenmsg g = { .nfgen_family = family, .version = NFNETLINK_V0 };

	apptap_put_be16(&g.res_id, res_id);
	apptap_nfmsg_begin_with(m, type, flags, &g, sizeof(g), what);
}

void apptap_nfmsg_put(struct apptap_nfmsg *m, uint16_t attr, const void *data, size_t len)
{
	struct nlattr *a = room(m, sizeof(*a) + len);

	if (!a)
		return;
	a->nla_type = attr;
	a->nla_len = (uint16_t)(sizeof(*a) + len);
	if (len)
		memcpy(a + 1, data, len);
	grown(m);
}

void apptap_nfmsg_put_str(struct apptap_nfmsg *m, uint16_t attr, const char *text)
{
	apptap_nfmsg_put(m, attr, text, strlen(text) + 1);
}

void apptap_nfmsg_put_u8(struct apptap_nfmsg *m, uint16_t attr, uint8_t value)
{
	apptap_nfmsg_put(m, attr, &value, sizeof(value));
}

void apptap_nfmsg_put_be16(struct apptap_nfmsg *m, uint16_t attr, uint16_t value)
{
	uint8_t be[2];

	apptap_put_be16(be, value);
	apptap_nfmsg_put(m, attr, be, sizeof(be));
}

void apptap_nfmsg_put_be32(struct apptap_nfmsg *m, uint16_t attr, uint32_t value)
{
	uint8_t be[4];

	apptap_put_be32(be, value);
	apptap_nfmsg_put(m, attr, be, sizeof(be));
}

size_t apptap_nfmsg_nest(struct apptap_nfmsg *m, uint16_t attr)
{
	size_t at = m->len;

	apptap_nfmsg_put(m, attr | NLA_F_NESTED, NULL, 0);
	return at;
}

void apptap_nfmsg_unnest(struct apptap_nfmsg *m, size_t at)
{
	struct nlattr *a = (void *)(m->bytes + at);

	if (!m->full)
		a->nla_len = (uint16_t)(m->len - at);
}

void apptap_nfmsg_batch_begin(struct apptap_nfmsg *m, uint16_t subsystem)
{
	apptap_nfmsg_begin(m, NFNL_MSG_BATCH_BEGIN, 0, 0, subsystem, "a transaction");
}

void apptap_nfmsg_batch_end(struct apptap_nfmsg *m, uint16_t subsystem)
{
	apptap_nfmsg_begin(m, NFNL_MSG_BATCH_END, 0, 0, subsystem, "a transaction's end");
}

/* Numbers the messages; the last one that is no batch end asks for an answer. Return: its number.
 */
static uint32_t number(struct apptap_nl *nl, struct apptap_nfmsg *m)
{
	struct nlmsghdr *last = NULL;

	for (size_t at = 0; at < m->len;) {
		struct nlmsghdr *h = (void *)(m->bytes + at);

		h->nlmsg_seq = ++nl->seq;
		if (h->nlmsg_type != NFNL_MSG_BATCH_END)
			last = h;
		at += NLMSG_ALIGN(h->nlmsg_len);
	}
	if (!last)
		return nl->seq;
	last->nlmsg_flags |= NLM_F_ACK;
	return last->nlmsg_seq;
}

struct answer {
	uint32_t first, last; /* numbers of our messages */
	uint32_t bad; /* the one that failed */
	int error;
	bool done;
};

static void take_answers(struct answer *a, const uint8_t *buf, size_t len)
{
	const struct nlmsghdr *h = (const void *)buf;

	for (; NLMSG_OK(h, len); h = NLMSG_NEXT(h, len)) {
		const struct nlmsgerr *e = NLMSG_DATA(h);

		if (h->nlmsg_type != NLMSG_ERROR || h->nlmsg_len < NLMSG_LENGTH(sizeof(*e)) ||
		    h->nlmsg_seq - a->first > a->last - a->first)
			continue;
		if (e->error && !a->error) {
			a->error = e->error;
			a->bad = h->nlmsg_seq;
		}
		/* What fails in a batch answers before its end: one that fails at its start, alone.
		 */
		if (h->nlmsg_seq == a->last || h->nlmsg_seq == a->first)
			a->done = true;
	}
}

int apptap_nfmsg_send(struct apptap_nl *nl, struct apptap_nfmsg *m, struct apptap_error *err)
{
	static const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	uint8_t buf[16384] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct answer a = { .first = nl->seq + 1 };
	const char *what;

	if (m->full || !m->count)
		return apptap_error_set(err, EMSGSIZE, "building a netlink request");
	a.last = number(nl, m);
	if (sendto(nl->fd, m->bytes, m->len, 0, (const struct sockaddr *)&kernel, sizeof(kernel)) <
	    0)
		return apptap_error_set(err, errno, "sending a netlink request");
	while (!a.done) {
		ssize_t n = apptap_nl_receive(nl->fd, buf, sizeof(buf), ANSWER_TIMEOUT_MS);

		if (n < 0)
			return apptap_error_set(err, (int)-n, "waiting for a netlink answer");
		take_answers(&a, buf, (size_t)n);
	}
	if (!a.error)
		return 0;
	what = m->what[MIN((size_t)(a.bad - a.first), m->count - 1)];
	return apptap_error_set(err, -a.error, "the kernel refuses %s", what);
}

bool apptap_nfmsg_next(struct apptap_view *v, uint16_t *type, struct apptap_view *out)
{
	struct nlattr a;
	const void *p = apptap_view_peek(v, sizeof(a));
	size_t padded;

	if (!p)
		return false;
	memcpy(&a, p, sizeof(a));
	if (a.nla_len < sizeof(a) || a.nla_len > v->left)
		return false;
	padded = MIN((size_t)NLMSG_ALIGN(a.nla_len), v->left);
	*type = a.nla_type & NLA_TYPE_MASK;
	*out = (struct apptap_view){ v->p + sizeof(a), a.nla_len - sizeof(a) };
	apptap_view_take(v, padded);
	return true;
}
