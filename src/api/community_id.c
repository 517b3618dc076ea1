/* community_id.c - the name of a connection that other tools give it too: Community ID v1 */
#include "api/community_id.h"

#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>

#include "base/view.h"

#define BLOCK_BYTES 64
#define HASH_BYTES 20

/* What asks and what answers; the specification takes the other's type for the missing port. */
struct pair {
	uint8_t type, other;
};

static const struct pair icmp4[] = {
	{ ICMP_ECHO, ICMP_ECHOREPLY },
	{ ICMP_ECHOREPLY, ICMP_ECHO },
	{ ICMP_TIMESTAMP, ICMP_TIMESTAMPREPLY },
	{ ICMP_TIMESTAMPREPLY, ICMP_TIMESTAMP },
	{ ICMP_INFO_REQUEST, ICMP_INFO_REPLY },
	{ ICMP_INFO_REPLY, ICMP_INFO_REQUEST },
	{ ICMP_ROUTERADVERT, ICMP_ROUTERSOLICIT },
	{ ICMP_ROUTERSOLICIT, ICMP_ROUTERADVERT },
	{ ICMP_ADDRESS, ICMP_ADDRESSREPLY },
	{ ICMP_ADDRESSREPLY, ICMP_ADDRESS },
};

static const struct pair icmp6[] = {
	{ ICMP6_ECHO_REQUEST, ICMP6_ECHO_REPLY },
	{ ICMP6_ECHO_REPLY, ICMP6_ECHO_REQUEST },
	{ ND_ROUTER_SOLICIT, ND_ROUTER_ADVERT },
	{ ND_ROUTER_ADVERT, ND_ROUTER_SOLICIT },
	{ ND_NEIGHBOR_SOLICIT, ND_NEIGHBOR_ADVERT },
	{ ND_NEIGHBOR_ADVERT, ND_NEIGHBOR_SOLICIT },
	{ MLD_LISTENER_QUERY, MLD_LISTENER_REPORT },
	{ MLD_LISTENER_REPORT, MLD_LISTENER_QUERY },
	{ 139, 140 }, /* node information: RFC 4620 */
	{ 140, 139 },
	{ 144, 145 }, /* home agent address discovery: RFC 6275 */
	{ 145, 144 },
};

static uint32_t turn(uint32_t x, unsigned by)
{
	return x << by | x >> (32 - by);
}

/* SHA-1 (FIPS 180-4) of one block: the tuple is never longer, and nothing here is secret. */
static void hash_block(const uint8_t block[BLOCK_BYTES], uint8_t out[HASH_BYTES])
{
	static const uint32_t constants[] = { 0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6 };
	static const uint32_t begin[] = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476,
					  0xc3d2e1f0 };
	uint32_t w[80], s[5];

	for (int i = 0; i < 16; i++)
		w[i] = apptap_get_be32(block + 4 * i);
	for (int i = 16; i < 80; i++)
		w[i] = turn(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
	memcpy(s, begin, sizeof(s));
	for (int i = 0; i < 80; i++) {
		uint32_t f = i < 20		 ? (s[1] & s[2]) | (~s[1] & s[3])
			     : i >= 40 && i < 60 ? (s[1] & s[2]) | (s[1] & s[3]) | (s[2] & s[3])
						 : s[1] ^ s[2] ^ s[3];
		uint32_t next = turn(s[0], 5) + f + s[4] + constants[i / 20] + w[i];

		s[4] = s[3];
		s[3] = s[2];
		s[2] = turn(s[1], 30);
		s[1] = s[0];
		s[0] = next;
	}
	for (size_t i = 0; i < 5; i++)
		apptap_put_be32(out + 4 * i, begin[i] + s[i]);
}

static char *put_base64(char *p, const uint8_t *bytes, size_t len)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < len; i += 3) {
		size_t have = MIN(len - i, (size_t)3);
		uint32_t v = (uint32_t)bytes[i] << 16;

		v |= have > 1 ? (uint32_t)bytes[i + 1] << 8 : 0;
		v |= have > 2 ? bytes[i + 2] : 0;
		*p++ = digits[v >> 18];
		*p++ = digits[v >> 12 & 63];
		*p++ = (char)(have > 1 ? digits[v >> 6 & 63] : '=');
		*p++ = (char)(have > 2 ? digits[v & 63] : '=');
	}
	return p;
}

/* Puts the type that answers in place of the code. false: it has none, and only one way. */
static bool pair_types(const struct pair *pairs, size_t count, struct apptap_community_tuple *t)
{
	for (size_t i = 0; i < count; i++)
		if (pairs[i].type == t->from_port) {
			t->to_port = pairs[i].other;
			return true;
		}
	return false;
}

static bool has_ports(uint8_t proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP ||
	       proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6;
}

void apptap_community_id_of(const struct apptap_community_tuple *tuple,
			    char out[APPTAP_COMMUNITY_ID_BYTES])
{
	struct apptap_community_tuple t = *tuple;
	uint8_t block[BLOCK_BYTES] = { 0 }; /* begins with the seed, 0 */
	uint8_t *p = block + 2;
	uint8_t hash[HASH_BYTES];
	bool both_ways = true;
	int order;

	if (t.proto == IPPROTO_ICMP)
		both_ways = pair_types(icmp4, ARRAY_SIZE(icmp4), &t);
	else if (t.proto == IPPROTO_ICMPV6)
		both_ways = pair_types(icmp6, ARRAY_SIZE(icmp6), &t);
	order = memcmp(t.from, t.to, t.address_bytes);
	if (both_ways && (order > 0 || (order == 0 && t.from_port > t.to_port))) {
		const struct apptap_community_tuple same = t;

		t.from = same.to;
		t.to = same.from;
		t.from_port = same.to_port;
		t.to_port = same.from_port;
	}
	memcpy(p, t.from, t.address_bytes);
	memcpy(p + t.address_bytes, t.to, t.address_bytes);
	p += 2 * (size_t)t.address_bytes;
	*p = t.proto; /* and a byte of padding */
	p += 2;
	if (has_ports(t.proto)) {
		apptap_put_be16(p, t.from_port);
		apptap_put_be16(p + 2, t.to_port);
		p += 4;
	}
	*p = 0x80; /* the end of a message, and its length in bits */
	apptap_put_be32(block + BLOCK_BYTES - 4, (uint32_t)(p - block) * 8);
	hash_block(block, hash);
	memcpy(out, "1:", 2);
	*put_base64(out + 2, hash, sizeof(hash)) = '\0';
}
