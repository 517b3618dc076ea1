/* diag_mapped.c - a v6 socket that talks to a v4 peer: which lookups and which dumps know it */
#include <string.h>
#include <unistd.h>

#include "lab.h"

static void check(int nl, int proto, int type)
{
	const char *name = proto == IPPROTO_TCP ? "TCP" : "UDP";
	int server = lab_bound(LAB_BYSTANDER, type, "127.0.0.1", 0);
	union lab_addr remote = lab_sockname(server);
	union lab_addr mapped = lab_addr("::ffff:127.0.0.1", lab_port(&remote));
	union lab_addr local;
	static const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };
	struct lab_sock s = { 0 };
	uint32_t inode;
	int fd;

	if (type == SOCK_STREAM && listen(server, 1) < 0)
		tap_bail("listen");
	fd = lab_connected(LAB_APP, type, &mapped);
	inode = lab_inode(fd);
	local = lab_sockname(fd);
	local = lab_addr("127.0.0.1", lab_port(&local));
	tap_ok(lab_owner(nl, proto, &local, &remote, &s) == 0 && s.inode == inode &&
		       s.uid == LAB_APP,
	       "%s: an exact AF_INET lookup finds the v6 socket", name);
	tap_ok(!lab_dumped(nl, proto, AF_INET, inode, &s), "%s: the AF_INET dump omits it", name);
	tap_ok(lab_dumped(nl, proto, AF_INET6, inode, &s), "%s: the AF_INET6 dump lists it", name);
	tap_ok(memcmp(s.dst, prefix, sizeof(prefix)) == 0, "%s: there with a v4-mapped peer", name);
	close(fd);
	close(server);
}

/* Not connected, bound to [::]: what a v6 server or resolver library does. */
static void check_dual_stack(int nl)
{
	int fd = lab_bound(LAB_APP, SOCK_DGRAM, "::", 0);
	union lab_addr local = lab_sockname(fd);
	union lab_addr remote = lab_addr("127.0.0.1", 9);
	struct lab_sock s = { 0 };

	local = lab_addr("127.0.0.1", lab_port(&local));
	tap_ok(lab_owner(nl, IPPROTO_UDP, &local, &remote, &s) == 0 && s.inode == lab_inode(fd),
	       "UDP: an exact AF_INET lookup finds a dual-stack [::] socket");
	close(fd);
}

int main(void)
{
	int nl;

	lab_enter();
	nl = lab_diag_open();
	check(nl, IPPROTO_TCP, SOCK_STREAM);
	check(nl, IPPROTO_UDP, SOCK_DGRAM);
	check_dual_stack(nl);
	return tap_done();
}
