/* traffic_odd.c - workloads beyond a program that talks to a server: ping, raw, loopback, reuse */
#include "traffic.h"

#include <arpa/inet.h>
#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <time.h>
#include <unistd.h>

/* Ping sockets: their port is the identifier of the echo. */
static void go_ping(void)
{
	char buf[256];

	for (unsigned i = 0; i < job.count; i++) {
		bool v6 = i % 2;
		struct icmphdr req = { .type = v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO };
		struct sockaddr_storage a;
		uint16_t id = (uint16_t)(job.lo + i % (unsigned)(job.hi - job.lo));
		int fd = traffic_bound(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM,
				       v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP, id);
		socklen_t len = traffic_server(&a, v6 ? V6 : V4, i, 0);

		req.un.echo.sequence = htons((uint16_t)i);
		memset(buf, 'p', sizeof(buf));
		memcpy(buf, &req, sizeof(req));
		result.flows++;
		if (sendto(fd, buf, 64, 0, (struct sockaddr *)&a, len) < 0 ||
		    recv(fd, buf, sizeof(buf), 0) != 64)
			result.failed++;
		close(fd);
	}
}

/* The far end answers protocols 253 (the app) and 254 (the bystander). */
static void go_raw(void)
{
	struct sockaddr_storage a;
	char buf[256];
	int fds[2];

	fds[0] = traffic_socket(V4, SOCK_RAW, job.port);
	fds[1] = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, job.port);
	if (fds[1] < 0)
		traffic_die("raw socket");
	for (unsigned i = 0; i < job.count; i++) {
		bool v6 = i % 2;
		socklen_t len = traffic_server(&a, v6 ? V6 : V4, i, 0);
		struct pollfd p = { .fd = fds[v6], .events = POLLIN };

		result.flows++;
		if (sendto(fds[v6], "raw bytes of a protocol", 20, 0, (struct sockaddr *)&a, len) <
			    0 ||
		    poll(&p, 1, 2000) != 1 || recv(fds[v6], buf, sizeof(buf), 0) < 20)
			result.failed++;
	}
	close(fds[0]);
	close(fds[1]);
}

/* Loopback: each UID has an echo server, TCP and UDP, and talks to its own and to the other's. */
static int echo_tcp, echo_udp;

static void *echo_loop(void *arg)
{
	struct pollfd p[64] = { { .fd = echo_tcp, .events = POLLIN },
				{ .fd = echo_udp, .events = POLLIN } };
	nfds_t n = 2;
	char buf[2048];

	for (;;) {
		poll(p, n, -1);
		if (p[0].revents && n < 64)
			p[n++] = (struct pollfd){ .fd = accept(echo_tcp, NULL, NULL),
						  .events = POLLIN };
		if (p[1].revents) {
			struct sockaddr_storage from;
			socklen_t len = sizeof(from);
			ssize_t got = recvfrom(echo_udp, buf, sizeof(buf), 0,
					       (struct sockaddr *)&from, &len);

			if (got > 0)
				sendto(echo_udp, buf, (size_t)got, 0, (struct sockaddr *)&from,
				       len);
		}
		for (nfds_t i = 2; i < n; i++) {
			ssize_t got = p[i].revents ? recv(p[i].fd, buf, sizeof(buf), 0) : -1;

			if (got > 0)
				send(p[i].fd, buf, (size_t)got, MSG_NOSIGNAL);
			else if (p[i].revents) {
				close(p[i].fd);
				p[i--] = p[--n];
			}
		}
	}
	return arg;
}

static void setup_loopback(void)
{
	pthread_t t;

	echo_tcp = traffic_bound(AF_INET6, SOCK_STREAM, 0, job.lo);
	echo_udp = traffic_bound(AF_INET6, SOCK_DGRAM, 0, job.lo);
	if (listen(echo_tcp, 1024) < 0 || pthread_create(&t, NULL, echo_loop, NULL))
		traffic_die("echo server");
	pthread_detach(t);
}

static void talk_at_home(int type)
{
	static const char *const to[] = { "127.0.0.1", "::1", "10.77.0.1", "fd77::1" };
	struct sockaddr_storage a;

	job.lo++; /* the servers' port is not for clients */
	for (unsigned i = 0; i < job.count; i++) {
		enum traffic_variant v = i % 2 ? V6 : V4;
		uint16_t port = i / 4 % 2 ? job.peer : (uint16_t)(job.lo - 1);
		socklen_t len = traffic_addr(&a, v, to[i % 4], port);
		int fd = traffic_socket(v, type, 0);

		if (connect(fd, (struct sockaddr *)&a, len) < 0)
			result.failed++;
		else
			traffic_exchange(fd, 150, 150);
		close(fd);
	}
}

static void go_loopback(void)
{
	talk_at_home(SOCK_STREAM);
}

static void go_loopback_udp(void)
{
	talk_at_home(SOCK_DGRAM);
}

/* Opened before the capture starts, used after. */
static int old[16];

static void setup_preexisting(void)
{
	for (unsigned i = 0; i < 16; i++) {
		bool udp = i >= 8;
		enum traffic_variant v = (enum traffic_variant)(i % 3);
		struct sockaddr_storage a;
		socklen_t len = traffic_server(&a, v, i, PORT_ECHO);

		old[i] = traffic_socket(v, udp ? SOCK_DGRAM : SOCK_STREAM, 0);
		if (i < 12 && connect(old[i], (struct sockaddr *)&a, len) < 0)
			traffic_die("connect");
		if (i < 6 || i == 8 || i == 9) /* some have been used, some not yet */
			traffic_exchange(old[i], 100, 100);
		if (i == 12 || i == 13) {
			char c;

			sendto(old[i], "x", 1, 0, (struct sockaddr *)&a, len);
			recv(old[i], &c, 1, 0);
		}
	}
}

static void go_preexisting(void)
{
	char buf[256] = "still here";

	for (unsigned k = 0; k < job.count; k++) {
		for (unsigned i = 0; i < 16; i++) {
			struct sockaddr_storage a;
			socklen_t len =
				traffic_server(&a, (enum traffic_variant)(i % 3), i, PORT_ECHO);

			if (i < 12) {
				traffic_exchange(old[i], 100, 100);
				continue;
			}
			result.flows++;
			if (sendto(old[i], buf, 100, 0, (struct sockaddr *)&a, len) < 0 ||
			    recv(old[i], buf, sizeof(buf), 0) != 100)
				result.failed++;
		}
	}
	for (unsigned i = 0; i < 16; i++)
		close(old[i]);
}

/*
 * One port, two UIDs, one server, in turns: 'A' in the payload is the app's, 'B' the bystander's.
 * A socket's owner is the file-system UID at its making, so one process can take both parts, with
 * no more than a system call between one's close and the other's bind.
 *
 * Every turn has its answer before it closes (one that gave up waiting has failed, and fails the
 * lab), so nothing is on its way when the port changes hands: whose a packet is has one answer,
 * and the kernel gave it to the socket of whoever its letter names. What is hard for a reader is
 * that the close and the next bind follow within microseconds of the answer's arrival.
 */
static int as_uid(bool app, int family, int type, uint16_t port)
{
	int fd;

	setfsuid(app ? job.uid : job.other);
	fd = traffic_bound(family, type, 0, port);
	setfsuid(0);
	return fd;
}

static void reuse_udp(unsigned i, uint16_t port)
{
	int family = i % 2 ? AF_INET6 : AF_INET;
	bool app = i / 2 % 2;
	int fd = as_uid(app, family, SOCK_DGRAM, port);
	struct sockaddr_storage a;
	socklen_t len = traffic_server(&a, i % 2 ? V6 : V4, 0, PORT_ECHO);
	char buf[64] = { app ? 'A' : 'B' };

	result.flows++;
	if (i / 4 % 2) { /* receives first: the far end is asked from a port of its own range */
		char ask[64] = { 'R', (char)(port >> 8), (char)port, app ? 'A' : 'B' };
		int other = as_uid(app, family, SOCK_DGRAM, (uint16_t)(app ? job.lo : job.peer));

		sendto(other, ask, sizeof(ask), 0, (struct sockaddr *)&a, len);
		if (recv(fd, buf, sizeof(buf), 0) < 1 || buf[0] != ask[3])
			result.failed++;
		close(other);
	}
	sendto(fd, buf, sizeof(buf), 0, (struct sockaddr *)&a, len);
	if (recv(fd, buf, sizeof(buf), 0) < 1)
		result.failed++;
	close(fd);
}

/* The first connection of a port is the bystander's, the next the app's, and so on. */
static void reuse_tcp(unsigned i, uint16_t port)
{
	int fd = as_uid(i / 2 % 2, i % 2 ? AF_INET6 : AF_INET, SOCK_STREAM, port);
	struct sockaddr_storage a;
	socklen_t len = traffic_server(&a, i % 2 ? V6 : V4, 0, PORT_REPLY);

	if (connect(fd, (struct sockaddr *)&a, len) < 0)
		result.failed++;
	traffic_reset_on_close(fd);
	result.flows++;
	if (send(fd, i / 2 % 2 ? "A" : "B", 1, MSG_NOSIGNAL) != 1 ||
	    !traffic_read_all(fd, REPLY_BYTES))
		result.failed++;
	close(fd);
}

static void go_port_reuse(void)
{
	for (unsigned i = 0; i < job.count; i++)
		reuse_udp(i, (uint16_t)(job.port + i / 20 * 2 + i % 2));
}

static void go_port_reuse_tcp(void)
{
	for (unsigned i = 0; i < job.count; i++)
		reuse_tcp(i, (uint16_t)(job.port + i / 20 * 2 + i % 2));
}

/*
 * Sockets that change hands by fchown(): the kind is the place of its port in a row of GIVEN_KINDS,
 * bit 0: silent until well after the change; bit 1: the app's, given to the other UID, else root's,
 * given to the app; bit 2: UDP.
 */
enum { GIVEN_KINDS = 8, GIVEN_SILENCE_MS = 600 };

static double wall_clock(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int given_socket(unsigned i)
{
	struct sockaddr_storage a;
	socklen_t len = traffic_server(&a, V4, i / GIVEN_KINDS, PORT_ECHO);
	int fd;

	if (i & 2)
		setfsuid(job.uid);
	fd = traffic_bound(AF_INET, i & 4 ? SOCK_DGRAM : SOCK_STREAM, 0, (uint16_t)(job.lo + i));
	setfsuid(0);
	if (connect(fd, (struct sockaddr *)&a, len) < 0)
		traffic_die("connect");
	traffic_exchange(fd, 50, 50);
	return fd;
}

static void go_given(void)
{
	int fds[GIVEN_KINDS * 8];
	unsigned n = job.count < GIVEN_KINDS * 8 ? job.count : GIVEN_KINDS * 8;

	for (unsigned i = 0; i < n; i++)
		fds[i] = given_socket(i);
	poll(NULL, 0, 100); /* so that what was before is known to be before */
	result.changed[0] = wall_clock();
	for (unsigned i = 0; i < n; i++) {
		if (fchown(fds[i], i & 2 ? job.other : job.uid, (gid_t)-1) < 0)
			traffic_die("fchown");
	}
	result.changed[1] = wall_clock();
	for (unsigned ms = 0; ms < 2 * GIVEN_SILENCE_MS; ms += 20) {
		for (unsigned i = 0; i < n; i++) {
			if (!(i & 1) || ms > GIVEN_SILENCE_MS)
				traffic_exchange(fds[i], 60, 60);
		}
		poll(NULL, 0, 20);
	}
	for (unsigned i = 0; i < n; i++) {
		traffic_reset_on_close(fds[i]); /* no TIME_WAIT: the ports are wanted again */
		close(fds[i]);
	}
}

/*
 * Many sockets, held until the end: UDP ones, and TCP connections with both ends here. A process
 * may not open them all: job.port numbers those that share the work.
 */
static void setup_hoard(void)
{
	unsigned ports = (unsigned)(job.hi - job.lo);

	for (unsigned i = 0; i < job.count / 2; i++) {
		struct sockaddr_in a = { .sin_family = AF_INET,
					 .sin_addr.s_addr =
						 htonl(0x7f000001 + (1U + job.port) * 65536 +
						       i / ports * 256),
					 .sin_port = htons((uint16_t)(job.lo + i % ports)) };
		int fd = socket(AF_INET, SOCK_DGRAM, 0);

		if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
			traffic_die("a hoarded UDP socket");
	}
	for (unsigned i = 0; i < job.count / 4; i++) {
		static struct sockaddr_in a;
		static int server;
		socklen_t len = sizeof(a);
		int fd;

		if (i % 5000 == 0) {
			server = socket(AF_INET, SOCK_STREAM, 0);
			a.sin_family = AF_INET;
			a.sin_addr.s_addr = htonl(0x7f650001 + job.port * 65536U + i / 5000 * 256);
			a.sin_port = htons(job.hi);
			if (bind(server, (struct sockaddr *)&a, len) < 0 || listen(server, 64) < 0)
				traffic_die("a hoarding server");
		}
		fd = traffic_socket(V4, SOCK_STREAM, 0);
		traffic_reset_on_close(fd);
		if (connect(fd, (struct sockaddr *)&a, len) < 0 || accept(server, NULL, NULL) < 0)
			traffic_die("a hoarded TCP connection");
	}
}

static void go_hoard(void)
{
	result.flows = job.count;
}

/* Nobody's traffic, to push what a reference capture still holds in its ring to its file. */
static void go_filler(void)
{
	static char big[60000] = "SENTINEL";
	struct sockaddr_storage a, home;
	int fd = traffic_bound(AF_INET, SOCK_DGRAM, 0, job.lo);
	socklen_t len = traffic_server(&a, V4, 0, PORT_IDLE);
	socklen_t home_len = traffic_addr(&home, V4, "127.0.0.1", PORT_IDLE);

	for (unsigned i = 0; i < 1000; i++) {
		sendto(fd, big, 1400, 0, (struct sockaddr *)&a, len);
		if (i % 50 == 0)
			sendto(fd, big, sizeof(big), 0, (struct sockaddr *)&home, home_len);
	}
	close(fd);
}

const struct traffic_workload traffic_odd[] = {
	{ "ping", NULL, go_ping, false, false },
	{ "raw", NULL, go_raw, true, false },
	{ "loopback", setup_loopback, go_loopback, false, false },
	{ "loopback_udp", setup_loopback, go_loopback_udp, false, false },
	{ "preexisting", setup_preexisting, go_preexisting, false, false },
	{ "port_reuse", NULL, go_port_reuse, false, true },
	{ "port_reuse_tcp", NULL, go_port_reuse_tcp, false, true },
	{ "given", NULL, go_given, false, true },
	{ "hoard", setup_hoard, go_hoard, false, false },
	{ "filler", NULL, go_filler, false, false },
	{ 0 },
};
