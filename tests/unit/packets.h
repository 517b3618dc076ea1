/* packets.h - packets made by hand, header by header */
#ifndef APPTAP_TESTS_UNIT_PACKETS_H
#define APPTAP_TESTS_UNIT_PACKETS_H

#include "flow/flow.h"

#define ETH_IPV4 0x0800
#define ETH_IPV6 0x86dd
#define ETH_VLAN 0x8100
#define ETH_QINQ 0x88a8

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define FRAG_MORE 0x2000 /* of an IPv4 header */

struct packet {
	uint8_t b[2048];
	size_t len;
	size_t ip; /* where the outermost network header is */
};

/* Each adds a header at the end; lengths of the outer IP header are kept right by all of them. */
void add_bytes(struct packet *p, const void *bytes, size_t len); /* NULL: zeroes */
void add_vlan(struct packet *p, uint16_t tci, uint16_t inner_type);
void add_ipv4(struct packet *p, uint8_t proto, const char *src, const char *dst, uint16_t frag,
	      uint16_t id);
void add_ipv6(struct packet *p, uint8_t next, const char *src, const char *dst);
/* An extension header of 8 bytes, or of @units more times 8. */
void add_extension(struct packet *p, uint8_t next, uint8_t units);
void add_fragment(struct packet *p, uint8_t next, uint16_t offset, bool more, uint32_t id);
void add_tcp(struct packet *p, uint16_t sport, uint16_t dport, uint32_t seq, uint8_t flags);
void add_udp(struct packet *p, uint16_t sport, uint16_t dport, size_t payload_len);
void add_icmp(struct packet *p, uint8_t type, uint16_t id);

/* An address as the flow has it. */
struct apptap_addr addr_of(const char *text);
struct apptap_flow flow_of(uint8_t proto, const char *local, uint16_t lport, const char *remote,
			   uint16_t rport);
struct apptap_dissect dissect(const struct packet *p, uint16_t protocol);

#endif
