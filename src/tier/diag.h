/* diag.h - ask the kernel which user owns a socket (NETLINK_SOCK_DIAG); the struct is in diag.c */
#ifndef APPTAP_TIER_DIAG_H
#define APPTAP_TIER_DIAG_H

#include "base/error.h"
#include "tier/sighting.h"

struct apptap_diag;

/* Where SOCK_DIAG does not answer, /proc/net takes its place: apptap_diag_is_slow() then. */
int apptap_diag_open(struct apptap_diag **out, struct apptap_error *err);
void apptap_diag_close(struct apptap_diag *d); /* NULL is fine */
bool apptap_diag_is_slow(const struct apptap_diag *d);

/*
 * The socket that has @flow now, 4-6 us. @ifindex: of the packet, for sockets bound to a device.
 * Fills all of @out but pkt_ns. What cannot be asked counts as APPTAP_SIGHT_NONE.
 */
void apptap_diag_ask(struct apptap_diag *d, const struct apptap_flow *flow, int ifindex,
		     struct apptap_sighting *out);

/*
 * Every socket of @proto (IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE), both families, as sightings;
 * rport is 0 in those that listen or are not connected.
 */
int apptap_diag_dump(struct apptap_diag *d, int proto,
		     int (*each)(const struct apptap_sighting *s, void *arg), void *arg,
		     struct apptap_error *err);

/*
 * Every owner of a socket of @proto bound to @lport: for multicast and broadcast, which are
 * delivered to them all.
 */
int apptap_diag_port(struct apptap_diag *d, int proto, uint16_t lport,
		     int (*each)(const struct apptap_sighting *s, void *arg), void *arg,
		     struct apptap_error *err);

#endif
