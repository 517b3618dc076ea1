/* conn_record.h - a connection as it crosses the wire: fixed size, little-endian */
#ifndef APPTAP_WIRE_CONN_RECORD_H
#define APPTAP_WIRE_CONN_RECORD_H

#include "base/view.h"

/* Binary, not JSON: ten thousand of them must not make a stop take longer than its 100 ms. */
struct apptap_conn_record {
	uint8_t laddr[16]; /* the app's end; IPv4 is v4-mapped */
	uint8_t raddr[16];
	uint16_t lport;
	uint16_t rport;
	uint8_t proto; /* IPPROTO_* */
	uint8_t ip; /* 4 or 6: what was on the wire */
	uint8_t tcp_flags; /* 1 SYN, 2 FIN, 4 RST seen */
	uint32_t uid;
	uint32_t pid; /* 0: not known */
	char comm[16]; /* raw, ended by a NUL; "": not known */
	uint64_t first_ns;
	uint64_t last_ns;
	uint64_t packets_out;
	uint64_t packets_in;
	uint64_t bytes_out;
	uint64_t bytes_in;
};

#define APPTAP_CONN_RECORD_BYTES 112u

void apptap_conn_record_encode(const struct apptap_conn_record *c,
			       uint8_t out[APPTAP_CONN_RECORD_BYTES]);

/* Takes one record off @v. false: too few bytes are left, or it is no record. */
bool apptap_conn_record_take(struct apptap_view *v, struct apptap_conn_record *out);

#endif
