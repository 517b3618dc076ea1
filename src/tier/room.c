/* room.c - has conntrack room for the connections of this machine? */
#include "tier/room.h"

#include <errno.h>
#include <stdio.h>

#define HALF 2 /* of the table: connections live on there when their sockets have closed */

/* 0: the kernel does not say. */
static unsigned long number_in(const char *path)
{
	FILE *f = fopen(path, "re");
	unsigned long n = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%lu", &n) != 1)
		n = 0;
	fclose(f);
	return n;
}

/* Sockets of TCP and UDP, those among them that only wait for their end. */
static unsigned long sockets_in(const char *path)
{
	FILE *f = fopen(path, "re");
	unsigned long sum = 0, n;
	char line[256];

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		const char *waiting = strstr(line, " tw ");

		if (sscanf(line, "TCP: inuse %lu", &n) == 1 ||
		    sscanf(line, "UDP: inuse %lu", &n) == 1 ||
		    sscanf(line, "TCP6: inuse %lu", &n) == 1 ||
		    sscanf(line, "UDP6: inuse %lu", &n) == 1)
			sum += n;
		if (waiting && sscanf(waiting, " tw %lu", &n) == 1)
			sum += n;
	}
	fclose(f);
	return sum;
}

int apptap_room_check(struct apptap_error *err)
{
	const char *given = secure_getenv("APPTAP_CONNTRACK_MAX"); /* for tests */
	unsigned long most = given ? strtoul(given, NULL, 10)
				   : number_in("/proc/sys/net/netfilter/nf_conntrack_max");
	unsigned long tracked = number_in("/proc/sys/net/netfilter/nf_conntrack_count");
	unsigned long sockets = sockets_in("/proc/thread-self/net/sockstat") +
				sockets_in("/proc/thread-self/net/sockstat6");
	int r;

	/* Where it tracks them already, our rules add nothing. */
	if (!most || tracked >= sockets / HALF || sockets < most / HALF)
		return 0;
	r = apptap_error_say(
		err, EBUSY,
		"conntrack has little room: %lu sockets, and at most %lu connections can be "
		"tracked",
		sockets, most);
	apptap_error_hint(err, "raise net.netfilter.nf_conntrack_max, or --tier sockdiag");
	return r;
}
