/* packet_record.h - a packet as it crosses the wire for whoever wants it at once: bytes and facts
 */
#ifndef APPTAP_WIRE_PACKET_RECORD_H
#define APPTAP_WIRE_PACKET_RECORD_H

#include "base/view.h"

/*
 * How it works. The body of a PACKETS frame is a row of records, all little-endian, each a multiple
 * of 8 bytes:
 *
 *	u32 size of the record | u32 length of its data | u32 length of the packet on the wire |
 *	u32 UID | u64 time | u16 kind | u16 where the network layer begins | u32 interface |
 *	u32 PID | u32 0 | 16 bytes of its command | data
 *
 * The data of a packet begins with its SLL2 header (file/sll2.h), that of an interface is its name,
 * which comes before the interface's first packet.
 */
#define APPTAP_PACKET_RECORD_BYTES 56u
#define APPTAP_PACKET_RECORD_NAME_BYTES 16u

enum apptap_packet_record_kind {
	APPTAP_PACKET_RECORD_PACKET = 1,
	APPTAP_PACKET_RECORD_INTERFACE = 2,
};

struct apptap_packet_record {
	const uint8_t *data; /* borrowed from the view */
	uint32_t len; /* bytes at data */
	uint32_t wire_len;
	uint32_t uid;
	uint64_t ts_ns;
	uint16_t kind;
	uint16_t network; /* of a packet: at most len */
	int32_t ifindex;
	uint32_t pid; /* 0: not known */
	char comm[APPTAP_PACKET_RECORD_NAME_BYTES]; /* raw, ended by a NUL; "": not known */
};

/* What @r takes with its header and padding; it has to fit a frame. */
static inline size_t apptap_packet_record_size(uint32_t len)
{
	return (APPTAP_PACKET_RECORD_BYTES + (size_t)len + 7) & ~(size_t)7;
}

/* Writes the header of a record at @p and returns where its data goes: r->data is not read. */
uint8_t *apptap_packet_record_put(uint8_t *p, const struct apptap_packet_record *r);

/* Takes one record off @v. false: it is damaged; kinds that are not known are taken as well. */
bool apptap_packet_record_take(struct apptap_view *v, struct apptap_packet_record *out);

#endif
