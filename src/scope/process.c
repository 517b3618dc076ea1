/* process.c - a process as /proc tells of it: its names, its user, and a walk over all of them */
#include "scope/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

#define STATUS_BYTES 8192 /* the lines that we want come first; only Groups can be long */
#define PID_DIGITS_MAX 10

struct line {
	const char *p;
	size_t len;
};

static bool next_line(struct apptap_view *v, struct line *out)
{
	struct apptap_view line;

	if (!apptap_view_until(v, '\n', &line))
		return false;
	*out = (struct line){ (const char *)line.p, line.left };
	return true;
}

/* Cuts "Key:" and the blanks behind it off @l. */
static bool has_key(struct line *l, const char *key)
{
	size_t len = strlen(key);

	if (l->len < len || memcmp(l->p, key, len) != 0)
		return false;
	l->p += len;
	l->len -= len;
	return true;
}

static void skip_blanks(struct line *l)
{
	while (l->len && (*l->p == '\t' || *l->p == ' ')) {
		l->p++;
		l->len--;
	}
}

/* A decimal number up to UINT32_MAX; what follows stays in @l. */
static bool take_number(struct line *l, uint32_t *out)
{
	uint64_t n = 0;
	size_t digits = 0;

	skip_blanks(l);
	for (; l->len && *l->p >= '0' && *l->p <= '9'; l->p++, l->len--) {
		n = n * 10 + (uint64_t)(*l->p - '0');
		if (++digits > PID_DIGITS_MAX)
			return false;
	}
	if (!digits || n > UINT32_MAX)
		return false;
	*out = (uint32_t)n;
	return true;
}

/* The kernel escapes a newline and a backslash in Name (proc_task_name): nothing else can forge a
 * line. Undone here, so that names compare as the bytes they are. */
static void copy_name(const struct line *l, char *out, size_t size)
{
	size_t at = 0;

	for (size_t i = 0; i < l->len && at + 1 < size; i++) {
		char c = l->p[i];

		if (c == '\\' && i + 1 < l->len && (l->p[i + 1] == 'n' || l->p[i + 1] == '\\'))
			c = l->p[++i] == 'n' ? '\n' : '\\';
		out[at++] = c;
	}
	out[at] = '\0';
}

/* Real, effective, saved, filesystem: a socket is owned by the last, fourth one. */
static bool take_uid(struct line *l, uid_t *uid)
{
	uint32_t n = 0;

	for (int i = 0; i < 4; i++)
		if (!take_number(l, &n))
			return false;
	*uid = n;
	return true;
}

int apptap_proc_parse_status(struct apptap_view v, struct apptap_proc_status *out)
{
	bool named = false;
	bool owned = false;
	bool has_memory = false;
	uint32_t threads = 0;
	uint32_t n;
	struct line l;

	memset(out, 0, sizeof(*out));
	out->uid = APPTAP_UID_NONE;
	while (next_line(&v, &l)) {
		if (!named && has_key(&l, "Name:\t")) {
			copy_name(&l, out->name, sizeof(out->name));
			named = true;
		} else if (has_key(&l, "Tgid:") && take_number(&l, &n) && n <= INT_MAX) {
			out->tgid = (pid_t)n;
		} else if (has_key(&l, "PPid:") && take_number(&l, &n) && n <= INT_MAX) {
			out->ppid = (pid_t)n;
		} else if (!owned && has_key(&l, "Uid:")) {
			owned = take_uid(&l, &out->uid);
		} else if (has_key(&l, "VmSize:")) {
			has_memory = true;
		} else if (has_key(&l, "Threads:") && take_number(&l, &n)) {
			threads = n;
		}
	}
	/* Kernel threads and zombies have one thread and no memory. When only the first of several
	 * threads has ended, the others go on. No count at all: thousands of groups filled @v. */
	out->alive = has_memory || threads != 1;
	return named && owned && out->uid != APPTAP_UID_NONE ? 0 : -EBADMSG;
}

/* What follows the last slash, cut to @size. */
static void copy_basename(const char *p, size_t len, char *name, size_t size)
{
	const char *slash = memrchr(p, '/', len);
	size_t skip = slash ? (size_t)(slash - p) + 1 : 0;
	size_t rest = MIN(len - skip, size - 1);

	memcpy(name, p + skip, rest);
	name[rest] = '\0';
}

void apptap_proc_parse_cmdline(struct apptap_view v, char *name, size_t size)
{
	const char *p = (const char *)v.p;

	name[0] = '\0';
	if (v.left)
		copy_basename(p, strnlen(p, v.left), name, size);
}

void apptap_proc_parse_exe(struct apptap_view v, char *name, size_t size)
{
	static const char deleted[] =
		" (deleted)"; /* replaced on disk by an upgrade, still running */
	const char *p = (const char *)v.p;
	size_t len = v.left ? strnlen(p, v.left) : 0;
	size_t tail = sizeof(deleted) - 1;

	name[0] = '\0';
	if (len > tail && memcmp(p + len - tail, deleted, tail) == 0)
		len -= tail;
	if (len)
		copy_basename(p, len, name, size);
}

bool apptap_proc_is_pid(const char *name)
{
	return name[0] && name[strspn(name, "0123456789")] == '\0';
}

pid_t apptap_proc_parse_pid(const char *name)
{
	struct line l = { .p = name, .len = strlen(name) };
	uint32_t n;

	if (!take_number(&l, &n) || l.len || n > INT_MAX)
		return 0;
	return (pid_t)n;
}

int apptap_process_open(pid_t pid)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	return fd;
}

/* Up to @size bytes of @path under @dir; -ESRCH when the process is gone. */
static ssize_t read_file(int dir, const char *path, void *buf, size_t size)
{
	auto_close int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	return apptap_read_full(fd, buf, size);
}

int apptap_process_status(int dir, struct apptap_proc_status *out)
{
	char buf[STATUS_BYTES];
	ssize_t n = read_file(dir, "status", buf, sizeof(buf));

	if (n < 0)
		return (int)n;
	return apptap_proc_parse_status(
		(struct apptap_view){ .p = (const uint8_t *)buf, .left = (size_t)n }, out);
}

/* One read each: a short answer is all that we want of them, and this runs for every process. */
static int read_names(int dir, const char *prefix, pid_t pid, struct apptap_process *out)
{
	char path[48];
	char buf[PATH_MAX];
	struct apptap_view v = { .p = (const uint8_t *)buf };
	ssize_t n;

	*out = (struct apptap_process){ .pid = pid };
	snprintf(path, sizeof(path), "%scomm", prefix);
	n = read_file(dir, path, out->comm, sizeof(out->comm) - 1);
	if (n < 0)
		return (int)n;
	if (n > 0 && out->comm[n - 1] == '\n')
		n--;
	out->comm[n] = '\0';
	snprintf(path, sizeof(path), "%scmdline", prefix);
	n = read_file(dir, path, buf, 1024);
	if (n <= 0)
		return 0; /* a kernel thread or a zombie: there is no executable either */
	v.left = (size_t)n;
	apptap_proc_parse_cmdline(v, out->argv0, sizeof(out->argv0));
	snprintf(path, sizeof(path), "%sexe", prefix);
	n = readlinkat(dir, path, buf, sizeof(buf));
	v.left = n > 0 ? (size_t)n : 0;
	apptap_proc_parse_exe(v, out->exe, sizeof(out->exe));
	return 0;
}

int apptap_process_names(int dir, pid_t pid, struct apptap_process *out)
{
	return read_names(dir, "", pid, out);
}

bool apptap_process_is_named(const struct apptap_process *p, const char *name)
{
	size_t len = strlen(name);

	if (!len)
		return false;
	if (strcmp(p->comm, name) == 0 || strcmp(p->argv0, name) == 0 || strcmp(p->exe, name) == 0)
		return true;
	if (len <= APPTAP_COMM_MAX || strlen(p->comm) != APPTAP_COMM_MAX ||
	    memcmp(p->comm, name, APPTAP_COMM_MAX) != 0)
		return false;
	/* The kernel has cut the name. Where its whole is known, it was compared above and differs:
	 * "systemd-resolved" must not stand for a "systemd-resolvectl". */
	return strncmp(p->argv0, p->comm, APPTAP_COMM_MAX) != 0 &&
	       strncmp(p->exe, p->comm, APPTAP_COMM_MAX) != 0;
}

int apptap_process_confirm(pid_t pid, const char *name, struct apptap_process *p,
			   struct apptap_proc_status *st)
{
	auto_close int dir = apptap_process_open(pid);
	struct apptap_process names;

	if (dir < 0 || apptap_process_status(dir, st) < 0 || !st->alive)
		return 0;
	if (apptap_process_names(dir, pid, &names) < 0 || !apptap_process_is_named(&names, name))
		return 0;
	if (p)
		*p = names;
	return 1;
}

bool apptap_pids_have(const pid_t *pids, pid_t pid)
{
	for (; *pids; pids++)
		if (*pids == pid)
			return true;
	return false;
}

size_t apptap_process_ancestors(pid_t out[APPTAP_ANCESTORS_MAX + 1])
{
	pid_t pid = getpid();
	size_t n = 0;

	while (pid > 0 && n < APPTAP_ANCESTORS_MAX) {
		struct apptap_proc_status st;
		auto_close int dir = apptap_process_open(pid);

		out[n++] = pid;
		if (dir < 0 || apptap_process_status(dir, &st) < 0)
			break;
		pid = st.ppid;
	}
	out[n] = 0;
	return n;
}

static void close_dir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

int apptap_process_walk(bool (*want)(pid_t pid, void *arg), apptap_process_each each, void *arg,
			struct apptap_error *err)
{
	__attribute__((cleanup(close_dir))) DIR *dir = opendir("/proc");
	struct dirent *e;

	if (!dir)
		return apptap_error_set(err, errno, "listing the processes in /proc");
	while ((e = readdir(dir))) {
		pid_t pid = apptap_proc_is_pid(e->d_name) ? apptap_proc_parse_pid(e->d_name) : 0;
		struct apptap_process p;
		char prefix[16];
		int r;

		if (!pid || (want && !want(pid, arg)))
			continue;
		snprintf(prefix, sizeof(prefix), "%d/", (int)pid);
		if (read_names(dirfd(dir), prefix, pid, &p) < 0)
			continue; /* it has ended since */
		r = each(&p, arg);
		if (r)
			return r;
	}
	return 0;
}
