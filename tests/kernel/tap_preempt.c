/* tap_preempt.c - a real-time reader on each CPU asks for the owner before its sender can close */
#include <linux/if_packet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lab.h"

/*
 * How it works: packet sockets in a PACKET_FANOUT_CPU group get the packets of their own CPU. An
 * outgoing packet wakes its reader from within send(); a reader pinned to that CPU and of class
 * SCHED_FIFO runs before send() returns to the sender. So a socket that sends one datagram and is
 * closed at once is still there for the lookup.
 */

enum { SOCKETS = 2000, PORT = 4242, CPUS_MAX = 256 };

struct reader {
	pthread_t thread;
	int cpu;
	int tap; /* owned by main */
	int seen, found, app;
};

static atomic_bool stop;
static struct reader readers[CPUS_MAX];

/* The addresses of one of our datagrams, if that is what @ip holds. */
static bool ours(const uint8_t *ip, size_t len, union lab_addr *src, union lab_addr *dst)
{
	*src = lab_addr("0.0.0.0", 0);
	*dst = lab_addr("0.0.0.0", 0);
	if (len < 28 || ip[0] != 0x45 || ip[9] != IPPROTO_UDP)
		return false;
	memcpy(&src->v4.sin_addr, ip + 12, 4);
	memcpy(&dst->v4.sin_addr, ip + 16, 4);
	memcpy(&src->v4.sin_port, ip + 20, 2);
	memcpy(&dst->v4.sin_port, ip + 22, 2);
	return lab_port(dst) == PORT;
}

static void *read_cpu(void *arg)
{
	struct reader *r = arg;
	int nl = lab_diag_open();

	while (!stop) {
		uint8_t packet[128] = { 0 };
		struct sockaddr_ll sll = { 0 };
		socklen_t sll_len = sizeof(sll);
		ssize_t n = recvfrom(r->tap, packet, sizeof(packet), 0, (struct sockaddr *)&sll,
				     &sll_len);
		union lab_addr src, dst;
		struct lab_sock s;

		if (n < 0 || sll.sll_pkttype != PACKET_OUTGOING ||
		    !ours(packet, (size_t)n, &src, &dst))
			continue;
		r->seen++;
		if (lab_owner(nl, IPPROTO_UDP, &src, &dst, &s) == 0) {
			r->found++;
			r->app += s.uid == LAB_APP;
		}
	}
	close(nl);
	return NULL;
}

static int open_fanout(void)
{
	int group = (getpid() & 0xffff) | PACKET_FANOUT_CPU << 16;
	int rcvbuf = 4 << 20;
	int fd = lab_tap();
	struct timeval tick = { .tv_usec = 50000 }; /* how soon a reader sees that it should stop */

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &rcvbuf, sizeof(rcvbuf)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof(tick)) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_FANOUT, &group, sizeof(group)) < 0)
		tap_bail("a fanout packet socket");
	return fd;
}

/* PACKET_FANOUT_CPU picks member (CPU modulo members): one socket for every CPU, also idle ones. */
static int start_readers(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);

	if (cpus < 1 || cpus > CPUS_MAX)
		tap_skip_all("more CPUs than this test knows of");
	for (int i = 0; i < cpus; i++) {
		readers[i].cpu = i;
		readers[i].tap = open_fanout();
	}
	for (int i = 0; i < cpus; i++)
		lab_reader(&readers[i].thread, i, read_cpu, &readers[i]);
	return (int)cpus;
}

static struct reader run(const char *to)
{
	struct reader sum = { 0 };
	int cpus;

	memset(readers, 0, sizeof(readers));
	stop = false;
	cpus = start_readers();
	lab_send_and_close(to, PORT, SOCKETS);
	stop = true;
	for (int i = 0; i < cpus; i++) {
		pthread_join(readers[i].thread, NULL);
		close(readers[i].tap);
		sum.seen += readers[i].seen;
		sum.found += readers[i].found;
		sum.app += readers[i].app;
	}
	return sum;
}

int main(void)
{
	static const char *const to[] = { "10.9.0.2", "127.0.0.1" };

	lab_enter();
	lab_veth();
	for (size_t i = 0; i < 2; i++) {
		struct reader sum = run(to[i]);

		tap_ok(sum.seen == SOCKETS, "to %s: %d of %d datagrams seen", to[i], sum.seen,
		       SOCKETS);
		tap_ok(sum.found >= SOCKETS * 99 / 100,
		       "to %s: %d of %d sockets found before they were closed", to[i], sum.found,
		       SOCKETS);
		tap_ok(sum.app == sum.found, "to %s: all with the UID of the sender", to[i]);
	}
	return tap_done();
}
