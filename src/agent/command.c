/* command.c - the cgroup that a command runs in: made for it, watched, and removed whoever dies */
#include "agent/command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "scope/cgroup.h"
#include "scope/process.h"

/*
 * How it works. The host, which may be an ordinary user, forks the command and holds it; root moves
 * it. What a hostile host could gain from that must be nothing, so:
 *
 * - only a child of the very process that started us is moved, and only if it runs as the user that
 *   sudo names: never a daemon, a child of init, or what has gained rights since;
 * - the new cgroup lies below the one that the child is in: whatever limits hold there still hold;
 * - the number of the process is pinned while it is checked and used: a helper traces it, without
 *   stopping it, so that it cannot be reaped and its number cannot pass to somebody else's process.
 *   When the helper ends, which is at once, the kernel lets go of it.
 *
 * Guardians outlive us: when their pipe closes, because we are done or because we were killed, they
 * move what is left out of the cgroup and remove it, for which we have no rights any more once we
 * capture. There are two, so that any one process may be killed.
 */

#define GUARDIANS 2
#define ROUNDS 50 /* of moving and removing, while processes fork */
#define ROUND_NS (2 * APPTAP_NSEC_PER_MSEC)

struct apptap_command_group {
	struct apptap_cgroup_root root; /* owned */
	char parent[APPTAP_CGROUP_PATH_SIZE]; /* from the root, without its slash; "." is the root
					       */
	char path[APPTAP_CGROUP_PATH_SIZE];
	int events; /* owned: cgroup.events */
	int pipe; /* owned: the guardians wait for its end */
	pid_t guardians[GUARDIANS];
};

static int open_in(const struct apptap_command_group *g, const char *folder, const char *file,
		   int flags)
{
	char path[APPTAP_CGROUP_PATH_SIZE];

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder, file) >= sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return openat(g->root.fd, path, flags | O_CLOEXEC);
}

static int move(const struct apptap_command_group *g, const char *folder, pid_t pid)
{
	auto_close int fd = open_in(g, folder, "cgroup.procs", O_WRONLY);
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", (int)pid);

	return fd < 0 || write(fd, text, (size_t)len) != len ? -errno : 0;
}

/* ---- checking ---- */

/* The user that has called us: sudo says it; without sudo it is our own. */
static uid_t caller(void)
{
	const char *text = getenv("SUDO_UID");
	unsigned long uid;
	char *end;

	if (!text)
		return APPTAP_UID_NONE;
	errno = 0;
	uid = strtoul(text, &end, 10);
	return errno || *end || end == text || uid >= APPTAP_UID_NONE ? APPTAP_UID_NONE
								      : (uid_t)uid;
}

static ssize_t read_in(int dir, const char *name, uint8_t *buf, size_t size)
{
	auto_close int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : apptap_read_full(fd, buf, size);
}

/* The cgroup of the process behind @dir, without its leading slash; "." is the root. */
static int cgroup_of(int dir, char *path, size_t size)
{
	uint8_t buf[2 * APPTAP_CGROUP_PATH_SIZE];
	ssize_t n = read_in(dir, "cgroup", buf, sizeof(buf));
	int r = n < 0 ? (int)n
		      : apptap_cgroup_parse_membership((struct apptap_view){ buf, (size_t)n }, path,
						       size);

	if (r < 0)
		return r;
	if (path[1])
		memmove(path, path + 1, strlen(path));
	else
		memcpy(path, ".", sizeof("."));
	return 0;
}

/* @dir is what /proc says of the process; @hosts are our ancestors as they were before a fork. */
static int check_process(int dir, pid_t host_pid, const pid_t *hosts)
{
	struct apptap_proc_status st;
	int r = apptap_process_status(dir, &st);

	if (r < 0)
		return r;
	if (!st.alive || st.ppid != host_pid || host_pid <= 1 || !apptap_pids_have(hosts, host_pid))
		return -EPERM;
	return caller() != APPTAP_UID_NONE && st.uid != caller() ? -EPERM : 0;
}

/* What the helper does, with @pid pinned. Return: 0 or -errno. */
static int check_and_move(const struct apptap_command_group *g, pid_t pid, pid_t host_pid,
			  const pid_t *hosts)
{
	bool pinned = ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0;
	auto_close int dir = apptap_process_open(pid);
	char path[APPTAP_CGROUP_PATH_SIZE];
	int r;

	/* Only a caller who is root anyway needs no protection from himself. */
	if (!pinned && caller() != 0 && caller() != APPTAP_UID_NONE)
		return -EBUSY;
	if (dir < 0)
		return dir;
	r = check_process(dir, host_pid, hosts);
	if (r == 0)
		r = cgroup_of(dir, path, sizeof(path));
	if (r == 0 && strcmp(path, g->parent) != 0)
		r = -EPERM; /* it has moved meanwhile: not the one that we were asked for */
	if (r == 0)
		r = move(g, g->path, pid);
	return r;
}

static int wait_status(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EINTR;
}

static int move_pinned(const struct apptap_command_group *g, pid_t pid, pid_t host_pid)
{
	pid_t hosts[APPTAP_ANCESTORS_MAX + 1];
	pid_t helper;

	apptap_process_ancestors(hosts);
	helper = fork();
	if (helper == 0)
		_exit(-check_and_move(g, pid, host_pid, hosts)); /* below 256 all of them */
	return helper < 0 ? -errno : wait_status(helper);
}

/* ---- the guardian ---- */

static int empty_folder(const char *path, const char *name, void *arg)
{
	struct apptap_command_group *g = arg;
	char folder[APPTAP_CGROUP_PATH_SIZE];
	int fd, pid;
	FILE *f;

	(void)name;
	if ((size_t)snprintf(folder, sizeof(folder), "%s%s", g->path, path) >= sizeof(folder))
		return APPTAP_CGROUP_PASS;
	fd = open_in(g, folder, "cgroup.procs", O_RDONLY);
	f = fd < 0 ? NULL : fdopen(fd, "r");
	if (!f) {
		if (fd >= 0)
			close(fd);
		return APPTAP_CGROUP_DESCEND;
	}
	while (fscanf(f, "%d", &pid) == 1)
		move(g, g->parent, pid);
	fclose(f);
	unlinkat(g->root.fd, folder, AT_REMOVEDIR); /* if it has none below it */
	return APPTAP_CGROUP_DESCEND;
}

/* What a command has made within its cgroup goes too: leaf by leaf. */
static void remove_group(struct apptap_command_group *g)
{
	struct timespec pause = { .tv_nsec = (long)ROUND_NS };

	for (int i = 0; i < ROUNDS; i++) {
		auto_close int fd = openat(g->root.fd, g->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (fd < 0)
			return;
		apptap_cgroup_walk(fd, empty_folder, g);
		empty_folder("", "", g);
		if (unlinkat(g->root.fd, g->path, AT_REMOVEDIR) == 0 || errno == ENOENT)
			return;
		nanosleep(&pause, NULL);
	}
}

static _Noreturn void guard(struct apptap_command_group *g, int pipe_fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	char byte;

	/* The host waits for these to close. */
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	for (int fd = STDERR_FILENO + 1; fd < 256; fd++)
		if (fd != pipe_fd && fd != g->root.fd)
			close(fd);
	setpriority(PRIO_PROCESS, 0, 0);
	prctl(PR_SET_NAME, APPTAP_GUARDIAN_COMM);
	while (read(pipe_fd, &byte, 1) < 0 && errno == EINTR)
		;
	remove_group(g);
	_exit(0);
}

static int start_guardians(struct apptap_command_group *g, struct apptap_error *err)
{
	int ends[2], r = 0;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return apptap_error_set(err, errno, "making a pipe");
	g->pipe = ends[1];
	for (int i = 0; r == 0 && i < GUARDIANS; i++) {
		g->guardians[i] = fork();
		if (g->guardians[i] == 0)
			guard(g, ends[0]);
		if (g->guardians[i] < 0)
			r = apptap_error_set(err, errno,
					     "starting a guardian of the command's cgroup");
	}
	close(ends[0]);
	return r;
}

/* ---- making ---- */

static int say_move(int r, pid_t pid, const struct apptap_command_group *g,
		    struct apptap_error *err)
{
	if (r == -EPERM)
		return apptap_error_say(
			err, EPERM, "process %d is not the host's to capture: not moved", (int)pid);
	if (r == -EBUSY) {
		r = apptap_error_say(err, EBUSY, "the command is traced by somebody else already");
		apptap_error_hint(err, "do not run apptap under strace or a debugger");
		return r;
	}
	r = apptap_error_set(err, -r, "moving the command into the cgroup /%s", g->path);
	if (r == -EOPNOTSUPP || r == -EBUSY)
		apptap_error_hint(err, "a threaded cgroup cannot hold it: start it elsewhere");
	return r;
}

static int make_group(struct apptap_command_group *g, pid_t pid, struct apptap_error *err)
{
	auto_close int dir = apptap_process_open(pid);
	uint32_t number = 0;
	char name[64];
	int r = dir < 0 ? dir : cgroup_of(dir, g->parent, sizeof(g->parent) - 64);
	auto_close int parent = -1;
	uint64_t id;

	if (r == 0) { /* outside of a cgroup namespace of ours it would lead out of cgroup2 */
		parent = openat(g->root.fd, g->parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
		r = parent < 0 ? -errno : apptap_cgroup_id(parent, &id);
	}
	if (r < 0)
		return apptap_error_set(err, -r, "reading the cgroup of process %d", (int)pid);
	if (getrandom(&number, sizeof(number), 0) < 0)
		return apptap_error_set(err, errno, "choosing a name for a cgroup");
	snprintf(name, sizeof(name), "apptap-%d-%08x", (int)getpid(), number);
	if (g->parent[0] == '.')
		memcpy(g->path, name, sizeof(name));
	else if ((size_t)snprintf(g->path, sizeof(g->path), "%s/%s", g->parent, name) >=
		 sizeof(g->path))
		return apptap_error_set(err, ENAMETOOLONG, "making a cgroup");
	if (mkdirat(parent, strrchr(g->path, '/') ? strrchr(g->path, '/') + 1 : g->path, 0755) <
	    0) {
		r = apptap_error_set(err, errno, "making the cgroup %s/%s", g->root.path, g->path);
		apptap_error_hint(err, "cgroup2 must be writable here; or name the app by --user");
		return r;
	}
	return 0;
}

static int add_to_scope(const struct apptap_command_group *g, pid_t pid, struct apptap_scope *scope,
			struct apptap_error *err)
{
	struct apptap_cgroup_found found;

	if ((size_t)snprintf(found.path, sizeof(found.path), "/%s", g->path) >= sizeof(found.path))
		return apptap_error_set(err, ENAMETOOLONG, "watching a cgroup");
	snprintf(found.what, sizeof(found.what), "command, PID %d", (int)pid);
	return apptap_cgroup_add(scope, &g->root, &found, err);
}

int apptap_command_group_new(struct apptap_command_group **out, pid_t pid, pid_t host_pid,
			     struct apptap_scope *scope, struct apptap_error *err)
{
	struct apptap_command_group *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return apptap_error_set(err, ENOMEM, "making a cgroup");
	g->root.fd = g->events = g->pipe = -1;
	r = apptap_cgroup_root_open(&g->root, err);
	if (r == 0)
		r = make_group(g, pid, err);
	if (r == 0)
		r = start_guardians(g, err);
	if (r == 0) {
		r = move_pinned(g, pid, host_pid);
		if (r < 0)
			r = say_move(r, pid, g, err);
	}
	if (r == 0) {
		g->events = open_in(g, g->path, "cgroup.events", O_RDONLY);
		r = g->events < 0 ? apptap_error_set(err, errno, "watching a cgroup")
				  : add_to_scope(g, pid, scope, err);
	}
	if (r < 0) {
		apptap_command_group_free(g);
		return r;
	}
	*out = g;
	return 0;
}

int apptap_command_group_fd(const struct apptap_command_group *g)
{
	return g->events;
}

bool apptap_command_group_is_empty(struct apptap_command_group *g)
{
	char buf[256];
	ssize_t n = pread(g->events, buf, sizeof(buf) - 1, 0);

	if (n < 0)
		return true; /* it has been removed under us */
	buf[n] = '\0';
	return strstr(buf, "populated 0") != NULL;
}

void apptap_command_group_free(struct apptap_command_group *g)
{
	if (!g)
		return;
	if (g->events >= 0)
		close(g->events);
	if (g->pipe >= 0)
		close(g->pipe);
	for (int i = 0; i < GUARDIANS; i++)
		if (g->guardians[i] > 0)
			wait_status(g->guardians[i]);
	if (g->path[0] && g->guardians[0] <= 0)
		remove_group(g); /* not started: we still have our rights */
	apptap_cgroup_root_close(&g->root);
	free(g);
}
