/* filter.h - classic filters for packet sockets: which packets raise a question, and which do not
 */
#ifndef APPTAP_TIER_FILTER_H
#define APPTAP_TIER_FILTER_H

#include <linux/filter.h>

#include "base/base.h"

#define APPTAP_FILTER_OPS_MAX 1024
#define APPTAP_FILTER_PORTS_MAX 64
#define APPTAP_FILTER_IFACES_MAX 64

struct apptap_filter {
	struct sock_filter ops[APPTAP_FILTER_OPS_MAX];
	size_t count;
};

/* What both filters leave out. */
struct apptap_filter_config {
	bool all_interfaces;
	const int32_t *ifindexes; /* else only these; at most APPTAP_FILTER_IFACES_MAX */
	size_t ifindex_count;
	const uint16_t *quiet_ports; /* local UDP ports that raise no question */
	size_t quiet_count;
	const uint16_t *tcp_ports; /* local TCP ports that listen: whose are its connections? */
	size_t tcp_count; /* at most APPTAP_FILTER_PORTS_MAX each */
};

/* For the ring: all but the second sight of a loopback packet, and interfaces not asked for. */
void apptap_filter_ring(struct apptap_filter *f, const struct apptap_filter_config *cfg);

/*
 * For the sockets that only trigger lookups: TCP SYNs without ACK, what a listening port's
 * connections send (data, FIN), UDP and UDP-Lite but for quiet
 * local ports, outgoing echo requests, protocols without ports. First fragments, not later ones.
 * @snaplen_bytes of them are delivered.
 */
void apptap_filter_trigger(struct apptap_filter *f, const struct apptap_filter_config *cfg,
			   uint32_t snaplen_bytes);

/* Nothing passes. */
void apptap_filter_none(struct apptap_filter *f);

static inline struct sock_fprog apptap_filter_prog(struct apptap_filter *f)
{
	return (struct sock_fprog){ .len = (unsigned short)f->count, .filter = f->ops };
}

#endif
