/* traffic_sock.c - sockets of a workload: their local port in the job's range, their far end */
#include "traffic.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51
#endif

socklen_t traffic_addr(struct sockaddr_storage *out, enum traffic_variant v, const char *text,
		       uint16_t port)
{
	struct sockaddr_in6 *a6 = (struct sockaddr_in6 *)out;
	struct sockaddr_in *a4 = (struct sockaddr_in *)out;
	char mapped[64];

	memset(out, 0, sizeof(*out));
	if (v == V4) {
		a4->sin_family = AF_INET;
		a4->sin_port = htons(port);
		inet_pton(AF_INET, text, &a4->sin_addr);
		return sizeof(*a4);
	}
	a6->sin6_family = AF_INET6;
	a6->sin6_port = htons(port);
	snprintf(mapped, sizeof(mapped), "%s%s", v == MAPPED ? "::ffff:" : "", text);
	inet_pton(AF_INET6, mapped, &a6->sin6_addr);
	return sizeof(*a6);
}

socklen_t traffic_server(struct sockaddr_storage *out, enum traffic_variant v, unsigned nth,
			 uint16_t port)
{
	char text[32];

	snprintf(text, sizeof(text), v == V6 ? "fd77::%u" : "10.77.0.%u", 2 + nth % SERVERS);
	return traffic_addr(out, v, text, port);
}

socklen_t traffic_any(struct sockaddr_storage *out, int family, uint16_t port)
{
	return traffic_addr(out, family == AF_INET ? V4 : V6,
			    family == AF_INET ? "0.0.0.0" : "::", port);
}

/* APPTAP_PATIENCE: how many times slower than a real machine this one is. */
static void set_timeouts(int fd)
{
	const char *patience = getenv("APPTAP_PATIENCE");
	struct timeval tv = { patience ? 2L * atoi(patience) : 2, 0 };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

/* Kernels before 6.3 cannot narrow the range of one socket: take its next port by hand. */
static void bind_in_range(int fd, int family)
{
	static unsigned next = 8; /* the first ones are for the workload's own servers */
	unsigned ports = (unsigned)(job.hi - job.lo) - 8;
	struct sockaddr_storage a;
	int one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	for (unsigned tries = 0; tries < ports; tries++) {
		uint16_t port = (uint16_t)(job.lo + 8 + next++ % ports);

		if (bind(fd, (struct sockaddr *)&a, traffic_any(&a, family, port)) == 0)
			return;
	}
	traffic_die("no port of the range is free");
}

int traffic_socket(enum traffic_variant v, int type, int proto)
{
	uint32_t range = job.lo | (uint32_t)job.hi << 16;
	int fd;

	fd = socket(v == V4 ? AF_INET : AF_INET6, type | SOCK_CLOEXEC, proto);
	if (fd < 0)
		traffic_die("socket");
	set_timeouts(fd);
	if (range && setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, sizeof(range)) < 0)
		bind_in_range(fd, v == V4 ? AF_INET : AF_INET6);
	return fd;
}

int traffic_bound(int family, int type, int proto, uint16_t port)
{
	struct sockaddr_storage a;
	int one = 1;
	int fd;

	fd = socket(family, type | SOCK_CLOEXEC, proto);
	if (fd < 0)
		traffic_die("socket");
	set_timeouts(fd);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&a, traffic_any(&a, family, port)) < 0)
		traffic_die("bind");
	return fd;
}

int traffic_connect(enum traffic_variant v, int type, int proto, unsigned nth, uint16_t port)
{
	struct sockaddr_storage a;
	int fd = traffic_socket(v, type, proto);

	if (connect(fd, (struct sockaddr *)&a, traffic_server(&a, v, nth, port)) == 0)
		return fd;
	result.failed++;
	close(fd);
	return -1;
}

bool traffic_read_all(int fd, uint64_t want)
{
	static char buf[1 << 18];

	while (want) {
		ssize_t n = recv(fd, buf, want < sizeof(buf) ? want : sizeof(buf), 0);

		if (n <= 0)
			return false;
		want -= (uint64_t)n;
		result.bytes += (uint64_t)n;
	}
	return true;
}

bool traffic_exchange(int fd, size_t out, size_t in)
{
	static char buf[1 << 16];

	if (fd < 0)
		return false;
	memset(buf, 'x', out);
	result.flows++;
	if (send(fd, buf, out, MSG_NOSIGNAL) == (ssize_t)out && traffic_read_all(fd, in))
		return true;
	result.failed++;
	return false;
}

void traffic_reset_on_close(int fd)
{
	struct linger l = { 1, 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
}
