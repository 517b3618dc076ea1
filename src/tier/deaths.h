/* deaths.h - sockets that the kernel has destroyed: which cookie left which local port, and when */
#ifndef APPTAP_TIER_DEATHS_H
#define APPTAP_TIER_DEATHS_H

#include "base/error.h"

struct apptap_deaths;

int apptap_deaths_new(struct apptap_deaths **out);
void apptap_deaths_free(struct apptap_deaths *d);

/*
 * A destroy event read at @now_ns: the socket @cookie had @lport of @proto. @rport tells TCP
 * connections apart, of which a listener's port has many; for all else it does not count.
 */
void apptap_deaths_add(struct apptap_deaths *d, uint8_t proto, uint16_t lport, uint16_t rport,
		       uint64_t cookie, uint64_t now_ns);

/* Events were lost: nothing is certain about what happened before @now_ns. */
void apptap_deaths_lost(struct apptap_deaths *d, uint64_t now_ns);

#define APPTAP_DEATHS_A_PORT 6 /* remembered */

/*
 * The sockets that have left the port since @since_ns. Return: how many are in @cookies, or -1
 * where the log cannot tell (events were lost, or there were more than it remembers).
 */
int apptap_deaths_since(const struct apptap_deaths *d, uint8_t proto, uint16_t lport,
			uint16_t rport, uint64_t since_ns, uint64_t cookies[APPTAP_DEATHS_A_PORT]);

/* Has @cookie itself left the port? */
bool apptap_deaths_has(const struct apptap_deaths *d, uint8_t proto, uint16_t lport, uint16_t rport,
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
