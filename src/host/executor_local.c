/* executor_local.c - the agent on this machine: a program of ours, as root directly or by sudo */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "host/executor.h"
#include "base/launch.h"

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

struct local {
	struct apptap_executor base;
	char *program; /* owned; NULL: this very program */
	bool never_sudo;
};

/* What to run, and whether sudo has to. */
static int choose_program(const struct local *x, bool is_root, char *buf, size_t size,
			  struct apptap_error *err)
{
	if (!is_root && x->never_sudo) {
		apptap_error_say(err, EPERM, "capturing needs root, and this is an ordinary user");
		apptap_error_hint(err, "run as root, or allow sudo");
		return -EPERM;
	}
	if (!x->program && is_root) /* works when its file was replaced, too */
		return snprintf(buf, size, "/proc/self/exe") > 0 ? 0 : -EINVAL;
	if (!x->program)
		return own_path(buf, size, err);
	if (strlen(x->program) >= size)
		return apptap_error_say(err, ENAMETOOLONG, "the path of the agent is too long");
	memcpy(buf, x->program, strlen(x->program) + 1);
	if (access(buf, X_OK) == 0)
		return 0;
	apptap_error_set(err, errno, "starting the agent '%s'", buf);
	apptap_error_hint(err, "install the program apptap, or name it: option agent, or "
			       "APPTAP_AGENT in the environment");
	return -err->code;
}

static int run(const struct local *x, struct apptap_child *child, int stdio_fd, int err_fd,
	       struct apptap_error *err)
{
	char path[4096];
	char *const direct[] = { (char *)"apptap", (char *)"--agent", NULL };
	char *const by_sudo[] = { (char *)"sudo", (char *)"-n",	     (char *)"--",
				  path,		  (char *)"--agent", NULL };
	bool is_root = geteuid() == 0;
	int r = choose_program(x, is_root, path, sizeof(path), err);

	if (r < 0)
		return r;
	r = apptap_launch(&child->pid, is_root ? path : "sudo", is_root ? direct : by_sudo,
			  APPTAP_TERMINAL_SHARED, stdio_fd, stdio_fd, err_fd);
	if (r >= 0)
		return 0;
	if (is_root || r != -ENOENT)
		return apptap_error_set(err, -r, "starting the agent");
	apptap_error_say(err, EPERM, "capturing needs root, and sudo is not installed");
	apptap_error_hint(err, "run apptap as root");
	return -EPERM;
}

static int local_spawn(struct apptap_executor *x, struct apptap_child *out,
		       struct apptap_error *err)
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
	r = run((const struct local *)(const void *)x, &child, theirs, err_write, err);
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

static int local_explain(struct apptap_executor *x, int status, const char *said,
			 struct apptap_error *err)
{
	(void)x;
	if (geteuid() != 0)
		return explain_sudo(said, err);
	if (WIFSIGNALED(status))
		return apptap_error_say(err, ECHILD, "the agent was ended by signal %d%s%s",
					WTERMSIG(status), said[0] ? ": " : "", said);
	return apptap_error_say(err, ECHILD, "the agent did not start: %s",
				said[0] ? said : "it gave no reason");
}

static void local_free(struct apptap_executor *x)
{
	struct local *l = (struct local *)(void *)x;

	free(l->program);
	free(l);
}

static const struct apptap_executor_ops local_ops = {
	.name = "local",
	.spawn = local_spawn,
	.explain = local_explain,
	.free = local_free,
};

static const struct apptap_executor_ops itself_ops = {
	.name = "local",
	.spawn = local_spawn,
	.explain = local_explain,
};

static struct local itself = { .base = { .ops = &itself_ops } };
struct apptap_executor *const apptap_executor_local = &itself.base;

int apptap_executor_local_new(struct apptap_executor **out, const char *program, bool never_sudo,
			      struct apptap_error *err)
{
	struct local *l = calloc(1, sizeof(*l));

	if (l)
		l->program = strdup(program);
	if (!l || !l->program) {
		free(l);
		return apptap_error_set(err, ENOMEM, "allocating an executor");
	}
	l->base.ops = &local_ops;
	l->never_sudo = never_sudo;
	*out = &l->base;
	return 0;
}
