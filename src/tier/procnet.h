/* procnet.h - sockets as /proc/net lists them: for what SOCK_DIAG does not know, or where it is not
 */
#ifndef APPTAP_TIER_PROCNET_H
#define APPTAP_TIER_PROCNET_H

#include "base/error.h"
#include "tier/sighting.h"

/* One line of /proc/net/{tcp,udp,udplite,icmp,raw}{,6}. */
struct apptap_procnet_line {
	struct apptap_addr laddr;
	struct apptap_addr raddr;
	uint16_t lport; /* raw: the IP protocol; icmp: the echo identifier */
	uint16_t rport;
	uint8_t state; /* TCP_* */
	uid_t uid;
	uint64_t inode;
};

/* @family: of the file. false: the heading, or no line of such a file. */
bool apptap_procnet_parse(struct apptap_view line, int family, struct apptap_procnet_line *out);

/*
 * Whose is @flow, after reading the file of its protocol: TCP, UDP, UDP-Lite, ICMP echo (ping
 * sockets, then raw ones), anything else by the raw sockets of its protocol. @out is filled
 * wholly but for pkt_ns. When raw sockets of several users could have it, it is an orphan.
 */
void apptap_procnet_ask(const struct apptap_flow *flow, struct apptap_sighting *out);

/* Every socket of TCP or UDP in @family's file; each() returns negative to stop. */
int apptap_procnet_each(int proto, int family,
			int (*each)(const struct apptap_procnet_line *line, void *arg), void *arg,
			struct apptap_error *err);

#endif
