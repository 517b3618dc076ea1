/* tap_loopback.c - a packet on the loopback passes a tap twice: outgoing, then to this host */
#include <linux/if_packet.h>
#include <string.h>
#include <unistd.h>

#include "lab.h"

/* The types of the packets of one datagram of @size bytes to @to, in order; two are expected. */
static int types_of(int tap, const char *to, size_t header, size_t size, uint8_t types[4])
{
	union lab_addr a = lab_addr(to, 4242);
	int fd = lab_socket(LAB_APP, a.sa.sa_family, SOCK_DGRAM, 0);
	static const char payload[256];
	int n = 0;

	if (sendto(fd, payload, size, 0, &a.sa, sizeof(a)) < 0)
		tap_bail("sendto");
	close(fd);
	/* Both were queued by sendto(); the ICMP error for the closed port is of another size. */
	for (;;) {
		char packet[512] = { 0 };
		struct sockaddr_ll sll = { 0 };
		socklen_t len = sizeof(sll);
		ssize_t got = recvfrom(tap, packet, sizeof(packet), MSG_DONTWAIT,
				       (struct sockaddr *)&sll, &len);

		if (got < 0)
			return n;
		if ((size_t)got == header + size && n < 4)
			types[n++] = sll.sll_pkttype;
	}
}

int main(void)
{
	uint8_t types[4] = { 0 };
	int tap;

	lab_enter();
	tap = lab_tap();
	tap_ok(types_of(tap, "127.0.0.1", 28, 100, types) == 2,
	       "IPv4: two packets for one datagram");
	tap_ok(types[0] == PACKET_OUTGOING && types[1] == PACKET_HOST, "IPv4: outgoing, then host");
	tap_ok(types_of(tap, "::1", 48, 100, types) == 2, "IPv6: two packets for one datagram");
	tap_ok(types[0] == PACKET_OUTGOING && types[1] == PACKET_HOST, "IPv6: outgoing, then host");
	return tap_done();
}
