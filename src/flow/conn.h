/* conn.h - the app's connections: a record for each flow seen in a capture, bounded */
#ifndef APPTAP_FLOW_CONN_H
#define APPTAP_FLOW_CONN_H

#include "flow/flow.h"

struct apptap_conn {
	struct apptap_flow flow; /* local is the app's end */
	uid_t uid;
	pid_t pid; /* of the process that made its socket; 0: not known */
	char comm[16]; /* its command, raw */
	uint64_t first_ns; /* CLOCK_REALTIME of the first and the last packet */
	uint64_t last_ns;
	uint64_t packets_out, packets_in;
	uint64_t bytes_out, bytes_in; /* on the wire, from the network header on */
	uint8_t tcp_flags; /* the APPTAP_CONN_* seen so far */
	uint8_t fins; /* whose FIN was seen: 1 ours, 2 the other end's */
	uint8_t news; /* what the last packet brought: APPTAP_CONN_BEGAN, APPTAP_CONN_ENDED */
	bool quiet; /* told as ended for its silence: the next packet is the beginning again */
	uint32_t heard_s; /* of the table's clock, at the last packet */
};

enum { APPTAP_CONN_SYN = 1, APPTAP_CONN_FIN = 2, APPTAP_CONN_RST = 4 };

enum {
	APPTAP_CONN_BEGAN = 1,
	APPTAP_CONN_ENDED = 2, /* TCP: its RST, or the second end's FIN; told once */
};

#define APPTAP_CONN_QUIET_S 60u /* a flow without an end of its own: so long, and it has ended */

struct apptap_conn_table;

/* Keeps at most @max records; further connections are counted, not listed. */
int apptap_conn_table_new(struct apptap_conn_table **out, size_t max);
void apptap_conn_table_free(struct apptap_conn_table *t);

/*
 * One packet of the app: network-layer bytes, @outgoing when the app's end sent it.
 * Return 1 when it began a new record (*out, if given, points to it until the next call), else 0.
 */
int apptap_conn_table_packet(struct apptap_conn_table *t, const struct apptap_dissect *d,
			     bool outgoing, uint32_t wire_len, uint64_t ts_ns, uid_t uid,
			     const struct apptap_conn **out);

/* Says who made the socket of @conn, a record of the table's; its first word counts. */
void apptap_conn_table_name(struct apptap_conn_table *t, const struct apptap_conn *conn, pid_t pid,
			    const char comm[16]);

/*
 * The table's clock: @now_s of a clock that only goes forward. Then, from *@i = 0 on, each record
 * but TCP's that has not been told as ended and was silent for APPTAP_CONN_QUIET_S (@all: every
 * one that has not been told), which then has been. NULL: no more.
 */
void apptap_conn_table_tick(struct apptap_conn_table *t, uint32_t now_s);
const struct apptap_conn *apptap_conn_table_quiet(struct apptap_conn_table *t, size_t *i, bool all);

/* What was seen of the connections beyond @max. */
struct apptap_conn_others {
	uint64_t connections; /* distinct as far as a bounded memory can tell */
	uint64_t packets_out, packets_in;
	uint64_t bytes_out, bytes_in;
};

void apptap_conn_table_others(const struct apptap_conn_table *t, struct apptap_conn_others *out);

size_t apptap_conn_table_count(const struct apptap_conn_table *t); /* records listed */
uint64_t apptap_conn_table_total(const struct apptap_conn_table *t); /* connections ever seen */
const struct apptap_conn *apptap_conn_table_get(const struct apptap_conn_table *t, size_t i);

#endif
