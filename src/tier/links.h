/* links.h - this network namespace's interfaces and addresses, kept current (rtnetlink) */
#ifndef APPTAP_TIER_LINKS_H
#define APPTAP_TIER_LINKS_H

#include "base/error.h"
#include "flow/flow.h"

#define APPTAP_LOOPBACK_IFINDEX 1 /* in every network namespace, since 2.6.24 */

struct apptap_links;

int apptap_links_open(struct apptap_links **out, struct apptap_error *err);
void apptap_links_close(struct apptap_links *l); /* NULL is fine */
int apptap_links_fd(const struct apptap_links *l);

/*
 * Reads what has changed. @gone, when not NULL, is called with the name of each interface that went
 * away or (up == false) was set down. Return: 1 when an interface came, went or was renamed, else
 * 0.
 */
int apptap_links_read(struct apptap_links *l, void (*gone)(void *arg, const char *name), void *arg);

/* NULL: unknown index. A name stays known after its interface has gone. */
const char *apptap_links_name(const struct apptap_links *l, int32_t ifindex);

/* -1: no interface has this name now. */
int32_t apptap_links_index(const struct apptap_links *l, const char *name);

/* Whether all of these are there. Return: 0, -ENODEV: @err names the one that is not. */
int apptap_links_check(const struct apptap_links *l, const char *const *names, size_t count,
		       struct apptap_error *err);

/* Is @a an address of this machine, or was it until a moment ago? Loopback's are. */
bool apptap_links_has_addr(const struct apptap_links *l, const struct apptap_addr *a);

/* Forgets the addresses that went 5 s before @now_ns (CLOCK_MONOTONIC), or earlier; read does. */
void apptap_links_forget(struct apptap_links *l, uint64_t now_ns);

#endif
