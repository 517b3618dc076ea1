/* agent.c - the half that runs beside the kernel: commands in, events out, one job, then gone */
#include "agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "agent/capture.h"
#include "agent/cleanup.h"
#include "agent/list.h"
#include "agent/report.h"
#include "agent/watchdog.h"
#include "scope/android.h"
#include "tier/tier.h"
#include "wire/frame.h"

/*
 * How it works. One thread waits for the host's commands, the tier's packets and the next deadline.
 * The end of stdin is the end of the host, however that came about, and ends the agent: sudo, adb
 * and ssh all carry it across, where a signal or a parent's death would get lost. Signals are
 * ignored instead: the terminal's Ctrl-C reaches the whole group, and it is for the host to decide.
 */
struct agent {
	struct apptap_frame_reader *reader; /* owned */
	struct apptap_capture *capture; /* owned; NULL until started */
	int wire_fd; /* owned; events to the host */
	int file_fd; /* owned; the host's output, until a capture takes it */
	bool is_socket; /* stdin can carry descriptors */
	bool greeted;
	pid_t host_pid; /* as it says itself */
	bool over; /* the job is done, or the host is gone */
	int exit_code;
};

/* Keeps descriptor 1 for frames alone: what a library might print goes to stderr. */
static int claim_stdout(void)
{
	int fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);

	if (fd >= 0 && dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool stdin_is_unix_socket(void)
{
	struct sockaddr_storage addr = { 0 };
	socklen_t len = sizeof(addr);

	return getsockname(STDIN_FILENO, (struct sockaddr *)&addr, &len) == 0 &&
	       addr.ss_family == AF_UNIX;
}

static int greet(struct agent *a, struct apptap_error *err)
{
	struct apptap_hello hello = {
		.wire_version = APPTAP_WIRE_VERSION,
		.pid = (uint32_t)getpid(),
		.program = APPTAP_VERSION,
	};
	uint8_t body[APPTAP_HELLO_BYTES];
	struct stat st;

	if (a->is_socket && fstat(STDIN_FILENO, &st) == 0)
		hello.stdin_inode = st.st_ino;
	apptap_hello_encode(&hello, body);
	return apptap_frame_send(a->wire_fd, APPTAP_FRAME_HELLO, 0, body, sizeof(body), err);
}

/* One descriptor is wanted; what else came along is closed. */
static void keep_descriptor(struct agent *a, struct msghdr *msg)
{
	struct cmsghdr *c;

	for (c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (a->file_fd < 0)
				a->file_fd = fd;
			else
				close(fd);
		}
	}
}

/* What stdin has now. Return: bytes, 0 at its end, -errno. */
static ssize_t read_stdin(struct agent *a, void *buf, size_t room)
{
	union {
		char bytes[CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = buf, .iov_len = room };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t n;

	if (a->is_socket)
		n = recvmsg(STDIN_FILENO, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	else
		n = read(STDIN_FILENO, buf, room);
	if (n < 0)
		return errno == ECONNRESET ? 0 : -errno;
	if (a->is_socket)
		keep_descriptor(a, &msg);
	return n;
}

static int start(struct agent *a, const struct apptap_start *cmd, enum apptap_failure *failure,
		 struct apptap_error *err)
{
	int r;

	*failure = APPTAP_FAILURE_OTHER;
	if (a->capture)
		return apptap_error_say(err, EALREADY, "the agent captures already");
	if (!cmd->stream && !cmd->no_file && a->file_fd < 0)
		return apptap_error_say(err, EBADF, "the output's descriptor did not arrive");
	r = apptap_capture_start(&a->capture, cmd, a->host_pid,
				 cmd->stream || cmd->no_file ? -1 : apptap_steal_fd(&a->file_fd),
				 a->wire_fd, failure, err);
	/* Now: a thread started earlier would keep the rights that the others have dropped. */
	if (r >= 0 && cmd->silence_ms)
		r = apptap_watchdog_start(STDIN_FILENO, a->wire_fd, cmd->silence_ms, err);
	return r;
}

/* "Android 14 (API 34), Linux 6.1.75 aarch64" */
static void describe_system(char *buf, size_t size)
{
	char android[64];
	struct utsname u;

	apptap_android_version(android, sizeof(android));
	if (uname(&u) == 0)
		snprintf(buf, size, "%s%s%.16s %.48s %.16s", android, android[0] ? ", " : "",
			 u.sysname, u.release, u.machine);
}

static void probe(struct agent *a)
{
	struct apptap_wire_event ev = { .type = APPTAP_WIRE_EVENT_PROBE };
	bool chosen = false;
	uint32_t n = 0;

	describe_system(ev.probe.system, sizeof(ev.probe.system));

	for (; apptap_tiers[n] && n < APPTAP_WIRE_TIERS_MAX; n++) {
		const struct apptap_tier_ops *ops = apptap_tiers[n];
		struct apptap_error err = { 0 };
		struct apptap_wire_probed *t = &ev.probe.tiers[n];

		snprintf(t->name, sizeof(t->name), "%s", ops->name);
		snprintf(t->gist, sizeof(t->gist), "%s", ops->gist);
		t->works = ops->probe(&err) >= 0;
		if (!t->works) {
			snprintf(t->reason, sizeof(t->reason), "%s", err.msg);
			snprintf(t->hint, sizeof(t->hint), "%s", err.hint);
		}
		if (ops->features)
			snprintf(t->features, sizeof(t->features), "%s", ops->features());
		t->chosen = t->works && !chosen;
		chosen |= t->chosen;
	}
	ev.probe.tier_count = n;
	apptap_report_event(a->wire_fd, &ev);
}

static int clean_up(struct agent *a, struct apptap_error *err)
{
	struct apptap_wire_event ev = { .type = APPTAP_WIRE_EVENT_CLEANUP };
	int r = apptap_cleanup_run(&ev.cleanup, err);

	if (r >= 0)
		apptap_report_event(a->wire_fd, &ev);
	return r;
}

static void tell_time(const struct agent *a)
{
	struct apptap_wire_event ev = { .type = APPTAP_WIRE_EVENT_CLOCK };

	ev.clock.realtime_ns = apptap_clock_ns(CLOCK_REALTIME);
	apptap_report_event(a->wire_fd, &ev);
}

static void run_command(struct agent *a, const struct apptap_command *cmd)
{
	enum apptap_failure failure = APPTAP_FAILURE_OTHER;
	struct apptap_error err = { 0 };
	int r = 0;

	switch (cmd->type) {
	case APPTAP_COMMAND_START:
		r = start(a, &cmd->start, &failure, &err);
		a->over = r < 0;
		break;
	case APPTAP_COMMAND_STOP:
		a->over = true;
		break;
	case APPTAP_COMMAND_PROBE:
		probe(a);
		a->over = true;
		break;
	case APPTAP_COMMAND_LIST:
		r = apptap_list_apps_to(a->wire_fd, &err);
		a->over = true;
		break;
	case APPTAP_COMMAND_CLOCK:
		tell_time(a);
		break;
	case APPTAP_COMMAND_BEAT:
		break;
	case APPTAP_COMMAND_CLEANUP:
		r = clean_up(a, &err);
		a->over = true;
		break;
	}
	if (r < 0) {
		apptap_report_error(a->wire_fd, failure, &err);
		a->exit_code = 1;
	}
}

static int take_frame(struct agent *a, const struct apptap_frame *frame, struct apptap_error *err)
{
	struct apptap_command cmd;
	struct apptap_hello hello = { 0 };
	int r;

	if (!a->greeted) {
		if (frame->type != APPTAP_FRAME_HELLO)
			return apptap_error_say(err, EPROTO, "the host did not greet");
		a->greeted = true;
		r = apptap_hello_decode(frame->body, &hello, err);
		a->host_pid = (pid_t)hello.pid;
		return r;
	}
	if (frame->type != APPTAP_FRAME_COMMAND)
		return apptap_error_say(err, EPROTO, "the host sent a frame of type %u",
					frame->type);
	r = apptap_command_decode(frame->body, &cmd, err);
	if (r >= 0)
		run_command(a, &cmd);
	return r;
}

static int read_commands(struct agent *a, struct apptap_error *err)
{
	struct apptap_frame frame;
	size_t room;
	void *space = apptap_frame_reader_space(a->reader, &room);
	ssize_t n = read_stdin(a, space, room);
	int r = 0;

	if (n == -EAGAIN || n == -EINTR)
		return 0;
	if (n < 0)
		return apptap_error_set(err, (int)-n, "reading the host's commands");
	if (n == 0)
		a->over = true; /* the host is gone */
	apptap_watchdog_heard((size_t)n);
	apptap_frame_reader_fill(a->reader, (size_t)n);
	while (!a->over && (r = apptap_frame_reader_next(a->reader, &frame, err)) > 0) {
		r = take_frame(a, &frame, err);
		if (r < 0)
			return r;
	}
	return r;
}

static void serve(struct agent *a)
{
	struct apptap_error err = { 0 };

	while (!a->over) {
		struct pollfd p[1 + APPTAP_CAPTURE_FDS] = {
			{ .fd = STDIN_FILENO, .events = POLLIN },
			{ .fd = -1 },
			{ .fd = -1 },
		};
		int timeout_ms = a->capture ? apptap_capture_wait(a->capture, p + 1) : -1;

		if (poll(p, ARRAY_SIZE(p), timeout_ms) < 0)
			continue; /* EINTR: nothing is ready, ask again */
		if (p[0].revents && read_commands(a, &err) < 0) {
			apptap_report_error(a->wire_fd, APPTAP_FAILURE_OTHER, &err);
			a->exit_code = 1;
			a->over = true;
		}
		if (a->capture && !a->over && !apptap_capture_step(a->capture, p + 1))
			a->over = true;
	}
	if (a->capture)
		apptap_capture_finish(a->capture);
}

static void ignore_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGXFSZ };

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		signal(signals[i], SIG_IGN);
}

/* And the folder that was made for it. */
void apptap_agent_remove_own_file(void)
{
	static const char folder[] = "/.apptap";
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char *slash, *dash;

	if (n < 0)
		return;
	path[n] = '\0';
	slash = strrchr(path, '/');
	if (!slash || (size_t)(slash - path) < sizeof(folder) - 1 ||
	    strncmp(slash - (sizeof(folder) - 1), folder, sizeof(folder) - 1) != 0)
		return; /* not where a host puts agents: somebody's own */
	dash = strchr(slash, '-');
	if (!dash || !strchr(dash + 1, '-'))
		return; /* apptap-SUM is to be kept, apptap-SUM-NUMBER is one host's alone */
	unlink(path);
	*slash = '\0';
	rmdir(path); /* fails while another agent is in it, as it should */
}

int apptap_agent_main(bool once, int file_fd)
{
	struct agent a = { .wire_fd = -1, .file_fd = file_fd };
	struct apptap_error err = { 0 };

	if (isatty(STDIN_FILENO) || isatty(STDOUT_FILENO)) {
		fputs("apptap: --agent is started by apptap itself\n", stderr);
		return 2;
	}
	ignore_signals();
	if (once)
		apptap_agent_remove_own_file();
	a.is_socket = stdin_is_unix_socket();
	a.wire_fd = claim_stdout();
	if (a.wire_fd < 0)
		return 1;
	if (greet(&a, &err) < 0 || apptap_frame_reader_new(&a.reader, &err) < 0) {
		fprintf(stderr, "apptap agent: %s\n", err.msg);
		a.exit_code = 1;
	} else {
		serve(&a);
	}
	apptap_capture_free(a.capture);
	apptap_frame_reader_free(a.reader);
	if (a.file_fd >= 0)
		close(a.file_fd);
	close(a.wire_fd);
	return a.exit_code;
}
