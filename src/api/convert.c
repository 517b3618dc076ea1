/* convert.c - what crossed the wire, as the public header has it */
#include "api/convert.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>

#include "api/community_id.h"
#include "wire/text.h"

#define MAPPED_PREFIX_BYTES 12 /* of an IPv4 address that is kept as IPv6 */

_Static_assert(sizeof(((struct apptap_connection *)0)->community_id) == APPTAP_COMMUNITY_ID_BYTES,
	       "one size");

/* A result with all that it points to; the public part is the first. */
struct result {
	struct apptap_result pub;
	struct apptap_counters counters;
	struct apptap_event_ready ready;
	struct apptap_event_done done;
	struct apptap_uid uids[APPTAP_WIRE_UIDS_MAX];
	struct apptap_cgroup cgroups[APPTAP_WIRE_CGROUPS_MAX];
	struct apptap_process processes[APPTAP_WIRE_PROCESSES_MAX];
	char format[sizeof(((struct apptap_start *)0)->format)];
	char *path; /* owned */
	struct apptap_connection *connections; /* owned */
	char (*texts)[APPTAP_RUN_WARNING_BYTES]; /* owned */
	const char **warnings; /* owned; into texts */
};

static void identify(const struct apptap_conn_record *in, struct apptap_connection *out)
{
	struct apptap_community_tuple t = {
		.from = out->local,
		.to = out->remote,
		.address_bytes = in->ip == 4 ? 4 : 16,
		.proto = in->proto,
		.from_port = in->lport,
		.to_port = in->rport,
	};

	if (in->proto == IPPROTO_ICMP || in->proto == IPPROTO_ICMPV6) {
		if (!in->lport) /* no echo: whose type it is was not kept */
			return;
		/* The app asks: the kernel answers the echo requests of others by itself. */
		t.from_port = in->proto == IPPROTO_ICMP ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
		t.to_port = 0;
	}
	apptap_community_id_of(&t, out->community_id);
}

void apptap_convert_connection(const struct apptap_conn_record *in, struct apptap_connection *out)
{
	size_t skip = in->ip == 4 ? MAPPED_PREFIX_BYTES : 0;
	int family = in->ip == 4 ? AF_INET : AF_INET6;

	*out = (struct apptap_connection){
		.family = in->ip,
		.protocol = in->proto,
		.tcp_flags = in->tcp_flags,
		.local_port = in->lport,
		.remote_port = in->rport,
		.uid = in->uid,
		.pid = in->pid,
		.first_ns = in->first_ns,
		.last_ns = in->last_ns,
		.packets_out = in->packets_out,
		.packets_in = in->packets_in,
		.bytes_out = in->bytes_out,
		.bytes_in = in->bytes_in,
	};
	memcpy(out->local, in->laddr + skip, sizeof(in->laddr) - skip);
	memcpy(out->remote, in->raddr + skip, sizeof(in->raddr) - skip);
	inet_ntop(family, out->local, out->local_text, sizeof(out->local_text));
	inet_ntop(family, out->remote, out->remote_text, sizeof(out->remote_text));
	apptap_text_clean(out->command, sizeof(out->command), in->comm);
	identify(in, out);
}

int apptap_community_id(const struct apptap_connection *c, char out[APPTAP_COMMUNITY_ID_BYTES])
{
	struct apptap_community_tuple t = {
		.from = c->local,
		.to = c->remote,
		.address_bytes = c->family == 4 ? 4 : 16,
		.proto = c->protocol,
		.from_port = c->local_port,
		.to_port = c->remote_port,
	};

	if (c->family != 4 && c->family != 6)
		return -EINVAL;
	apptap_community_id_of(&t, out);
	return (int)strlen(out);
}

void apptap_convert_counters(const struct apptap_wire_counters *in, struct apptap_counters *out)
{
	*out = (struct apptap_counters){
		.elapsed_ms = in->elapsed_ms,
		.packets = in->packets,
		.bytes = in->bytes,
		.connections = in->connections,
		.seen = in->seen,
		.kept = in->kept,
		.kept_bytes = in->kept_bytes,
		.foreign = in->foreign,
		.not_ip = in->not_ip,
		.unattributed = in->unattributed,
		.held = in->held,
		.dropped_kernel = in->dropped_kernel,
		.lookups = in->lookups,
	};
}

void apptap_convert_uids(const struct apptap_wire_uid *in, size_t count, struct apptap_uid *out)
{
	for (size_t i = 0; i < count; i++)
		out[i] = (struct apptap_uid){ .uid = in[i].uid, .why = in[i].why };
}

/* What the lists of @r->ready hold, which stays where it is. */
static void point_to_scope(struct result *r)
{
	const struct apptap_event_ready *ready = &r->ready;

	apptap_convert_uids(ready->uids, ready->uid_count, r->uids);
	for (uint32_t i = 0; i < ready->cgroup_count; i++)
		r->cgroups[i] = (struct apptap_cgroup){ .path = ready->cgroups[i].path,
							.why = ready->cgroups[i].why };
	for (uint32_t i = 0; i < ready->process_count; i++)
		r->processes[i] = (struct apptap_process){ .pid = ready->processes[i].pid,
							   .tree = ready->processes[i].tree,
							   .why = ready->processes[i].why };
}

static bool copy_lists(struct result *r, const struct apptap_outcome *o, const char *path)
{
	r->path = path ? strdup(path) : NULL;
	r->connections = calloc(o->conn_count + 1, sizeof(*r->connections));
	r->texts = calloc(o->warning_count + 1, sizeof(*r->texts));
	r->warnings = calloc(o->warning_count + 1, sizeof(*r->warnings));
	if ((path && !r->path) || !r->connections || !r->texts || !r->warnings)
		return false;
	for (size_t i = 0; i < o->conn_count; i++)
		apptap_convert_connection(&o->conns[i], &r->connections[i]);
	for (size_t i = 0; i < o->warning_count; i++) {
		memcpy(r->texts[i], o->warnings[i], sizeof(r->texts[i]));
		r->warnings[i] = r->texts[i];
	}
	return true;
}

struct apptap_result *apptap_convert_outcome(const struct apptap_outcome *o,
					     const struct apptap_start *start, const char *path)
{
	struct result *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	if (!copy_lists(r, o, path)) {
		apptap_result_free(&r->pub);
		return NULL;
	}
	r->ready = o->ready;
	r->done = o->done;
	memcpy(r->format, start->format, sizeof(r->format));
	apptap_convert_counters(&r->done.counters, &r->counters);
	point_to_scope(r);
	r->pub = (struct apptap_result){
		.tier = r->ready.tier,
		.ended_by = o->is_done ? r->done.reason : "failed",
		.path = r->path,
		.format = start->no_file ? NULL : r->format,
		.linktype = r->ready.linktype,
		.snaplen = start->snaplen_bytes,
		.whole_device = r->ready.whole_device,
		.uids = r->uids,
		.uid_count = r->ready.uid_count,
		.connections = r->connections,
		.connection_count = o->conn_count,
		.connections_total = r->counters.connections,
		.warnings = r->warnings,
		.warning_count = o->warning_count,
		.counters = &r->counters,
		.cgroups = r->cgroups,
		.cgroup_count = r->ready.cgroup_count,
		.processes = r->processes,
		.process_count = r->ready.process_count,
		.clock_known = o->clock.known,
		.clock_ahead_ns = o->clock.ahead_ns,
		.clock_uncertain_ns = o->clock.uncertain_ns,
		.command_status = -1,
	};
	return &r->pub;
}

void apptap_convert_job(const struct apptap_job *job, struct apptap_result *result)
{
	result->command_pid = job->pid;
	result->command_status = job->ended ? job->status : -1;
}

void apptap_result_free(struct apptap_result *result)
{
	struct result *r = (struct result *)(void *)result;

	if (!r)
		return;
	free(r->path);
	free(r->connections);
	free(r->texts);
	free(r->warnings);
	free(r);
}
