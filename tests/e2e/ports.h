/* ports.h - the fixed ports of the far end; none lies in the range of a UID */
#ifndef APPTAP_E2E_PORTS_H
#define APPTAP_E2E_PORTS_H

enum {
	PORT_DNS = 7053, /* UDP: answers REPLY_BYTES */
	PORT_ECHO = 7001, /* TCP, UDP, UDP-Lite: sends back what came */
	PORT_DISCARD = 7002, /* TCP, UDP: reads and forgets */
	PORT_SOURCE = 7003, /* TCP: sends as many bytes as the 8-byte request says, then closes */
	PORT_FIRST = 7004, /* TCP: answers REPLY_BYTES and closes */
	PORT_HALF = 7005, /* TCP: reads to the end, then answers REPLY_BYTES and closes */
	PORT_REPLY = 7006, /* TCP: answers REPLY_BYTES to each request, waits for the close */
	PORT_IDLE = 7009, /* UDP: never read, for floods */
	PORT_CLOSED = 7999, /* nobody is there */
	PORT_QUIC = 7011, /* UDP, 4 ports: answers each datagram with three */
	QUIC_PORTS = 4,
	PORT_CHURN = 7101, /* TCP, 16 ports: like PORT_REPLY; many, so that TIME_WAIT has room */
	CHURN_PORTS = 16,
	REPLY_BYTES = 300,
	SERVERS = 4, /* addresses of the far end: 10.77.0.2-5 and fd77::2-5 */
};

#endif
