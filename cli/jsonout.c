/* jsonout.c - results as JSON: one object, one line */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>

#include "result.h"
#include "wire/text.h"

static json_t *text(const char *s)
{
	char clean[1024];

	return json_string(apptap_text_clean(clean, sizeof(clean), s));
}

static json_t *number(uint64_t n)
{
	return json_integer((json_int_t)MIN(n, (uint64_t)INT64_MAX));
}

static json_t *error_object(const struct apptap_error *err)
{
	return json_pack("{s:o,s:o}", "message", text(err->msg), "hint", text(err->hint));
}

/* Takes @object. */
static int put(json_t *object, FILE *to)
{
	int r = object ? json_dumpf(object, to, JSON_COMPACT) : -1;

	json_decref(object);
	if (r < 0 || fputc('\n', to) == EOF || fflush(to) == EOF)
		return errno ? -errno : -EIO;
	return 0;
}

/* What somebody has named a program: cleaned, no more than these two need an escape. */
static const char *command_of(const struct apptap_conn_record *c, char *buf, size_t size)
{
	char clean[sizeof(c->comm)];
	size_t at = 0;

	apptap_text_clean(clean, sizeof(clean), c->comm);
	for (const char *p = clean; *p && at + 3 < size; p++) {
		if (*p == '"' || *p == '\\')
			buf[at++] = '\\';
		buf[at++] = *p;
	}
	buf[at] = '\0';
	return buf;
}

/*
 * Written without building objects: ten thousand of them take jansson 200 ms, which who has just
 * asked for the end would wait for. Nothing in it but the command needs escaping.
 */
static void put_connection(const struct apptap_conn_record *c, FILE *to)
{
	char proto[16], local[80], remote[80], uid[16] = "null", pid[16] = "null", command[40];

	if (c->uid != APPTAP_UID_NONE)
		snprintf(uid, sizeof(uid), "%" PRIu32, c->uid);
	if (c->pid)
		snprintf(pid, sizeof(pid), "%" PRIu32, c->pid);
	fprintf(to,
		"{\"protocol\":\"%s\",\"local\":\"%s\",\"remote\":\"%s\",\"uid\":%s,"
		"\"pid\":%s,\"command\":\"%s\",\"syn\":%s,\"fin\":%s,\"rst\":%s,\"packets_out\":%" PRIu64
		",\"packets_in\":%" PRIu64 ",\"bytes_out\":%" PRIu64 ",\"bytes_in\":%" PRIu64
		",\"first_ns\":%" PRIu64 ",\"last_ns\":%" PRIu64 "}",
		apptap_conn_proto(c, proto, sizeof(proto)),
		apptap_conn_address(c, true, local, sizeof(local)),
		apptap_conn_address(c, false, remote, sizeof(remote)), uid, pid,
		command_of(c, command, sizeof(command)), c->tcp_flags & 1 ? "true" : "false",
		c->tcp_flags & 2 ? "true" : "false", c->tcp_flags & 4 ? "true" : "false",
		c->packets_out, c->packets_in, c->bytes_out, c->bytes_in, c->first_ns, c->last_ns);
}

static json_t *counters(const struct apptap_wire_counters *c)
{
	const uint64_t numbers[] = { c->packets,    c->bytes,	       c->seen,	  c->kept,
				     c->kept_bytes, c->foreign,	       c->not_ip, c->unattributed,
				     c->held,	    c->dropped_kernel, c->lookups };
	static const char *const names[] = { "packets",	       "bytes",	       "seen",
					     "kept",	       "kept_bytes",   "foreign",
					     "not_ip",	       "unattributed", "held",
					     "dropped_kernel", "lookups" };
	json_t *o = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		json_object_set_new(o, names[i], number(numbers[i]));
	return o;
}

/* How far the target's clock is ahead; null where it is this machine's own. */
static json_t *clock_object(const struct apptap_clock_difference *c)
{
	if (!c->known)
		return json_null();
	return json_pack("{s:f,s:f}", "ahead_ms", (double)c->ahead_ns / 1e6, "uncertain_ms",
			 (double)c->uncertain_ns / 1e6);
}

int apptap_jsonout_result(const struct apptap_result *r, FILE *to)
{
	const struct apptap_start *start = &r->options->start;
	const struct apptap_outcome *got = r->outcome;
	json_t *o = json_object(), *uids = json_array(), *cgroups = json_array();
	json_t *processes = json_array();
	json_t *warnings = json_array();
	auto_free char *most = NULL;

	for (uint32_t i = 0; i < got->ready.uid_count; i++)
		json_array_append_new(uids,
				      json_pack("{s:o,s:o}", "uid", number(got->ready.uids[i].uid),
						"why", text(got->ready.uids[i].why)));
	for (uint32_t i = 0; i < got->ready.cgroup_count; i++)
		json_array_append_new(cgroups, json_pack("{s:o,s:o}", "path",
							 text(got->ready.cgroups[i].path), "why",
							 text(got->ready.cgroups[i].why)));
	for (uint32_t i = 0; i < got->ready.process_count; i++)
		json_array_append_new(processes,
				      json_pack("{s:o,s:b,s:o}", "pid",
						number(got->ready.processes[i].pid), "tree",
						got->ready.processes[i].tree, "why",
						text(got->ready.processes[i].why)));
	for (size_t i = 0; i < got->warning_count; i++)
		json_array_append_new(warnings, text(got->warnings[i]));
	json_object_set_new(o, "apptap", json_string(APPTAP_VERSION));
	json_object_set_new(o, "tier", got->is_ready ? text(got->ready.tier) : json_null());
	json_object_set_new(o, "uids", uids);
	json_object_set_new(o, "cgroups", cgroups);
	json_object_set_new(o, "processes", processes);
	json_object_set_new(o, "netns", got->ready.netns[0] ? text(got->ready.netns) : json_null());
	json_object_set_new(o, "whole_device", json_boolean(start->whole_device));
	json_object_set_new(o, "path", text(r->options->output));
	json_object_set_new(o, "format", text(start->format));
	json_object_set_new(o, "clock", clock_object(&r->outcome->clock));
	json_object_set_new(o, "linktype",
			    got->is_ready ? number(got->ready.linktype) : json_null());
	json_object_set_new(o, "snaplen", number(start->snaplen_bytes));
	json_object_set_new(o, "ended_by", got->is_done ? text(got->done.reason) : json_null());
	json_object_set_new(o, "duration_ms", number(got->done.counters.elapsed_ms));
	json_object_set_new(o, "counters", counters(&got->done.counters));
	json_object_set_new(o, "connections_total", number(got->done.counters.connections));
	json_object_set_new(o, "warnings", warnings);
	json_object_set_new(o, "error", r->error.code ? error_object(&r->error) : json_null());
	most = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	if (!most)
		return -ENOMEM;
	fprintf(to, "%.*s,\"connections\":[", (int)strlen(most) - 1, most); /* without its } */
	for (size_t i = 0; i < got->conn_count; i++) {
		if (i)
			fputc(',', to);
		put_connection(&got->conns[i], to);
	}
	return fputs("]}\n", to) == EOF || fflush(to) == EOF ? -errno : 0;
}

/* "root=yes owner=no" as an object of true, false, and null for unknown. */
static json_t *features(const char *p)
{
	json_t *object = json_object();
	char name[64], value[16];
	int len;

	for (; sscanf(p, " %63[^= ]=%15s%n", name, value, &len) == 2; p += len)
		json_object_set_new(object, name,
				    strcmp(value, "unknown") == 0
					    ? json_null()
					    : json_boolean(strcmp(value, "yes") == 0));
	return object;
}

int apptap_jsonout_probe(const struct apptap_event_probe *p, FILE *to)
{
	json_t *tiers = json_array();

	for (uint32_t i = 0; i < p->tier_count; i++)
		json_array_append_new(
			tiers,
			json_pack("{s:o,s:o,s:b,s:b,s:o,s:o,s:o}", "name", text(p->tiers[i].name),
				  "gist", text(p->tiers[i].gist), "works", p->tiers[i].works,
				  "chosen", p->tiers[i].chosen, "features",
				  features(p->tiers[i].features), "reason",
				  p->tiers[i].works ? json_null() : text(p->tiers[i].reason),
				  "hint",
				  p->tiers[i].hint[0] ? text(p->tiers[i].hint) : json_null()));
	return put(json_pack("{s:s,s:o,s:o}", "apptap", APPTAP_VERSION, "system", text(p->system),
			     "tiers", tiers),
		   to);
}

int apptap_jsonout_cleanup(const struct apptap_event_cleanup *c, FILE *to)
{
	json_t *left = json_array();

	for (uint32_t i = 0; i < c->left_count; i++)
		json_array_append_new(left,
				      json_pack("{s:o,s:o,s:o}", "path", text(c->left[i].path),
						"bytes", number(c->left[i].bytes), "age_s",
						number(c->left[i].age_s)));
	return put(json_pack("{s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "apptap", APPTAP_VERSION,
			     "captures_left", left, "files_in_use", number(c->files_in_use),
			     "chains_removed", number(c->chains_removed), "processes_checked",
			     number(c->processes_checked), "agents_ended", number(c->agents_ended),
			     "agents_live", number(c->agents_live), "cgroups_removed",
			     number(c->cgroups_removed), "files_removed", number(c->files_removed),
			     "filters_removed", number(c->filters_removed)),
		   to);
}

int apptap_jsonout_error(const struct apptap_error *err, FILE *to)
{
	return put(json_pack("{s:s,s:o}", "apptap", APPTAP_VERSION, "error", error_object(err)),
		   to);
}
