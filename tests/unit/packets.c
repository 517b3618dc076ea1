/* packets.c - packets made by hand, header by header */
#include "packets.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <cmocka.h>

void add_bytes(struct packet *p, const void *bytes, size_t len)
{
	uint8_t *ip = p->b + p->ip;

	assert_true(len <= sizeof(p->b) - p->len);
	if (bytes)
		memcpy(p->b + p->len, bytes, len);
	else
		memset(p->b + p->len, 0, len);
	p->len += len;
	if (ip[0] >> 4 == 4)
		apptap_put_be16(ip + 2, (uint16_t)(p->len - p->ip));
	else if (ip[0] >> 4 == 6 && p->len - p->ip >= 40)
		apptap_put_be16(ip + 4, (uint16_t)(p->len - p->ip - 40));
}

void add_vlan(struct packet *p, uint16_t tci, uint16_t inner_type)
{
	uint8_t tag[4];

	apptap_put_be16(tag, tci);
	apptap_put_be16(tag + 2, inner_type);
	memcpy(p->b + p->len, tag, sizeof(tag));
	p->len += sizeof(tag);
	p->ip = p->len;
}

void add_ipv4(struct packet *p, uint8_t proto, const char *src, const char *dst, uint16_t frag,
	      uint16_t id)
{
	uint8_t h[20] = { 0x45, [8] = 64, [9] = proto };

	if (p->len != p->ip) /* quoted: it was longer than what is quoted of it */
		apptap_put_be16(h + 2, 1500);
	apptap_put_be16(h + 4, id);
	apptap_put_be16(h + 6, frag);
	assert_int_equal(inet_pton(AF_INET, src, h + 12), 1);
	assert_int_equal(inet_pton(AF_INET, dst, h + 16), 1);
	add_bytes(p, h, sizeof(h));
}

void add_ipv6(struct packet *p, uint8_t next, const char *src, const char *dst)
{
	uint8_t h[40] = { 0x60, [6] = next, [7] = 64 };

	if (p->len != p->ip)
		apptap_put_be16(h + 4, 1460);
	assert_int_equal(inet_pton(AF_INET6, src, h + 8), 1);
	assert_int_equal(inet_pton(AF_INET6, dst, h + 24), 1);
	add_bytes(p, h, sizeof(h));
}

void add_extension(struct packet *p, uint8_t next, uint8_t units)
{
	uint8_t h[2] = { next, units };

	add_bytes(p, h, sizeof(h));
	add_bytes(p, NULL, 6 + 8 * (size_t)units);
}

void add_fragment(struct packet *p, uint8_t next, uint16_t offset, bool more, uint32_t id)
{
	uint8_t h[8] = { next };

	apptap_put_be16(h + 2, (uint16_t)(offset * 8 | more));
	apptap_put_be32(h + 4, id);
	add_bytes(p, h, sizeof(h));
}

void add_tcp(struct packet *p, uint16_t sport, uint16_t dport, uint32_t seq, uint8_t flags)
{
	uint8_t h[20] = { [12] = 0x50, [13] = flags };

	apptap_put_be16(h, sport);
	apptap_put_be16(h + 2, dport);
	apptap_put_be32(h + 4, seq);
	add_bytes(p, h, sizeof(h));
}

void add_udp(struct packet *p, uint16_t sport, uint16_t dport, size_t payload_len)
{
	uint8_t h[8] = { 0 };

	apptap_put_be16(h, sport);
	apptap_put_be16(h + 2, dport);
	apptap_put_be16(h + 4, (uint16_t)(8 + payload_len));
	add_bytes(p, h, sizeof(h));
	add_bytes(p, NULL, payload_len);
}

void add_icmp(struct packet *p, uint8_t type, uint16_t id)
{
	uint8_t h[8] = { type };

	apptap_put_be16(h + 4, id);
	add_bytes(p, h, sizeof(h));
}

struct apptap_addr addr_of(const char *text)
{
	int family = strchr(text, ':') ? AF_INET6 : AF_INET;
	struct apptap_addr a;
	uint8_t b[16];

	assert_int_equal(inet_pton(family, text, b), 1);
	apptap_addr_set(&a, family, b);
	return a;
}

struct apptap_flow flow_of(uint8_t proto, const char *local, uint16_t lport, const char *remote,
			   uint16_t rport)
{
	return (struct apptap_flow){ .proto = proto,
				     .family = strchr(local, ':') ? AF_INET6 : AF_INET,
				     .laddr = addr_of(local),
				     .raddr = addr_of(remote),
				     .lport = lport,
				     .rport = rport };
}

struct apptap_dissect dissect(const struct packet *p, uint16_t protocol)
{
	/* On the heap, to the byte: AddressSanitizer sees who reads beyond. */
	uint8_t *copy = malloc(p->len ? p->len : 1);
	struct apptap_dissect d;

	assert_non_null(copy);
	memcpy(copy, p->b, p->len);
	apptap_dissect((struct apptap_view){ copy, p->len }, protocol, &d);
	free(copy);
	return d;
}
