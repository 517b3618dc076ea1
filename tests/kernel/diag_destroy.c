/* diag_destroy.c - the kernel tells when a socket dies: by cookie and tuple, but not whose it was
 */
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "lab.h"

enum { ROUNDS = 50 };

static int open_destroys(void)
{
	int nl = lab_diag_open();
	static const int groups[] = { SKNLGRP_INET_TCP_DESTROY, SKNLGRP_INET_UDP_DESTROY,
				      SKNLGRP_INET6_TCP_DESTROY, SKNLGRP_INET6_UDP_DESTROY };
	const struct sockaddr_nl any = { .nl_family = AF_NETLINK };

	/* Without a port ID of its own a socket is passed over: 0 is the kernel's, the sender's. */
	if (bind(nl, (const struct sockaddr *)&any, sizeof(any)) < 0)
		tap_bail("binding a netlink socket");

	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		if (setsockopt(nl, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i],
			       sizeof(groups[i])) < 0)
			tap_bail("joining destroy group %d", groups[i]);
	return nl;
}

/* The next message of a dead socket with @cookie; false after two seconds without. */
static bool next_destroy(int nl, uint64_t cookie, struct lab_sock *out)
{
	_Alignas(struct nlmsghdr) char buf[8192];

	for (;;) {
		ssize_t n = recv(nl, buf, sizeof(buf), 0);
		const struct nlmsghdr *h = (void *)buf;

		if (n < 0)
			return false;
		for (size_t left = (size_t)n; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left))
			if (lab_parse(h, out) && out->cookie == cookie)
				return true;
	}
}

struct life {
	union lab_addr local, remote;
	struct lab_sock asked, died;
	uint64_t after_ns; /* from close() to the message */
	bool told;
};

static void live(int nl, int destroys, int proto, int type, const union lab_addr *remote,
		 struct life *l)
{
	int fd = lab_connected(LAB_APP, type, remote);
	uint64_t closed_ns;

	l->local = lab_sockname(fd);
	l->remote = *remote;
	if (lab_owner(nl, proto, &l->local, remote, &l->asked) != 0)
		tap_bail("the exact lookup");
	close(fd);
	closed_ns = lab_now_ns(CLOCK_MONOTONIC);
	l->told = next_destroy(destroys, l->asked.cookie, &l->died);
	l->after_ns = lab_now_ns(CLOCK_MONOTONIC) - closed_ns;
}

static void check(int nl, int destroys, int proto, int type, const char *addr)
{
	const char *name = proto == IPPROTO_TCP ? "TCP" : "UDP";
	int server = lab_bound(LAB_BYSTANDER, type, addr, 0);
	union lab_addr remote = lab_sockname(server);
	int told = 0, same_tuple = 0, no_uid = 0;
	uint64_t sum_ns = 0, worst_ns = 0;

	if (type == SOCK_STREAM && listen(server, ROUNDS) < 0)
		tap_bail("listen");
	for (int i = 0; i < ROUNDS; i++) {
		struct life l;

		live(nl, destroys, proto, type, &remote, &l);
		told += l.told;
		same_tuple += l.told && l.died.sport == lab_port(&l.local) &&
			      l.died.dport == lab_port(&remote);
		no_uid += l.told && l.died.uid == 0 && l.asked.uid == LAB_APP;
		sum_ns += l.after_ns;
		worst_ns = l.after_ns > worst_ns ? l.after_ns : worst_ns;
	}
	tap_ok(told == ROUNDS, "%s %s: %d of %d deaths told, by the cookie of the lookup", name,
	       addr, told, ROUNDS);
	tap_ok(same_tuple == ROUNDS, "%s %s: with both ports", name, addr);
	tap_ok(no_uid == ROUNDS, "%s %s: with UID 0, whoever owned it", name, addr);
	tap_diag("%s %s: told %.2f ms after close(), at most %.2f ms", name, addr,
		 (double)sum_ns / ROUNDS / 1e6, (double)worst_ns / 1e6);
	close(server);
}

/* The socket that closes first dies at once; its TIME_WAIT lives on with the same cookie. */
static void check_time_wait(int nl, int destroys)
{
	union lab_addr remote;
	int listener = lab_listener(LAB_BYSTANDER, "127.0.0.1", &remote);
	int fd = lab_connected(LAB_APP, SOCK_STREAM, &remote);
	union lab_addr local = lab_sockname(fd);
	int accepted = lab_accept(LAB_BYSTANDER, listener);
	struct lab_sock asked, died, left = { 0 };

	if (lab_owner(nl, IPPROTO_TCP, &local, &remote, &asked) != 0)
		tap_bail("the exact lookup");
	close(fd);
	close(accepted);
	tap_ok(next_destroy(destroys, asked.cookie, &died), "TCP that closed first: told at once");
	tap_ok(lab_owner(nl, IPPROTO_TCP, &local, &remote, &left) == 0 &&
		       left.state == TCP_TIME_WAIT && left.cookie == asked.cookie,
	       "while its TIME_WAIT lives on, with the same cookie");
	close(listener);
}

int main(void)
{
	int nl, destroys;

	lab_enter();
	nl = lab_diag_open();
	destroys = open_destroys();
	check(nl, destroys, IPPROTO_TCP, SOCK_STREAM, "127.0.0.1");
	check(nl, destroys, IPPROTO_UDP, SOCK_DGRAM, "127.0.0.1");
	check(nl, destroys, IPPROTO_TCP, SOCK_STREAM, "::1");
	check(nl, destroys, IPPROTO_UDP, SOCK_DGRAM, "::1");
	check_time_wait(nl, destroys);
	return tap_done();
}
