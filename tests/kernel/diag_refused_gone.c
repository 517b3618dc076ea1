/* diag_refused_gone.c - after a refused connect() no table has the socket, but its descriptor does
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lab.h"

enum { CLOSED_PORT = 81 };

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

/* The app: connects, is refused, and sits there with its socket, whose number it tells. */
_Noreturn static void be_refused(const char *to, bool nonblocking, int tell)
{
	union lab_addr a = lab_addr(to, CLOSED_PORT);
	struct pollfd p = { .events = POLLOUT };
	int code = 0;
	socklen_t len = sizeof(code);

	if (setuid(LAB_APP) < 0)
		_exit(1);
	p.fd = socket(AF_INET, SOCK_STREAM | (nonblocking ? SOCK_NONBLOCK : 0), 0);
	if (connect(p.fd, &a.sa, sizeof(a)) == 0)
		_exit(1);
	if (errno == EINPROGRESS) {
		if (poll(&p, 1, 2000) != 1 ||
		    getsockopt(p.fd, SOL_SOCKET, SO_ERROR, &code, &len) < 0)
			_exit(1);
		errno = code;
	}
	if (errno != ECONNREFUSED || write(tell, &p.fd, sizeof(p.fd)) < 0)
		_exit(1);
	for (;;)
		pause();
}

/* The local end of the connection attempt, from its SYN on the wire. */
static union lab_addr syn_source(int tap)
{
	for (;;) {
		uint8_t ip[128] = { 0 };
		struct sockaddr_ll sll = { 0 };
		socklen_t len = sizeof(sll);
		ssize_t n = recvfrom(tap, ip, sizeof(ip), 0, (struct sockaddr *)&sll, &len);
		union lab_addr a = lab_addr("0.0.0.0", 0);

		if (n < 0)
			tap_bail("no SYN was seen");
		if (n < 40 || sll.sll_pkttype != PACKET_OUTGOING || ip[0] != 0x45 ||
		    ip[9] != IPPROTO_TCP || (ip[33] & 0x12) != 0x02)
			continue;
		memcpy(&a.v4.sin_addr, ip + 12, 4);
		memcpy(&a.v4.sin_port, ip + 20, 2);
		return a;
	}
}

static int borrow(pid_t pid, int fd)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	int copy = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);

	if (pidfd >= 0)
		close(pidfd);
	if (copy < 0 && errno != ENOSYS && errno != EPERM)
		tap_bail("pidfd_getfd");
	return copy;
}

static void check_descriptor(const char *name, bool nonblocking, int fd,
			     const union lab_addr *source)
{
	union lab_addr peer;
	socklen_t len = sizeof(peer);
	union lab_addr local = lab_sockname(fd);
	bool has_addr = local.v4.sin_addr.s_addr == source->v4.sin_addr.s_addr;

	tap_ok(lab_port(&local) == lab_port(source), "%s: the descriptor knows its local port",
	       name);
	if (nonblocking)
		tap_ok(has_addr, "%s: and its local address", name);
	else
		tap_ok(local.v4.sin_addr.s_addr == 0, "%s: its local address is gone", name);
	tap_ok(getpeername(fd, &peer.sa, &len) < 0 && errno == ENOTCONN, "%s: its peer is gone",
	       name);
}

static void check(int nl, const char *to, bool nonblocking)
{
	const char *name = nonblocking ? "nonblocking" : "blocking";
	union lab_addr remote = lab_addr(to, CLOSED_PORT);
	int tap = lab_tap();
	union lab_addr source;
	struct lab_sock s;
	int tell[2], fd, copy;
	pid_t pid;

	tap_diag("%s connect to %s", name, to);
	if (pipe(tell) < 0)
		tap_bail("pipe");
	pid = fork();
	if (pid == 0)
		be_refused(to, nonblocking, tell[1]);
	close(tell[1]);
	if (read(tell[0], &fd, sizeof(fd)) != sizeof(fd))
		tap_bail("the child was not refused");
	source = syn_source(tap);
	tap_ok(lab_owner(nl, IPPROTO_TCP, &source, &remote, &s) == -ENOENT,
	       "%s: the lookup knows no such socket", name);
	copy = borrow(pid, fd);
	if (copy < 0) {
		tap_skip(name, "no pidfd_getfd here");
	} else {
		tap_ok(!lab_dumped(nl, IPPROTO_TCP, AF_INET, lab_inode(copy), &s),
		       "%s: nor does a dump", name);
		check_descriptor(name, nonblocking, copy, &source);
		close(copy);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(tell[0]);
	close(tap);
}

int main(void)
{
	int nl;

	lab_enter();
	lab_veth();
	nl = lab_diag_open();
	check(nl, "127.0.0.1", false);
	check(nl, "127.0.0.1", true);
	check(nl, "10.9.0.2", false);
	check(nl, "10.9.0.2", true);
	return tap_done();
}
