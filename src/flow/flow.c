/* flow.c - protocol and two endpoints: made from a dissected packet, hashed, shown */
#include "flow/flow.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>

static const uint8_t v4_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static bool is_v4(const struct apptap_addr *a)
{
	return memcmp(a->b, v4_prefix, sizeof(v4_prefix)) == 0;
}

void apptap_addr_set(struct apptap_addr *a, int family, const void *bytes)
{
	if (family == AF_INET) {
		memcpy(a->b, v4_prefix, sizeof(v4_prefix));
		memcpy(a->b + 12, bytes, 4);
	} else {
		memcpy(a->b, bytes, 16);
	}
}

bool apptap_addr_is_any(const struct apptap_addr *a)
{
	static const uint8_t zero[16];

	return memcmp(a->b, zero, 16) == 0 || (is_v4(a) && memcmp(a->b + 12, zero, 4) == 0);
}

bool apptap_addr_is_loopback(const struct apptap_addr *a)
{
	static const uint8_t one[16] = { [15] = 1 };

	return is_v4(a) ? a->b[12] == 127 : memcmp(a->b, one, 16) == 0;
}

bool apptap_addr_is_multicast(const struct apptap_addr *a)
{
	if (is_v4(a))
		return a->b[12] >> 4 == 14 || apptap_get_be32(a->b + 12) == 0xffffffff;
	return a->b[0] == 0xff;
}

const char *apptap_addr_str(const struct apptap_addr *a, uint8_t family, int port, char *buf,
			    size_t size)
{
	char ip[INET6_ADDRSTRLEN] = "?";

	if (family == AF_INET || is_v4(a))
		inet_ntop(AF_INET, a->b + 12, ip, sizeof(ip));
	else
		inet_ntop(AF_INET6, a->b, ip, sizeof(ip));
	if (port < 0)
		snprintf(buf, size, "%s", ip);
	else
		snprintf(buf, size, strchr(ip, ':') ? "[%s]:%d" : "%s:%d", ip, port);
	return buf;
}

static void make_flow(struct apptap_flow *out, uint8_t family, uint8_t proto,
		      const struct apptap_addr *laddr, uint16_t lport,
		      const struct apptap_addr *raddr, uint16_t rport)
{
	memset(out, 0, sizeof(*out));
	out->laddr = *laddr;
	out->raddr = *raddr;
	out->lport = lport;
	out->rport = rport;
	out->proto = proto;
	out->family = family;
}

void apptap_dissect_flow(const struct apptap_dissect *d, bool local_is_src, struct apptap_flow *out)
{
	if (local_is_src)
		make_flow(out, d->family, d->proto, &d->src, d->sport, &d->dst, d->dport);
	else
		make_flow(out, d->family, d->proto, &d->dst, d->dport, &d->src, d->sport);
}

void apptap_dissect_inner_flow(const struct apptap_dissect *d, bool local_is_src,
			       struct apptap_flow *out)
{
	if (local_is_src)
		make_flow(out, d->family, d->inner_proto, &d->inner_src, d->inner_sport,
			  &d->inner_dst, d->inner_dport);
	else
		make_flow(out, d->family, d->inner_proto, &d->inner_dst, d->inner_dport,
			  &d->inner_src, d->inner_sport);
}

static inline uint64_t rotate(uint64_t x, int by)
{
	return x << by | x >> (64 - by);
}

static inline void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

/* SipHash-1-3 (Aumasson, Bernstein 2012), as the kernel's own hash tables use it. */
uint32_t apptap_flow_hash(const struct apptap_flow *flow, const uint64_t key[2])
{
	uint64_t v[4] = { key[0] ^ 0x736f6d6570736575ULL, key[1] ^ 0x646f72616e646f6dULL,
			  key[0] ^ 0x6c7967656e657261ULL, key[1] ^ 0x7465646279746573ULL };
	uint64_t words[sizeof(*flow) / 8];

	memcpy(words, flow, sizeof(words));
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		v[3] ^= words[i];
		sip_round(v);
		v[0] ^= words[i];
	}
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	return (uint32_t)(v[0] ^ v[1] ^ v[2] ^ v[3]);
}
