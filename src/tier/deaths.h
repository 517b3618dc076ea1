/* deaths.h - sockets that the kernel has destroyed: which cookie left which local port, and when */
#ifndef APPTAP_TIER_DEATHS_H
#define APPTAP_TIER_DEATHS_H

#include "base/error.h"
#include "flow/flow.h"

struct apptap_deaths;

int apptap_deaths_new(struct apptap_deaths **out);
void apptap_deaths_free(struct apptap_deaths *d);

/*
 * A destroy event read at @now_ns: @cookie had the local end of @flow. TCP's are told apart by the
 * whole flow, for a listener's port has many connections; all others by protocol and local port.
 */
void apptap_deaths_add(struct apptap_deaths *d, const struct apptap_flow *flow, uint64_t cookie,
		       uint64_t now_ns);

/* Events were lost: nothing is certain about what happened before @now_ns. */
void apptap_deaths_lost(struct apptap_deaths *d, uint64_t now_ns);

#define APPTAP_DEATHS_A_PORT 64 /* told at most */

/*
 * The sockets that have left the flow (or port) since @since_ns. Return: how many are in @cookies,
 * or -1 where the log cannot tell (events were lost or written over, or there were more).
 */
int apptap_deaths_since(const struct apptap_deaths *d, const struct apptap_flow *flow,
			uint64_t since_ns, uint64_t cookies[APPTAP_DEATHS_A_PORT]);

/* The same, of those that were told by @until_ns. */
int apptap_deaths_between(const struct apptap_deaths *d, const struct apptap_flow *flow,
			  uint64_t since_ns, uint64_t until_ns,
			  uint64_t cookies[APPTAP_DEATHS_A_PORT]);

/* No events are ever told here (lost until the end of time): nothing can rest on their absence. */
bool apptap_deaths_blind(const struct apptap_deaths *d);

/* How many were ever told: another number, and there is news. */
uint32_t apptap_deaths_count(const struct apptap_deaths *d);

/* Has @cookie itself left it? */
bool apptap_deaths_has(const struct apptap_deaths *d, const struct apptap_flow *flow,
		       uint64_t cookie);

/* The kernel's own word of it: SOCK_DIAG's destroy multicast groups. */
struct apptap_obituaries;

/* -EOPNOTSUPP and kin where the kernel has none (before 4.3, or without INET_DIAG). */
int apptap_obituaries_open(struct apptap_obituaries **out, struct apptap_error *err);
int apptap_obituaries_fd(const struct apptap_obituaries *o);

/*
 * Reads all that is there into @d. @left_ports, when not NULL, is called for each socket of UDP
 * that died. Return: number read; losses are noted in @d.
 */
int apptap_obituaries_read(struct apptap_obituaries *o, struct apptap_deaths *d,
			   void (*udp_left)(void *arg, uint16_t lport), void *arg);
void apptap_obituaries_close(struct apptap_obituaries *o);

#endif
