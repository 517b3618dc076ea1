/* server.c - the far end of the lab: what the workloads talk to, in a namespace of its own
 *
 * How it works: one thread for TCP and one for datagrams, each with an epoll; the mode of a socket
 * follows from its port (ports.h). Prints "ready" when all ports are open, ends with its stdin.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ports.h"

struct endpoint {
	int fd;
	uint16_t port; /* ours; says what to do. 0: a raw socket */
	bool listening, v6, started;
	uint64_t left; /* PORT_SOURCE: bytes to send */
};

static int tcp_epoll, udp_epoll;
static char bulk[1 << 18];
static struct endpoint connections[1 << 17]; /* by descriptor */

static void die(const char *what)
{
	fprintf(stderr, "server: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void add(int epoll, struct endpoint *e, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = e };

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, e->fd, &ev) < 0)
		die("epoll_ctl");
}

static struct endpoint *open_socket(int family, int type, int proto, const char *addr,
				    uint16_t port)
{
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in a4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct endpoint *e = calloc(1, sizeof(*e));
	int one = 1, big = 16 << 20;
	bool v6 = family == AF_INET6;
	int r;

	if (!e)
		die("calloc");
	*e = (struct endpoint){ .fd = socket(family, type | SOCK_NONBLOCK, proto), .v6 = v6 };
	if (e->fd < 0)
		die("socket");
	e->port = type == SOCK_RAW ? 0 : port;
	setsockopt(e->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (type != SOCK_STREAM && port != PORT_IDLE)
		setsockopt(e->fd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof(big));
	if (v6)
		setsockopt(e->fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (type == SOCK_RAW)
		return e;
	inet_pton(family, addr, v6 ? (void *)&a6.sin6_addr : (void *)&a4.sin_addr);
	r = v6 ? bind(e->fd, (struct sockaddr *)&a6, sizeof(a6))
	       : bind(e->fd, (struct sockaddr *)&a4, sizeof(a4));
	if (r < 0)
		die(addr);
	return e;
}

static void open_tcp(uint16_t port)
{
	for (int v6 = 0; v6 < 2; v6++) {
		struct endpoint *e = open_socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0,
						 v6 ? "::" : "0.0.0.0", port);

		e->listening = true;
		if (listen(e->fd, 8192) < 0)
			die("listen");
		add(tcp_epoll, e, EPOLLIN);
	}
}

/* One socket an address, so that answers leave from the address that was asked. */
static void open_udp(int proto, uint16_t port)
{
	char text[32];

	for (int i = 0; i < 2 * SERVERS; i++) {
		bool v6 = i % 2;
		struct endpoint *e;

		snprintf(text, sizeof(text), v6 ? "fd77::%d" : "10.77.0.%d", 2 + i / 2);
		e = open_socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM, proto, text, port);
		if (port != PORT_IDLE)
			add(udp_epoll, e, EPOLLIN);
	}
}

static void take_connections(struct endpoint *l)
{
	for (;;) {
		int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			return;
		if ((size_t)fd >= sizeof(connections) / sizeof(*connections))
			die("too many connections");
		connections[fd] = (struct endpoint){ .fd = fd, .port = l->port };
		add(tcp_epoll, &connections[fd], EPOLLIN);
	}
}

/* false: this connection is done. */
static bool feed(struct endpoint *e)
{
	while (e->left) {
		size_t want = e->left < sizeof(bulk) ? e->left : sizeof(bulk);
		ssize_t n = send(e->fd, bulk, want, MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN;
		e->left -= (uint64_t)n;
	}
	return false;
}

static bool converse(struct endpoint *e)
{
	struct epoll_event ev = { .events = EPOLLOUT, .data.ptr = e };
	bool forget = e->port == PORT_DISCARD || e->port == PORT_HALF;
	char buf[4096];
	ssize_t n;

	if (e->started)
		return feed(e);
	n = forget ? recv(e->fd, bulk, sizeof(bulk), MSG_TRUNC) : recv(e->fd, buf, sizeof(buf), 0);
	if (n < 0)
		return errno == EAGAIN;
	if (n == 0) {
		if (e->port == PORT_HALF)
			send(e->fd, buf, REPLY_BYTES, MSG_NOSIGNAL);
		return false;
	}
	if (forget)
		return true;
	if (e->port == PORT_SOURCE) {
		memcpy(&e->left, buf, sizeof(e->left));
		e->started = true;
		return epoll_ctl(tcp_epoll, EPOLL_CTL_MOD, e->fd, &ev) == 0;
	}
	send(e->fd, buf, e->port == PORT_ECHO ? (size_t)n : REPLY_BYTES, MSG_NOSIGNAL);
	return e->port != PORT_FIRST;
}

static void *tcp_loop(void *arg)
{
	struct epoll_event ev[64];

	for (;;) {
		int n = epoll_wait(tcp_epoll, ev, 64, -1);

		for (int i = 0; i < n; i++) {
			struct endpoint *e = ev[i].data.ptr;

			if (e->listening)
				take_connections(e);
			else if (!converse(e))
				close(e->fd);
		}
	}
	return arg;
}

/* An echo that begins with 'R' and a port goes to that port of the sender: see reuse_udp(). */
static void redirect(struct sockaddr_storage *to, const char *buf)
{
	uint16_t port;

	memcpy(&port, buf + 1, sizeof(port));
	if (to->ss_family == AF_INET6)
		((struct sockaddr_in6 *)to)->sin6_port = port;
	else
		((struct sockaddr_in *)to)->sin_port = port;
}

static void answer(struct endpoint *e, char *buf, ssize_t n, struct sockaddr_storage *from,
		   socklen_t len)
{
	size_t ip = 0;
	int times = e->port >= PORT_QUIC && e->port < PORT_QUIC + QUIC_PORTS ? 3 : 1;

	if (e->port == PORT_DISCARD)
		return;
	if (e->port == PORT_DNS)
		n = REPLY_BYTES;
	if (e->port == PORT_ECHO && n > 3 && buf[0] == 'R') {
		redirect(from, buf);
		buf += 3;
		n -= 3;
	}
	if (e->port == 0 && !e->v6) /* a raw v4 socket reads the IP header too */
		ip = (size_t)(buf[0] & 15) * 4;
	for (int i = 0; i < times; i++)
		sendto(e->fd, buf + ip, (size_t)n - ip, 0, (struct sockaddr *)from, len);
}

static void *udp_loop(void *arg)
{
	static char buf[1 << 16];
	struct epoll_event ev[64];

	for (;;) {
		int n = epoll_wait(udp_epoll, ev, 64, -1);

		for (int i = 0; i < n; i++) {
			struct endpoint *e = ev[i].data.ptr;
			struct sockaddr_storage from = { 0 };
			socklen_t len = sizeof(from);
			ssize_t got;

			while ((got = recvfrom(e->fd, buf, sizeof(buf), 0, (struct sockaddr *)&from,
					       &len)) > 0)
				answer(e, buf, got, &from, len);
		}
	}
	return arg;
}

int main(void)
{
	static const uint16_t tcp[] = { PORT_ECHO,  PORT_DISCARD, PORT_SOURCE,
					PORT_FIRST, PORT_HALF,	  PORT_REPLY };
	static const uint16_t udp[] = { PORT_DNS, PORT_ECHO, PORT_DISCARD, PORT_IDLE };
	struct rlimit files;
	pthread_t t;
	char c;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	tcp_epoll = epoll_create1(0);
	udp_epoll = epoll_create1(0);
	for (size_t i = 0; i < sizeof(tcp) / sizeof(*tcp); i++)
		open_tcp(tcp[i]);
	for (int i = 0; i < CHURN_PORTS; i++)
		open_tcp((uint16_t)(PORT_CHURN + i));
	for (size_t i = 0; i < sizeof(udp) / sizeof(*udp); i++)
		open_udp(IPPROTO_UDP, udp[i]);
	for (int i = 0; i < QUIC_PORTS; i++)
		open_udp(IPPROTO_UDP, (uint16_t)(PORT_QUIC + i));
	open_udp(IPPROTO_UDPLITE, PORT_ECHO);
	for (int proto = 253; proto < 255; proto++) {
		add(udp_epoll, open_socket(AF_INET, SOCK_RAW, proto, NULL, 0), EPOLLIN);
		add(udp_epoll, open_socket(AF_INET6, SOCK_RAW, proto, NULL, 0), EPOLLIN);
	}
	if (pthread_create(&t, NULL, tcp_loop, NULL) || pthread_create(&t, NULL, udp_loop, NULL))
		die("threads");
	puts("ready");
	fflush(stdout);
	return (int)read(0, &c, 1);
}
