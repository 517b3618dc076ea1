/*
 * beacon.c - a packet of our own now and then: do the rules still see it?
 *
 * How it works. A datagram to a port of loopback where nobody listens, and the ICMP error that
 * answers it. The error is told to our socket, too: then both have passed every chain, and rules
 * that work have shown both. The port stays ours all the while, bound to a socket that hears only
 * another peer, so no stranger can be there to get the datagram.
 */
#include "tier/beacon.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tier/probe_socket.h"

#define NOT_THE_BEACON 1 /* a port that it does not send from */

struct apptap_beacon {
	int fd, deaf; /* owned: the sender, and the holder of the port it sends to */
	struct apptap_flow flow; /* as the sender has it */
	unsigned shown; /* APPTAP_BEACON_* */
	bool sent;
};

static int bind_here(int fd, struct sockaddr_in *out)
{
	socklen_t len = sizeof(*out);

	*out = (struct sockaddr_in){ .sin_family = AF_INET };
	out->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return bind(fd, (struct sockaddr *)out, sizeof(*out)) < 0 ||
			       getsockname(fd, (struct sockaddr *)out, &len) < 0
		       ? -errno
		       : 0;
}

static int connect_to(int fd, struct sockaddr_in to)
{
	return connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 ? -errno : 0;
}

static int open_sockets(struct apptap_beacon *b, uid_t prover)
{
	struct sockaddr_in from = { 0 }, to = { 0 }, other;
	int r;

	b->fd = apptap_probe_socket(prover);
	b->deaf = apptap_probe_socket(prover);
	if (b->fd < 0 || b->deaf < 0)
		return -errno;
	r = bind_here(b->fd, &from);
	if (r == 0)
		r = bind_here(b->deaf, &to);
	if (r < 0)
		return r;
	other = to;
	other.sin_port = htons(NOT_THE_BEACON);
	r = connect_to(b->deaf, other);
	if (r == 0)
		r = connect_to(b->fd, to);
	b->flow = (struct apptap_flow){ .family = AF_INET, .proto = IPPROTO_UDP };
	apptap_addr_set(&b->flow.laddr, AF_INET, &from.sin_addr);
	b->flow.raddr = b->flow.laddr;
	b->flow.lport = ntohs(from.sin_port);
	b->flow.rport = ntohs(to.sin_port);
	return r;
}

int apptap_beacon_open(struct apptap_beacon **out, uid_t prover)
{
	struct apptap_beacon *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return -ENOMEM;
	r = open_sockets(b, prover);
	if (r < 0) {
		apptap_beacon_close(b);
		return r;
	}
	*out = b;
	return 0;
}

void apptap_beacon_close(struct apptap_beacon *b)
{
	if (!b)
		return;
	if (b->fd >= 0)
		close(b->fd);
	if (b->deaf >= 0)
		close(b->deaf);
	free(b);
}

bool apptap_beacon_take(struct apptap_beacon *b, enum apptap_rule_class class,
			const struct apptap_dissect *d)
{
	bool answer = d->inner_ports && d->inner_sport == b->flow.lport;
	struct apptap_flow flow;

	if (!answer && d->sport != b->flow.lport)
		return false;
	if (answer)
		apptap_dissect_inner_flow(d, true, &flow);
	else
		apptap_dissect_flow(d, true, &flow);
	if (!apptap_flow_equal(&flow, &b->flow))
		return false;
	if (answer && class == APPTAP_RULE_GOT_MARKED)
		b->shown |= APPTAP_BEACON_ANSWER;
	if (!answer && class == APPTAP_RULE_SENT)
		b->shown |= APPTAP_BEACON_SENT;
	return true;
}

/* What is told of the exchange before is heard first: it would be taken for this one's. */
void apptap_beacon_send(struct apptap_beacon *b)
{
	int error;
	socklen_t len = sizeof(error);

	getsockopt(b->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	b->shown = 0;
	b->sent = send(b->fd, "apptap", strlen("apptap"), 0) > 0;
}

unsigned apptap_beacon_missed(struct apptap_beacon *b)
{
	int error = 0;
	socklen_t len = sizeof(error);
	bool answered = b->sent && getsockopt(b->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 &&
			error == ECONNREFUSED;

	b->sent = false;
	return answered ? (APPTAP_BEACON_SENT | APPTAP_BEACON_ANSWER) & ~b->shown : 0;
}
