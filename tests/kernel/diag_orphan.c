/* diag_orphan.c - what lookups say of TCP sockets that no descriptor holds: yet, or any more */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "lab.h"

/* The kernel closes on its own time: ask until @state is seen, at most a second. */
static bool reached(int nl, const union lab_addr *local, const union lab_addr *remote, int state,
		    struct lab_sock *s)
{
	uint64_t end = lab_now_ns(CLOCK_MONOTONIC) + 1000000000U;

	do {
		if (lab_owner(nl, IPPROTO_TCP, local, remote, s) == 0 && s->state == state)
			return true;
	} while (lab_now_ns(CLOCK_MONOTONIC) < end);
	return false;
}

static void check_life(int nl)
{
	union lab_addr server, client;
	union lab_addr stranger = lab_addr("127.9.9.9", 9999);
	int listener = lab_listener(LAB_BYSTANDER, "127.0.0.1", &server);
	int fd = lab_connected(LAB_APP, SOCK_STREAM, &server);
	struct lab_sock s = { 0 };
	int accepted;

	client = lab_sockname(fd);
	tap_ok(lab_owner(nl, IPPROTO_TCP, &server, &stranger, &s) == 0 &&
		       s.inode == lab_inode(listener) && s.uid == LAB_BYSTANDER,
	       "an unknown peer finds the listener");
	tap_ok(reached(nl, &server, &client, TCP_ESTABLISHED, &s) && s.uid == LAB_BYSTANDER &&
		       s.inode == 0,
	       "not yet accepted: the listener's UID, inode 0");
	accepted = lab_accept(LAB_BYSTANDER, listener);
	tap_ok(reached(nl, &server, &client, TCP_ESTABLISHED, &s) && s.uid == LAB_BYSTANDER &&
		       s.inode == lab_inode(accepted),
	       "accepted: UID and inode");
	close(fd);
	tap_ok(reached(nl, &client, &server, TCP_FIN_WAIT2, &s) && s.uid == 0 && s.inode == 0,
	       "orphaned FIN_WAIT2: UID 0, inode 0");
	tap_ok(reached(nl, &server, &client, TCP_CLOSE_WAIT, &s) && s.uid == LAB_BYSTANDER,
	       "CLOSE_WAIT: its owner's UID");
	close(accepted);
	tap_ok(reached(nl, &client, &server, TCP_TIME_WAIT, &s) && s.uid == 0 && s.inode == 0,
	       "TIME_WAIT: UID 0, inode 0");
	close(listener);
}

static void check_half_closed(int nl)
{
	union lab_addr server, client;
	int listener = lab_listener(LAB_BYSTANDER, "127.0.0.1", &server);
	int fd = lab_connected(LAB_APP, SOCK_STREAM, &server);
	struct lab_sock s = { 0 };

	client = lab_sockname(fd);
	shutdown(fd, SHUT_WR);
	tap_ok(reached(nl, &client, &server, TCP_FIN_WAIT2, &s) && s.uid == LAB_APP &&
		       s.inode == lab_inode(fd),
	       "FIN_WAIT2 with an open descriptor: its owner's UID and inode");
	close(fd);
	close(listener);
}

/* TCP_DEFER_ACCEPT leaves a finished handshake in SYN_RECV until data comes. */
static void check_request(int nl)
{
	union lab_addr server, client;
	int listener = lab_listener(LAB_BYSTANDER, "127.0.0.1", &server);
	int seconds = 5;
	struct lab_sock s = { 0 };
	int fd;

	if (setsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds)) < 0)
		tap_bail("TCP_DEFER_ACCEPT");
	fd = lab_connected(LAB_APP, SOCK_STREAM, &server);
	client = lab_sockname(fd);
	tap_ok(reached(nl, &server, &client, TCP_SYN_RECV, &s) && s.uid == 0 && s.inode == 0,
	       "SYN_RECV: UID 0, inode 0");
	close(fd);
	close(listener);
}

/* Data that nobody reads keeps the closed sender in FIN_WAIT1. */
static void check_fin_wait1(int nl)
{
	union lab_addr server, client;
	int listener = lab_listener(LAB_BYSTANDER, "127.0.0.1", &server);
	int fd = lab_connected(LAB_APP, SOCK_STREAM, &server);
	static const char block[65536];
	struct lab_sock s = { 0 };

	client = lab_sockname(fd);
	while (send(fd, block, sizeof(block), MSG_DONTWAIT) > 0)
		;
	close(fd);
	tap_ok(reached(nl, &client, &server, TCP_FIN_WAIT1, &s) && s.inode == 0,
	       "orphaned FIN_WAIT1: inode 0");
	tap_diag("its UID is %u (older kernels: 0)", s.uid);
	close(listener);
}

int main(void)
{
	int nl;

	lab_enter();
	nl = lab_diag_open();
	check_life(nl);
	check_half_closed(nl);
	check_request(nl);
	check_fin_wait1(nl);
	return tap_done();
}
