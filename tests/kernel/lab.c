/* lab.c - a private network and its sockets, and questions to SOCK_DIAG */
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lab.h"

void lab_run(const char *fmt, ...)
{
	char command[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	errno = 0;
	if (system(command) != 0) // NOLINT(cert-env33-c): our own constant commands
		tap_bail("%s", command);
}

void lab_enter(void)
{
	if (geteuid() != 0)
		tap_skip_all("needs root");
	if (unshare(CLONE_NEWNET) < 0)
		tap_bail("making a network namespace");
	lab_run("ip link set lo up");
}

void lab_veth(void)
{
	int ready[2];
	pid_t pid;
	char c;

	if (pipe(ready) < 0)
		tap_bail("pipe");
	pid = fork();
	if (pid < 0)
		tap_bail("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (unshare(CLONE_NEWNET) == 0 && write(ready[1], "", 1) == 1)
			for (;;)
				pause();
		_exit(1);
	}
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		tap_bail("making the second namespace");
	close(ready[0]);
	lab_run("ip link add va address 02:00:00:00:00:01 type veth"
		" peer name vb address 02:00:00:00:00:02 netns %d",
		(int)pid);
	lab_run("ip addr add 10.9.0.1/24 dev va && ip link set va up");
	/* No packet waits for ARP: it would leave later, from another context than its sender's. */
	lab_run("ip neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev va");
	lab_run("nsenter --net=/proc/%d/ns/net sh -c "
		"'ip addr add 10.9.0.2/24 dev vb && ip link set vb up'",
		(int)pid);
}

uint64_t lab_now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

union lab_addr lab_addr(const char *text, uint16_t port)
{
	union lab_addr a;

	memset(&a, 0, sizeof(a));
	if (inet_pton(AF_INET, text, &a.v4.sin_addr) == 1) {
		a.v4.sin_family = AF_INET;
		a.v4.sin_port = htons(port);
		return a;
	}
	if (inet_pton(AF_INET6, text, &a.v6.sin6_addr) != 1)
		tap_bail("reading the address %s", text);
	a.v6.sin6_family = AF_INET6;
	a.v6.sin6_port = htons(port);
	return a;
}

uint16_t lab_port(const union lab_addr *a)
{
	return ntohs(a->sa.sa_family == AF_INET ? a->v4.sin_port : a->v6.sin6_port);
}

int lab_socket(uid_t uid, int family, int type, int proto)
{
	int fd;

	/* A socket belongs to the effective UID of the moment that made it. */
	if (seteuid(uid) < 0)
		tap_bail("seteuid %u", uid);
	fd = socket(family, type | SOCK_CLOEXEC, proto);
	if (seteuid(0) < 0)
		tap_bail("seteuid 0");
	if (fd < 0)
		tap_bail("socket");
	return fd;
}

int lab_bound(uid_t uid, int type, const char *addr, uint16_t port)
{
	union lab_addr a = lab_addr(addr, port);
	int fd = lab_socket(uid, a.sa.sa_family, type, 0);

	if (bind(fd, &a.sa, sizeof(a)) < 0)
		tap_bail("bind to %s port %u", addr, port);
	return fd;
}

int lab_connected(uid_t uid, int type, const union lab_addr *remote)
{
	int fd = lab_socket(uid, remote->sa.sa_family, type, 0);

	if (connect(fd, &remote->sa, sizeof(*remote)) < 0)
		tap_bail("connect");
	return fd;
}

int lab_listener(uid_t uid, const char *addr, union lab_addr *bound)
{
	int fd = lab_bound(uid, SOCK_STREAM, addr, 0);

	if (listen(fd, 16) < 0)
		tap_bail("listen");
	*bound = lab_sockname(fd);
	return fd;
}

int lab_accept(uid_t uid, int listener)
{
	int fd;

	if (seteuid(uid) < 0)
		tap_bail("seteuid %u", uid);
	fd = accept(listener, NULL, NULL);
	if (seteuid(0) < 0)
		tap_bail("seteuid 0");
	if (fd < 0)
		tap_bail("accept");
	return fd;
}

union lab_addr lab_sockname(int fd)
{
	union lab_addr a;
	socklen_t len = sizeof(a);

	memset(&a, 0, sizeof(a));
	if (getsockname(fd, &a.sa, &len) < 0)
		tap_bail("getsockname");
	return a;
}

uint32_t lab_inode(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		tap_bail("fstat");
	return (uint32_t)st.st_ino;
}

int lab_tap(void)
{
	struct sockaddr_ll all = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	struct timeval two_seconds = { .tv_sec = 2 };
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		tap_bail("packet socket");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &two_seconds, sizeof(two_seconds)) < 0 ||
	    bind(fd, (struct sockaddr *)&all, sizeof(all)) < 0)
		tap_bail("binding a packet socket");
	return fd;
}

int lab_diag_open(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	struct timeval two_seconds = { .tv_sec = 2 };

	if (fd < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &two_seconds, sizeof(two_seconds)) < 0)
		tap_bail("sock_diag socket");
	return fd;
}

bool lab_parse(const struct nlmsghdr *h, struct lab_sock *out)
{
	const struct inet_diag_msg *m = NLMSG_DATA(h);

	if (h->nlmsg_len < NLMSG_LENGTH(sizeof(*m)))
		return false;
	*out = (struct lab_sock){
		.uid = m->idiag_uid,
		.inode = m->idiag_inode,
		.rqueue = m->idiag_rqueue,
		.cookie = (uint64_t)m->id.idiag_cookie[1] << 32 | m->id.idiag_cookie[0],
		.family = m->idiag_family,
		.state = m->idiag_state,
		.sport = ntohs(m->id.idiag_sport),
		.dport = ntohs(m->id.idiag_dport),
	};
	memcpy(out->src, m->id.idiag_src, sizeof(out->src));
	memcpy(out->dst, m->id.idiag_dst, sizeof(out->dst));
	return true;
}

struct request {
	struct nlmsghdr h;
	struct inet_diag_req_v2 q;
};

static void put_addr(const union lab_addr *a, __be32 addr[4], __be16 *port)
{
	if (a->sa.sa_family == AF_INET) {
		memcpy(addr, &a->v4.sin_addr, 4);
		*port = a->v4.sin_port;
	} else {
		memcpy(addr, &a->v6.sin6_addr, 16);
		*port = a->v6.sin6_port;
	}
}

static struct request request(int proto, int family, uint16_t flags)
{
	struct request r;

	memset(&r, 0, sizeof(r));
	r.h.nlmsg_len = sizeof(r);
	r.h.nlmsg_type = SOCK_DIAG_BY_FAMILY;
	r.h.nlmsg_flags = NLM_F_REQUEST | flags;
	r.q.sdiag_family = (uint8_t)family;
	r.q.sdiag_protocol = (uint8_t)proto;
	r.q.idiag_states = UINT32_MAX;
	r.q.id.idiag_cookie[0] = INET_DIAG_NOCOOKIE;
	r.q.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	return r;
}

int lab_exact(int nl, int proto, const union lab_addr *src, const union lab_addr *dst,
	      struct lab_sock *out)
{
	struct request r = request(proto, src->sa.sa_family, 0);
	_Alignas(struct nlmsghdr) char buf[8192];
	const struct nlmsghdr *h = (void *)buf;
	ssize_t n;

	put_addr(src, r.q.id.idiag_src, &r.q.id.idiag_sport);
	put_addr(dst, r.q.id.idiag_dst, &r.q.id.idiag_dport);
	if (send(nl, &r, sizeof(r), 0) < 0)
		tap_bail("asking sock_diag");
	n = recv(nl, buf, sizeof(buf), 0);
	if (n < (ssize_t)sizeof(*h) || !NLMSG_OK(h, (size_t)n))
		tap_bail("an answer of sock_diag");
	if (h->nlmsg_type == NLMSG_ERROR)
		return ((const struct nlmsgerr *)NLMSG_DATA(h))->error;
	if (!lab_parse(h, out))
		tap_bail("a short answer of sock_diag");
	return 0;
}

int lab_owner(int nl, int proto, const union lab_addr *local, const union lab_addr *remote,
	      struct lab_sock *out)
{
	if (proto == IPPROTO_TCP)
		return lab_exact(nl, proto, local, remote, out);
	return lab_exact(nl, proto, remote, local, out);
}

bool lab_dumped(int nl, int proto, int family, uint32_t inode, struct lab_sock *out)
{
	struct request r = request(proto, family, NLM_F_DUMP);
	_Alignas(struct nlmsghdr) char buf[32768];
	bool found = false;

	if (send(nl, &r, sizeof(r), 0) < 0)
		tap_bail("asking sock_diag for a dump");
	for (;;) {
		ssize_t n = recv(nl, buf, sizeof(buf), 0);
		const struct nlmsghdr *h = (void *)buf;

		if (n <= 0)
			tap_bail("reading a dump");
		for (size_t left = (size_t)n; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			struct lab_sock s;

			if (h->nlmsg_type == NLMSG_DONE)
				return found;
			if (h->nlmsg_type == NLMSG_ERROR)
				tap_bail("the kernel refused a dump");
			if (lab_parse(h, &s) && s.inode == inode) {
				*out = s;
				found = true;
			}
		}
	}
}

void lab_send_and_close(const char *to, uint16_t port, int sockets)
{
	union lab_addr a = lab_addr(to, port);
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (setuid(LAB_APP) < 0)
			_exit(1);
		for (int i = 0; i < sockets; i++) {
			int fd = socket(AF_INET, SOCK_DGRAM, 0);

			if (sendto(fd, "x", 1, 0, &a.sa, sizeof(a)) != 1)
				_exit(1);
			close(fd);
		}
		_exit(0);
	}
	errno = 0;
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		tap_bail("the sender");
}

void lab_reader(pthread_t *thread, int cpu, void *(*run)(void *arg), void *arg)
{
	struct sched_param fifo = { .sched_priority = 1 };
	pthread_attr_t attr;
	cpu_set_t set;
	int r;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	pthread_attr_init(&attr);
	pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
	pthread_attr_setschedpolicy(&attr, SCHED_FIFO);
	pthread_attr_setschedparam(&attr, &fifo);
	pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	r = pthread_create(thread, &attr, run, arg);
	pthread_attr_destroy(&attr);
	if (r == EPERM)
		tap_skip_all("SCHED_FIFO is refused here");
	if (r == EINVAL)
		tap_skip_all("may not run on every CPU");
	errno = r;
	if (r != 0)
		tap_bail("starting the reader of CPU %d", cpu);
}
