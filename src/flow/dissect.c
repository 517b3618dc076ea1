/* dissect.c - a network-layer packet dissected to its flow; every byte may be an attacker's */
#include "flow/flow.h"

#include <netinet/in.h>
#include <sys/socket.h>

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_QINQ 0x88a8
#define VLAN_TAGS_MAX 4
#define IPV6_EXTENSIONS_MAX 12 /* more is an attack: RFC 8200 needs six */

/* What a network header says before its transport is looked at. */
struct network {
	uint8_t family;
	uint8_t proto;
	bool frag_first;
	bool frag_later;
	uint32_t frag_id;
	struct apptap_addr src;
	struct apptap_addr dst;
	struct apptap_view rest; /* the transport, cut to the length that the header tells */
};

static bool parse_ipv4(struct apptap_view v, struct network *n)
{
	const uint8_t *h = apptap_view_peek(&v, 20);
	size_t header_len;
	size_t total_len;
	uint16_t frag;

	if (!h || h[0] >> 4 != 4)
		return false;
	header_len = (size_t)(h[0] & 15) * 4;
	total_len = apptap_get_be16(h + 2);
	if (header_len < 20 || !apptap_view_take(&v, header_len))
		return false;
	/* 0 is what a GSO packet beyond 64 KiB (BIG TCP) carries: trust the capture's length. */
	if (total_len >= header_len && total_len - header_len < v.left)
		v.left = total_len - header_len;
	frag = apptap_get_be16(h + 6);
	n->family = AF_INET;
	n->proto = h[9];
	n->frag_first = (frag & 0x3fff) == 0x2000;
	n->frag_later = (frag & 0x1fff) != 0;
	n->frag_id = apptap_get_be16(h + 4);
	apptap_addr_set(&n->src, AF_INET, h + 12);
	apptap_addr_set(&n->dst, AF_INET, h + 16);
	n->rest = v;
	return true;
}

/* Steps over one extension header. false: damaged, or one that hides the transport. */
static bool step_extension(struct network *n)
{
	const uint8_t *h = apptap_view_peek(&n->rest, 8);
	uint16_t frag;
	size_t len;

	if (!h)
		return false;
	switch (n->proto) {
	case IPPROTO_FRAGMENT:
		frag = apptap_get_be16(h + 2);
		n->frag_later = (frag & 0xfff8) != 0;
		n->frag_first = !n->frag_later && (frag & 1);
		n->frag_id = apptap_get_be32(h + 4);
		len = 8;
		break;
	case IPPROTO_AH:
		len = ((size_t)h[1] + 2) * 4;
		break;
	default:
		len = ((size_t)h[1] + 1) * 8;
		break;
	}
	if (!apptap_view_take(&n->rest, len))
		return false; /* and its own bytes must not pass for the transport's */
	n->proto = h[0];
	return true;
}

static bool is_extension(uint8_t proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_FRAGMENT ||
	       proto == IPPROTO_DSTOPTS || proto == IPPROTO_AH;
}

static bool parse_ipv6(struct apptap_view v, struct network *n)
{
	const uint8_t *h = apptap_view_take(&v, 40);
	size_t payload_len;

	if (!h || h[0] >> 4 != 6)
		return false;
	payload_len = apptap_get_be16(h + 4);
	if (payload_len && payload_len < v.left) /* 0: a jumbogram or BIG TCP */
		v.left = payload_len;
	n->family = AF_INET6;
	n->proto = h[6];
	apptap_addr_set(&n->src, AF_INET6, h + 8);
	apptap_addr_set(&n->dst, AF_INET6, h + 24);
	n->rest = v;
	for (int i = 0; i < IPV6_EXTENSIONS_MAX && is_extension(n->proto) && !n->frag_later; i++)
		if (!step_extension(n))
			return true; /* cut off or damaged: whose addresses it has is still known */
	return true;
}

static bool parse_network(struct apptap_view v, uint16_t protocol, struct network *n)
{
	memset(n, 0, sizeof(*n));
	if (protocol == ETHERTYPE_IPV4)
		return parse_ipv4(v, n);
	if (protocol == ETHERTYPE_IPV6)
		return parse_ipv6(v, n);
	return false;
}

static bool is_echo(uint8_t proto, uint8_t type)
{
	return proto == IPPROTO_ICMP ? type == 8 || type == 0 : type == 128 || type == 129;
}

static bool is_icmp_error(uint8_t proto, uint8_t type)
{
	if (proto == IPPROTO_ICMP) /* unreachable, quench, redirect, time exceeded, parameter */
		return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
	return type >= 1 && type <= 4;
}

/* Ports, or the echo identifier in both. false: the protocol has none, or they are cut off. */
static bool parse_ports(uint8_t proto, struct apptap_view v, uint16_t *sport, uint16_t *dport)
{
	const uint8_t *h;

	switch (proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_SCTP:
	case IPPROTO_DCCP:
		h = apptap_view_peek(&v, 4);
		if (!h)
			return false;
		*sport = apptap_get_be16(h);
		*dport = apptap_get_be16(h + 2);
		return true;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		h = apptap_view_peek(&v, 8);
		if (!h || !is_echo(proto, h[0]))
			return false;
		*sport = *dport = apptap_get_be16(h + 4);
		return true;
	default:
		return false;
	}
}

static void parse_quoted(struct apptap_view v, uint8_t family, struct apptap_dissect *out)
{
	struct network n;

	if (!apptap_view_take(&v, 8) ||
	    !parse_network(v, family == AF_INET ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6, &n))
		return;
	out->flags |= APPTAP_DIS_ICMP_ERROR;
	out->inner_proto = n.proto;
	out->inner_src = n.src;
	out->inner_dst = n.dst;
	out->inner_ports =
		!n.frag_later && parse_ports(n.proto, n.rest, &out->inner_sport, &out->inner_dport);
}

static void parse_tcp(struct apptap_view v, struct apptap_dissect *out)
{
	const uint8_t *h = apptap_view_peek(&v, 20);
	size_t header_len;

	if (!h)
		return;
	header_len = (size_t)(h[12] >> 4) * 4;
	out->tcp_seq = apptap_get_be32(h + 4);
	out->payload_len = v.left > header_len ? (uint32_t)(v.left - header_len) : 0;
	out->flags |=
		(h[13] & 0x01 ? APPTAP_DIS_TCP_FIN : 0) | (h[13] & 0x02 ? APPTAP_DIS_TCP_SYN : 0) |
		(h[13] & 0x04 ? APPTAP_DIS_TCP_RST : 0) | (h[13] & 0x10 ? APPTAP_DIS_TCP_ACK : 0);
}

static void parse_transport(const struct network *n, struct apptap_dissect *out)
{
	const uint8_t *h;

	if (parse_ports(n->proto, n->rest, &out->sport, &out->dport))
		out->flags |= APPTAP_DIS_PORTS;
	out->payload_len = n->rest.left > 8 ? (uint32_t)(n->rest.left - 8) : 0;
	if (n->proto == IPPROTO_TCP)
		parse_tcp(n->rest, out);
	if (n->proto != IPPROTO_ICMP && n->proto != IPPROTO_ICMPV6)
		return;
	h = apptap_view_peek(&n->rest, 1);
	if (h && is_icmp_error(n->proto, h[0]))
		parse_quoted(n->rest, n->family, out);
	if (h && is_echo(n->proto, h[0]) && h[0] != 8 && h[0] != 128)
		out->flags |= APPTAP_DIS_ECHO_REPLY;
}

void apptap_dissect(struct apptap_view v, uint16_t protocol, struct apptap_dissect *out)
{
	struct network n;

	memset(out, 0, sizeof(*out));
	for (int i = 0; i < VLAN_TAGS_MAX; i++) {
		const uint8_t *tag;

		if (protocol != ETHERTYPE_VLAN && protocol != ETHERTYPE_QINQ)
			break;
		tag = apptap_view_take(&v, 4);
		if (!tag)
			return;
		protocol = apptap_get_be16(tag + 2);
	}
	if (!parse_network(v, protocol, &n))
		return;
	out->flags = APPTAP_DIS_IP | (n.frag_first ? APPTAP_DIS_FRAG_FIRST : 0) |
		     (n.frag_later ? APPTAP_DIS_FRAG_LATER : 0) |
		     (apptap_addr_is_multicast(&n.dst) ? APPTAP_DIS_MULTICAST : 0);
	out->family = n.family;
	out->proto = n.proto;
	out->frag_id = n.frag_id;
	out->src = n.src;
	out->dst = n.dst;
	if (n.frag_later)
		out->payload_len = (uint32_t)n.rest.left;
	else
		parse_transport(&n, out);
}
