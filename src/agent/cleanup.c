/* cleanup.c - what earlier captures may have left on this machine, found and removed */
#include "agent/cleanup.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "agent/command.h"
#include "agent/spool.h"
#include "scope/cgroup.h"
#include "tier/clsact_end.h"
#include "tier/ipt.h"

#define FRESH_S 86400 /* a capture that was not fetched is left alone for a day */
#define END_NS (3 * APPTAP_NSEC_PER_SEC) /* an agent without a host ends within two */
#define END_TICK_US 10000
#define START_S 15 /* from the last byte of a push to the agent's start; a host gives up sooner */

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434 /* one number on every architecture but alpha, like the next */
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

/* The file /proc/@pid/@name, at most @size - 1 bytes and a NUL. Return: its length, -1. */
static ssize_t read_proc(pid_t pid, const char *name, char *buf, size_t size)
{
	char path[64];
	auto_close int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, buf, size - 1);
	if (n >= 0)
		buf[n] = '\0';
	return n;
}

/* Basename of what @pid runs, without the kernel's " (deleted)". */
static bool read_exe(pid_t pid, char *buf, size_t size)
{
	char path[64], target[4096];
	const char *base;
	char *deleted;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return false;
	target[n] = '\0';
	deleted = strstr(target, " (deleted)");
	if (deleted)
		*deleted = '\0';
	base = strrchr(target, '/');
	return snprintf(buf, size, "%s", base ? base + 1 : target) < (int)size;
}

/* "apptap", or the name under which a host has pushed it: apptap-4f1a2b3c... */
static bool is_our_name(const char *name)
{
	return strcmp(name, "apptap") == 0 || strncmp(name, "apptap-", 7) == 0;
}

/* An agent: runs a program of our name (or the very same file) with --agent as first argument. */
static bool is_agent(pid_t pid, const char *own_exe)
{
	char exe[256], args[512];
	const char *second;
	ssize_t n = read_proc(pid, "comm", args, sizeof(args));

	/* A guardian ends by itself, and what it still does then must be done (command.c). */
	if (n <= 0 || strcmp(args, APPTAP_GUARDIAN_COMM "\n") == 0)
		return false;
	if (!read_exe(pid, exe, sizeof(exe)) || (strcmp(exe, own_exe) != 0 && !is_our_name(exe)))
		return false;
	n = read_proc(pid, "cmdline", args, sizeof(args));
	if (n <= 0)
		return false;
	second = args + strlen(args) + 1;
	/* One that spools has no host at hand by its nature, and ends by itself. */
	return second < args + n && strncmp(second, "--agent", strlen("--agent")) == 0 &&
	       strcmp(second, "--agent-spool") != 0;
}

enum stdin_state { STDIN_UNKNOWN, STDIN_HELD, STDIN_LOST };

/* Whether somebody still holds the other end of its stdin; it ends by itself when nobody does. */
static enum stdin_state look_at_stdin(pid_t pid)
{
	auto_close int process = (int)syscall(SYS_pidfd_open, pid, 0);
	auto_close int fd = process < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, process, 0, 0);
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	if (fd < 0 || poll(&p, 1, 0) < 0)
		return STDIN_UNKNOWN;
	return p.revents & (POLLHUP | POLLRDHUP | POLLERR) ? STDIN_LOST : STDIN_HELD;
}

/*
 * The host may be any program, by the library. Where the kernel is too old to look at the agent's
 * stdin (before 5.6), host and what carries its link are known by their names.
 */
static bool has_host(pid_t pid, const char *own_exe)
{
	static const char *const carriers[] = { "sudo", "su",	"sh",	"mksh",	 "dash",
						"bash", "adbd", "sshd", "toybox" };
	enum stdin_state held = look_at_stdin(pid);
	char stat[1024], exe[256];
	const char *p;
	char state;
	int parent;

	if (read_proc(pid, "stat", stat, sizeof(stat)) <= 0)
		return true; /* ended meanwhile: nothing to do */
	p = strrchr(stat, ')'); /* the name before it may hold anything */
	if (!p || sscanf(p + 1, " %c %d", &state, &parent) != 2)
		return true;
	if (held == STDIN_LOST || parent == 1 || !read_exe(parent, exe, sizeof(exe)))
		return false;
	if (held == STDIN_HELD)
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(carriers); i++)
		if (strncmp(exe, carriers[i], strlen(carriers[i])) == 0)
			return true;
	return strcmp(exe, own_exe) == 0 || is_our_name(exe) || strncmp(exe, "magisk", 6) == 0;
}

static bool is_capture(const char *name)
{
	return strncmp(name, ".apptap-capture-", strlen(".apptap-capture-")) == 0;
}

/* One whose host has just let go of it may be writing the last of a capture. */
static bool ends_by_itself(pid_t pid, const char *own_exe, uint64_t end_ns)
{
	while (is_agent(pid, own_exe)) {
		if (apptap_clock_ns(CLOCK_MONOTONIC) >= end_ns)
			return false;
		usleep(END_TICK_US);
	}
	return true;
}

/* A capture that a host was not able to fetch, whether in a file of its own or in a spool: while it
 * is fresh, it is for the user to say that it may go. */
static bool is_wanted(int folder_fd, const char *folder, const char *name,
		      struct apptap_event_cleanup *out)
{
	bool in_spool = strncmp(name, "spool-", strlen("spool-")) == 0;
	char path[NAME_MAX + sizeof("/" APPTAP_SPOOL_CAPTURE)];
	time_t now = time(NULL);
	struct stat st;

	if (!in_spool && !is_capture(name))
		return false;
	snprintf(path, sizeof(path), "%s%s", name, in_spool ? "/" APPTAP_SPOOL_CAPTURE : "");
	if (fstatat(folder_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
	    !st.st_size || now - st.st_mtime > FRESH_S)
		return false;
	if (out->left_count < APPTAP_WIRE_LEFT_MAX) {
		struct apptap_wire_left *left = &out->left[out->left_count++];

		snprintf(left->path, sizeof(left->path), "%s/%s", folder, path);
		left->bytes = (uint64_t)st.st_size;
		left->age_s = (uint64_t)MAX(now - st.st_mtime, (time_t)0);
	}
	out->captures_left++;
	return true;
}

/* Whether another process runs this file: a spooled capture is served by calls of its agent. */
static bool is_run(const struct stat *file)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	bool found = false;

	while (proc && !found && (entry = readdir(proc))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
		char path[64];
		struct stat st;

		snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
		found = pid > 0 && pid != getpid() && stat(path, &st) == 0 &&
			st.st_dev == file->st_dev && st.st_ino == file->st_ino;
	}
	if (proc)
		closedir(proc);
	return found;
}

/* "apptap-SUM" is kept for the next start; "apptap-SUM-NUMBER" is one start's alone. */
static bool is_kept_agent(const char *name)
{
	const char *dash = strchr(name, '-');

	return strncmp(name, "apptap-", strlen("apptap-")) == 0 && !strchr(dash + 1, '-');
}

/* What a start that is under way has pushed, or a capture that runs is served by. Not by the age of
 * the data: adb gives a file the one it had on the host. */
static bool is_in_use(int folder_fd, const char *name)
{
	struct stat st;
	time_t age;

	if (fstatat(folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return false;
	age = time(NULL) - (is_capture(name) ? st.st_mtime : st.st_ctime);
	return (age >= 0 && age < START_S && !is_kept_agent(name)) || is_run(&st);
}

/* Removes in the folder @path what begins with @prefix and belongs to root, or to the shell that
 * pushed it. */
static void remove_files(const char *path, const char *prefix, struct apptap_event_cleanup *out)
{
	auto_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct dirent *entry;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir)
		return;
	apptap_steal_fd(&fd); /* closedir() closes it */
	while ((entry = readdir(dir))) {
		if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0 ||
		    is_wanted(dirfd(dir), path, entry->d_name, out))
			continue;
		if (is_in_use(dirfd(dir), entry->d_name))
			out->files_in_use++;
		else if (unlinkat(dirfd(dir), entry->d_name, 0) == 0 ||
			 apptap_spool_remove(dirfd(dir), entry->d_name))
			out->files_removed++;
	}
	closedir(dir);
}

/* The folders in which a host puts agents (host/executor_remote.c), and where it drops them. */
static void remove_all_files(struct apptap_event_cleanup *out)
{
	static const char *const homes[] = { "/data/local", "/data/adb", "/var/lib", "/root",
					     "/tmp" };

	remove_files("/data/local/tmp", ".apptap-", out);
	remove_files("/tmp", ".apptap-", out);
	for (size_t i = 0; i < ARRAY_SIZE(homes); i++) {
		char path[64];
		struct stat st;

		snprintf(path, sizeof(path), "%s/.apptap", homes[i]);
		if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid())
			continue;
		remove_files(path, "apptap-", out);
		remove_files(path, "new-", out);
		remove_files(path, "spool-", out);
		rmdir(path); /* fails while a capture uses it */
	}
}

struct leftovers {
	const char *own_exe;
	int root;
	uint64_t removed;
};

/* "apptap-PID-NUMBER", made for a command by an agent that is no more. It goes if nothing is in it:
 * what still runs there was not ours to end. */
static int remove_leftover(const char *path, const char *name, void *arg)
{
	struct leftovers *l = arg;
	unsigned number;
	int pid, end = 0;

	if (sscanf(name, "apptap-%d-%8x%n", &pid, &number, &end) != 2 || name[end] ||
	    is_agent(pid, l->own_exe))
		return APPTAP_CGROUP_DESCEND;
	if (unlinkat(l->root, path + 1, AT_REMOVEDIR) == 0)
		l->removed++;
	return APPTAP_CGROUP_PASS;
}

static uint64_t remove_cgroups(const char *own_exe)
{
	struct apptap_cgroup_root root = APPTAP_CGROUP_ROOT_CLOSED;
	struct leftovers l = { .own_exe = own_exe };

	if (apptap_cgroup_root_open(&root, NULL) < 0)
		return 0;
	l.root = root.fd;
	apptap_cgroup_walk(root.fd, remove_leftover, &l);
	apptap_cgroup_root_close(&root);
	return l.removed;
}

int apptap_cleanup_run(struct apptap_event_cleanup *out, struct apptap_error *err)
{
	char *saved[APPTAP_IPT_FAMILIES];
	uint64_t end_ns = apptap_clock_ns(CLOCK_MONOTONIC) + END_NS;
	char own_exe[256];
	struct dirent *entry;
	DIR *proc;
	int found;

	memset(out, 0, sizeof(*out));
	if (!read_exe(getpid(), own_exe, sizeof(own_exe)))
		return apptap_error_set(err, errno, "reading /proc/self/exe");
	proc = opendir("/proc");
	if (!proc)
		return apptap_error_set(err, errno, "opening /proc");
	while ((entry = readdir(proc))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (!isdigit((unsigned char)entry->d_name[0]) || pid == getpid())
			continue;
		out->processes_checked++;
		if (!is_agent(pid, own_exe))
			continue;
		if (has_host(pid, own_exe))
			out->agents_live++;
		else if (!ends_by_itself(pid, own_exe, end_ns) &&
			 kill(pid, SIGKILL) == 0) /* an agent ignores what is gentler */
			out->agents_ended++;
	}
	closedir(proc);
	out->cgroups_removed = remove_cgroups(own_exe);
	if (geteuid() != 0)
		return 0;
	remove_all_files(out);
	apptap_ipt_save(saved);
	found = apptap_ipt_heal(saved, NULL);
	apptap_ipt_free(saved);
	out->chains_removed = (uint64_t)MAX(found, 0);
	found = apptap_clsact_heal(NULL);
	out->filters_removed = (uint64_t)MAX(found, 0);
	return 0;
}
