/* diag_procnet_ping.c - ping sockets: in /proc/net/icmp{,6}, identifier as local port, with UID */
#include <linux/icmp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lab.h"

static bool listed(const char *path, uint16_t ident, unsigned int *uid)
{
	FILE *f = fopen(path, "re");
	char line[512];
	bool found = false;

	if (!f)
		tap_bail("%s", path);
	while (!found && fgets(line, sizeof(line), f)) {
		unsigned int port;

		/* sl local:port remote:port st queues timer retransmits uid */
		found = sscanf(line, " %*[^:]: %*[0-9A-F]:%x %*[0-9A-F]:%*x %*x %*s %*s %*s %u",
			       &port, uid) == 2 &&
			port == ident;
	}
	(void)fclose(f);
	return found;
}

static void check(const char *addr, int proto, uint8_t type, const char *path)
{
	struct icmphdr echo = { .type = type };
	union lab_addr to = lab_addr(addr, 0);
	unsigned int uid = 0;
	union lab_addr local;
	int fd = lab_socket(LAB_APP, to.sa.sa_family, SOCK_DGRAM, proto);

	if (sendto(fd, &echo, sizeof(echo), 0, &to.sa, sizeof(to)) < 0)
		tap_bail("sending an echo request");
	local = lab_sockname(fd);
	tap_ok(listed(path, lab_port(&local), &uid), "%s lists the identifier as local port", path);
	tap_ok(uid == LAB_APP, "%s gives the UID", path);
	close(fd);
	tap_ok(!listed(path, lab_port(&local), &uid), "%s: gone after close()", path);
}

int main(void)
{
	lab_enter();
	lab_run("echo '0 2147483647' >/proc/sys/net/ipv4/ping_group_range");
	check("127.0.0.1", IPPROTO_ICMP, ICMP_ECHO, "/proc/net/icmp");
	check("::1", IPPROTO_ICMPV6, 128, "/proc/net/icmp6");
	return tap_done();
}
