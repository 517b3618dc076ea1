/* diag.h - ask the kernel which user owns a socket (NETLINK_SOCK_DIAG); the struct is in diag.c */
#ifndef APPTAP_TIER_DIAG_H
#define APPTAP_TIER_DIAG_H

#include "base/error.h"
#include "scope/scope.h"
#include "tier/sighting.h"

struct apptap_diag;

/* Where SOCK_DIAG does not answer, /proc/net takes its place: apptap_diag_is_slow() then. */
int apptap_diag_open(struct apptap_diag **out, struct apptap_error *err);
void apptap_diag_close(struct apptap_diag *d); /* NULL is fine */

/* From now on answers say what the sockets' cgroups make of them; @m is borrowed. Return 0,
 * -EOPNOTSUPP: this kernel does not tell a socket's cgroup (before 5.8). */
int apptap_diag_tell_members(struct apptap_diag *d, struct apptap_members *m,
			     struct apptap_error *err);
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

/* Every socket of @proto bound to @lport, of both families. */
void apptap_diag_port(struct apptap_diag *d, int proto, uint16_t lport,
		      int (*each)(const struct apptap_sighting *s, void *arg), void *arg);

/* Every TCP socket that listens, of both families: cheap, however many others there are. */
int apptap_diag_listeners(struct apptap_diag *d,
			  int (*each)(const struct apptap_sighting *s, void *arg), void *arg,
			  struct apptap_error *err);

/*
 * Who gets what is sent to a multicast or broadcast address: the local end of @flow. OWNED by one
 * of @scope if any socket of its users is bound to the port there; else NONE. IP_MULTICAST_ALL is
 * on by default, so a socket need not have joined itself.
 */
void apptap_diag_ask_group(struct apptap_diag *d, const struct apptap_flow *flow,
			   const struct apptap_scope *scope, struct apptap_sighting *out);

#endif
