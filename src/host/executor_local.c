/* executor_local.c - the agent on this machine: this very program, as root directly or by sudo */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "host/executor.h"

/* The path of this program, for sudo to run: /proc/self/exe would be sudo's own there. */
static int own_path(char *buf, size_t size, struct apptap_error *err)
{
	ssize_t n = readlink("/proc/self/exe", buf, size - 1);

	if (n < 0)
		return apptap_error_set(err, errno, "finding the path of this program");
	buf[n] = '\0';
	if (access(buf, X_OK) == 0)
		return 0;
	apptap_error_set(err, errno, "running this program (%s) as root", buf);
	apptap_error_hint(err, "start it again: its file was replaced or moved");
	return -err->code;
}

static int run(struct apptap_child *child, int stdio_fd, int err_fd, struct apptap_error *err)
{
	char path[4096];
	char *const direct[] = { (char *)"apptap", (char *)"--agent", NULL };
	char *const by_sudo[] = { (char *)"sudo", (char *)"-n",	     (char *)"--",
				  path,		  (char *)"--agent", NULL };
	bool is_root = geteuid() == 0;
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int r = is_root ? 0 : own_path(path, sizeof(path), err);

	if (r < 0)
		return r;
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, stdio_fd, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&files, stdio_fd, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&files, err_fd, STDERR_FILENO);
	r = is_root ? posix_spawn(&child->pid, "/proc/self/exe", &files, &attr, direct, environ)
		    : posix_spawnp(&child->pid, "sudo", &files, &attr, by_sudo, environ);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	if (!r)
		return 0;
	child->pid = -1;
	if (is_root || r != ENOENT)
		return apptap_error_set(err, r, "starting the agent");
	apptap_error_say(err, EPERM, "capturing needs root, and sudo is not installed");
	apptap_error_hint(err, "run apptap as root");
	return -EPERM;
}

static int local_spawn(struct apptap_child *out, struct apptap_error *err)
{
	auto_close int ours = -1, theirs = -1, err_read = -1, err_write = -1;
	struct apptap_child child = APPTAP_CHILD_NONE;
	struct stat st;
	int pair[2];
	int r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return apptap_error_set(err, errno, "making a socket for the agent");
	ours = pair[0];
	theirs = pair[1];
	if (pipe2(pair, O_CLOEXEC) < 0)
		return apptap_error_set(err, errno, "making a pipe for the agent");
	err_read = pair[0];
	err_write = pair[1];
	if (fstat(theirs, &st) == 0)
		child.socket_inode = st.st_ino;
	r = run(&child, theirs, err_write, err);
	if (r < 0)
		return r;
	fcntl(err_read, F_SETFL, O_NONBLOCK);
	child.in_fd = apptap_steal_fd(&ours);
	child.out_fd = child.in_fd;
	child.err_fd = apptap_steal_fd(&err_read);
	*out = child;
	return 0;
}

static int explain_sudo(const char *said, struct apptap_error *err)
{
	if (strstr(said, "password is required") || strstr(said, "terminal is required")) {
		apptap_error_say(err, EPERM, "capturing needs root, and sudo asks for a password");
		apptap_error_hint(err, "run 'sudo -v' first, or run apptap as root");
	} else if (strstr(said, "not in the sudoers") || strstr(said, "not allowed") ||
		   strstr(said, "may not run")) {
		apptap_error_say(err, EPERM, "capturing needs root, and sudo refuses: %s", said);
		apptap_error_hint(err, "run apptap as root, or ask the administrator");
	} else {
		apptap_error_say(err, EPERM, "capturing needs root, and sudo failed: %s",
				 said[0] ? said : "it gave no reason");
		apptap_error_hint(err, "run apptap as root");
	}
	return -EPERM;
}

static int local_explain(int status, const char *said, struct apptap_error *err)
{
	if (geteuid() != 0)
		return explain_sudo(said, err);
	if (WIFSIGNALED(status))
		return apptap_error_say(err, ECHILD, "the agent was ended by signal %d%s%s",
					WTERMSIG(status), said[0] ? ": " : "", said);
	return apptap_error_say(err, ECHILD, "the agent did not start: %s",
				said[0] ? said : "it gave no reason");
}

const struct apptap_executor_ops apptap_executor_local = {
	.name = "local",
	.spawn = local_spawn,
	.explain = local_explain,
};
