/* portshare.h - UDP ports that our app and somebody else have bound at the same time */
#ifndef APPTAP_TIER_PORTSHARE_H
#define APPTAP_TIER_PORTSHARE_H

#include "scope/scope.h"
#include "tier/diag.h"

struct apptap_portshare;

int apptap_portshare_new(struct apptap_portshare **out, const struct apptap_scope *scope);
void apptap_portshare_free(struct apptap_portshare *p);

/*
 * Have sockets of the scope and of others @lport of UDP (mDNS, SSDP: SO_REUSEADDR)? Then nothing
 * tells which of them sent a packet. Only service ports are looked at, and each once a second.
 */
bool apptap_portshare_mixed(struct apptap_portshare *p, struct apptap_diag *diag, uint16_t lport,
			    uint64_t now_ns);

#endif
