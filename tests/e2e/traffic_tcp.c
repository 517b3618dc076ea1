/* traffic_tcp.c - workloads over TCP */
#include "traffic.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

static int dial(unsigned i, uint16_t port)
{
	return traffic_connect((enum traffic_variant)(i % 3), SOCK_STREAM, 0, i / 3, port);
}

static void go_short(void)
{
	for (unsigned i = 0; i < job.count; i++) {
		int fd = dial(i, PORT_REPLY);

		traffic_exchange(fd, 100, REPLY_BYTES);
		close_fd(fd);
	}
}

static bool wait_for(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, 2000) == 1;
}

static int dial_at_once(unsigned i)
{
	enum traffic_variant v = (enum traffic_variant)(i % 3);
	int fd = traffic_socket(v, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct sockaddr_storage a;
	socklen_t len = traffic_server(&a, v, i / 3, (uint16_t)(PORT_CHURN + i / 12 % CHURN_PORTS));

	result.flows++;
	if (connect(fd, (struct sockaddr *)&a, len) == 0 || errno == EINPROGRESS)
		return fd;
	result.failed++;
	close(fd);
	return -1;
}

/*
 * As fast as one core makes them: a handful under way at a time, or the wake-ups would be the
 * limit. Many server ports and addresses, so that TIME_WAIT is not the limit either.
 */
static void go_churn(void)
{
	double end = traffic_now() + job.seconds;
	char buf[REPLY_BYTES];
	int fds[16];

	for (unsigned i = 0; traffic_now() < end;) {
		for (int k = 0; k < 16; k++)
			fds[k] = dial_at_once(i++);
		for (int k = 0; k < 16; k++) {
			if (fds[k] >= 0 && (!wait_for(fds[k], POLLOUT) ||
					    send(fds[k], buf, 64, MSG_NOSIGNAL) != 64))
				result.failed++;
		}
		for (int k = 0; k < 16; k++) {
			if (fds[k] >= 0 && (!wait_for(fds[k], POLLIN) ||
					    recv(fds[k], buf, sizeof(buf), 0) != REPLY_BYTES))
				result.failed++;
			close_fd(fds[k]);
		}
	}
}

static void go_bulk_down(void)
{
	for (unsigned i = 0; i < job.count; i++) {
		int fd = dial(i, PORT_SOURCE);

		if (fd < 0)
			continue;
		result.flows++;
		if (send(fd, &job.size, sizeof(job.size), 0) < 0 || !traffic_read_all(fd, job.size))
			result.failed++;
		close(fd);
	}
}

static void go_bulk_up(void)
{
	static char buf[1 << 18];

	for (unsigned i = 0; i < job.count; i++) {
		int fd = dial(i, PORT_HALF);
		uint64_t left = job.size;

		if (fd < 0)
			continue;
		result.flows++;
		while (left) {
			size_t want = left < sizeof(buf) ? left : sizeof(buf);
			ssize_t n = send(fd, buf, want, MSG_NOSIGNAL);

			if (n < 0)
				break;
			left -= (uint64_t)n;
			result.bytes += (uint64_t)n;
		}
		shutdown(fd, SHUT_WR);
		if (left || !traffic_read_all(fd, REPLY_BYTES))
			result.failed++;
		close(fd);
	}
}

static void go_linger0(void)
{
	for (unsigned i = 0; i < job.count; i++) {
		int fd = dial(i, PORT_REPLY);

		if (fd < 0)
			continue;
		traffic_reset_on_close(fd);
		traffic_exchange(fd, 100, REPLY_BYTES);
		close(fd);
	}
}

static void go_half_close(void)
{
	for (unsigned i = 0; i < job.count; i++) {
		int fd = dial(i, PORT_HALF);

		if (fd < 0)
			continue;
		result.flows++;
		send(fd, "last words", 10, MSG_NOSIGNAL);
		shutdown(fd, SHUT_WR);
		if (!traffic_read_all(fd, REPLY_BYTES))
			result.failed++;
		close(fd);
	}
}

/* Closed by the server before we do, and by us with its answer unread (orphaned FIN_WAIT2). */
static void go_server_first(void)
{
	char c;

	for (unsigned i = 0; i < job.count; i++) {
		int fd = dial(i, PORT_FIRST);

		if (traffic_exchange(fd, 100, REPLY_BYTES) && recv(fd, &c, 1, 0) != 0)
			result.failed++;
		close_fd(fd);
		fd = dial(i, PORT_DISCARD);
		if (fd < 0)
			continue;
		send(fd, "and gone", 8, MSG_NOSIGNAL);
		close(fd);
	}
}

static void talk_until_killed(unsigned i, int said)
{
	static char buf[1 << 16];
	int fd = dial(i, i % 2 ? PORT_SOURCE : PORT_DISCARD);
	uint64_t plenty = 1 << 20;

	if (fd < 0)
		_exit(1);
	if (i % 2) { /* unread answers make the kernel reset the connection */
		send(fd, &plenty, sizeof(plenty), 0);
		recv(fd, buf, 1000, 0);
	} else { /* unsent data makes it an orphan in FIN_WAIT1 */
		for (int k = 0; k < 8; k++)
			send(fd, buf, sizeof(buf), MSG_DONTWAIT);
	}
	if (write(said, "k", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static void go_sigkill(void)
{
	int p[2];
	char c;

	for (unsigned i = 0; i < job.count; i++) {
		pid_t pid;

		if (pipe(p) < 0 || (pid = fork()) < 0)
			traffic_die("fork");
		if (pid == 0)
			talk_until_killed(i, p[1]);
		close(p[1]);
		result.flows++;
		if (read(p[0], &c, 1) != 1)
			result.failed++;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		close(p[0]);
	}
	poll(NULL, 0, 50); /* the orphans finish in the window of the capture */
}

static void go_refused(void)
{
	struct sockaddr_storage a;
	char c;

	for (unsigned i = 0; i < job.count; i++) {
		enum traffic_variant v = (enum traffic_variant)(i % 3);
		socklen_t len = traffic_server(&a, v, i / 3, PORT_CLOSED);
		int fd = traffic_socket(v, SOCK_STREAM, 0);

		result.flows += 2;
		if (connect(fd, (struct sockaddr *)&a, len) == 0 || errno != ECONNREFUSED)
			result.failed++;
		close(fd);
		fd = traffic_socket(v, SOCK_DGRAM, 0);
		if (connect(fd, (struct sockaddr *)&a, len) < 0 || send(fd, "hello?", 6, 0) < 0 ||
		    recv(fd, &c, 1, 0) >= 0 || errno != ECONNREFUSED)
			result.failed++;
		close(fd);
	}
}

/* 10.78.1.x is unreachable, .2.x prohibited, .3.x silent; the same in fd78:1:: and so on. */
static void go_unreachable(void)
{
	static const char *const where[][2] = { { "10.78.1.1", "fd78:1::1" },
						{ "10.78.2.1", "fd78:2::1" },
						{ "10.78.3.1", "fd78:3::1" } };
	struct sockaddr_storage a;
	int fds[1024];
	size_t n = job.count < 512 ? job.count : 512;

	for (size_t i = 0; i < n; i++) {
		enum traffic_variant v = (enum traffic_variant)(i / 3 % 3);
		const char *text = where[i % 3][v == V6];
		socklen_t len = traffic_addr(&a, v, text, PORT_ECHO);

		fds[2 * i] = traffic_socket(v, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)connect(fds[2 * i], (struct sockaddr *)&a, len);
		fds[2 * i + 1] = traffic_socket(v, SOCK_DGRAM, 0);
		sendto(fds[2 * i + 1], "anyone", 6, 0, (struct sockaddr *)&a, len);
		result.flows += 2;
	}
	poll(NULL, 0, 1200); /* the silent ones are asked again after a second */
	for (size_t i = 0; i < 2 * n; i++)
		close(fds[i]);
}

static int listeners[2];

static void setup_inbound(void)
{
	listeners[0] = traffic_bound(AF_INET6, SOCK_STREAM, 0, job.lo);
	listeners[1] = traffic_bound(AF_INET, SOCK_STREAM, 0, (uint16_t)(job.lo + 1));
	for (int i = 0; i < 2; i++) {
		if (listen(listeners[i], 1024) < 0)
			traffic_die("listen");
	}
}

/*
 * Another user listens, as with socket activation: the listener was made before the change of UID,
 * and whoever accepts a connection owns it.
 */
static void setup_accepted(void)
{
	setfsuid(job.other);
	setup_inbound();
	setfsuid(0);
	/* Accepts at once: what nobody has accepted for 100 ms may count as the listener's. */
	setpriority(PRIO_PROCESS, 0, -10);
	if (setresgid(job.uid, job.uid, job.uid) < 0 || setresuid(job.uid, job.uid, job.uid) < 0)
		traffic_die("changing the UID");
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* the change of UID took it back */
}

static void go_inbound(void)
{
	char c;

	for (unsigned i = 0; i < job.count; i++) {
		int fd = accept(listeners[i % 3 == 2], NULL, NULL);

		if (fd < 0) {
			result.failed++;
			continue;
		}
		traffic_exchange(fd, REPLY_BYTES, 100);
		if (i % 2) /* half of them are closed from there, half from here */
			while (recv(fd, &c, 1, 0) > 0)
				;
		close(fd);
	}
}

/* Runs on the far side: v4 and v6 to the dual-stack listener, v4 to the other. */
static void go_inbound_client(void)
{
	struct sockaddr_storage a;
	char c;

	for (unsigned i = 0; i < job.count; i++) {
		enum traffic_variant v = i % 3 == 1 ? V6 : V4;
		uint16_t port = (uint16_t)(job.port + (i % 3 == 2));
		int fd = traffic_socket(v, SOCK_STREAM, 0);
		socklen_t len = traffic_addr(&a, v, v == V6 ? "fd77::1" : "10.77.0.1", port);

		if (connect(fd, (struct sockaddr *)&a, len) < 0)
			result.failed++;
		else if (traffic_exchange(fd, 100, REPLY_BYTES) && i % 2 == 0)
			while (recv(fd, &c, 1, 0) > 0)
				;
		close(fd);
	}
}

const struct traffic_workload traffic_tcp[] = {
	{ "tcp_short", NULL, go_short, false, false },
	{ "churn_tcp", NULL, go_churn, false, false },
	{ "bulk_down", NULL, go_bulk_down, false, false },
	{ "bulk_up", NULL, go_bulk_up, false, false },
	{ "linger0", NULL, go_linger0, false, false },
	{ "half_close", NULL, go_half_close, false, false },
	{ "server_first", NULL, go_server_first, false, false },
	{ "sigkill", NULL, go_sigkill, false, false },
	{ "refused", NULL, go_refused, false, false },
	{ "unreachable", NULL, go_unreachable, false, false },
	{ "inbound_tcp", setup_inbound, go_inbound, false, false },
	{ "accepted", setup_accepted, go_inbound, false, true },
	{ "inbound_tcp_far", NULL, go_inbound_client, false, false },
	{ 0 },
};
