/* netlink.c - a netlink socket: open, join groups, ask, and walk the answers */
#include "base/netlink.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#define ANSWER_TIMEOUT_MS 1000
#define BUFFER_BYTES 32768 /* what the kernel fills at most in one dump message batch */

int apptap_nl_open(struct apptap_nl *nl, int protocol, struct apptap_error *err)
{
	static const struct sockaddr_nl any = { .nl_family = AF_NETLINK };

	nl->seq = 0;
	nl->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
	if (nl->fd < 0)
		return apptap_error_set(err, errno, "opening netlink protocol %d", protocol);
	/*
	 * A socket that was never bound has port ID 0, the kernel's own, and multicast passes over
	 * it as over its sender. (tests/kernel/diag_destroy.c)
	 */
	if (bind(nl->fd, (const struct sockaddr *)&any, sizeof(any)) < 0) {
		int code = errno;

		apptap_nl_close(nl);
		return apptap_error_set(err, code, "binding netlink protocol %d", protocol);
	}
	return 0;
}

int apptap_nl_join(struct apptap_nl *nl, uint32_t group, int rcvbuf_bytes, struct apptap_error *err)
{
	if (setsockopt(nl->fd, SOL_SOCKET, SO_RCVBUFFORCE, &rcvbuf_bytes, sizeof(rcvbuf_bytes)) < 0)
		setsockopt(nl->fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf_bytes, sizeof(rcvbuf_bytes));
	if (setsockopt(nl->fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		return apptap_error_set(err, errno, "joining netlink group %u", group);
	return 0;
}

int apptap_nl_send(struct apptap_nl *nl, struct nlmsghdr *req, struct apptap_error *err)
{
	static const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

	req->nlmsg_seq = ++nl->seq;
	for (;;) {
		if (sendto(nl->fd, req, req->nlmsg_len, 0, (const struct sockaddr *)&kernel,
			   sizeof(kernel)) >= 0)
			return 0;
		if (errno != EINTR)
			return apptap_error_set(err, errno, "sending a netlink request");
	}
}

/* 1: more to come, 0: done, negative: the kernel's error or that of @each. */
static int walk(const uint8_t *buf, size_t len, uint32_t seq, apptap_nl_each each, void *arg)
{
	const struct nlmsghdr *h = (const void *)buf;
	int more = 1;
	int r;

	for (; NLMSG_OK(h, len); h = NLMSG_NEXT(h, len)) {
		if (h->nlmsg_seq != seq)
			continue; /* the rest of an answer that somebody gave up on */
		if (h->nlmsg_type == NLMSG_DONE)
			return 0;
		if (h->nlmsg_type == NLMSG_ERROR) {
			const struct nlmsgerr *e = NLMSG_DATA(h);

			return h->nlmsg_len < NLMSG_LENGTH(sizeof(*e)) ? -EBADMSG : e->error;
		}
		r = each(h, arg);
		if (r < 0)
			return r;
		if (!(h->nlmsg_flags & NLM_F_MULTI))
			more = 0;
	}
	return more;
}

ssize_t apptap_nl_receive(int fd, void *buf, size_t size, int timeout_ms)
{
	struct sockaddr_nl from = { 0 };
	struct pollfd p = { .fd = fd, .events = POLLIN };

	for (;;) {
		socklen_t from_len = sizeof(from);
		ssize_t n =
			recvfrom(fd, buf, size, MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);

		if (n >= 0 && from.nl_pid == 0)
			return n;
		if (n >= 0 || errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		if (poll(&p, 1, timeout_ms) == 0)
			return -ETIMEDOUT;
	}
}

int apptap_nl_ask(struct apptap_nl *nl, struct nlmsghdr *req, apptap_nl_each each, void *arg,
		  struct apptap_error *err)
{
	uint8_t buf[BUFFER_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
	int r;

	r = apptap_nl_send(nl, req, err);
	if (r < 0)
		return r;
	do {
		ssize_t n = apptap_nl_receive(nl->fd, buf, sizeof(buf), ANSWER_TIMEOUT_MS);

		if (n < 0)
			return apptap_error_set(err, (int)-n, "waiting for a netlink answer");
		r = walk(buf, (size_t)n, nl->seq, each, arg);
	} while (r > 0);
	return r;
}

int apptap_nl_drain(struct apptap_nl *nl, apptap_nl_each each, void *arg)
{
	uint8_t buf[BUFFER_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
	int count = 0;

	for (;;) {
		struct sockaddr_nl from = { 0 };
		socklen_t from_len = sizeof(from);
		ssize_t n = recvfrom(nl->fd, buf, sizeof(buf), MSG_DONTWAIT,
				     (struct sockaddr *)&from, &from_len);
		const struct nlmsghdr *h = (const void *)buf;
		size_t left = n > 0 ? (size_t)n : 0;

		if (n < 0)
			return errno == EAGAIN ? count : errno == EINTR ? count : -errno;
		if (from.nl_pid != 0)
			continue;
		for (; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			int r = each(h, arg);

			if (r < 0)
				return r;
			count++;
		}
	}
}

void apptap_nl_close(struct apptap_nl *nl)
{
	if (nl->fd >= 0)
		close(nl->fd);
	nl->fd = -1;
}
