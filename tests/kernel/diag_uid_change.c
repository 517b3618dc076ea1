/* diag_uid_change.c - the UID of a socket is not fixed: fchown(2), and accept(2) by somebody else
 */
#include <unistd.h>

#include "lab.h"

static void check_fchown(int nl, int proto, int type)
{
	const char *name = proto == IPPROTO_TCP ? "TCP" : "UDP";
	int server = lab_bound(0, type, "127.0.0.1", 0);
	union lab_addr remote = lab_sockname(server);
	union lab_addr local;
	struct lab_sock before = { 0 }, after = { 0 };
	int fd;

	if (type == SOCK_STREAM && listen(server, 1) < 0)
		tap_bail("listen");
	fd = lab_connected(LAB_BYSTANDER, type, &remote);
	local = lab_sockname(fd);
	tap_ok(lab_owner(nl, proto, &local, &remote, &before) == 0 && before.uid == LAB_BYSTANDER,
	       "%s: the UID that made the socket", name);
	if (fchown(fd, LAB_APP, (gid_t)-1) < 0)
		tap_bail("fchown");
	tap_ok(lab_owner(nl, proto, &local, &remote, &after) == 0 && after.uid == LAB_APP,
	       "%s: after fchown() the new one", name);
	tap_ok(before.cookie == after.cookie, "%s: the cookie stays", name);
	close(fd);
	close(server);
}

static void check_accept(int nl)
{
	union lab_addr server, client;
	int listener = lab_listener(LAB_BYSTANDER, "127.0.0.1", &server);
	int fd = lab_connected(0, SOCK_STREAM, &server);
	struct lab_sock before = { 0 }, after = { 0 };
	int accepted;

	client = lab_sockname(fd);
	tap_ok(lab_owner(nl, IPPROTO_TCP, &server, &client, &before) == 0 &&
		       before.uid == LAB_BYSTANDER,
	       "before accept(): the listener's UID");
	accepted = lab_accept(LAB_APP, listener);
	tap_ok(lab_owner(nl, IPPROTO_TCP, &server, &client, &after) == 0 && after.uid == LAB_APP,
	       "after accept() by another UID: that one");
	tap_ok(before.cookie == after.cookie, "the cookie stays");
	close(accepted);
	close(fd);
	close(listener);
}

int main(void)
{
	int nl;

	lab_enter();
	nl = lab_diag_open();
	check_fchown(nl, IPPROTO_TCP, SOCK_STREAM);
	check_fchown(nl, IPPROTO_UDP, SOCK_DGRAM);
	check_accept(nl);
	return tap_done();
}
