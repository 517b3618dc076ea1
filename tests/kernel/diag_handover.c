/*
 * diag_handover.c - what proves whose a datagram was: SOCK_DIAG tells that something lies in a
 * socket's queue; of sockets that one CPU closes, deaths are told in the order of the closing, of
 * those too that never had a port
 */
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <sched.h>
#include <unistd.h>

#include "lab.h"

#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif

enum { SOCKETS = 200 };

static void check_queue(int nl, const char *addr)
{
	int fd = lab_bound(LAB_APP, SOCK_DGRAM, addr, 0);
	int peer = lab_bound(LAB_BYSTANDER, SOCK_DGRAM, addr, 0);
	union lab_addr local = lab_sockname(fd), remote = lab_sockname(peer);
	struct lab_sock before = { 0 }, with = { 0 }, after = { 0 };
	char buf[8];

	if (lab_owner(nl, IPPROTO_UDP, &local, &remote, &before) < 0 ||
	    sendto(peer, "x", 1, 0, &local.sa, sizeof(local)) != 1 ||
	    lab_owner(nl, IPPROTO_UDP, &local, &remote, &with) < 0 ||
	    recv(fd, buf, sizeof(buf), 0) != 1 ||
	    lab_owner(nl, IPPROTO_UDP, &local, &remote, &after) < 0)
		tap_bail("a datagram");
	tap_ok(before.rqueue == 0 && with.rqueue > 0 && after.rqueue == 0,
	       "UDP %s: %u bytes queued before, %u with a datagram, %u when it is read", addr,
	       before.rqueue, with.rqueue, after.rqueue);
	close(fd);
	close(peer);
}

static uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) < 0)
		tap_bail("SO_COOKIE");
	return cookie;
}

static int open_deaths(void)
{
	const struct sockaddr_nl any = { .nl_family = AF_NETLINK };
	int nl = lab_diag_open(), group = SKNLGRP_INET_UDP_DESTROY;

	if (bind(nl, (const struct sockaddr *)&any, sizeof(any)) < 0 ||
	    setsockopt(nl, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		tap_bail("joining the destroy group");
	return nl;
}

static bool is_one_of(const uint64_t cookies[SOCKETS], uint64_t cookie)
{
	for (int i = 0; i < SOCKETS; i++)
		if (cookies[i] == cookie)
			return true;
	return false;
}

/* How many of @cookies are told in their order, until the first that is not. */
static int told_in_order(int deaths, const uint64_t cookies[SOCKETS])
{
	_Alignas(struct nlmsghdr) char buf[8192];
	struct lab_sock s;
	int told = 0;

	while (told < SOCKETS) {
		ssize_t n = recv(deaths, buf, sizeof(buf), 0);
		const struct nlmsghdr *h = (void *)buf;

		if (n < 0)
			return told;
		for (size_t left = (size_t)n; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			if (!lab_parse(h, &s) || told == SOCKETS || !is_one_of(cookies, s.cookie))
				continue;
			if (s.cookie != cookies[told])
				return told;
			told++;
		}
	}
	return told;
}

static void check_order(void)
{
	int deaths = open_deaths(), told;
	uint64_t cookies[SOCKETS];
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	if (sched_setaffinity(0, sizeof(one), &one) < 0)
		tap_bail("sched_setaffinity");
	for (int i = 0; i < SOCKETS; i++) {
		int fd = i % 4 ? lab_bound(LAB_APP, SOCK_DGRAM, "127.0.0.1", 0)
			       : lab_socket(LAB_APP, AF_INET, SOCK_DGRAM, 0);

		cookies[i] = cookie_of(fd);
		close(fd);
	}
	told = told_in_order(deaths, cookies);
	tap_ok(told == SOCKETS, "%d of %d deaths told in the order of the closing", told, SOCKETS);
	close(deaths);
}

int main(void)
{
	int nl;

	lab_enter();
	nl = lab_diag_open();
	check_queue(nl, "127.0.0.1");
	check_queue(nl, "::1");
	check_order();
	return tap_done();
}
