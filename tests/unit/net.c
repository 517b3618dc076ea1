/* net.c - a network namespace of the test's own, and sockets of any user in it */
#include "net.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif

union address {
	struct sockaddr sa;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static int left_ns = -1; /* the namespace to go back to; -1: never left */

void net_ip(const char *args)
{
	char command[256];

	snprintf(command, sizeof(command), "PATH=$PATH:/usr/sbin:/sbin ip %s", args);
	assert_int_equal(system(command), 0); // NOLINT(cert-env33-c): our own constant commands
}

int net_enter(void **state)
{
	(void)state;
	if (geteuid() != 0)
		return 0;
	left_ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (left_ns < 0 || unshare(CLONE_NEWNET) < 0) {
		print_error("making a network namespace failed\n");
		return -1;
	}
	net_ip("link set lo up");
	return 0;
}

int net_leave(void **state)
{
	(void)state;
	if (left_ns < 0)
		return 0;
	setns(left_ns, CLONE_NEWNET);
	close(apptap_steal_fd(&left_ns));
	return 0;
}

void net_need_own(void)
{
	if (left_ns >= 0)
		return;
	print_message("SKIP: a network namespace of its own needs root\n");
	skip();
}

static int packet_socket(const char *ifname)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET,
				  .sll_protocol = htons(ETH_P_802_EX1),
				  .sll_ifindex = (int)if_nametoindex(ifname) };
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

/*
 * A worker of the kernel acts upon the carrier, later: until then the device drops what is sent.
 * Flags and states tell it too early; what passes tells the truth.
 */
static void wait_until_it_carries(const char *from, const char *to)
{
	struct sockaddr_ll all = { .sll_family = AF_PACKET,
				   .sll_protocol = htons(ETH_P_802_EX1),
				   .sll_ifindex = (int)if_nametoindex(from),
				   .sll_halen = 6,
				   .sll_addr = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };
	auto_close int tx = packet_socket(from), rx = packet_socket(to);

	for (int i = 0; !net_readable(rx, i ? 10 : 0); i++) {
		assert_true(i < 1000);
		sendto(tx, "?", 1, 0, (struct sockaddr *)&all, sizeof(all));
	}
}

void net_cable(void)
{
	net_ip("link add va address 02:00:00:00:00:01 type veth"
	       " peer name vb address 02:00:00:00:00:02");
	net_ip("link set va up");
	net_ip("link set vb up");
	wait_until_it_carries("va", "vb");
	wait_until_it_carries("vb", "va");
}

void net_veth(void)
{
	net_cable();
	net_ip("addr add " NET_A "/24 dev va");
	net_ip("addr add " NET_B "/24 dev vb");
}

static socklen_t resolve(union address *a, const char *addr, uint16_t port)
{
	memset(a, 0, sizeof(*a));
	if (strchr(addr, ':')) {
		a->v6.sin6_family = AF_INET6;
		a->v6.sin6_port = htons(port);
		assert_int_equal(inet_pton(AF_INET6, addr, &a->v6.sin6_addr), 1);
		return sizeof(a->v6);
	}
	a->v4.sin_family = AF_INET;
	a->v4.sin_port = htons(port);
	assert_int_equal(inet_pton(AF_INET, addr, &a->v4.sin_addr), 1);
	return sizeof(a->v4);
}

/* A socket belongs to the user who makes it; fchown() is that too, later. */
static void give(int fd, uid_t uid)
{
	assert_true(fd >= 0);
	if (uid != geteuid())
		assert_int_equal(fchown(fd, uid, (gid_t)-1), 0);
}

int net_socket(uid_t uid, int type, const char *addr, uint16_t port)
{
	union address a;
	socklen_t len = resolve(&a, addr, port);
	int fd = socket(a.sa.sa_family, type | SOCK_CLOEXEC, 0);
	int yes = 1;

	give(fd, uid);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	assert_int_equal(bind(fd, &a.sa, len), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 8), 0);
	return fd;
}

int net_connected(uid_t uid, int type, const char *addr, uint16_t port)
{
	union address a;
	socklen_t len = resolve(&a, addr, port);
	int fd = socket(a.sa.sa_family, type | SOCK_CLOEXEC, 0);

	give(fd, uid);
	assert_int_equal(connect(fd, &a.sa, len), 0);
	return fd;
}

int net_accept(uid_t uid, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	give(fd, uid);
	return fd;
}

void net_close_acked(int fd)
{
	uint64_t end_ns = apptap_clock_ns(CLOCK_MONOTONIC) + 2 * APPTAP_NSEC_PER_SEC;
	struct tcp_info info;
	socklen_t len = sizeof(info);

	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	do {
		assert_true(apptap_clock_ns(CLOCK_MONOTONIC) < end_ns);
		sched_yield(); /* no event tells of it */
		assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	} while (info.tcpi_state != TCP_FIN_WAIT2);
	close(fd);
}

void net_send(int fd, const char *addr, uint16_t port)
{
	union address a;
	socklen_t len = resolve(&a, addr, port);

	assert_int_equal(sendto(fd, "x", 1, 0, &a.sa, len), 1);
}

uint16_t net_port(int fd)
{
	union address a = { .v6 = { 0 } };
	socklen_t len = sizeof(a);

	assert_int_equal(getsockname(fd, &a.sa, &len), 0);
	return ntohs(a.sa.sa_family == AF_INET6 ? a.v6.sin6_port : a.v4.sin_port);
}

uint64_t net_cookie(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len), 0);
	return cookie;
}

bool net_readable(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, timeout_ms) == 1;
}
