/* cleanup.c - what earlier captures may have left on this machine, found and removed */
#include "agent/cleanup.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>

#include "scope/cgroup.h"

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

/* An agent: runs a program of our name (or the very same file) with --agent as first argument. */
static bool is_agent(pid_t pid, const char *own_exe)
{
	char exe[256], args[512];
	const char *second;
	ssize_t n;

	if (!read_exe(pid, exe, sizeof(exe)) ||
	    (strcmp(exe, own_exe) != 0 && strcmp(exe, "apptap") != 0))
		return false;
	n = read_proc(pid, "cmdline", args, sizeof(args));
	if (n <= 0)
		return false;
	second = args + strlen(args) + 1;
	return second < args + n && strcmp(second, "--agent") == 0;
}

/* The host, or the sudo between: an agent whose parent is neither was left to init. */
static bool has_host(pid_t pid, const char *own_exe)
{
	char stat[1024], exe[256];
	const char *p;
	char state;
	int parent;

	if (read_proc(pid, "stat", stat, sizeof(stat)) <= 0)
		return true; /* ended meanwhile: nothing to do */
	p = strrchr(stat, ')'); /* the name before it may hold anything */
	if (!p || sscanf(p + 1, " %c %d", &state, &parent) != 2)
		return true;
	if (!read_exe(parent, exe, sizeof(exe)))
		return false;
	return strcmp(exe, own_exe) == 0 || strcmp(exe, "apptap") == 0 ||
	       strncmp(exe, "sudo", 4) == 0;
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
	char own_exe[256];
	struct dirent *entry;
	DIR *proc;

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
		else if (kill(pid, SIGKILL) == 0) /* an agent ignores what is gentler */
			out->agents_ended++;
	}
	closedir(proc);
	out->cgroups_removed = remove_cgroups(own_exe);
	return 0;
}
