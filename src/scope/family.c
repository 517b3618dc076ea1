/* family.c - processes and, where wanted, their descendants, followed; which sockets they hold */
#include "scope/family.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/netlink.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/view.h"
#include "scope/process.h"

/*
 * How it works. The process connector tells of a fork before the child runs, and of an exit. Its
 * words are taken in when somebody asks, which is before anything is concluded from them: so a
 * child is known before its first socket. A descendant stays one when its parent ends. Descriptors
 * are read through /proc/PID as it was opened when the process was met: never a later process's.
 */

#define PROCESSES_MAX 400 /* two descriptors each */
#define QUEUE_BYTES (1 << 20)
#define WALK_NS (20 * APPTAP_NSEC_PER_MSEC) /* without the connector: look again after so long */
#define SEARCH_NS (2 * APPTAP_NSEC_PER_MSEC) /* at most this long in one go */
#define SHARE 3 /* and of the time at most one part in so many */
#define RECENT 4

struct member {
	pid_t pid;
	int dir; /* owned: O_PATH on /proc/PID; -1: it was gone already */
	bool tree; /* its children are members */
	DIR *fds; /* owned; NULL: not opened yet */
};

struct apptap_family {
	pthread_mutex_t lock; /* of all below */
	struct member members[PROCESSES_MAX];
	size_t count;
	bool full; /* there are more */
	bool tree; /* of any */
	int told; /* owned: the connector's socket; -1: none */
	bool lost; /* some of its words */
	uint64_t walked_ns;
	uint64_t window_ns;
	uint64_t spent_ns;
};

static struct member *find(struct apptap_family *f, pid_t pid)
{
	for (size_t i = 0; i < f->count; i++)
		if (f->members[i].pid == pid)
			return &f->members[i];
	return NULL;
}

/* @told: the connector tells of its end too, so that one that is gone by now may stay for its
 * children's sake. false: it is gone, or there is no room. */
static bool add(struct apptap_family *f, pid_t pid, bool tree, bool told)
{
	int dir;

	if (find(f, pid))
		return true;
	if (f->count == PROCESSES_MAX) {
		f->full = true;
		return false;
	}
	dir = apptap_process_open(pid);
	if (dir < 0 && !told)
		return false;
	f->members[f->count++] = (struct member){ pid, dir, tree, NULL };
	f->tree |= tree;
	return true;
}

static void close_member(const struct member *m)
{
	if (m->fds)
		closedir(m->fds);
	if (m->dir >= 0)
		close(m->dir);
}

static void drop(struct apptap_family *f, pid_t pid)
{
	struct member *m = find(f, pid);

	if (!m)
		return;
	close_member(m);
	*m = f->members[--f->count];
}

/* ---- who is there ---- */

static pid_t parent_of(const char *name)
{
	auto_close int dir = apptap_process_open((pid_t)strtol(name, NULL, 10));
	struct apptap_proc_status st;

	return dir >= 0 && apptap_process_status(dir, &st) == 0 ? st.ppid : 0;
}

/* Children of members become members, until there are no more. */
static void walk(struct apptap_family *f)
{
	bool more = f->tree;

	f->walked_ns = apptap_clock_ns(CLOCK_MONOTONIC);
	for (int depth = 0; more && depth < 32; depth++) {
		DIR *proc = opendir("/proc");
		const struct dirent *e;

		more = false;
		while (proc && (e = readdir(proc))) {
			pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
			const struct member *m;

			if (!isdigit((unsigned char)e->d_name[0]) || find(f, pid))
				continue;
			m = find(f, parent_of(e->d_name));
			if (m && m->tree)
				more |= add(f, pid, true, false);
		}
		if (proc)
			closedir(proc);
	}
}

/* ---- the process connector ---- */

#define LISTEN_BYTES (NLMSG_HDRLEN + sizeof(struct cn_msg) + sizeof(enum proc_cn_mcast_op))

/* "Tell me": a netlink header, a connector header, and what is asked for. */
static void build_listen(uint8_t out[LISTEN_BYTES])
{
	const struct nlmsghdr h = { .nlmsg_len = LISTEN_BYTES, .nlmsg_type = NLMSG_DONE };
	const struct cn_msg cn = { .id = { CN_IDX_PROC, CN_VAL_PROC },
				   .len = sizeof(enum proc_cn_mcast_op) };
	const enum proc_cn_mcast_op op = PROC_CN_MCAST_LISTEN;

	memcpy(out, &h, sizeof(h));
	memcpy(out + NLMSG_HDRLEN, &cn, sizeof(cn));
	memcpy(out + NLMSG_HDRLEN + sizeof(cn), &op, sizeof(op));
}

static int open_connector(void)
{
	struct sockaddr_nl own = { .nl_family = AF_NETLINK, .nl_groups = CN_IDX_PROC };
	uint8_t listen[LISTEN_BYTES];
	int size = QUEUE_BYTES;
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_CONNECTOR);

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	build_listen(listen);
	if (bind(fd, (struct sockaddr *)&own, sizeof(own)) < 0 ||
	    send(fd, listen, sizeof(listen), 0) != (ssize_t)sizeof(listen)) {
		close(fd);
		return -1;
	}
	return fd;
}

static int prepared = -1; /* owned: until a family takes it */

void apptap_family_prepare(void)
{
	if (prepared < 0)
		prepared = open_connector();
}

static void take_event(struct apptap_family *f, const struct proc_event *ev)
{
	const struct member *parent;

	if (ev->what == PROC_EVENT_FORK) {
		parent = find(f, ev->event_data.fork.parent_tgid);
		if (parent && parent->tree &&
		    ev->event_data.fork.child_pid == ev->event_data.fork.child_tgid)
			add(f, ev->event_data.fork.child_tgid, true, true);
	} else if (ev->what == PROC_EVENT_EXIT &&
		   ev->event_data.exit.process_pid == ev->event_data.exit.process_tgid) {
		drop(f, ev->event_data.exit.process_tgid);
	}
}

static void listen_in(struct apptap_family *f)
{
	uint8_t buf[512] __attribute__((aligned(8)));
	struct sockaddr_nl from = { 0 };

	for (;;) {
		struct apptap_view v = { buf, 0 };
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(f->told, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len);
		struct proc_event ev = { 0 };

		if (n < 0 && errno == ENOBUFS)
			f->lost = true;
		else if (n < 0 && errno != EINTR)
			break;
		if (n <= 0 || from.nl_pid != 0) /* not the kernel's word */
			continue;
		v.left = (size_t)n;
		if (!apptap_view_take(&v, NLMSG_HDRLEN + sizeof(struct cn_msg)))
			continue;
		memcpy(&ev, v.p, MIN(v.left, sizeof(ev)));
		take_event(f, &ev);
	}
}

static void catch_up(struct apptap_family *f)
{
	if (f->told >= 0)
		listen_in(f);
	if (f->lost || (f->told < 0 && apptap_clock_ns(CLOCK_MONOTONIC) > f->walked_ns + WALK_NS)) {
		f->lost = false;
		walk(f);
	}
}

/* ---- their sockets ---- */

static bool member_holds(struct member *m, const char *target, uint64_t deadline_ns)
{
	const struct dirent *e;
	bool found = false;
	char link[32];

	if (!m->fds && m->dir >= 0) { /* kept open: to open it costs more than to read it */
		int fd = openat(m->dir, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		m->fds = fd < 0 ? NULL : fdopendir(fd);
		if (!m->fds && fd >= 0)
			close(fd);
	}
	if (!m->fds)
		return false;
	rewinddir(m->fds);
	while (!found && (e = readdir(m->fds)) && apptap_clock_ns(CLOCK_MONOTONIC) < deadline_ns) {
		ssize_t n = readlinkat(dirfd(m->fds), e->d_name, link, sizeof(link) - 1);

		if (n > 0) {
			link[n] = '\0';
			found = strcmp(link, target) == 0;
		}
	}
	return found;
}

/* Whoever had the last one is asked first: most come in rows. */
static void put_first(struct apptap_family *f, size_t i)
{
	struct member m = f->members[i];

	memmove(&f->members[1], &f->members[0], i * sizeof(m));
	f->members[0] = m;
}

/* In the first @most of them. */
static int search(struct apptap_family *f, const char *target, size_t most, uint64_t deadline_ns)
{
	size_t count = MIN(f->count, most);

	for (size_t i = 0; i < count; i++) {
		if (member_holds(&f->members[i], target, deadline_ns)) {
			put_first(f, i);
			return 1;
		}
		if (apptap_clock_ns(CLOCK_MONOTONIC) >= deadline_ns)
			return -ETIME;
	}
	return f->full || count < f->count ? -ETIME : 0;
}

int apptap_family_holds(struct apptap_family *f, uint64_t inode)
{
	uint64_t now_ns = apptap_clock_ns(CLOCK_MONOTONIC);
	char target[32];
	size_t most;
	int r;

	snprintf(target, sizeof(target), "socket:[%llu]", (unsigned long long)inode);
	pthread_mutex_lock(&f->lock);
	if (now_ns > f->window_ns + APPTAP_NSEC_PER_SEC) {
		f->window_ns = now_ns;
		f->spent_ns = 0;
	}
	catch_up(f);
	/* When strangers have used up the time, those who open sockets in rows are still found. */
	most = f->spent_ns < APPTAP_NSEC_PER_SEC / SHARE ? PROCESSES_MAX : RECENT;
	r = search(f, target, most, now_ns + SEARCH_NS);
	f->spent_ns += apptap_clock_ns(CLOCK_MONOTONIC) - now_ns;
	pthread_mutex_unlock(&f->lock);
	return r;
}

bool apptap_family_has(struct apptap_family *f, pid_t pid)
{
	bool has;

	pthread_mutex_lock(&f->lock);
	catch_up(f);
	has = find(f, pid) != NULL;
	pthread_mutex_unlock(&f->lock);
	return has;
}

bool apptap_family_is_told(const struct apptap_family *f)
{
	return f->told >= 0 || !f->tree;
}

int apptap_family_new(struct apptap_family **out, const struct apptap_scope *scope,
		      struct apptap_error *err)
{
	struct apptap_family *f;
	pthread_mutexattr_t attr;
	bool any = false;

	*out = NULL;
	if (!scope->process_count)
		return 0;
	f = calloc(1, sizeof(*f));
	if (!f)
		return apptap_error_set(err, ENOMEM, "following processes");
	/* A real-time thread may wait for one that it has just interrupted. */
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
	pthread_mutex_init(&f->lock, &attr);
	pthread_mutexattr_destroy(&attr);
	f->told = -1;
	for (size_t i = 0; i < scope->process_count; i++)
		f->tree |= scope->processes[i].tree;
	if (f->tree)
		f->told = prepared >= 0 ? apptap_steal_fd(&prepared) : open_connector();
	for (size_t i = 0; i < scope->process_count; i++)
		any |= add(f, scope->processes[i].pid, scope->processes[i].tree, false);
	if (!any) {
		apptap_family_free(f);
		return apptap_error_say(err, ESRCH, "the process has ended");
	}
	walk(f);
	*out = f;
	return 0;
}

void apptap_family_free(struct apptap_family *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < f->count; i++)
		close_member(&f->members[i]);
	if (f->told >= 0)
		close(f->told);
	pthread_mutex_destroy(&f->lock);
	free(f);
}
