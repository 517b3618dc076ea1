/* capture.c - one running capture of the agent: scope, tier, connections, sink, limits */
#include "agent/capture.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <stdio.h>
#include <sys/socket.h>

#include "agent/live.h"
#include "agent/output.h"
#include "agent/priority.h"
#include "base/privilege.h"
#include "agent/report.h"
#include "agent/target.h"
#include "file/sink.h"
#include "flow/conn.h"
#include "tier/tier.h"
#include "wire/conn_record.h"
#include "wire/frame.h"

_Static_assert(APPTAP_SCOPE_CGROUPS_MAX <= APPTAP_WIRE_CGROUPS_MAX &&
		       APPTAP_SCOPE_PROCESSES_MAX <= APPTAP_WIRE_PROCESSES_MAX,
	       "a scope fits into READY");

#define STATUS_MS 250u
#define STREAM_BATCH_BYTES (4u << 20)
#define RESCAN_STATUSES 4 /* once a second */
/* When a command has ended, its last connections say goodbye: until nothing came for so long. */
#define GOODBYE_NS (100 * APPTAP_NSEC_PER_MSEC)
#define GOODBYE_MAX_NS (1 * APPTAP_NSEC_PER_SEC)
#define GOODBYE_TICK_NS (20 * APPTAP_NSEC_PER_MSEC)
#define RECORDS_PER_FRAME ((size_t)256)
/* What a tier hands over of a packet at least: the headers, those in an ICMP error too. They tell
 * whose it is and what connection; the file and the stream cut it to the user's length. */
#define HEADERS_BYTES 256u

struct apptap_capture {
	struct apptap_consumer consumer; /* what the tier hands its packets to */
	int wire_fd; /* borrowed */
	struct apptap_agent_target target;
	struct apptap_tier *tier; /* owned */
	struct apptap_agent_output output;
	struct apptap_sink *sink; /* owned; NULL: no file is wanted */
	struct apptap_live *live; /* owned; NULL: nothing live is wanted */
	struct apptap_conn_table *conns; /* owned */
	const char *interfaces[APPTAP_WIRE_INTERFACES_MAX];
	struct apptap_start cmd;
	bool pid_ended;
	pid_t host_pid; /* as it says itself */
	uint64_t tree_ended_ns; /* CLOCK_MONOTONIC; 0: the command, or what it started, runs */
	uint64_t taken_ns; /* of the latest packet */
	uint64_t start_ns; /* CLOCK_MONOTONIC, at ready */
	uint64_t status_ns; /* of the next status */
	uint64_t end_ns; /* 0: no limit of time */
	uint64_t end_elapsed_ms;
	uint32_t statuses;
	uint64_t taken; /* packets handed to the sink */
	const char *reason;
	struct apptap_error failed; /* code 0: it has not */
};

static void warn(void *arg, const char *text)
{
	struct apptap_capture *c = arg;

	apptap_report_warning(c->wire_fd, text);
}

static bool count_reached(const struct apptap_capture *c)
{
	return c->cmd.count && c->taken >= c->cmd.count;
}

static int take_packet(struct apptap_consumer *consumer, const struct apptap_packet *pkt,
		       struct apptap_error *err)
{
	struct apptap_capture *c = apptap_container_of(consumer, struct apptap_capture, consumer);
	const struct apptap_conn *conn;
	struct apptap_dissect d;
	int r = 0;

	if (count_reached(c))
		return 0;
	c->taken++;
	c->taken_ns = c->target.group ? apptap_clock_ns(CLOCK_MONOTONIC) : 0;
	apptap_dissect((struct apptap_view){ pkt->data, pkt->len }, pkt->protocol, &d);
	apptap_conn_table_packet(c->conns, &d, pkt->pkttype == PACKET_OUTGOING, pkt->wire_len,
				 pkt->ts_ns, pkt->uid, &conn);
	if (conn && pkt->pid)
		apptap_conn_table_name(c->conns, conn, pkt->pid, pkt->comm);
	if (c->live)
		r = apptap_live_packet(c->live, pkt, conn, err);
	if (r >= 0 && c->sink)
		r = apptap_sink_packet(c->sink, pkt, err);
	/* A stream's buffer is memory: a tier that hands over a whole ring at once must not fill
	 * it. */
	if (r >= 0 && c->cmd.stream &&
	    apptap_sink_bytes(c->sink) > c->output.sent + STREAM_BATCH_BYTES)
		r = apptap_agent_output_flush(&c->output, err);
	return r;
}

static int take_flush(struct apptap_consumer *consumer, struct apptap_error *err)
{
	struct apptap_capture *c = apptap_container_of(consumer, struct apptap_capture, consumer);
	int r = c->live ? apptap_live_flush(c->live, err) : 0;

	if (r >= 0 && c->sink)
		r = apptap_sink_flush(c->sink, err);
	return r < 0 || !c->sink ? r : apptap_agent_output_flush(&c->output, err);
}

static const char *ifname(void *arg, int32_t ifindex)
{
	const struct apptap_capture *c = arg;

	return c->tier->ops->ifname(c->tier, ifindex);
}

static int check_names(const struct apptap_start *cmd, struct apptap_error *err)
{
	static const char *const breadths[] = { "app", "app+isolated", "app+isolated+dns" };
	static const char *const formats[] = { "pcap", "pcap-nano", "pcapng" };
	bool breadth = !cmd->breadth[0], format = cmd->no_file;

	for (size_t i = 0; i < 3; i++) {
		breadth |= strcmp(cmd->breadth, breadths[i]) == 0;
		format |= strcmp(cmd->format, formats[i]) == 0;
	}
	if (!breadth)
		return apptap_error_say(err, EINVAL, "no breadth is called '%s'", cmd->breadth);
	if (!format)
		return apptap_error_say(err, EINVAL, "no file format is called '%s'", cmd->format);
	return 0;
}

static uint32_t snaplen(const struct apptap_capture *c)
{
	return c->cmd.snaplen_bytes ? c->cmd.snaplen_bytes : APPTAP_SNAPLEN_MAX;
}

static int open_tier(struct apptap_capture *c, enum apptap_failure *failure,
		     struct apptap_error *err)
{
	struct apptap_tier_config cfg = {
		.scope = &c->target.scope,
		.snaplen = MAX(snaplen(c), HEADERS_BYTES),
		.ring_bytes = (size_t)c->cmd.ring_bytes,
		.interfaces = c->interfaces,
		.interface_count = c->cmd.interface_count,
		.nflog_group = (uint16_t)c->cmd.nflog_group,
		.warn = warn,
		.warn_arg = c,
	};
	int r;

	for (uint32_t i = 0; i < c->cmd.interface_count; i++)
		c->interfaces[i] = c->cmd.interfaces[i];
	r = apptap_tier_open(&c->tier, c->cmd.tier[0] ? c->cmd.tier : NULL, &cfg, err);
	if (r == -EINVAL)
		*failure = APPTAP_FAILURE_USAGE;
	else if (r == -ENOTSUP)
		*failure = APPTAP_FAILURE_NO_TIER;
	return r;
}

/* "UID 5001 (process 812 (curl)); tier sockdiag", for the reader of the file. */
static void describe(const struct apptap_capture *c, char *buf, size_t size)
{
	size_t len = 0;

	for (size_t i = 0; i < c->target.scope.uid_count && len < size; i++)
		len += (size_t)snprintf(buf + len, size - len, "%sUID %u (%s)", i ? ", " : "",
					(unsigned)c->target.scope.uids[i].uid,
					c->target.scope.uids[i].why);
	for (size_t i = 0; i < c->target.scope.cgroup_count && len < size; i++)
		len += (size_t)snprintf(buf + len, size - len, "%scgroup %s (%s)", len ? ", " : "",
					c->target.scope.cgroups[i].path,
					c->target.scope.cgroups[i].why);
	for (size_t i = 0; i < c->target.scope.process_count && len < size; i++)
		len += (size_t)snprintf(buf + len, size - len, "%sPID %d%s (%s)", len ? ", " : "",
					(int)c->target.scope.processes[i].pid,
					c->target.scope.processes[i].tree ? " and descendants" : "",
					c->target.scope.processes[i].why);
	if (c->target.scope.whole_device)
		len = (size_t)snprintf(buf, size, "the whole device");
	if (len < size)
		snprintf(buf + len, size - len, "; tier %s", c->tier->ops->name);
}

static int open_sink(struct apptap_capture *c, int file_fd, struct apptap_error *err)
{
	char comment[2048] = "";
	struct apptap_sink_config cfg = {
		.format = APPTAP_FORMAT_PCAP,
		.snaplen = snaplen(c),
		.comment = comment,
		.whose = !c->cmd.plain,
		.app = "apptap " APPTAP_VERSION,
		.ifname = ifname,
		.ifname_arg = c,
	};
	int r;

	if (strcmp(c->cmd.format, "pcapng") == 0)
		cfg.format = APPTAP_FORMAT_PCAPNG;
	else if (strcmp(c->cmd.format, "pcap-nano") == 0)
		cfg.format = APPTAP_FORMAT_PCAP_NANO;
	describe(c, comment, sizeof(comment));
	r = apptap_agent_output_open(&c->output, file_fd, c->wire_fd, err);
	if (r < 0)
		return r;
	if (file_fd >= 0 && c->cmd.empty && ftruncate(file_fd, 0) < 0)
		return apptap_error_set(err, errno, "emptying the file that was there");
	r = apptap_sink_open(&c->sink, c->output.fd, &cfg, err);
	if (r >= 0) /* a reader of the stream wants the header now, not with the first packet */
		r = apptap_sink_flush(c->sink, err);
	return r < 0 ? r : apptap_agent_output_flush(&c->output, err);
}

static int open_live(struct apptap_capture *c, struct apptap_error *err)
{
	struct apptap_live_config cfg = {
		.wire_fd = c->wire_fd,
		.packets = c->cmd.live_packets,
		.connections = c->cmd.live_connections,
		.snaplen = snaplen(c),
		.ifname = ifname,
		.ifname_arg = c,
	};

	return cfg.packets || cfg.connections ? apptap_live_new(&c->live, &cfg, err) : 0;
}

/* READY, or SCOPE: what the capture is about has changed since. */
static void report_scope(struct apptap_capture *c, enum apptap_wire_event_type type)
{
	struct apptap_wire_event ev = { .type = type };
	struct apptap_event_ready *ready = &ev.ready;

	snprintf(ready->tier, sizeof(ready->tier), "%s", c->tier->ops->name);
	ready->linktype = APPTAP_LINKTYPE_LINUX_SLL2;
	ready->whole_device = c->target.scope.whole_device;
	snprintf(ready->netns, sizeof(ready->netns), "%s", c->target.netns);
	ready->uid_count = (uint32_t)MIN(c->target.scope.uid_count, (size_t)APPTAP_WIRE_UIDS_MAX);
	for (uint32_t i = 0; i < ready->uid_count; i++) {
		ready->uids[i].uid = c->target.scope.uids[i].uid;
		snprintf(ready->uids[i].why, sizeof(ready->uids[i].why), "%s",
			 c->target.scope.uids[i].why);
	}
	ready->cgroup_count = (uint32_t)c->target.scope.cgroup_count;
	for (uint32_t i = 0; i < ready->cgroup_count; i++) {
		const struct apptap_scope_cgroup *g = &c->target.scope.cgroups[i];

		snprintf(ready->cgroups[i].path, sizeof(ready->cgroups[i].path), "%s", g->path);
		snprintf(ready->cgroups[i].why, sizeof(ready->cgroups[i].why), "%s", g->why);
	}
	ready->process_count = (uint32_t)c->target.scope.process_count;
	for (uint32_t i = 0; i < ready->process_count; i++) {
		const struct apptap_scope_process *p = &c->target.scope.processes[i];

		ready->processes[i].pid = (uint32_t)p->pid;
		ready->processes[i].tree = p->tree;
		snprintf(ready->processes[i].why, sizeof(ready->processes[i].why), "%s", p->why);
	}
	apptap_report_event(c->wire_fd, &ev);
}

static enum apptap_failure failure_of(const struct apptap_error *err)
{
	return err->code == EPIPE ? APPTAP_FAILURE_READER_GONE : APPTAP_FAILURE_OTHER;
}

/* Everything up to the moment when the next packet of the app would be captured. */
static int set_up(struct apptap_capture *c, int file_fd, enum apptap_failure *failure,
		  struct apptap_error *err)
{
	auto_close int fd = file_fd;
	int r = check_names(&c->cmd, err);

	if (r < 0) {
		*failure = APPTAP_FAILURE_USAGE;
		return r;
	}
	if (apptap_conn_table_new(&c->conns, APPTAP_WIRE_CONNECTIONS_MAX) < 0)
		return apptap_error_set(err, ENOMEM, "allocating the connection table");
	r = apptap_agent_target_find(&c->target, &c->cmd, c->host_pid, warn, c, err);
	if (r >= 0)
		r = open_tier(c, failure, err);
	if (r >= 0)
		r = open_live(c, err);
	if (r < 0 || c->cmd.no_file)
		return r;
	r = open_sink(c, apptap_steal_fd(&fd), err);
	if (r < 0)
		*failure = failure_of(err);
	return r;
}

int apptap_capture_start(struct apptap_capture **out, const struct apptap_start *cmd,
			 pid_t host_pid, int file_fd, int wire_fd, enum apptap_failure *failure,
			 struct apptap_error *err)
{
	struct apptap_capture *c = calloc(1, sizeof(*c));
	struct apptap_error drop_err = { 0 };
	int r;

	*failure = APPTAP_FAILURE_OTHER;
	if (!c) {
		if (file_fd >= 0)
			close(file_fd);
		return apptap_error_set(err, ENOMEM, "allocating a capture");
	}
	c->consumer = (struct apptap_consumer){ .packet = take_packet, .flush = take_flush };
	c->output = (struct apptap_agent_output)APPTAP_AGENT_OUTPUT_CLOSED;
	c->wire_fd = wire_fd;
	c->cmd = *cmd;
	c->host_pid = host_pid;
	c->reason = "stopped";
	if (apptap_priority_raise(&drop_err) < 0)
		warn(c, drop_err.msg);
	r = set_up(c, file_fd, failure, err);
	if (r < 0) {
		apptap_capture_free(c);
		return r;
	}
	if (apptap_privilege_drop(&drop_err) < 0)
		warn(c, drop_err.msg);
	c->start_ns = apptap_clock_ns(CLOCK_MONOTONIC);
	c->status_ns = c->start_ns + STATUS_MS * APPTAP_NSEC_PER_MSEC;
	apptap_conn_table_tick(c->conns, (uint32_t)(c->start_ns / APPTAP_NSEC_PER_SEC));
	if (cmd->duration_ms)
		c->end_ns = c->start_ns + cmd->duration_ms * APPTAP_NSEC_PER_MSEC;
	report_scope(c, APPTAP_WIRE_EVENT_READY);
	*out = c;
	return 0;
}

int apptap_capture_wait(const struct apptap_capture *c, struct pollfd p[APPTAP_CAPTURE_FDS])
{
	uint64_t now = apptap_clock_ns(CLOCK_MONOTONIC);
	uint64_t next = c->end_ns ? MIN(c->end_ns, c->status_ns) : c->status_ns;

	if (c->tree_ended_ns)
		next = MIN(next, now + GOODBYE_TICK_NS);
	p[0] = (struct pollfd){ .fd = c->tier->fd, .events = POLLIN };
	p[1] = (struct pollfd){ .fd = c->pid_ended ? -1 : apptap_scope_watch_fd(c->target.watch),
				.events = POLLIN };
	if (c->target.group)
		p[1] = (struct pollfd){
			.fd = c->tree_ended_ns ? -1 : apptap_command_group_fd(c->target.group),
			.events = POLLPRI,
		};
	if (next <= now)
		return 0;
	return (int)((next - now + APPTAP_NSEC_PER_MSEC - 1) / APPTAP_NSEC_PER_MSEC);
}

static void fill_counters(const struct apptap_capture *c, struct apptap_wire_counters *out)
{
	struct apptap_tier_counters t = { 0 };
	uint64_t end = c->end_elapsed_ms;

	c->tier->ops->counters(c->tier, &t);
	if (!end)
		end = (apptap_clock_ns(CLOCK_MONOTONIC) - c->start_ns) / APPTAP_NSEC_PER_MSEC;
	*out = (struct apptap_wire_counters){
		.elapsed_ms = end,
		.packets = c->sink ? apptap_sink_records(c->sink) : c->taken,
		.bytes = c->sink ? apptap_sink_bytes(c->sink) : 0,
		.connections = apptap_conn_table_total(c->conns),
		.seen = t.seen,
		.kept = t.kept,
		.kept_bytes = t.kept_bytes,
		.foreign = t.foreign,
		.not_ip = t.not_ip,
		.unattributed = t.unattributed,
		.held = t.held,
		.dropped_kernel = t.dropped_kernel,
		.lookups = t.lookups,
	};
}

static void rescope(struct apptap_capture *c)
{
	struct apptap_error err = { 0 };

	if (c->tier->ops->rescope && c->tier->ops->rescope(c->tier, &err) < 0)
		warn(c, err.msg);
}

static void watch_package(struct apptap_capture *c)
{
	if (!c->target.installed || !apptap_installed_rescan(c->target.installed))
		return;
	if (c->target.isolated)
		apptap_isolated_rebase(c->target.isolated);
	rescope(c);
	report_scope(c, APPTAP_WIRE_EVENT_SCOPE);
}

static void watch_app(struct apptap_capture *c)
{
	bool rescoped;
	pid_t pids[16];
	char text[160];

	apptap_scope_watch_rescan(c->target.watch, pids,
				  ARRAY_SIZE(pids)); /* says itself what is odd */
	rescoped = apptap_scope_watch_rescoped(c->target.watch);
	if (c->target.isolated && apptap_isolated_rescan(c->target.isolated)) {
		report_scope(c, APPTAP_WIRE_EVENT_SCOPE);
		rescoped = true;
	}
	if (rescoped)
		rescope(c);
	if (!apptap_scope_watch_event(c->target.watch))
		return;
	snprintf(text, sizeof(text),
		 "process %d has ended; the capture%s goes on until it is stopped",
		 (int)c->target.pid, c->target.scope.process_count ? "" : " of its UID");
	warn(c, text);
	c->pid_ended = true;
}

static void fail(struct apptap_capture *c, const struct apptap_error *err)
{
	if (c->failed.code)
		return; /* the first error is the one to report */
	c->failed = *err;
	if (!c->failed.code)
		c->failed.code = EIO;
	c->reason = "failed";
}

static bool command_is_over(struct apptap_capture *c, bool told, uint64_t now)
{
	if (!c->tree_ended_ns && (told || now >= c->status_ns) &&
	    apptap_command_group_is_empty(c->target.group))
		c->tree_ended_ns = now;
	return c->tree_ended_ns && (now > MAX(c->tree_ended_ns, c->taken_ns) + GOODBYE_NS ||
				    now > c->tree_ended_ns + GOODBYE_MAX_NS);
}

bool apptap_capture_step(struct apptap_capture *c, const struct pollfd p[APPTAP_CAPTURE_FDS])
{
	uint64_t now = apptap_clock_ns(CLOCK_MONOTONIC);
	struct apptap_error err = { 0 };

	if (p[0].revents && c->tier->ops->dispatch(c->tier, &c->consumer, &err) < 0) {
		fail(c, &err);
		return false;
	}
	if (count_reached(c)) {
		c->reason = "count";
		return false;
	}
	if (c->end_ns && now >= c->end_ns) {
		c->reason = "duration";
		return false;
	}
	if (c->target.group && command_is_over(c, p[1].revents, now)) {
		c->reason = "ended";
		return false;
	}
	if (p[1].revents && !c->target.group)
		watch_app(c);
	if (now >= c->status_ns) {
		struct apptap_wire_event ev = { .type = APPTAP_WIRE_EVENT_STATUS };

		watch_package(c);
		if (++c->statuses % RESCAN_STATUSES == 0) {
			watch_app(c);
			apptap_conn_table_tick(c->conns, (uint32_t)(now / APPTAP_NSEC_PER_SEC));
			if (c->live && apptap_live_quiet(c->live, c->conns, false, &err) < 0) {
				fail(c, &err);
				return false;
			}
		}
		fill_counters(c, &ev.status);
		apptap_report_event(c->wire_fd, &ev);
		c->status_ns = now + STATUS_MS * APPTAP_NSEC_PER_MSEC;
	}
	return true;
}

/* Several frames, so that none is too large. Return: records sent. */
static uint64_t report_connections(const struct apptap_capture *c)
{
	size_t count = apptap_conn_table_count(c->conns);
	uint8_t buf[RECORDS_PER_FRAME * APPTAP_CONN_RECORD_BYTES];

	for (size_t i = 0; i < count;) {
		size_t n = MIN(count - i, RECORDS_PER_FRAME);
		struct apptap_error err;

		for (size_t k = 0; k < n; k++) {
			struct apptap_conn_record record;

			apptap_live_record(apptap_conn_table_get(c->conns, i + k), &record);
			apptap_conn_record_encode(&record, buf + k * APPTAP_CONN_RECORD_BYTES);
		}
		i += n;
		if (apptap_frame_send(c->wire_fd, APPTAP_FRAME_CONNECTIONS, 0, buf,
				      n * APPTAP_CONN_RECORD_BYTES, &err) < 0)
			break;
	}
	return count;
}

void apptap_capture_finish(struct apptap_capture *c)
{
	struct apptap_wire_event ev = { .type = APPTAP_WIRE_EVENT_DONE };
	struct apptap_tier_counters t = { 0 };
	struct apptap_error err = { 0 };

	c->end_elapsed_ms = (apptap_clock_ns(CLOCK_MONOTONIC) - c->start_ns) / APPTAP_NSEC_PER_MSEC;
	if (!c->failed.code && c->tier->ops->drain(c->tier, &c->consumer, &err) < 0)
		fail(c, &err);
	if (!c->failed.code && c->live && apptap_live_quiet(c->live, c->conns, true, &err) < 0)
		fail(c, &err);
	c->tier->ops->counters(c->tier, &t);
	if (!c->failed.code && c->sink &&
	    (apptap_sink_finish(c->sink, t.seen, t.dropped_kernel, &err) < 0 ||
	     apptap_agent_output_flush(&c->output, &err) < 0))
		fail(c, &err);
	ev.done.connections_listed = report_connections(c);
	fill_counters(c, &ev.done.counters);
	snprintf(ev.done.reason, sizeof(ev.done.reason), "%s", c->reason);
	ev.done.stream_bytes = c->output.sent;
	if (c->failed.code)
		apptap_report_fill(&ev.done.error, failure_of(&c->failed), &c->failed);
	apptap_report_event(c->wire_fd, &ev);
}

void apptap_capture_free(struct apptap_capture *c)
{
	if (!c)
		return;
	apptap_sink_free(c->sink);
	apptap_live_free(c->live);
	apptap_agent_output_close(&c->output);
	if (c->tier)
		c->tier->ops->close(c->tier);
	apptap_conn_table_free(c->conns);
	apptap_agent_target_close(&c->target);
	free(c);
}
