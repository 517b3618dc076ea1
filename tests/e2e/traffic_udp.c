/* traffic_udp.c - workloads over UDP */
#include "traffic.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* One question, one answer, and the socket is gone: connected or not, over each family. */
static void ask(unsigned i, uint16_t port, bool connected)
{
	enum traffic_variant v = (enum traffic_variant)(i % 3);
	struct sockaddr_storage a;
	socklen_t len = traffic_server(&a, v, i / 3, port);
	int fd = traffic_socket(v, SOCK_DGRAM, 0);
	char buf[512];

	result.flows++;
	if (connected && connect(fd, (struct sockaddr *)&a, len) < 0)
		traffic_die("connect");
	if (sendto(fd, "who is example.org, and where does it live?", 40, 0,
		   connected ? NULL : (struct sockaddr *)&a, connected ? 0 : len) < 0 ||
	    recv(fd, buf, sizeof(buf), 0) != REPLY_BYTES)
		result.failed++;
	close(fd);
}

static void go_dns(void)
{
	for (unsigned i = 0; i < job.count; i++)
		ask(i, PORT_DNS, i / 3 % 2);
}

static void go_churn(void)
{
	double end = traffic_now() + job.seconds;

	for (unsigned i = 0; traffic_now() < end; i++)
		ask(i, PORT_DNS, i / 3 % 2);
}

static void go_fire(void)
{
	struct sockaddr_storage a;

	for (unsigned i = 0; i < job.count; i++) {
		enum traffic_variant v = (enum traffic_variant)(i % 3);
		socklen_t len = traffic_server(&a, v, i / 3, PORT_DISCARD);
		int fd = traffic_socket(v, SOCK_DGRAM, 0);

		result.flows++;
		if (sendto(fd, "fire and forget", 15, 0, (struct sockaddr *)&a, len) < 0)
			result.failed++;
		close(fd);
	}
}

/* One unconnected socket a family, many packets both ways, several peers. */
static void go_quic(void)
{
	struct sockaddr_storage a;
	char buf[1200] = "quic";
	int fds[3];

	for (int v = 0; v < 3; v++)
		fds[v] = traffic_socket((enum traffic_variant)v, SOCK_DGRAM, 0);
	for (unsigned i = 0; i < job.count; i++) {
		enum traffic_variant v = (enum traffic_variant)(i % 3);
		uint16_t port = (uint16_t)(PORT_QUIC + i / 3 % QUIC_PORTS);
		socklen_t len = traffic_server(&a, v, i / 12, port);

		result.flows++;
		if (sendto(fds[v], buf, sizeof(buf), 0, (struct sockaddr *)&a, len) < 0)
			result.failed++;
		for (int k = 0; k < 3; k++) {
			if (recv(fds[v], buf, sizeof(buf), 0) < 0)
				result.failed++;
		}
	}
	for (int v = 0; v < 3; v++)
		close(fds[v]);
}

/* Datagrams of several sizes above the MTU, echoed; and one that fits. */
static void go_fragments(void)
{
	static const size_t sizes[] = { 8000, 1473, 60000, 3000, 200 };
	static char buf[65536];

	for (unsigned i = 0; i < job.count; i++) {
		size_t size = sizes[i % 5];
		int fd =
			traffic_connect((enum traffic_variant)(i % 3), SOCK_DGRAM, 0, i, PORT_ECHO);

		memset(buf, 'f', size); /* not 'R': see redirect() in server.c */
		result.flows++;
		if (send(fd, buf, size, 0) < 0 || recv(fd, buf, sizeof(buf), 0) != (ssize_t)size)
			result.failed++;
		close(fd);
	}
}

/* To a socket that nobody reads: what costs is the sending and the capture beside it. */
static void go_flood(void)
{
	double start = traffic_now(), end = start + job.seconds;
	int fd = traffic_connect(V4, SOCK_DGRAM, 0, 0, PORT_IDLE);
	char buf[64] = "flood";

	while (traffic_now() < end) {
		for (int i = 0; i < 64; i++) {
			if (send(fd, buf, job.size ? job.size : sizeof(buf), 0) < 0 &&
			    errno != ECONNREFUSED)
				result.failed++;
		}
		result.flows += 64;
	}
	close(fd);
}

static int bound[2];

static void setup_inbound(void)
{
	bound[0] = traffic_bound(AF_INET6, SOCK_DGRAM, 0, (uint16_t)(job.lo + 2));
	bound[1] = traffic_bound(AF_INET, SOCK_DGRAM, 0, (uint16_t)(job.lo + 3));
}

/* Every third datagram gets no answer: that flow is the far end's first packet and nothing else. */
static void go_inbound(void)
{
	struct sockaddr_storage from;
	char buf[2048];

	for (unsigned i = 0; i < job.count; i++) {
		int fd = bound[i % 2];
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len);

		result.flows++;
		if (n < 1)
			result.failed++;
		else if (buf[0] == 'a')
			sendto(fd, buf, (size_t)n, 0, (struct sockaddr *)&from, len);
	}
}

static void go_inbound_client(void)
{
	struct sockaddr_storage a;
	char buf[200] = "";

	for (unsigned i = 0; i < job.count; i++) {
		enum traffic_variant v = i % 4 == 2 ? V6 : V4;
		uint16_t port = (uint16_t)(job.port + 2 + i % 2);
		int fd = traffic_socket(v, SOCK_DGRAM, 0);
		socklen_t len = traffic_addr(&a, v, v == V6 ? "fd77::1" : "10.77.0.1", port);

		buf[0] = i % 3 ? 'a' : '-'; /* a: answer, please */
		result.flows++;
		sendto(fd, buf, sizeof(buf), 0, (struct sockaddr *)&a, len);
		if (i % 3 && recv(fd, buf, sizeof(buf), 0) < 0)
			result.failed++;
		close(fd);
	}
}

static void join(void)
{
	struct ipv6_mreq m6 = { .ipv6mr_interface = if_nametoindex("veth0") };
	struct ip_mreqn m4 = { .imr_ifindex = (int)if_nametoindex("veth0") };

	inet_pton(AF_INET, "239.77.0.1", &m4.imr_multiaddr);
	inet_pton(AF_INET6, "ff15::77", &m6.ipv6mr_multiaddr);
	bound[0] = traffic_bound(AF_INET6, SOCK_DGRAM, 0, job.lo);
	bound[1] = traffic_bound(AF_INET, SOCK_DGRAM, 0, (uint16_t)(job.lo + 1));
	if (setsockopt(bound[0], IPPROTO_IPV6, IPV6_JOIN_GROUP, &m6, sizeof(m6)) < 0 ||
	    setsockopt(bound[1], IPPROTO_IP, IP_ADD_MEMBERSHIP, &m4, sizeof(m4)) < 0)
		traffic_die("joining a group");
}

static void go_multicast(void)
{
	char buf[512];

	for (unsigned i = 0; i < job.count; i++) {
		result.flows++;
		if (recv(bound[i % 2], buf, sizeof(buf), 0) < 1)
			result.failed++;
	}
}

/* On the far side; and, by the app itself, to a group that it may or may not have joined. */
static void go_multicast_send(void)
{
	struct sockaddr_storage a;
	int index = (int)if_nametoindex(job.uid ? "veth0" : "veth1");
	int fd[2] = { traffic_socket(V6, SOCK_DGRAM, 0), traffic_socket(V4, SOCK_DGRAM, 0) };
	struct ip_mreqn m4 = { .imr_ifindex = index };

	setsockopt(fd[0], IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof(index));
	setsockopt(fd[1], IPPROTO_IP, IP_MULTICAST_IF, &m4, sizeof(m4));
	for (unsigned i = 0; i < job.count; i++) {
		bool v4 = i % 2;
		socklen_t len = traffic_addr(&a, v4 ? V4 : V6, v4 ? "239.77.0.1" : "ff15::77",
					     (uint16_t)(job.port + v4));

		result.flows++;
		if (sendto(fd[v4], "to all of you", 13, 0, (struct sockaddr *)&a, len) < 0)
			result.failed++;
	}
	close(fd[0]);
	close(fd[1]);
}

static void go_udplite(void)
{
	for (unsigned i = 0; i < job.count; i++) {
		int fd =
			traffic_connect(i % 2 ? V6 : V4, SOCK_DGRAM, IPPROTO_UDPLITE, i, PORT_ECHO);

		traffic_exchange(fd, 120, 120);
		close(fd);
	}
}

const struct traffic_workload traffic_udp[] = {
	{ "dns", NULL, go_dns, false, false },
	{ "churn_udp", NULL, go_churn, false, false },
	{ "udp_fire", NULL, go_fire, false, false },
	{ "quic", NULL, go_quic, false, false },
	{ "fragments", NULL, go_fragments, false, false },
	{ "flood", NULL, go_flood, false, false },
	{ "inbound_udp", setup_inbound, go_inbound, false, false },
	{ "inbound_udp_far", NULL, go_inbound_client, false, false },
	{ "multicast", join, go_multicast, false, false },
	{ "multicast_send", NULL, go_multicast_send, false, false },
	{ "udplite", NULL, go_udplite, false, false },
	{ 0 },
};
