/* pcapng.h - the blocks of a pcapng file into a buffer: section, interface, packet, statistics */
#ifndef APPTAP_FILE_PCAPNG_H
#define APPTAP_FILE_PCAPNG_H

#include "base/view.h"

/* Little-endian, times in nanoseconds. Format: draft-ietf-opsawg-pcapng. */

#define APPTAP_PCAPNG_TEXT_MAX 8192 /* bytes kept of a text; longer ones are cut at a character */
#define APPTAP_PCAPNG_NAME_MAX 15 /* IFNAMSIZ - 1 */

#define APPTAP_PCAPNG_COMMENT_MAX 96 /* bytes of a packet's; a longer text is cut */
#define APPTAP_PCAPNG_PACKET_BYTES 28 /* in front of a packet's bytes */
#define APPTAP_PCAPNG_PACKET_END_BYTES 16 /* behind its padding: flags, end of options, length */

enum apptap_pcapng_flags { /* epb_flags: which way it went, and to whom */
			   APPTAP_PCAPNG_INBOUND = 1,
			   APPTAP_PCAPNG_OUTBOUND = 2,
			   APPTAP_PCAPNG_UNICAST = 1 << 2,
			   APPTAP_PCAPNG_MULTICAST = 2 << 2,
			   APPTAP_PCAPNG_BROADCAST = 3 << 2,
			   APPTAP_PCAPNG_PROMISCUOUS = 4 << 2,
};

/*
 * Texts may be NULL: no such option. They come from outside (process names, interface names): what
 * is not printable UTF-8 is written as \xNN, and comments alone may have newlines and tabs.
 */
struct apptap_pcapng_section {
	const char *comment;
	const char *os;
	const char *app;
};

struct apptap_pcapng_interface {
	const char *name; /* at most APPTAP_PCAPNG_NAME_MAX bytes of it are read */
	const char *description;
	uint32_t snaplen;
	uint16_t linktype;
};

struct apptap_pcapng_statistics {
	uint32_t interface;
	uint64_t now_ns;
	uint64_t start_ns;
	uint64_t end_ns;
	uint64_t accepted; /* this interface's packets in the file */
	bool totals; /* the two below are known and go here */
	uint64_t received;
	uint64_t dropped;
	const char *comment;
};

/* Each writes one whole block and returns its length; 0: @size does not hold it. */
size_t apptap_pcapng_section(uint8_t *out, size_t size, const struct apptap_pcapng_section *sec);
size_t apptap_pcapng_interface(uint8_t *out, size_t size, const struct apptap_pcapng_interface *i);
size_t apptap_pcapng_statistics(uint8_t *out, size_t size,
				const struct apptap_pcapng_statistics *st);

/* A comment as a packet block takes it. Options of equal packets are built once, and copied. */
struct apptap_pcapng_comment {
	uint32_t len; /* a multiple of four; 0: there is none */
	uint8_t option[APPTAP_PCAPNG_COMMENT_MAX];
};

void apptap_pcapng_comment(struct apptap_pcapng_comment *out, const char *text);

/*
 * A packet block is written around its bytes: head, then @kept bytes, then end (padding, comment,
 * flags, length). Both return the end of what they wrote. @comment (may be NULL) is the same twice.
 */
uint8_t *apptap_pcapng_packet(uint8_t *p, uint32_t interface, uint64_t ts_ns, uint32_t kept,
			      uint32_t wire, const struct apptap_pcapng_comment *comment);
uint8_t *apptap_pcapng_packet_end(uint8_t *p, uint32_t kept, uint32_t flags,
				  const struct apptap_pcapng_comment *comment);

/* epb_flags for a PACKET_* type. */
uint32_t apptap_pcapng_flags(uint8_t pkttype);

#endif
