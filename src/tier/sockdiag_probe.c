/* sockdiag_probe.c - does the sockdiag tier work here? Proven by a packet of our own */
#include "tier/sockdiag_probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "tier/diag.h"

#define WAIT_MS 200

static int open_tap(struct apptap_error *err)
{
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_IP));
	int r;

	if (fd >= 0)
		return fd;
	r = apptap_error_set(err, errno, "opening a packet socket");
	if (r == -EPERM || r == -EACCES)
		apptap_error_hint(err, "run as root, or give it CAP_NET_RAW");
	else
		apptap_error_hint(err, "the kernel needs CONFIG_PACKET");
	return r;
}

/* A datagram from a socket of ours to itself; -ENETUNREACH and kin when loopback is down. */
static int send_own(int fd, struct apptap_flow *flow)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &len) < 0 ||
	    connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || send(fd, "apptap", 6, 0) < 0)
		return -errno;
	memset(flow, 0, sizeof(*flow));
	flow->family = AF_INET;
	flow->proto = IPPROTO_UDP;
	apptap_addr_set(&flow->laddr, AF_INET, &a.sin_addr);
	flow->raddr = flow->laddr;
	flow->lport = flow->rport = ntohs(a.sin_port);
	return 0;
}

static int wait_for_own(int tap, const struct apptap_flow *flow, struct apptap_error *err)
{
	uint64_t end_ns = apptap_clock_ns(CLOCK_MONOTONIC) + WAIT_MS * APPTAP_NSEC_PER_MSEC;
	struct pollfd p = { .fd = tap, .events = POLLIN };
	struct apptap_dissect d;
	struct apptap_flow seen;
	uint8_t buf[128];

	while (apptap_clock_ns(CLOCK_MONOTONIC) < end_ns) {
		ssize_t n = recv(tap, buf, sizeof(buf), 0);

		if (n < 0) {
			poll(&p, 1, 10);
			continue;
		}
		apptap_dissect((struct apptap_view){ buf, (size_t)n }, ETH_P_IP, &d);
		apptap_dissect_flow(&d, true, &seen);
		if (apptap_flow_equal(&seen, flow))
			return 0;
	}
	return apptap_error_say(err, ENODATA,
				"a packet of our own on loopback did not reach the packet socket");
}

int apptap_sockdiag_probe(struct apptap_error *err)
{
	auto_close int tap = open_tap(err);
	auto_close int own = -1;
	struct apptap_diag *diag;
	struct apptap_sighting s;
	struct apptap_flow flow;
	int r;

	if (tap < 0)
		return tap;
	own = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (own < 0)
		return apptap_error_set(err, errno, "opening a UDP socket");
	if (send_own(own, &flow) < 0)
		return 0; /* loopback is down: the packet socket is open, more cannot be shown */
	r = wait_for_own(tap, &flow, err);
	if (r < 0)
		return r;
	r = apptap_diag_open(&diag, err);
	if (r < 0)
		return r;
	apptap_diag_ask(diag, &flow, 0, &s);
	apptap_diag_close(diag);
	if (s.sight != APPTAP_SIGHT_OWNED || s.uid != geteuid()) {
		r = apptap_error_say(
			err, ENODATA,
			"neither SOCK_DIAG nor /proc/net tells who owns our own socket");
		apptap_error_hint(err,
				  "the kernel needs CONFIG_INET_DIAG, or /proc must be mounted");
		return r;
	}
	return 0;
}
