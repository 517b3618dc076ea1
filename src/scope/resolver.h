/* resolver.h - the local stub resolver: whose sockets ask the network for the app's names */
#ifndef APPTAP_SCOPE_RESOLVER_H
#define APPTAP_SCOPE_RESOLVER_H

#include "flow/flow.h"
#include "scope/scope.h"

#define APPTAP_RESOLV_CONF "/etc/resolv.conf"
#define APPTAP_NAMESERVERS_MAX 8

struct apptap_nameserver {
	struct apptap_addr addr;
	uint8_t family;
};

/* Somebody's unconnected UDP socket. */
struct apptap_bound {
	struct apptap_addr addr; /* may be the wildcard */
	uint8_t family; /* of the socket */
	bool v6only;
	uint16_t port;
	uint32_t ifindex; /* bound to that interface; 0: to none */
	uid_t uid;
};

/*
 * The nameservers on loopback addresses in the bytes of a resolv.conf, as the C library reads
 * them: a file that names no server at all means 127.0.0.1. Return: how many, each once.
 */
size_t apptap_resolv_parse(struct apptap_view v,
			   struct apptap_nameserver out[APPTAP_NAMESERVERS_MAX]);

/* The payload of a SOCK_DIAG answer. false: damaged, connected, or of a socket nobody owns. */
bool apptap_bound_parse_diag(struct apptap_view v, struct apptap_bound *out);

/* One line of /proc/net/udp (AF_INET) or udp6 (AF_INET6); false as above. */
bool apptap_bound_parse_proc(struct apptap_view line, uint8_t family, struct apptap_bound *out);

/* How well @b receives what is sent to port 53 of @ns: 0 not at all; more is better. */
int apptap_bound_answers(const struct apptap_bound *b, const struct apptap_nameserver *ns);

/* Who answers at port 53 of @ns in this network namespace; APPTAP_UID_NONE: nobody. */
uid_t apptap_resolver_owner(const struct apptap_nameserver *ns);

/*
 * Adds the owner of each loopback nameserver in the file @path, unless it is root, and says so
 * through @warn. What cannot be found out adds nothing.
 */
void apptap_resolver_add(struct apptap_scope *s, const char *path, apptap_warn_fn warn,
			 void *warn_arg);

#endif
