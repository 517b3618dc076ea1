/* dialog.c - one conversation with an agent: start, ready, events, stop, result */
#include "host/dialog.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "host/agent_log.h"
#include "host/beat.h"
#include "wire/frame.h"

#define LINGER_MS 3000
#define SILENCE_MS 20000u /* over a live link; a capture says something four times a second */
#define SILENCE_BEFORE 3u /* times as long before it captures: it may have to ask Android */
#define SILENCE_AGENT 3u /* times as long until the agent ends */
#define BEATS 10u /* of ours, in that time */
#define TICK_MS 500
#define LOG_BYTES ((size_t)16 << 10) /* of its stderr at once: who chatters is not all we hear */
#define LAST_LOG_BYTES ((size_t)1 << 20)

enum state { GREETING, IDLE, ASKED, RUNNING, OVER };

static const char stop_command[] = "{\"type\":\"stop\"}";
static const char clock_command[] = "{\"type\":\"clock\"}";

struct apptap_dialog {
	struct apptap_executor *executor; /* borrowed */
	struct apptap_dialog_handler h;
	struct apptap_child child; /* owned */
	struct apptap_frame_reader *reader; /* owned */
	struct apptap_output *output; /* borrowed; NULL until a capture starts */
	struct apptap_wire_event *event; /* owned; the one being decoded */
	enum state state;
	enum apptap_failure failure;
	bool can_pass; /* the agent's stdin is the socket that we made */
	bool passed; /* the agent has the output's descriptor, and writes */
	bool stopping;
	bool abandoned;
	struct apptap_beat *beat; /* owned; NULL: no link that could go silent */
	uint32_t silence_ms; /* of the link, and then it is given up; 0: it is waited for */
	uint64_t silent_ns; /* so far */
	int status; /* of waitpid, once pid is -1 */
	uint64_t asked_ns; /* CLOCK_REALTIME, when the agent was asked for its own */
	struct apptap_clock_difference clock;
	uint64_t received; /* bytes of DATA */
	uint32_t conns; /* in the final list, so far */
	uint32_t apps;
	struct apptap_agent_log log;
};

static int fail(struct apptap_dialog *s, enum apptap_failure failure, int r)
{
	s->failure = failure;
	s->state = OVER;
	return r;
}

static void read_log(struct apptap_dialog *s, size_t max)
{
	if (apptap_agent_log_read(&s->log, s->child.err_fd, max, s->h.log, s->h.arg))
		return;
	close(s->child.err_fd);
	s->child.err_fd = -1;
}

static int reader_gone(struct apptap_dialog *s, struct apptap_error *err)
{
	apptap_error_say(err, EPIPE, "the reader closed the stream");
	return fail(s, APPTAP_FAILURE_READER_GONE, -EPIPE);
}

/* All of @body, waiting for a slow reader, with an ear for the owner meanwhile. */
static int take_data(struct apptap_dialog *s, const struct apptap_frame *frame,
		     struct apptap_error *err)
{
	struct apptap_view v = frame->body;

	if (!s->output)
		return apptap_error_say(err, EPROTO, "the agent sent data that nobody asked for");
	s->received += v.left;
	while (v.left && !s->abandoned) {
		ssize_t n = apptap_output_write(s->output, v.p, v.left, err);

		if (n == -EPIPE)
			return reader_gone(s, err);
		if (n == -EAGAIN) {
			struct pollfd p[2] = {
				{ .fd = s->output->fd, .events = POLLOUT },
				{ .fd = s->h.wake_fd, .events = POLLIN },
			};

			if (poll(p, 2, -1) > 0 && p[1].revents)
				s->h.wake(s->h.arg);
			continue;
		}
		if (n < 0)
			return (int)n;
		apptap_view_take(&v, (size_t)n);
	}
	if (!v.left && (frame->flags & APPTAP_FRAME_WHOLE))
		s->output->whole = s->output->written;
	return 0;
}

static int take_error(struct apptap_dialog *s, const struct apptap_wire_error *e,
		      struct apptap_error *err)
{
	int code = e->code ? (int)e->code : EIO;

	apptap_error_say(err, code, "%s", e->msg[0] ? e->msg : "the agent failed without a word");
	if (e->hint[0])
		apptap_error_hint(err, "%s", e->hint);
	return fail(s, e->failure == APPTAP_FAILURE_NONE ? APPTAP_FAILURE_OTHER : e->failure,
		    -code);
}

static int take_done(struct apptap_dialog *s, const struct apptap_event_done *done,
		     struct apptap_error *err)
{
	int r = 0;

	s->state = OVER;
	if (s->executor->ops->fetch && s->output)
		r = s->executor->ops->fetch(s->executor, s->output, err);
	if (done->error.failure != APPTAP_FAILURE_NONE)
		return take_error(s, &done->error, err);
	if (r < 0)
		return fail(s, APPTAP_FAILURE_OTHER, r);
	if (done->stream_bytes != s->received)
		return apptap_error_say(
			err, EPROTO, "the stream is not whole: %llu of its %llu bytes came",
			(unsigned long long)s->received, (unsigned long long)done->stream_bytes);
	return 0;
}

/* The agent read its clock at some time between the question and now: in the middle, more or less.
 */
static void take_clock(struct apptap_dialog *s, uint64_t theirs_ns)
{
	uint64_t now = apptap_clock_ns(CLOCK_REALTIME);

	s->clock.uncertain_ns = (now - s->asked_ns) / 2;
	s->clock.ahead_ns = (int64_t)(theirs_ns - s->asked_ns - s->clock.uncertain_ns);
	s->clock.known = true;
	if (s->state == ASKED)
		s->state = IDLE;
}

static int take_event(struct apptap_dialog *s, struct apptap_view body, struct apptap_error *err)
{
	int r = apptap_event_decode(body, s->event, err);

	if (r < 0)
		return r;
	if (s->event->type == APPTAP_WIRE_EVENT_APPS) {
		s->apps += MAX(s->event->apps.app_count, 1u);
		if (s->apps > APPTAP_WIRE_APPS_ALL_MAX)
			return apptap_error_say(err, EPROTO, "the agent lists more apps than %u",
						APPTAP_WIRE_APPS_ALL_MAX);
	}
	if (s->h.event)
		s->h.event(s->h.arg, s->event);
	switch (s->event->type) {
	case APPTAP_WIRE_EVENT_READY:
		s->state = RUNNING;
		if (s->output && s->passed)
			apptap_output_begun(s->output);
		return 0;
	case APPTAP_WIRE_EVENT_ERROR:
		return take_error(s, &s->event->error, err);
	case APPTAP_WIRE_EVENT_PROBE:
	case APPTAP_WIRE_EVENT_CLEANUP:
		s->state = OVER;
		return 0;
	case APPTAP_WIRE_EVENT_DONE:
		return take_done(s, &s->event->done, err);
	case APPTAP_WIRE_EVENT_APPS:
		if (s->event->apps.last)
			s->state = OVER;
		return 0;
	case APPTAP_WIRE_EVENT_CLOCK:
		take_clock(s, s->event->clock.realtime_ns);
		return 0;
	case APPTAP_WIRE_EVENT_STATUS:
	case APPTAP_WIRE_EVENT_WARNING:
	case APPTAP_WIRE_EVENT_SCOPE:
		break;
	}
	return 0;
}

static int take_hello(struct apptap_dialog *s, const struct apptap_frame *frame,
		      struct apptap_error *err)
{
	struct apptap_hello hello;
	int r;

	if (frame->type != APPTAP_FRAME_HELLO)
		return apptap_error_say(err, EPROTO, "what was started is not an AppTap agent");
	r = apptap_hello_decode(frame->body, &hello, err);
	if (r < 0)
		return r;
	/* sudo with use_pty puts a pipe of its own between: then there is no passing. */
	s->can_pass = s->child.socket_inode && hello.stdin_inode == s->child.socket_inode;
	s->state = IDLE;
	return 0;
}

static int take_connections(struct apptap_dialog *s, const struct apptap_frame *frame,
			    struct apptap_error *err)
{
	struct apptap_view v = frame->body;
	struct apptap_conn_record record;

	while (apptap_conn_record_take(&v, &record)) {
		if (!frame->flags && s->conns++ == APPTAP_WIRE_CONNECTIONS_MAX)
			return apptap_error_say(err, EPROTO,
						"the agent lists more connections than %u",
						APPTAP_WIRE_CONNECTIONS_MAX);
		if (!frame->flags && s->h.connection)
			s->h.connection(s->h.arg, &record);
		else if (frame->flags && s->h.news)
			s->h.news(s->h.arg, &record, frame->flags & APPTAP_FRAME_ENDED);
	}
	return v.left ? apptap_error_say(err, EPROTO, "the agent sent a damaged connection") : 0;
}

static int take_frame(struct apptap_dialog *s, const struct apptap_frame *frame,
		      struct apptap_error *err)
{
	if (s->state == GREETING)
		return take_hello(s, frame, err);
	switch (frame->type) {
	case APPTAP_FRAME_EVENT:
		return take_event(s, frame->body, err);
	case APPTAP_FRAME_DATA:
		return take_data(s, frame, err);
	case APPTAP_FRAME_CONNECTIONS:
		return take_connections(s, frame, err);
	case APPTAP_FRAME_PACKETS:
		if (s->h.packets)
			return s->h.packets(s->h.arg, frame->body, err);
	}
	return apptap_error_say(err, EPROTO, "the agent sent a frame that makes no sense (type %u)",
				frame->type);
}

/* An agent ends at once; what carries the link to another machine may hang with it. */
static void wait_child(struct apptap_dialog *s)
{
	int left_ms = s->executor->is_remote ? LINGER_MS : -1;
	pid_t r = 0;

	if (s->child.pid > 0)
		while ((r = waitpid(s->child.pid, &s->status, left_ms < 0 ? 0 : WNOHANG)) == 0 ||
		       (r < 0 && errno == EINTR)) {
			if (left_ms == 0)
				kill(s->child.pid, SIGKILL);
			if (left_ms >= 0) {
				poll(NULL, 0, 1);
				left_ms--;
			}
		}
	s->child.pid = -1;
}

/* The agent's stream ended, and it should not have. */
static int agent_gone(struct apptap_dialog *s, struct apptap_error *err)
{
	int r;

	wait_child(s);
	if (s->child.err_fd >= 0)
		read_log(s, LAST_LOG_BYTES);
	if (s->state == GREETING) {
		r = s->executor->ops->explain(s->executor, s->status, s->log.said, err);
	} else {
		if (s->output)
			apptap_output_cut(s->output);
		r = s->executor->ops->explain_lost
			    ? s->executor->ops->explain_lost(s->executor, s->log.said, err)
			    : apptap_error_say(err, ECONNRESET,
					       "the agent ended before it was done%s%s",
					       s->log.said[0] ? ": " : "", s->log.said);
	}
	return fail(s, APPTAP_FAILURE_OTHER, r);
}

/* The agent's stream neither goes on nor ends. */
static int link_silent(struct apptap_dialog *s, struct apptap_error *err)
{
	int r = s->executor->ops->explain_silence(
		s->executor, (unsigned)(s->silent_ns / APPTAP_NSEC_PER_SEC), err);

	if (s->output)
		apptap_output_cut(s->output);
	if (s->child.pid > 0) /* what carries it does not know that it is over */
		kill(s->child.pid, SIGKILL);
	return fail(s, APPTAP_FAILURE_OTHER, r);
}

/* Of @waited_ns nothing came. What is longer than we asked for, we slept ourselves. */
static bool note_silence(struct apptap_dialog *s, uint64_t waited_ns)
{
	uint64_t limit = s->silence_ms * APPTAP_NSEC_PER_MSEC;

	s->silent_ns += MIN(waited_ns, TICK_MS * APPTAP_NSEC_PER_MSEC);
	return s->silence_ms &&
	       s->silent_ns > (s->state == RUNNING ? limit : SILENCE_BEFORE * limit);
}

static int read_frames(struct apptap_dialog *s, struct apptap_error *err)
{
	struct apptap_frame frame;
	size_t room;
	void *space = apptap_frame_reader_space(s->reader, &room);
	ssize_t n = read(s->child.out_fd, space, room);
	int r;

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0)
		return agent_gone(s, err);
	apptap_frame_reader_fill(s->reader, (size_t)n);
	while ((r = apptap_frame_reader_next(s->reader, &frame, err)) > 0) {
		r = take_frame(s, &frame, err);
		if (r < 0)
			break;
	}
	return r < 0 && s->failure == APPTAP_FAILURE_NONE ? fail(s, APPTAP_FAILURE_OTHER, r) : r;
}

/* Waits until something has happened, and deals with it. */
static int pump(struct apptap_dialog *s, struct apptap_error *err)
{
	bool watch = s->output && s->output->is_pipe; /* events 0: only when nobody reads it */
	struct pollfd p[] = {
		{ .fd = s->child.out_fd, .events = POLLIN },
		{ .fd = s->child.err_fd, .events = POLLIN },
		{ .fd = s->h.wake_fd, .events = POLLIN },
		{ .fd = watch ? s->output->fd : -1, .events = 0 },
	};
	int wait_ms = s->silence_ms ? TICK_MS : -1;
	uint64_t began_ns;

	if (s->executor->ops->carry) {
		wait_ms = s->executor->ops->carry(s->executor, err);
		if (wait_ms < 0)
			return fail(s, APPTAP_FAILURE_OTHER, wait_ms);
	}
	began_ns = apptap_clock_ns(CLOCK_MONOTONIC);
	if (poll(p, ARRAY_SIZE(p), wait_ms) < 0)
		return errno == EINTR ? 0 : apptap_error_set(err, errno, "waiting for the agent");
	if (p[2].revents)
		s->h.wake(s->h.arg);
	if (p[1].revents)
		read_log(s, LOG_BYTES);
	if (p[0].revents) {
		s->silent_ns = 0;
		return read_frames(s, err);
	}
	if (note_silence(s, apptap_clock_ns(CLOCK_MONOTONIC) - began_ns))
		return link_silent(s, err);
	if (p[3].revents & (POLLERR | POLLHUP))
		return reader_gone(s, err);
	return 0;
}

static int give_up(struct apptap_dialog *s, struct apptap_error *err)
{
	if (s->output)
		apptap_output_cut(s->output);
	return fail(
		s, APPTAP_FAILURE_OTHER,
		apptap_error_say(err, EINTR, "given up before the end of the stream was written"));
}

/* Pumps as long as the session is in @state. */
static int pump_while(struct apptap_dialog *s, enum state state, struct apptap_error *err)
{
	int r = 0;

	while (r >= 0 && s->state == state) {
		if (s->abandoned)
			return give_up(s, err);
		r = pump(s, err);
	}
	return r;
}

static int ask_clock(struct apptap_dialog *s, struct apptap_error *err)
{
	s->state = ASKED;
	s->asked_ns = apptap_clock_ns(CLOCK_REALTIME);
	apptap_frame_send(s->child.in_fd, APPTAP_FRAME_COMMAND, 0, clock_command,
			  sizeof(clock_command) - 1, NULL);
	return pump_while(s, ASKED, err);
}

/* APPTAP_SILENCE_MS: another patience. */
static uint32_t patience(void)
{
	const char *text = secure_getenv("APPTAP_SILENCE_MS");
	unsigned long ms = text ? strtoul(text, NULL, 10) : 0;

	return ms >= TICK_MS && ms < INT32_MAX / SILENCE_AGENT ? (uint32_t)ms : SILENCE_MS;
}

int apptap_dialog_open(struct apptap_dialog **out, struct apptap_executor *executor,
		       const struct apptap_dialog_handler *h, struct apptap_error *err)
{
	struct apptap_dialog *s = calloc(1, sizeof(*s));
	struct apptap_hello hello = {
		.wire_version = APPTAP_WIRE_VERSION,
		.pid = (uint32_t)getpid(),
		.program = APPTAP_VERSION,
	};
	uint8_t body[APPTAP_HELLO_BYTES];
	int r;

	if (!s)
		return apptap_error_set(err, ENOMEM, "allocating a session");
	*out = s; /* the caller's from here, to ask for the failure and to close */
	s->executor = executor;
	s->h = *h;
	s->child = (struct apptap_child)APPTAP_CHILD_NONE;
	s->failure = APPTAP_FAILURE_NONE;
	s->silence_ms = executor->is_remote && executor->ops->explain_silence ? patience() : 0;
	s->event = calloc(1, sizeof(*s->event));
	if (!s->event)
		return apptap_error_set(err, ENOMEM, "allocating a session");
	r = apptap_frame_reader_new(&s->reader, err);
	if (r >= 0)
		r = executor->ops->spawn(executor, &s->child, err);
	if (r < 0)
		return fail(s, APPTAP_FAILURE_OTHER, r);
	apptap_hello_encode(&hello, body);
	/* Whether it arrives is seen by whether an answer comes: a refusing sudo just ends. */
	apptap_frame_send(s->child.in_fd, APPTAP_FRAME_HELLO, 0, body, sizeof(body), NULL);
	r = pump_while(s, GREETING, err);
	if (r >= 0 && executor->is_remote)
		r = ask_clock(s, err);
	return r;
}

/* One byte stream, and a descriptor beside its first byte. */
static int send_passing(int fd, const void *bytes, size_t len, int passed)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = len };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &passed, sizeof(int));
	return sendmsg(fd, &msg, MSG_NOSIGNAL) == (ssize_t)len ? 0 : -errno;
}

static int send_command(struct apptap_dialog *s, const struct apptap_command *cmd, int passed,
			struct apptap_error *err)
{
	uint8_t header[APPTAP_FRAME_HEADER_BYTES];
	auto_free char *json = NULL;
	int len = apptap_command_encode(cmd, &json, err);

	if (len < 0)
		return len;
	if (passed < 0)
		return apptap_frame_send(s->child.in_fd, APPTAP_FRAME_COMMAND, 0, json, (size_t)len,
					 err);
	apptap_frame_header(header, APPTAP_FRAME_COMMAND, 0, (uint32_t)len);
	len = send_passing(s->child.in_fd, header, sizeof(header), passed);
	if (len >= 0 && send(s->child.in_fd, json, strlen(json), MSG_NOSIGNAL) < 0)
		len = -errno;
	return len < 0 ? apptap_error_set(err, -len, "sending a command to the agent") : 0;
}

int apptap_dialog_start(struct apptap_dialog *s, struct apptap_start *start,
			struct apptap_output *output, struct apptap_error *err)
{
	struct apptap_command cmd = { .type = APPTAP_COMMAND_START };
	int r;

	s->output = output;
	start->no_file = !output;
	/* A pipe is written here: its reader may be slow, and the agent must not wait for it. */
	start->stream = output && !s->executor->ops->fetch && (!s->can_pass || output->is_pipe);
	start->silence_ms = s->silence_ms * SILENCE_AGENT;
	start->empty = output && output->to_empty;
	cmd.start = *start;
	s->passed = output && s->can_pass && !start->stream;
	r = send_command(s, &cmd, s->passed ? output->fd : -1, err);
	if (r < 0)
		return fail(s, APPTAP_FAILURE_OTHER, r);
	s->state = ASKED;
	if (s->silence_ms) {
		r = apptap_beat_start(&s->beat, s->child.in_fd, s->silence_ms / BEATS, err);
		if (r < 0)
			return fail(s, APPTAP_FAILURE_OTHER, r);
	}
	if (s->stopping) /* asked for before there was anything to stop */
		apptap_frame_send(s->child.in_fd, APPTAP_FRAME_COMMAND, 0, "{\"type\":\"stop\"}",
				  15, NULL);
	return pump_while(s, ASKED, err);
}

int apptap_dialog_ask(struct apptap_dialog *s, enum apptap_command_type type,
		      struct apptap_error *err)
{
	struct apptap_command cmd = { .type = type };
	int r = send_command(s, &cmd, -1, err);

	if (r < 0)
		return fail(s, APPTAP_FAILURE_OTHER, r);
	s->state = ASKED;
	return pump_while(s, ASKED, err);
}

int apptap_dialog_run(struct apptap_dialog *s, struct apptap_error *err)
{
	return pump_while(s, RUNNING, err);
}

void apptap_dialog_stop(struct apptap_dialog *s)
{
	if (s->stopping)
		return;
	s->stopping = true;
	if (s->state == ASKED || s->state == RUNNING)
		apptap_frame_send(s->child.in_fd, APPTAP_FRAME_COMMAND, 0, stop_command,
				  sizeof(stop_command) - 1, NULL);
}

void apptap_dialog_abandon(struct apptap_dialog *s)
{
	s->abandoned = true;
}

struct apptap_clock_difference apptap_dialog_clock(const struct apptap_dialog *s)
{
	return s->clock;
}

enum apptap_failure apptap_dialog_failure(const struct apptap_dialog *s)
{
	return s->failure;
}

void apptap_dialog_close(struct apptap_dialog *s)
{
	if (!s)
		return;
	apptap_beat_stop(s->beat);
	if (s->child.in_fd >= 0)
		close(s->child.in_fd);
	if (s->child.out_fd >= 0 && s->child.out_fd != s->child.in_fd)
		close(s->child.out_fd);
	wait_child(s);
	if (s->child.err_fd >= 0)
		close(s->child.err_fd);
	apptap_frame_reader_free(s->reader);
	free(s->event);
	free(s);
}
