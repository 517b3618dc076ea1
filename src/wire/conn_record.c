/* conn_record.c - a connection as it crosses the wire: fixed size, little-endian */
#include "wire/conn_record.h"

_Static_assert(APPTAP_CONN_RECORD_BYTES == 2 * 16 + 2 * 2 + 4 + 4 + 6 * 8 + 4 + 16,
	       "the wire's layout");

void apptap_conn_record_encode(const struct apptap_conn_record *c,
			       uint8_t out[APPTAP_CONN_RECORD_BYTES])
{
	const uint64_t numbers[] = { c->first_ns,   c->last_ns,	  c->packets_out,
				     c->packets_in, c->bytes_out, c->bytes_in };

	memcpy(out, c->laddr, 16);
	memcpy(out + 16, c->raddr, 16);
	apptap_put_le16(out + 32, c->lport);
	apptap_put_le16(out + 34, c->rport);
	out[36] = c->proto;
	out[37] = c->ip;
	out[38] = c->tcp_flags;
	out[39] = 0;
	apptap_put_le32(out + 40, c->uid);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		apptap_put_le64(out + 44 + 8 * i, numbers[i]);
	apptap_put_le32(out + 92, c->pid);
	memcpy(out + 96, c->comm, sizeof(c->comm));
}

bool apptap_conn_record_take(struct apptap_view *v, struct apptap_conn_record *out)
{
	const uint8_t *p = apptap_view_take(v, APPTAP_CONN_RECORD_BYTES);

	if (!p || (p[37] != 4 && p[37] != 6))
		return false;
	memcpy(out->laddr, p, 16);
	memcpy(out->raddr, p + 16, 16);
	out->lport = apptap_get_le16(p + 32);
	out->rport = apptap_get_le16(p + 34);
	out->proto = p[36];
	out->ip = p[37];
	out->tcp_flags = p[38];
	out->uid = apptap_get_le32(p + 40);
	out->first_ns = apptap_get_le64(p + 44);
	out->last_ns = apptap_get_le64(p + 52);
	out->packets_out = apptap_get_le64(p + 60);
	out->packets_in = apptap_get_le64(p + 68);
	out->bytes_out = apptap_get_le64(p + 76);
	out->bytes_in = apptap_get_le64(p + 84);
	out->pid = apptap_get_le32(p + 92);
	memcpy(out->comm, p + 96, sizeof(out->comm));
	out->comm[sizeof(out->comm) - 1] = '\0';
	return true;
}
