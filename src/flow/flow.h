/* flow.h - protocol and two endpoints, and how a packet is dissected to them */
#ifndef APPTAP_FLOW_FLOW_H
#define APPTAP_FLOW_FLOW_H

#include "base/view.h"

/* An address as IPv6; IPv4 is kept v4-mapped (::ffff:a.b.c.d), with family telling which it was. */
struct apptap_addr {
	uint8_t b[16];
};

/*
 * A flow as one host sees it: local is the end whose socket we ask about. For protocols without
 * ports both ports are 0, except ICMP echo, where both hold the identifier (the local port of a
 * ping socket). Compared and hashed as bytes: no padding, unused bytes zero.
 */
struct apptap_flow {
	struct apptap_addr laddr;
	struct apptap_addr raddr;
	uint16_t lport; /* host order */
	uint16_t rport;
	uint8_t proto; /* IPPROTO_*; ICMP and ICMPv6 for echo */
	uint8_t family; /* AF_INET or AF_INET6: what was on the wire */
	uint16_t zero;
};
_Static_assert(sizeof(struct apptap_flow) == 40, "compared as bytes, no padding");

enum apptap_dissect_flags {
	APPTAP_DIS_IP = 1 << 0, /* an IPv4 or IPv6 packet with whole network header */
	APPTAP_DIS_PORTS = 1 << 1, /* ports (or echo identifier) are filled */
	APPTAP_DIS_FRAG_FIRST = 1 << 2,
	APPTAP_DIS_FRAG_LATER = 1 << 3, /* no ports: follow the first fragment by frag_id */
	APPTAP_DIS_ICMP_ERROR = 1 << 4, /* inner_* hold the packet that it quotes */
	APPTAP_DIS_TCP_SYN = 1 << 5,
	APPTAP_DIS_TCP_ACK = 1 << 6,
	APPTAP_DIS_TCP_FIN = 1 << 7,
	APPTAP_DIS_TCP_RST = 1 << 8,
	APPTAP_DIS_MULTICAST = 1 << 9, /* destination is multicast or limited broadcast */
	APPTAP_DIS_ECHO_REPLY = 1 << 10,
};

/* What a packet says of itself; src and dst as on the wire. */
struct apptap_dissect {
	uint32_t flags;
	uint8_t family; /* AF_INET, AF_INET6 */
	uint8_t proto; /* the transport, after extension headers */
	uint16_t sport;
	uint16_t dport;
	struct apptap_addr src;
	struct apptap_addr dst;
	uint32_t frag_id;
	uint32_t tcp_seq;
	uint32_t payload_len; /* bytes behind the transport header, as the headers tell it */
	/* of the packet that an ICMP error quotes */
	uint8_t inner_proto;
	bool inner_ports;
	uint16_t inner_sport;
	uint16_t inner_dport;
	struct apptap_addr inner_src;
	struct apptap_addr inner_dst;
};

/*
 * Dissects a network-layer packet; @protocol is its EtherType (VLAN tags in the bytes are stepped
 * over). Bytes in, struct out, no I/O: unit test, fuzzer and live capture call this same function.
 * Always fills @out; flags == 0 means that it is not IP, or too damaged to say whose it is.
 */
void apptap_dissect(struct apptap_view v, uint16_t protocol, struct apptap_dissect *out);

/* The flow seen from the sender's socket (local = source), or from the receiver's. */
void apptap_dissect_flow(const struct apptap_dissect *d, bool local_is_src,
			 struct apptap_flow *out);

/* The flow of the packet quoted by an ICMP error, seen from the end that sent or got that one. */
void apptap_dissect_inner_flow(const struct apptap_dissect *d, bool local_is_src,
			       struct apptap_flow *out);

static inline bool apptap_flow_equal(const struct apptap_flow *a, const struct apptap_flow *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* Keyed hash: a stranger on the network must not choose our buckets. */
uint32_t apptap_flow_hash(const struct apptap_flow *flow, const uint64_t key[2]);

#define APPTAP_ADDR_STRLEN 64
/* "10.0.0.1:80", "[2001:db8::1]:443", "10.0.0.1" when @port is negative. Returns @buf. */
const char *apptap_addr_str(const struct apptap_addr *a, uint8_t family, int port, char *buf,
			    size_t size);

bool apptap_addr_is_any(const struct apptap_addr *a); /* ::, or v4-mapped 0.0.0.0 */
bool apptap_addr_is_loopback(const struct apptap_addr *a);
bool apptap_addr_is_multicast(const struct apptap_addr *a); /* and 255.255.255.255 */
void apptap_addr_set(struct apptap_addr *a, int family, const void *bytes); /* 4 or 16 bytes */

#endif
