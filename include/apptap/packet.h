/* packet.h - what is captured: packets and connections; and what an error is */
#ifndef APPTAP_PACKET_H
#define APPTAP_PACKET_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef APPTAP_API
#if defined(__GNUC__)
#define APPTAP_API __attribute__((visibility("default")))
#else
#define APPTAP_API
#endif
#endif

#ifndef APPTAP_UID_NONE
#define APPTAP_UID_NONE ((uint32_t)-1) /* no owner is known; never a user's number */
#endif

#define APPTAP_LINKTYPE_LINUX_SLL2 276 /* of every packet and file: www.tcpdump.org/linktypes */

/**
 * struct apptap_error - what failed, and what to try
 * @code:	Positive errno; 0 while nothing has failed
 * @msg:	A sentence for the user, without a line break
 * @hint:	What to try; may be empty
 *
 * Every function that takes one fills it on failure alone, and takes NULL as well.
 */
#ifndef APPTAP_ERROR_DEFINED
#define APPTAP_ERROR_DEFINED
struct apptap_error {
	int code;
	char msg[512];
	char hint[256];
};
#endif

/**
 * struct apptap_packet - one packet, as a callback or apptap_session_read() delivers it
 * @data:	The packet with its link-layer header of type linktype; borrowed until the callback
 *		returns, or until the next read
 * @len:	Bytes at data
 * @wire_len:	Bytes the whole packet has, link-layer header included; more than len where the
 *		snapshot length cut it
 * @network:	Where in data the network layer begins: data + network is the IP header
 * @protocol:	EtherType of the network layer: 0x0800, 0x86dd; others in a whole-device capture
 * @ts_ns:	When it passed
 * @uid:	Its owner; APPTAP_UID_NONE where none was sought (whole-device)
 * @direction:	APPTAP_IN or APPTAP_OUT, seen from the machine
 * @linktype:	APPTAP_LINKTYPE_LINUX_SLL2
 * @ifindex:	The interface's index
 * @interface:	Its name, or "" where it is not known; borrowed as data is
 * @command:	The command that made the socket, as far as the tier knows it; else "". Borrowed
 * @pid:	Its process; 0 where it is not known
 */
struct apptap_packet {
	const uint8_t *data;
	uint32_t len;
	uint32_t wire_len;
	uint64_t ts_ns;
	uint32_t network;
	uint32_t uid;
	uint16_t protocol;
	uint8_t direction;
	uint8_t zero;
	uint16_t linktype;
	uint16_t zero2;
	int32_t ifindex;
	uint32_t pid;
	const char *interface;
	const char *command;
	uint64_t reserved[2];
};

enum apptap_direction { APPTAP_IN = 1, APPTAP_OUT = 2 };

/**
 * struct apptap_connection - what was seen of one connection of the app
 * @family:	4 or 6: of IP
 * @protocol:	IPPROTO_TCP, IPPROTO_UDP, ...
 * @tcp_flags:	The enum apptap_tcp_seen of both ends
 * @local_port:	The app's port; 0 for protocols without. An ICMP echo's identifier is in both
 * @remote_port: The other end's
 * @uid:	Owner; APPTAP_UID_NONE where it is not known
 * @pid:	The process that made the socket, or accepted it; 0 where the tier does not know it
 * @local:	The app's address, network order; IPv4 in the first four bytes
 * @remote:	The other end's
 * @first_ns:	Time of the first packet
 * @last_ns:	Time of the last one so far
 * @packets_out, @packets_in:	Packets that the app sent and got
 * @bytes_out, @bytes_in:	Their bytes on the wire, from the network header on
 * @local_text, @remote_text:	The addresses in words: "192.0.2.1", "2001:db8::1"
 * @community_id: Community ID v1 with seed 0, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="; "" for ICMP other
 *		than echo, whose kind is not kept
 * @command:	The command of @pid when it did; "" where it is not known
 */
struct apptap_connection {
	uint8_t family;
	uint8_t protocol;
	uint8_t tcp_flags;
	uint8_t zero;
	uint16_t local_port;
	uint16_t remote_port;
	uint32_t uid;
	uint32_t pid;
	uint8_t local[16];
	uint8_t remote[16];
	uint64_t first_ns;
	uint64_t last_ns;
	uint64_t packets_out;
	uint64_t packets_in;
	uint64_t bytes_out;
	uint64_t bytes_in;
	char local_text[48];
	char remote_text[48];
	char community_id[32];
	char command[16];
	uint64_t reserved[2];
};

enum apptap_tcp_seen { APPTAP_SEEN_SYN = 1, APPTAP_SEEN_FIN = 2, APPTAP_SEEN_RST = 4 };

#ifdef __cplusplus
}
#endif

#endif
