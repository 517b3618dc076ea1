/* live.h - packets and connections sent to the host as they come, for whoever does not want a file
 */
#ifndef APPTAP_AGENT_LIVE_H
#define APPTAP_AGENT_LIVE_H

#include "flow/conn.h"
#include "tier/tier.h"
#include "wire/conn_record.h"

struct apptap_live;

struct apptap_live_config {
	int wire_fd; /* borrowed */
	bool packets;
	bool connections;
	uint32_t snaplen; /* bytes of a packet that go, from the network header on */
	const char *(*ifname)(void *arg, int32_t ifindex); /* NULL name: it is not known */
	void *ifname_arg;
};

int apptap_live_new(struct apptap_live **out, const struct apptap_live_config *cfg,
		    struct apptap_error *err);

/* One packet of the app, copied, and the connection it belongs to (NULL: none is listed). */
int apptap_live_packet(struct apptap_live *l, const struct apptap_packet *pkt,
		       const struct apptap_conn *conn, struct apptap_error *err);

/* Tells of those that have ended by their silence; @all: because the capture ends. */
int apptap_live_quiet(struct apptap_live *l, struct apptap_conn_table *conns, bool all,
		      struct apptap_error *err);

int apptap_live_flush(struct apptap_live *l, struct apptap_error *err); /* sends all of it */
void apptap_live_free(struct apptap_live *l); /* NULL is fine; sends nothing */

/* A connection as the wire has it. */
void apptap_live_record(const struct apptap_conn *conn, struct apptap_conn_record *out);

#endif
