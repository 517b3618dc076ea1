/* packet_record.c - a packet as it crosses the wire for whoever wants it at once: bytes and facts
 */
#include "wire/packet_record.h"

uint8_t *apptap_packet_record_put(uint8_t *p, const struct apptap_packet_record *r)
{
	size_t size = apptap_packet_record_size(r->len);

	apptap_put_le64(p + size - 8, 0); /* the padding, which is within the last eight bytes */
	apptap_put_le32(p, (uint32_t)size);
	apptap_put_le32(p + 4, r->len);
	apptap_put_le32(p + 8, r->wire_len);
	apptap_put_le32(p + 12, r->uid);
	apptap_put_le64(p + 16, r->ts_ns);
	apptap_put_le16(p + 24, r->kind);
	apptap_put_le16(p + 26, r->network);
	apptap_put_le32(p + 28, (uint32_t)r->ifindex);
	apptap_put_le32(p + 32, r->pid);
	apptap_put_le32(p + 36, 0);
	memcpy(p + 40, r->comm, sizeof(r->comm));
	return p + APPTAP_PACKET_RECORD_BYTES;
}

bool apptap_packet_record_take(struct apptap_view *v, struct apptap_packet_record *out)
{
	const uint8_t *p = apptap_view_peek(v, APPTAP_PACKET_RECORD_BYTES);
	uint32_t size;

	if (!p)
		return false;
	size = apptap_get_le32(p);
	out->len = apptap_get_le32(p + 4);
	if (size < APPTAP_PACKET_RECORD_BYTES || size % 8 ||
	    out->len > size - APPTAP_PACKET_RECORD_BYTES || !apptap_view_take(v, size))
		return false;
	out->data = p + APPTAP_PACKET_RECORD_BYTES;
	out->wire_len = apptap_get_le32(p + 8);
	out->uid = apptap_get_le32(p + 12);
	out->ts_ns = apptap_get_le64(p + 16);
	out->kind = apptap_get_le16(p + 24);
	out->network = apptap_get_le16(p + 26);
	out->ifindex = (int32_t)apptap_get_le32(p + 28);
	out->pid = apptap_get_le32(p + 32);
	memcpy(out->comm, p + 40, sizeof(out->comm));
	out->comm[sizeof(out->comm) - 1] = '\0';
	return out->network <= out->len;
}
