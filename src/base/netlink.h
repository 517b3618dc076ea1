/* netlink.h - a netlink socket: open, join groups, ask, and walk the answers */
#ifndef APPTAP_BASE_NETLINK_H
#define APPTAP_BASE_NETLINK_H

#include <linux/netlink.h>

#include "base/error.h"

struct apptap_nl {
	int fd; /* owned; -1 when closed */
	uint32_t seq;
};

#define APPTAP_NL_CLOSED \
	{                \
		.fd = -1 \
	}

/* @protocol: NETLINK_ROUTE, NETLINK_SOCK_DIAG, ...; nonblocking and close-on-exec. */
int apptap_nl_open(struct apptap_nl *nl, int protocol, struct apptap_error *err);

/* Joins multicast @group (a number, not a bit), after asking for @rcvbuf_bytes of queue. */
int apptap_nl_join(struct apptap_nl *nl, uint32_t group, int rcvbuf_bytes,
		   struct apptap_error *err);

/* Sends one request; fills nlmsg_seq. */
int apptap_nl_send(struct apptap_nl *nl, struct nlmsghdr *req, struct apptap_error *err);

/* One message of an answer: 0 go on, negative errno: stop and return it. */
typedef int (*apptap_nl_each)(const struct nlmsghdr *msg, void *arg);

/*
 * Sends @req and calls @each for every message of its answer, until the kernel says done or error.
 * Return: 0, or -errno: what the kernel answered (-ENOENT from an exact lookup is no failure of
 * the socket), -ETIMEDOUT after one second of silence. @err is filled only where asking itself
 * failed.
 */
int apptap_nl_ask(struct apptap_nl *nl, struct nlmsghdr *req, apptap_nl_each each, void *arg,
		  struct apptap_error *err);

/*
 * One datagram of the kernel's. Return: bytes, -ETIMEDOUT nothing came for so long, -errno.
 */
ssize_t apptap_nl_receive(int fd, void *buf, size_t size, int timeout_ms);

/*
 * Reads what a multicast socket has now, without waiting, calling @each for every message.
 * Return: number of messages, -ENOBUFS when the kernel dropped some, other -errno.
 */
int apptap_nl_drain(struct apptap_nl *nl, apptap_nl_each each, void *arg);

void apptap_nl_close(struct apptap_nl *nl);

#endif
