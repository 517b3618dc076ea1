/* nflog_read.h - what NFLOG delivers: a netlink socket, and a parser of its messages */
#ifndef APPTAP_TIER_NFLOG_READ_H
#define APPTAP_TIER_NFLOG_READ_H

#include "base/error.h"
#include "base/view.h"

#define APPTAP_NFLOG_PREFIX_MAX ((size_t)64)

/* One logged packet; pointers go into the bytes that were parsed. */
struct apptap_nflog_packet {
	const uint8_t *data; /* from the network header on; NULL: none came */
	uint32_t len;
	const char *prefix; /* not terminated */
	size_t prefix_len;
	uint16_t group;
	uint16_t protocol; /* EtherType */
	uint16_t arphrd; /* of the interface it came in by; 0: not said */
	int32_t indev, outdev; /* 0: not said */
	uint8_t hook;
	uint8_t halen;
	uint8_t haddr[8]; /* the sender's, if halen */
	bool has_seq, has_uid;
	uint32_t seq; /* counts the packets of a group, those too that were lost on their way */
	uid_t uid; /* of the socket's opener */
	uint64_t rx_ns; /* CLOCK_REALTIME, to the microsecond; 0: the kernel did not say */
};

/* @v: a netlink message of NFNL_SUBSYS_ULOG behind its nlmsghdr. false: not a packet. */
bool apptap_nflog_parse(struct apptap_view v, struct apptap_nflog_packet *out);

struct apptap_nflog_reader;

/*
 * Listens to @group. @copy_bytes: of each packet at most. -EPERM: somebody has the group
 * (or we may not);
 * -EOPNOTSUPP and kin: the kernel has no nfnetlink_log.
 */
int apptap_nflog_open(struct apptap_nflog_reader **out, uint16_t group, uint32_t copy_bytes,
		      size_t buffer_bytes, struct apptap_error *err);

/* The same with *@group, or with the next that nobody has, which it then is. */
int apptap_nflog_open_free(struct apptap_nflog_reader **out, uint16_t *group, uint32_t copy_bytes,
			   size_t buffer_bytes, struct apptap_error *err);
void apptap_nflog_close(struct apptap_nflog_reader *r); /* NULL is fine */
int apptap_nflog_fd(const struct apptap_nflog_reader *r);

/*
 * Takes what has come, at most some megabytes, calling @each for every packet; their bytes stay
 * until the next call. A negative return of @each stops and is returned. Return: packets, 0:
 * nothing is there.
 */
int apptap_nflog_read(struct apptap_nflog_reader *r,
		      int (*each)(const struct apptap_nflog_packet *pkt, void *arg), void *arg,
		      struct apptap_error *err);

/* The same for one message, which it waits for. A thread may be cancelled while it does, only. */
int apptap_nflog_wait(struct apptap_nflog_reader *r,
		      int (*each)(const struct apptap_nflog_packet *pkt, void *arg), void *arg,
		      struct apptap_error *err);

/* Does so much come that the kernel gathers it? And much more than that? */
bool apptap_nflog_is_busy(const struct apptap_nflog_reader *r);
bool apptap_nflog_is_flood(const struct apptap_nflog_reader *r);

/* Milliseconds until all that has been logged so far can be read. */
int apptap_nflog_delay_ms(const struct apptap_nflog_reader *r);

uint64_t apptap_nflog_lost(const struct apptap_nflog_reader *r);

#endif
