/* diag_udp_swapped.c - UDP lookups take the remote as idiag_src and the local as idiag_dst */
#include <unistd.h>

#include "lab.h"

static void check(int nl, const char *addr)
{
	int fd = lab_bound(LAB_APP, SOCK_DGRAM, addr, 0);
	int peer = lab_bound(LAB_BYSTANDER, SOCK_DGRAM, addr, 0);
	union lab_addr local = lab_sockname(fd);
	union lab_addr remote = lab_sockname(peer);
	struct lab_sock s = { 0 };

	tap_ok(lab_exact(nl, IPPROTO_UDP, &remote, &local, &s) == 0 && s.inode == lab_inode(fd) &&
		       s.uid == LAB_APP,
	       "UDP %s: swapped finds the local socket", addr);
	tap_ok(lab_exact(nl, IPPROTO_UDP, &local, &remote, &s) == 0 && s.inode == lab_inode(peer) &&
		       s.uid == LAB_BYSTANDER,
	       "UDP %s: straight finds the peer's, on the same host", addr);
	if (connect(fd, &remote.sa, sizeof(remote)) < 0 ||
	    connect(peer, &local.sa, sizeof(local)) < 0)
		tap_bail("connect");
	tap_ok(lab_exact(nl, IPPROTO_UDP, &remote, &local, &s) == 0 && s.inode == lab_inode(fd),
	       "UDP %s: swapped finds the local socket when both are connected", addr);
	close(fd);
	close(peer);
}

static void check_tcp(int nl)
{
	union lab_addr remote, local;
	int listener = lab_listener(LAB_BYSTANDER, "127.0.0.1", &remote);
	int fd = lab_connected(LAB_APP, SOCK_STREAM, &remote);
	struct lab_sock s = { 0 };

	local = lab_sockname(fd);
	tap_ok(lab_exact(nl, IPPROTO_TCP, &local, &remote, &s) == 0 && s.inode == lab_inode(fd) &&
		       s.uid == LAB_APP,
	       "TCP: straight finds the local socket");
	close(fd);
	close(listener);
}

int main(void)
{
	int nl;

	lab_enter();
	nl = lab_diag_open();
	check(nl, "127.0.0.1");
	check(nl, "::1");
	check_tcp(nl);
	return tap_done();
}
