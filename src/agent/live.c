/* live.c - packets and connections sent to the host as they come, for whoever does not want a file
 */
#include "agent/live.h"

#include <errno.h>
#include <sys/socket.h>

#include "file/sll2.h"
#include "wire/frame.h"
#include "wire/packet_record.h"

#define BATCH_BYTES ((size_t)256 << 10) /* sent when as much has come together */
#define STAGE_BYTES (BATCH_BYTES + RECORD_MAX + 64) /* 64: an interface, told before */
#define PACKET_MAX (262144u + APPTAP_SLL2_MAX)
#define RECORD_MAX ((size_t)APPTAP_PACKET_RECORD_BYTES + PACKET_MAX + 8)
#define CONNECTIONS 128u
#define INTERFACES 256u /* places by index; two that share one are just told again */

_Static_assert(STAGE_BYTES <= APPTAP_FRAME_BODY_MAX, "one frame");

struct connections {
	uint32_t count;
	uint8_t bytes[CONNECTIONS * APPTAP_CONN_RECORD_BYTES];
};

_Static_assert(sizeof(((struct apptap_packet *)0)->comm) == APPTAP_PACKET_RECORD_NAME_BYTES,
	       "the kernel's TASK_COMM_LEN");

struct apptap_live {
	struct apptap_live_config cfg;
	uint8_t *stage; /* owned; NULL unless packets are wanted */
	size_t staged;
	struct connections begun;
	struct connections ended;
	int32_t told[INTERFACES]; /* which interface's name was sent */
};

int apptap_live_new(struct apptap_live **out, const struct apptap_live_config *cfg,
		    struct apptap_error *err)
{
	struct apptap_live *l = calloc(1, sizeof(*l));

	if (l && cfg->packets)
		l->stage = malloc(STAGE_BYTES);
	if (!l || (cfg->packets && !l->stage)) {
		free(l);
		return apptap_error_set(err, ENOMEM, "allocating a buffer for live packets");
	}
	l->cfg = *cfg;
	*out = l;
	return 0;
}

void apptap_live_free(struct apptap_live *l)
{
	if (!l)
		return;
	free(l->stage);
	free(l);
}

void apptap_live_record(const struct apptap_conn *conn, struct apptap_conn_record *out)
{
	*out = (struct apptap_conn_record){
		.lport = conn->flow.lport,
		.rport = conn->flow.rport,
		.proto = conn->flow.proto,
		.ip = conn->flow.family == AF_INET ? 4 : 6,
		.tcp_flags = conn->tcp_flags,
		.uid = conn->uid,
		.pid = (uint32_t)conn->pid,
		.first_ns = conn->first_ns,
		.last_ns = conn->last_ns,
		.packets_out = conn->packets_out,
		.packets_in = conn->packets_in,
		.bytes_out = conn->bytes_out,
		.bytes_in = conn->bytes_in,
	};
	memcpy(out->laddr, conn->flow.laddr.b, 16);
	memcpy(out->raddr, conn->flow.raddr.b, 16);
	memcpy(out->comm, conn->comm, sizeof(out->comm));
}

static int send_connections(struct apptap_live *l, struct connections *c, uint16_t flag,
			    struct apptap_error *err)
{
	size_t len = c->count * (size_t)APPTAP_CONN_RECORD_BYTES;

	if (!len)
		return 0;
	c->count = 0;
	return apptap_frame_send(l->cfg.wire_fd, APPTAP_FRAME_CONNECTIONS, flag, c->bytes, len,
				 err);
}

int apptap_live_flush(struct apptap_live *l, struct apptap_error *err)
{
	int r = send_connections(l, &l->begun, APPTAP_FRAME_BEGUN, err);

	if (r >= 0 && l->staged) {
		r = apptap_frame_send(l->cfg.wire_fd, APPTAP_FRAME_PACKETS, 0, l->stage, l->staged,
				      err);
		l->staged = 0;
	}
	return r < 0 ? r : send_connections(l, &l->ended, APPTAP_FRAME_ENDED, err);
}

static int note_connection(struct apptap_live *l, struct connections *c,
			   const struct apptap_conn *conn, struct apptap_error *err)
{
	struct apptap_conn_record record;

	apptap_live_record(conn, &record);
	apptap_conn_record_encode(&record, c->bytes + c->count * (size_t)APPTAP_CONN_RECORD_BYTES);
	return ++c->count == CONNECTIONS ? apptap_live_flush(l, err) : 0;
}

static void stage_interface(struct apptap_live *l, int32_t ifindex)
{
	const char *name = l->cfg.ifname ? l->cfg.ifname(l->cfg.ifname_arg, ifindex) : NULL;
	struct apptap_packet_record r = {
		.kind = APPTAP_PACKET_RECORD_INTERFACE,
		.ifindex = ifindex,
	};

	l->told[(uint32_t)ifindex % INTERFACES] = ifindex;
	if (name)
		r.len = (uint32_t)strnlen(name, APPTAP_PACKET_RECORD_NAME_BYTES - 1);
	memcpy(apptap_packet_record_put(l->stage + l->staged, &r), name ? name : "", r.len);
	l->staged += apptap_packet_record_size(r.len);
}

static int stage_packet(struct apptap_live *l, const struct apptap_packet *pkt,
			struct apptap_error *err)
{
	uint32_t front = apptap_sll2_bytes(pkt);
	uint32_t limit = MIN(l->cfg.snaplen, PACKET_MAX - front);
	uint32_t kept = MIN(pkt->len, limit);
	struct apptap_packet_record r = {
		.len = front + kept,
		.wire_len = MIN(MAX(pkt->wire_len, kept), UINT32_MAX - front) + front,
		.uid = pkt->uid,
		.ts_ns = pkt->ts_ns,
		.kind = APPTAP_PACKET_RECORD_PACKET,
		.network = (uint16_t)front,
		.ifindex = pkt->ifindex,
		.pid = (uint32_t)pkt->pid,
	};
	uint8_t *p;

	memcpy(r.comm, pkt->comm, sizeof(r.comm));
	if (l->told[(uint32_t)pkt->ifindex % INTERFACES] != pkt->ifindex)
		stage_interface(l, pkt->ifindex);
	p = apptap_packet_record_put(l->stage + l->staged, &r);
	memcpy(apptap_sll2_put(p, pkt), pkt->data, kept);
	l->staged += apptap_packet_record_size(r.len);
	return l->staged >= BATCH_BYTES ? apptap_live_flush(l, err) : 0;
}

int apptap_live_packet(struct apptap_live *l, const struct apptap_packet *pkt,
		       const struct apptap_conn *conn, struct apptap_error *err)
{
	uint8_t news = l->cfg.connections && conn ? conn->news : 0;
	int r = 0;

	if (news & APPTAP_CONN_BEGAN)
		r = note_connection(l, &l->begun, conn, err);
	if (r >= 0 && l->stage)
		r = stage_packet(l, pkt, err);
	if (r >= 0 && news & APPTAP_CONN_ENDED)
		r = note_connection(l, &l->ended, conn, err);
	return r;
}

int apptap_live_quiet(struct apptap_live *l, struct apptap_conn_table *conns, bool all,
		      struct apptap_error *err)
{
	const struct apptap_conn *conn;
	size_t i = 0;
	int r = 0;

	if (!l->cfg.connections)
		return 0;
	while (r >= 0 && (conn = apptap_conn_table_quiet(conns, &i, all)))
		r = note_connection(l, &l->ended, conn, err);
	return r < 0 ? r : apptap_live_flush(l, err);
}
