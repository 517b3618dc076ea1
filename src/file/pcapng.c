/* pcapng.c - the blocks of a pcapng file into a buffer: section, interface, packet, statistics */
#include "file/pcapng.h"

#include <linux/if_packet.h>

enum {
	BLOCK_SECTION = 0x0a0d0d0a,
	BLOCK_INTERFACE = 1,
	BLOCK_STATISTICS = 5,
	BLOCK_PACKET = 6,

	OPT_END = 0,
	OPT_COMMENT = 1,
	OPT_SHB_OS = 3,
	OPT_SHB_USERAPPL = 4,
	OPT_IF_NAME = 2,
	OPT_IF_DESCRIPTION = 3,
	OPT_IF_TSRESOL = 9,
	OPT_EPB_FLAGS = 2,
	OPT_ISB_STARTTIME = 2,
	OPT_ISB_ENDTIME = 3,
	OPT_ISB_IFRECV = 4,
	OPT_ISB_IFDROP = 5,
	OPT_ISB_FILTERACCEPT = 6,
};

#define BYTE_ORDER_MAGIC 0x1a2b3c4d

static uint32_t padding(size_t len)
{
	return (uint32_t)(-len & 3);
}

/* A block as it grows. Once something did not fit, full stays set and nothing more is written. */
struct block {
	uint8_t *start;
	size_t len;
	size_t size;
	bool full;
};

/* Room for @len bytes and their padding, which is zeroed; NULL: full. */
static uint8_t *grow(struct block *b, size_t len)
{
	uint8_t *p = b->start + b->len;
	size_t padded = len + padding(len);

	if (b->full || b->size - b->len < padded) {
		b->full = true;
		return NULL;
	}
	memset(p + len, 0, padded - len);
	b->len += padded;
	return p;
}

static void put_u16(struct block *b, uint16_t first, uint16_t second)
{
	uint8_t *p = grow(b, 4);

	if (!p)
		return;
	apptap_put_le16(p, first);
	apptap_put_le16(p + 2, second);
}

static void put_u32(struct block *b, uint32_t v)
{
	uint8_t *p = grow(b, 4);

	if (p)
		apptap_put_le32(p, v);
}

/* A time is two words, the high one first, whatever the byte order. */
static void put_time(struct block *b, uint64_t ns)
{
	put_u32(b, (uint32_t)(ns >> 32));
	put_u32(b, (uint32_t)ns);
}

static void put_count_option(struct block *b, uint16_t code, uint64_t v)
{
	put_u16(b, code, sizeof(v));
	put_u32(b, (uint32_t)v);
	put_u32(b, (uint32_t)(v >> 32));
}

static void put_time_option(struct block *b, uint16_t code, uint64_t ns)
{
	put_u16(b, code, sizeof(ns));
	put_time(b, ns);
}

/* Length of the printable UTF-8 character at @s, which ends in a NUL; 0: there is none. */
static size_t printable(const char *s)
{
	const uint8_t *p = (const uint8_t *)s;
	uint32_t c = p[0];
	size_t len = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;

	if (len > 1)
		c &= 0x7fu >> len;
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80) /* also stops at the NUL */
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < 0x20 || (c >= 0x7f && c < 0xa0)) /* controls: C0, DEL, C1 */
		return 0;
	if ((len == 3 && c < 0x800) || (len == 4 && c < 0x10000)) /* longer than need be */
		return 0;
	if ((c >= 0xd800 && c < 0xe000) || c > 0x10ffff)
		return 0;
	return len;
}

/* Writes @text with what is not printable as \xNN, in at most @max bytes, and returns the length.
 */
static size_t escape(uint8_t *out, size_t max, const char *text, bool lines)
{
	static const char hex[] = "0123456789abcdef";
	size_t len = 0;

	while (*text) {
		uint8_t c = (uint8_t)*text;
		size_t n = lines && (c == '\n' || c == '\t') ? 1 : printable(text);

		if (max - len < (n ? n : 4))
			break;
		if (n) {
			memcpy(out + len, text, n);
			len += n;
			text += n;
			continue;
		}
		out[len++] = '\\';
		out[len++] = 'x';
		out[len++] = (uint8_t)hex[c >> 4];
		out[len++] = (uint8_t)hex[c & 15];
		text++;
	}
	return len;
}

static void put_text_option(struct block *b, uint16_t code, const char *text)
{
	size_t before = b->len;
	size_t room;
	size_t len;

	if (!text)
		return;
	put_u16(b, code, 0);
	if (b->full)
		return;
	room = b->size - b->len;
	len = escape(b->start + b->len, MIN(room, (size_t)APPTAP_PCAPNG_TEXT_MAX), text,
		     code == OPT_COMMENT);
	apptap_put_le16(b->start + before + 2, (uint16_t)len);
	grow(b, len);
}

static struct block begin(uint8_t *out, size_t size, uint32_t type)
{
	struct block b = { .size = size };

	b.start = out;
	put_u32(&b, type);
	put_u32(&b, 0); /* the length, once it is known */
	return b;
}

static size_t end(struct block *b)
{
	put_u16(b, OPT_END, 0);
	put_u32(b, (uint32_t)b->len + 4);
	if (b->full)
		return 0;
	apptap_put_le32(b->start + 4, (uint32_t)b->len);
	return b->len;
}

size_t apptap_pcapng_section(uint8_t *out, size_t size, const struct apptap_pcapng_section *sec)
{
	struct block b = begin(out, size, BLOCK_SECTION);

	put_u32(&b, BYTE_ORDER_MAGIC);
	put_u16(&b, 1, 0); /* version 1.0 */
	put_u32(&b, UINT32_MAX); /* section length: not known, it is being written */
	put_u32(&b, UINT32_MAX);
	put_text_option(&b, OPT_COMMENT, sec->comment);
	put_text_option(&b, OPT_SHB_OS, sec->os);
	put_text_option(&b, OPT_SHB_USERAPPL, sec->app);
	return end(&b);
}

size_t apptap_pcapng_interface(uint8_t *out, size_t size, const struct apptap_pcapng_interface *i)
{
	struct block b = begin(out, size, BLOCK_INTERFACE);
	uint8_t *p;

	put_u16(&b, i->linktype, 0);
	put_u32(&b, i->snaplen);
	if (i->name) {
		char name[APPTAP_PCAPNG_NAME_MAX + 1] = { 0 };

		memcpy(name, i->name, strnlen(i->name, APPTAP_PCAPNG_NAME_MAX));
		put_text_option(&b, OPT_IF_NAME, name);
	}
	put_text_option(&b, OPT_IF_DESCRIPTION, i->description);
	put_u16(&b, OPT_IF_TSRESOL, 1);
	p = grow(&b, 1);
	if (p)
		*p = 9; /* 10^-9 s */
	return end(&b);
}

size_t apptap_pcapng_statistics(uint8_t *out, size_t size,
				const struct apptap_pcapng_statistics *st)
{
	struct block b = begin(out, size, BLOCK_STATISTICS);

	put_u32(&b, st->interface);
	put_time(&b, st->now_ns);
	put_text_option(&b, OPT_COMMENT, st->comment);
	put_time_option(&b, OPT_ISB_STARTTIME, st->start_ns);
	put_time_option(&b, OPT_ISB_ENDTIME, st->end_ns);
	if (st->totals) {
		put_count_option(&b, OPT_ISB_IFRECV, st->received);
		put_count_option(&b, OPT_ISB_IFDROP, st->dropped);
	}
	put_count_option(&b, OPT_ISB_FILTERACCEPT, st->accepted);
	return end(&b);
}

void apptap_pcapng_comment(struct apptap_pcapng_comment *out, const char *text)
{
	struct block b = { .start = out->option, .size = sizeof(out->option) };

	put_text_option(&b, OPT_COMMENT, text);
	out->len = (uint32_t)b.len;
}

static uint32_t packet_block_bytes(uint32_t kept, const struct apptap_pcapng_comment *comment)
{
	return APPTAP_PCAPNG_PACKET_BYTES + kept + padding(kept) + (comment ? comment->len : 0) +
	       APPTAP_PCAPNG_PACKET_END_BYTES;
}

uint8_t *apptap_pcapng_packet(uint8_t *p, uint32_t interface, uint64_t ts_ns, uint32_t kept,
			      uint32_t wire, const struct apptap_pcapng_comment *comment)
{
	apptap_put_le32(p, BLOCK_PACKET);
	apptap_put_le32(p + 4, packet_block_bytes(kept, comment));
	apptap_put_le32(p + 8, interface);
	apptap_put_le32(p + 12, (uint32_t)(ts_ns >> 32));
	apptap_put_le32(p + 16, (uint32_t)ts_ns);
	apptap_put_le32(p + 20, kept);
	apptap_put_le32(p + 24, wire);
	return p + APPTAP_PCAPNG_PACKET_BYTES;
}

uint8_t *apptap_pcapng_packet_end(uint8_t *p, uint32_t kept, uint32_t flags,
				  const struct apptap_pcapng_comment *comment)
{
	for (uint32_t pad = padding(kept); pad > 0; pad--)
		*p++ = 0;
	if (comment) {
		memcpy(p, comment->option, comment->len);
		p += comment->len;
	}
	apptap_put_le16(p, OPT_EPB_FLAGS);
	apptap_put_le16(p + 2, 4);
	apptap_put_le32(p + 4, flags);
	apptap_put_le32(p + 8, OPT_END);
	apptap_put_le32(p + 12, packet_block_bytes(kept, comment));
	return p + APPTAP_PCAPNG_PACKET_END_BYTES;
}

uint32_t apptap_pcapng_flags(uint8_t pkttype)
{
	switch (pkttype) {
	case PACKET_OUTGOING:
		return APPTAP_PCAPNG_OUTBOUND;
	case PACKET_HOST:
		return APPTAP_PCAPNG_INBOUND | APPTAP_PCAPNG_UNICAST;
	case PACKET_MULTICAST:
		return APPTAP_PCAPNG_INBOUND | APPTAP_PCAPNG_MULTICAST;
	case PACKET_BROADCAST:
		return APPTAP_PCAPNG_INBOUND | APPTAP_PCAPNG_BROADCAST;
	case PACKET_OTHERHOST:
		return APPTAP_PCAPNG_INBOUND | APPTAP_PCAPNG_PROMISCUOUS;
	default:
		return APPTAP_PCAPNG_INBOUND;
	}
}
