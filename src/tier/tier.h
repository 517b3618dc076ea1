/* tier.h - one way to get the app's packets out of a kernel: ops table, and the choice between them
 */
#ifndef APPTAP_TIER_TIER_H
#define APPTAP_TIER_TIER_H

#include "base/error.h"
#include "scope/scope.h"

/*
 * One packet as every tier delivers it: network layer up, with the link-layer facts that SLL2
 * keeps. data is borrowed: valid until the consumer's flush() has returned.
 */
struct apptap_packet {
	const uint8_t *data;
	uint32_t len; /* bytes at data: at most the snaplen */
	uint32_t wire_len; /* bytes it had; with a VLAN tag its four bytes count in neither */
	uint64_t ts_ns; /* CLOCK_REALTIME */
	int32_t ifindex;
	uint16_t protocol; /* EtherType, host order, of data */
	uint16_t arphrd; /* ARPHRD_*, host order */
	uint8_t pkttype; /* PACKET_HOST ... PACKET_OUTGOING */
	uint8_t halen;
	uint8_t haddr[8]; /* link-layer address of the sender */
	uint16_t vlan_tpid; /* 0: no tag; else 0x8100 or 0x88a8, and the tag below */
	uint16_t vlan_tci;
	uid_t uid; /* the owner that attribution found; APPTAP_UID_NONE in a whole-device capture */
	pid_t pid; /* of the process that made the socket; 0: not known */
	char comm[16]; /* its command when it did, raw; "": not known */
};

/* Where packets go. A negative return ends the capture with that error. */
struct apptap_consumer {
	int (*packet)(struct apptap_consumer *c, const struct apptap_packet *pkt,
		      struct apptap_error *err);
	/* The bytes of all packets so far are about to go: write or copy them now. */
	int (*flush)(struct apptap_consumer *c, struct apptap_error *err);
};

/* All monotonic; for a live tier each can be read at any time. */
struct apptap_tier_counters {
	uint64_t seen; /* packets that reached the agent */
	uint64_t kept; /* of those: the app's */
	uint64_t kept_bytes; /* their length on the wire */
	uint64_t foreign; /* another owner's: not kept */
	uint64_t not_ip; /* ARP and kin: no socket owns them */
	uint64_t unattributed; /* the kernel never said whose: not kept */
	uint64_t held; /* waiting for an owner at this moment (a gauge) */
	uint64_t dropped_kernel; /* lost before we could look: buffers full */
	uint64_t lookups; /* questions asked of the kernel */
};

struct apptap_tier_config {
	const struct apptap_scope *scope; /* borrowed: outlives the tier */
	uint32_t snaplen; /* bytes kept of each packet, from the network header on */
	size_t ring_bytes; /* packet buffer in the kernel; 0: the tier's default */
	const char *const *interfaces; /* names; count 0: all of them */
	size_t interface_count;
	uint16_t nflog_group; /* 0: the tier's default, or the next that is free */
	void (*warn)(void *arg, const char *text); /* said to the user as it happens */
	void *warn_arg;
};

/* Says it to the user, where somebody listens. */
void apptap_tier_warn(const struct apptap_tier_config *cfg, const char *fmt, ...)
	APPTAP_PRINTF(2, 3);

struct apptap_tier {
	const struct apptap_tier_ops *ops;
	int fd; /* readable when dispatch has work (an epoll descriptor); owned by the tier */
};

/* What a scope may hold beside UIDs: a tier says which of it, it can tell apart. */
enum apptap_tier_scopes {
	APPTAP_TIER_CGROUPS = 1 << 0,
	APPTAP_TIER_PROCESSES = 1 << 1,
};

struct apptap_tier_ops {
	const char *name; /* what follows --tier */
	const char *gist; /* one line for --probe: how it scopes */
	unsigned scopes; /* enum apptap_tier_scopes; another scope never reaches open */
	bool may_end; /* somebody may take away what it rests on: dispatch says -ESTALE then */
	bool open_proves; /* open does what probe does: no need to do it twice */
	/* 0: works on this machine now, proven by a live packet. -errno: @err says why not. */
	int (*probe)(struct apptap_error *err);
	/* What the last probe found, "root=yes conntrack=no ..."; may be NULL. */
	const char *(*features)(void);
	/* On return the next packet of the app would be captured. */
	int (*open)(struct apptap_tier **t, const struct apptap_tier_config *cfg,
		    struct apptap_error *err);
	/* Hands what is due to @c, in order of time, ending with a flush. Never blocks for long. */
	int (*dispatch)(struct apptap_tier *t, struct apptap_consumer *c, struct apptap_error *err);
	/* Stops capturing, hands over all that was captured up to this call. At most 100 ms. */
	int (*drain)(struct apptap_tier *t, struct apptap_consumer *c, struct apptap_error *err);
	/* The scope that open was given has changed in place. May be NULL. */
	int (*rescope)(struct apptap_tier *t, struct apptap_error *err);
	void (*counters)(const struct apptap_tier *t, struct apptap_tier_counters *out);
	/* The interface's name and its drops where known, for pcapng; NULL name: unknown index. */
	const char *(*ifname)(const struct apptap_tier *t, int32_t ifindex);
	void (*close)(struct apptap_tier *t); /* NULL is fine, so is a half-open one */
};

extern const struct apptap_tier_ops apptap_tier_bpf;
extern const struct apptap_tier_ops apptap_tier_nflog;
extern const struct apptap_tier_ops apptap_tier_sockdiag;

/* Best first, ended by NULL. */
extern const struct apptap_tier_ops *const apptap_tiers[];

/* The tier of that name; NULL: there is none, or it is not built in. */
const struct apptap_tier_ops *apptap_tier_find(const char *name);

/*
 * Opens a tier. "auto" (or NULL): the best that works. A name: that one; where it does not work,
 * sockdiag with a warning (@cfg->warn) that names what is missing.
 * A tier that cannot tell such a scope apart (ops->scopes) counts as one that does not work.
 * Return 0, -ENOTSUP (no tier works: @err names each and its reason), -EINVAL (no such tier),
 * -ENODEV (an interface that is not there).
 */
int apptap_tier_open(struct apptap_tier **out, const char *name,
		     const struct apptap_tier_config *cfg, struct apptap_error *err);

#endif
