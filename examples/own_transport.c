/*
 * own_transport.c - capture on another machine through a transport of your own
 *
 *	cc own_transport.c $(pkg-config --cflags --libs apptap) -o own_transport
 *	./own_transport "docker exec -i web" www-data web.pcapng 10 [spool]
 *
 * The first argument is what reaches the machine when a command is put behind it: "ssh -T host",
 * "docker exec -i web", "sudo -n", or "" for this one. Its commands have to run as root there. With
 * "spool" as the last one it is used as a transport that has no live byte streams.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* for environ and pipe2() */
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apptap/apptap.h>

#define ARGS_MAX 64

struct transport {
	char *prefix[ARGS_MAX]; /* ended by NULL */
};

/* The prefix and the command, as one list of arguments. A shell between would need quotes here. */
static void join(char **out, const struct transport *t, const char *const *argv)
{
	int n = 0;

	for (int i = 0; t->prefix[i] && n < ARGS_MAX - 1; i++)
		out[n++] = t->prefix[i];
	for (int i = 0; argv[i] && n < ARGS_MAX - 1; i++)
		out[n++] = (char *)(void *)argv[i];
	out[n] = NULL;
}

/* Starts a program with these descriptors; the library has blocked signals, which it must not be.
 */
static int launch(pid_t *pid, char **argv, int in_fd, int out_fd, struct apptap_error *err)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none;
	int code;

	if (!argv[0])
		return -EINVAL;
	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, in_fd, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&files, out_fd, STDOUT_FILENO);
	code = posix_spawnp(pid, argv[0], &files, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	if (code) {
		err->code = code;
		snprintf(err->msg, sizeof(err->msg), "starting %s: %s", argv[0], strerror(code));
	}
	return -code;
}

/* A command of the target with a pipe from its stdout. */
static int launch_reading(pid_t *pid, char **argv, int in_fd, int *out_fd, struct apptap_error *err)
{
	int out[2];
	int r;

	if (pipe2(out, O_CLOEXEC) < 0)
		return -errno;
	r = launch(pid, argv, in_fd, out[1], err);
	close(out[1]);
	if (r < 0)
		close(out[0]);
	else
		*out_fd = out[0];
	return r;
}

static int run(void *arg, const char *const *argv, int timeout_ms, struct apptap_answer *answer,
	       struct apptap_error *err)
{
	char *args[ARGS_MAX];
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int out = -1, status = 0, r;
	char buf[4096];
	ssize_t n;
	pid_t pid = -1;

	join(args, arg, argv);
	r = launch_reading(&pid, args, null, &out, err);
	close(null);
	if (r < 0)
		return r;
	for (;;) {
		struct pollfd p = { .fd = out, .events = POLLIN };

		if (poll(&p, 1, timeout_ms) == 0) {
			kill(pid, SIGKILL);
			r = -ETIMEDOUT;
			break;
		}
		n = read(out, buf, sizeof(buf));
		if (n <= 0)
			break;
		apptap_answer_output(answer, buf, (size_t)n);
	}
	close(out);
	waitpid(pid, &status, 0);
	apptap_answer_status(answer, WIFEXITED(status) ? WEXITSTATUS(status) : -1, NULL);
	return r;
}

/* A file goes there as the stdin of a command; and back as the stdout of one. */
static int copy(void *arg, const char *const *argv, const char *local, int flags,
		struct apptap_error *err)
{
	char *args[ARGS_MAX];
	int fd = open(local, flags | O_CLOEXEC, 0600);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int status = 1;
	pid_t pid = -1;
	int r;

	join(args, arg, argv);
	r = fd < 0 ? -errno
		   : launch(&pid, args, flags & O_WRONLY ? null : fd, flags & O_WRONLY ? fd : null,
			    err);
	if (r >= 0)
		waitpid(pid, &status, 0);
	if (fd >= 0)
		close(fd);
	close(null);
	return r < 0 ? r : status ? -EIO : 0;
}

static int push(void *arg, const char *local, const char *remote, struct apptap_error *err)
{
	const char *const argv[] = { "sh", "-c", "cat >\"$1\"", "sh", remote, NULL };

	return copy(arg, argv, local, O_RDONLY, err);
}

static int pull(void *arg, const char *remote, const char *local, struct apptap_error *err)
{
	const char *const argv[] = { "cat", remote, NULL };

	return copy(arg, argv, local, O_WRONLY | O_CREAT | O_TRUNC, err);
}

static int is_root(void *arg, struct apptap_error *err)
{
	(void)arg;
	(void)err;
	return 1;
}

/* The live way: the agent's stdin and stdout. */
static int stream(void *arg, const char *const *argv, int *in_fd, int *out_fd, int *err_fd,
		  int32_t *pid, struct apptap_error *err)
{
	char *args[ARGS_MAX];
	int in[2];
	pid_t child = -1;
	int r;

	if (pipe2(in, O_CLOEXEC) < 0)
		return -errno;
	join(args, arg, argv);
	r = launch_reading(&child, args, in[0], out_fd, err);
	close(in[0]);
	if (r < 0) {
		close(in[1]);
		return r;
	}
	*in_fd = in[1];
	*err_fd = -1;
	*pid = child;
	return 0;
}

/* The way without: a command that goes on by itself. */
static int start(void *arg, const char *const *argv, struct apptap_error *err)
{
	const char *args[ARGS_MAX] = { "sh", "-c", "\"$@\" >/dev/null 2>&1 &", "sh" };

	for (int i = 0; argv[i] && i < ARGS_MAX - 5; i++)
		args[i + 4] = argv[i];
	return copy(arg, args, "/dev/null", O_RDONLY, err);
}

int main(int argc, char **argv)
{
	struct transport transport = { { NULL } };
	struct apptap_link link;
	struct apptap_options options;
	struct apptap_result *result;
	struct apptap_error err;
	int n = 0;

	if (argc != 5 && argc != 6) {
		fprintf(stderr, "usage: own_transport PREFIX USER FILE SECONDS [spool]\n");
		return 2;
	}
	for (char *word = strtok(argv[1], " "); word && n < 16; word = strtok(NULL, " "))
		transport.prefix[n++] = word;
	memset(&link, 0, sizeof(link));
	link.size = sizeof(link);
	link.name = "my transport";
	link.run = run;
	link.push = push;
	link.pull = pull;
	link.is_root = is_root;
	if (argc == 6)
		link.start = start;
	else
		link.stream = stream;
	memset(&options, 0, sizeof(options));
	options.size = sizeof(options);
	options.user = argv[2];
	options.link = &link;
	options.link_arg = &transport;
	options.output = argv[3];
	options.duration_ms = (uint64_t)(atof(argv[4]) * 1000);
	if (apptap_capture(&options, &result, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		if (err.hint[0])
			fprintf(stderr, "try: %s\n", err.hint);
		apptap_result_free(result);
		return 1;
	}
	printf("%llu packets of %s by %s\n", (unsigned long long)result->counters->kept, argv[2],
	       result->tier);
	apptap_result_free(result);
	return 0;
}
