/* launch.c - programs of this machine: started, run to their end, or spoken with */
#include "base/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>

#define OUT_MAX_BYTES (8u << 20) /* what a command may write before it is cut off */
#define STREAM_PIPE_BYTES (1 << 20)
#define END_MS 200 /* from SIGTERM to SIGKILL */
#define LOOK_MS 50 /* a process that has ended may have left its pipes to another */

/* The terminal's Ctrl-C is for us alone: the end has an order. */
static void shield(posix_spawnattr_t *attr, enum apptap_terminal terminal)
{
	short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
	sigset_t masked, all;

	sigemptyset(&masked);
	sigfillset(&all);
	if (terminal == APPTAP_TERMINAL_OFF) {
		flags |= POSIX_SPAWN_SETPGROUP; /* a group of its own, in the background */
	} else if (terminal == APPTAP_TERMINAL_SHARED) {
		sigaddset(&masked, SIGINT);
		sigaddset(&masked, SIGQUIT);
	}
	posix_spawnattr_setsigmask(attr, &masked);
	posix_spawnattr_setsigdefault(attr, &all);
	posix_spawnattr_setpgroup(attr, 0);
	posix_spawnattr_setflags(attr, flags);
}

int apptap_launch(pid_t *pid, const char *file, char *const *argv, enum apptap_terminal terminal,
		  int in_fd, int out_fd, int err_fd)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	int r;

	posix_spawnattr_init(&attr);
	shield(&attr, terminal);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, in_fd, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&files, out_fd, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&files, err_fd, STDERR_FILENO);
	r = posix_spawnp(pid, file, &files, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	if (r)
		*pid = -1;
	return -r;
}

static int make_pipe(int *read_end, int *write_end, struct apptap_error *err)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return apptap_error_set(err, errno, "making a pipe");
	*read_end = ends[0];
	*write_end = ends[1];
	return 0;
}

static enum apptap_terminal terminal_for(const char *name)
{
	bool asks = strcmp(name, "ssh") == 0 || strcmp(name, "scp") == 0;

	return asks ? APPTAP_TERMINAL_SHARED : APPTAP_TERMINAL_OFF;
}

/* posix_spawn's argv is not const, though nobody writes to it. */
static int launch_named(pid_t *pid, const char *const *argv, enum apptap_terminal terminal,
			int in_fd, int out_fd, int err_fd, struct apptap_error *err)
{
	char *const *words = (char *const *)(uintptr_t)argv;
	int r = apptap_launch(pid, argv[0], words, terminal, in_fd, out_fd, err_fd);

	if (r == -ENOENT) {
		apptap_error_say(err, ENOENT, "the program '%s' is not installed", argv[0]);
		apptap_error_hint(err, "install it (Debian: apt install %s)",
				  strcmp(argv[0], "ssh") == 0 ? "openssh-client" : argv[0]);
		return r;
	}
	return r < 0 ? apptap_error_set(err, -r, "starting '%s'", argv[0]) : 0;
}

/* One of the two things that a running command writes. */
struct heard {
	int fd; /* -1: ended */
	char *text; /* owned */
	size_t len;
};

/* Appends what can be read now. false: no memory, or too much. */
static bool hear(struct heard *h)
{
	char buf[16384];
	ssize_t n;

	while (h->fd >= 0 && (n = read(h->fd, buf, sizeof(buf))) != 0) {
		char *grown;

		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		if (h->len + (size_t)n > OUT_MAX_BYTES)
			return false;
		grown = realloc(h->text, h->len + (size_t)n + 1);
		if (!grown)
			return false;
		memcpy(grown + h->len, buf, (size_t)n);
		h->text = grown;
		h->len += (size_t)n;
		h->text[h->len] = '\0';
	}
	h->fd = -1;
	return true;
}

/* Until the process has ended and said all. Return: 0, -ETIMEDOUT, -EFBIG. */
static int hear_out(pid_t pid, struct heard heard[2], int timeout_ms, int *status)
{
	uint64_t end =
		apptap_clock_ns(CLOCK_MONOTONIC) + (uint64_t)timeout_ms * APPTAP_NSEC_PER_MSEC;
	bool gone = false;

	while (!gone) {
		struct pollfd p[2] = {
			{ .fd = heard[0].fd, .events = POLLIN },
			{ .fd = heard[1].fd, .events = POLLIN },
		};
		bool ended = heard[0].fd < 0 && heard[1].fd < 0;

		if (apptap_clock_ns(CLOCK_MONOTONIC) >= end)
			return -ETIMEDOUT;
		poll(p, 2, ended ? 1 : LOOK_MS);
		gone = waitpid(pid, status, WNOHANG) == pid; /* asked before the last look */
		if (!hear(&heard[0]) || !hear(&heard[1])) {
			if (gone)
				return -EFBIG;
			kill(pid, SIGKILL);
			while (waitpid(pid, status, 0) < 0 && errno == EINTR)
				;
			return -EFBIG;
		}
	}
	return 0;
}

/* The last line of @text that says anything. */
static void last_line(char *text, char *out, size_t size)
{
	char *line;

	out[0] = '\0';
	if (!text)
		return;
	for (line = strtok(text, "\r\n"); line; line = strtok(NULL, "\r\n"))
		if (line[strspn(line, " \t")])
			snprintf(out, size, "%s", line);
}

/* Where its output goes: the file, or a pipe whose other end is @read_end. */
static int make_output(const char *path, int *read_end, int *write_end, struct apptap_error *err)
{
	if (!path)
		return make_pipe(read_end, write_end, err);
	*write_end = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	return *write_end < 0 ? apptap_error_set(err, errno, "writing '%s'", path) : 0;
}

/* First a signal that lets it put the terminal right, where it has asked for a password. */
static void end_child(pid_t pid)
{
	kill(pid, SIGTERM);
	for (int i = 0; i < END_MS; i++) {
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return;
		poll(NULL, 0, 1);
	}
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* Hears @pid to its end, or ends it when its time is over. Return: as apptap_launch_run(). */
static int hear_to_end(const char *name, pid_t pid, struct heard heard[2], int timeout_ms,
		       struct apptap_ran *out, struct apptap_error *err)
{
	int status = 0;
	int r = hear_out(pid, heard, timeout_ms, &status);

	out->out = heard[0].text;
	out->out_len = heard[0].len;
	last_line(heard[1].text, out->said, sizeof(out->said));
	free(heard[1].text);
	if (r == -ETIMEDOUT) {
		end_child(pid);
		return apptap_error_say(err, ETIMEDOUT, "'%s' did not answer within %d s", name,
					(timeout_ms + 999) / 1000);
	}
	if (r < 0)
		return apptap_error_set(err, -r, "reading what '%s' writes", name);
	out->status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	return 0;
}

static int run(const char *const *argv, enum apptap_terminal terminal, const char *in_path,
	       const char *out_path, int timeout_ms, struct apptap_ran *out,
	       struct apptap_error *err)
{
	auto_close int in = open(in_path ? in_path : "/dev/null", O_RDONLY | O_CLOEXEC);
	auto_close int out_read = -1, out_write = -1, err_read = -1, err_write = -1;
	struct heard heard[2] = { { .fd = -1 }, { .fd = -1 } };
	pid_t pid;
	int r;

	*out = (struct apptap_ran){ .status = -1 };
	if (in < 0)
		return apptap_error_set(err, errno, "reading '%s'", in_path);
	r = make_output(out_path, &out_read, &out_write, err);
	if (r >= 0)
		r = make_pipe(&err_read, &err_write, err);
	if (r >= 0)
		r = launch_named(&pid, argv, terminal, in, out_write, err_write, err);
	if (r < 0)
		return r;
	close(apptap_steal_fd(&out_write));
	close(apptap_steal_fd(&err_write));
	heard[0].fd = out_read;
	heard[1].fd = err_read;
	if (out_read >= 0)
		fcntl(out_read, F_SETFL, O_NONBLOCK);
	fcntl(err_read, F_SETFL, O_NONBLOCK);
	return hear_to_end(argv[0], pid, heard, timeout_ms, out, err);
}

int apptap_launch_run(const char *const *argv, int timeout_ms, struct apptap_ran *out,
		      struct apptap_error *err)
{
	return run(argv, terminal_for(argv[0]), NULL, NULL, timeout_ms, out, err);
}

int apptap_launch_asking(const char *const *argv, int timeout_ms, struct apptap_ran *out,
			 struct apptap_error *err)
{
	return run(argv, APPTAP_TERMINAL_ASKING, NULL, NULL, timeout_ms, out, err);
}

int apptap_launch_files(const char *const *argv, const char *in_path, const char *out_path,
			int timeout_ms, struct apptap_ran *out, struct apptap_error *err)
{
	return run(argv, terminal_for(argv[0]), in_path, out_path, timeout_ms, out, err);
}

int apptap_launch_stream(const char *const *argv, struct apptap_child *out,
			 struct apptap_error *err)
{
	auto_close int in_read = -1, in_write = -1, out_read = -1, out_write = -1;
	auto_close int err_read = -1, err_write = -1;
	pid_t pid;
	int r = make_pipe(&in_read, &in_write, err);

	if (r >= 0)
		r = make_pipe(&out_read, &out_write, err);
	if (r >= 0)
		r = make_pipe(&err_read, &err_write, err);
	if (r < 0)
		return r;
	fcntl(out_read, F_SETPIPE_SZ, STREAM_PIPE_BYTES); /* best effort: fewer switches */
	fcntl(err_read, F_SETFL, O_NONBLOCK);
	r = launch_named(&pid, argv, terminal_for(argv[0]), in_read, out_write, err_write, err);
	if (r < 0)
		return r;
	*out = (struct apptap_child){
		.pid = pid,
		.in_fd = apptap_steal_fd(&in_write),
		.out_fd = apptap_steal_fd(&out_read),
		.err_fd = apptap_steal_fd(&err_read),
	};
	return 0;
}

void apptap_ran_free(struct apptap_ran *ran)
{
	free(ran->out);
	*ran = (struct apptap_ran){ .status = -1 };
}
