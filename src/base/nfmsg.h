/* nfmsg.h - netlink messages, netfilter's above all: built in a buffer, sent as one transaction */
#ifndef APPTAP_BASE_NFMSG_H
#define APPTAP_BASE_NFMSG_H

#include "base/netlink.h"
#include "base/view.h"

#define APPTAP_NFMSG_BYTES 65536
#define APPTAP_NFMSG_MAX 128 /* messages */

/* What goes out in one send; too much of it is noticed when it is sent, not before. */
struct apptap_nfmsg {
	size_t len;
	size_t begun; /* where the message that is being built starts */
	size_t count;
	bool full;
	const char *what[APPTAP_NFMSG_MAX]; /* each message in words, for its error */
	uint8_t bytes[APPTAP_NFMSG_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
};

void apptap_nfmsg_init(struct apptap_nfmsg *m);

/*
 * Begins a message. @type: subsystem << 8 | message; @what completes "the kernel refuses ...", and
 * is borrowed.
 */
void apptap_nfmsg_begin(struct apptap_nfmsg *m, uint16_t type, uint16_t flags, uint8_t family,
			uint16_t res_id, const char *what);

/* The same for what is not netfilter's: @head is what its messages have in front of attributes. */
void apptap_nfmsg_begin_with(struct apptap_nfmsg *m, uint16_t type, uint16_t flags,
			     const void *head, size_t len, const char *what);

void apptap_nfmsg_put(struct apptap_nfmsg *m, uint16_t attr, const void *data, size_t len);
void apptap_nfmsg_put_str(struct apptap_nfmsg *m, uint16_t attr, const char *text);
void apptap_nfmsg_put_u8(struct apptap_nfmsg *m, uint16_t attr, uint8_t value);
void apptap_nfmsg_put_be16(struct apptap_nfmsg *m, uint16_t attr, uint16_t value);
void apptap_nfmsg_put_be32(struct apptap_nfmsg *m, uint16_t attr, uint32_t value);

/* Attributes within an attribute: what nest returned goes to unnest. */
size_t apptap_nfmsg_nest(struct apptap_nfmsg *m, uint16_t attr);
void apptap_nfmsg_unnest(struct apptap_nfmsg *m, size_t at);

/* A transaction of @subsystem: all messages between the two, or none. */
void apptap_nfmsg_batch_begin(struct apptap_nfmsg *m, uint16_t subsystem);
void apptap_nfmsg_batch_end(struct apptap_nfmsg *m, uint16_t subsystem);

/*
 * Sends all messages and waits for the last one's acknowledgement. Return: 0, or the first error
 * that the kernel answered with, which @err then puts into words.
 */
int apptap_nfmsg_send(struct apptap_nl *nl, struct apptap_nfmsg *m, struct apptap_error *err);

/*
 * The next attribute of @v: its type in @type (without flags), its payload in @out. false: there
 * is none, or it is damaged.
 */
bool apptap_nfmsg_next(struct apptap_view *v, uint16_t *type, struct apptap_view *out);

#endif
