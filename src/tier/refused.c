/*
 * refused.c - who owns a TCP socket whose connection was refused before anybody could ask
 *
 * How it works. On loopback (and veth) a refusal arrives inside connect() itself: the RST waits in
 * the socket's backlog and is taken before the system call returns, so even a real-time thread on
 * the same CPU finds the socket in no table any more. Its descriptor is still open, for it was this
 * system call that our thread has interrupted on its way out. So we take a duplicate of each TCP
 * descriptor of the app's processes for a moment (pidfd_getfd, 5.6+), and the one that is closed
 * and has the SYN's local port is it. A socket whose connection failed long ago keeps its port
 * number while the port is free for others: so each testifies once for a port, and only while a
 * thread of its process stands interrupted on this CPU. Only processes of the scope are looked
 * into; a stranger's refusal finds nothing there and stays unattributed.
 * (tests/kernel/diag_refused_gone.c)
 */
#include "tier/refused.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "tier/rtthread.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

#define PIDS_MAX 256
#define SEARCH_NS (4 * APPTAP_NSEC_PER_MSEC) /* at most this long in one go */
#define QUESTIONS 256 /* waiting; a power of 2 */
#define ANSWERS 1024
/* Of the time, at most one part in so many: for all processes, and for the one that answered last.
 */
#define SHARE_ALL 8
#define SHARE_LAST 4

#define WITNESSES 256 /* sockets that have testified, the last so many */
#define THREADS_MAX 256
#define NEWEST 64 /* process numbers to try, from the last one given downwards */

#define RECHECK_NS (100 * APPTAP_NSEC_PER_MSEC) /* a process may yet become one of the scope's */

struct stranger {
	pid_t pid;
	uint64_t checked_ns;
};

struct witness {
	uint64_t cookie;
	uint16_t port;
};

struct apptap_refused {
	struct apptap_sighting_queue *questions; /* owned: from the trigger */
	struct apptap_sighting_queue *answers; /* owned: to the reader */
	sem_t waiting;
	pthread_t thread;
	bool started;
	int cpu;
	uid_t uids[APPTAP_SCOPE_UIDS_MAX];
	_Atomic size_t uid_count; /* grows; the reader's thread appends */
	struct apptap_members *members; /* borrowed; NULL: a scope without cgroups */
	pid_t pids[PIDS_MAX]; /* of the scope, the last one that had an answer first */
	size_t pid_count;
	uint64_t spent_ns; /* since window_ns */
	uint64_t window_ns;
	uint64_t listed_ns; /* when pids were listed */
	uint64_t list_cost_ns;
	struct stranger strangers[NEWEST]; /* of the newest, by the low bits of the number */
	struct witness witnesses[WITNESSES];
	size_t next_witness;
};

static bool is_ours(const struct apptap_refused *r, uid_t uid)
{
	size_t count = atomic_load_explicit(&r->uid_count, memory_order_acquire);

	for (size_t i = 0; i < count; i++)
		if (r->uids[i] == uid)
			return true;
	return false;
}

/* The filesystem UID is what a new socket gets; the folder's owner says root for many. */
static bool process_is_ours(const struct apptap_refused *r, const char *pid)
{
	char path[32];
	char buf[1024];
	auto_close int fd = -1;
	unsigned fsuid;
	const char *line;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%.10s/status", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, buf, sizeof(buf) - 1);
	if (n <= 0)
		return false;
	buf[n] = '\0';
	/* The name stands in the first line, its newlines escaped: no name can forge this one. */
	line = strstr(buf, "\nUid:");
	if (apptap_members_process(r->members, pid))
		return true;
	return line && sscanf(line, "\nUid:\t%*u\t%*u\t%*u\t%u", &fsuid) == 1 &&
	       is_ours(r, (uid_t)fsuid);
}

static bool has_testified(const struct apptap_refused *r, uint64_t cookie, uint16_t port)
{
	for (size_t i = 0; i < WITNESSES; i++)
		if (r->witnesses[i].cookie == cookie && r->witnesses[i].port == port)
			return true;
	return false;
}

/* Is it closed, with this port still in its memory, and has it not testified? */
static bool socket_matches(const struct apptap_refused *r, int fd, uint16_t port, uint64_t *cookie)
{
	struct sockaddr_in6 name = { 0 };
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);
	int protocol = 0;
	socklen_t protocol_len = sizeof(protocol);

	if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &protocol_len) < 0 ||
	    protocol != IPPROTO_TCP || getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
	    info.tcpi_state != 7 /* TCP_CLOSE */)
		return false;
	len = sizeof(name);
	/* The port stands at the same place in both families' addresses. */
	if (getsockname(fd, (struct sockaddr *)&name, &len) < 0 || ntohs(name.sin6_port) != port)
		return false;
	len = sizeof(*cookie);
	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, cookie, &len) == 0 &&
	       !has_testified(r, *cookie, port);
}

/* Runnable, and on our CPU: as one is that we have interrupted. */
static bool thread_is_here(pid_t pid, const char *tid, int cpu)
{
	char path[64];
	char buf[1024];
	auto_close int fd = -1;
	const char *p;
	char state;
	int at;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/task/%.10s/stat", pid, tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);
	if (n <= 0)
		return false;
	buf[n] = '\0';
	p = strrchr(buf, ')'); /* the name before it may hold anything */
	if (!p || sscanf(p, ") %c", &state) != 1 || state != 'R')
		return false;
	for (int field = 2; p && field < 39;
	     field++) /* 3 is the state, 39 the processor: proc(5) */
		p = strchr(p + 1, ' ');
	return p && sscanf(p, "%d", &at) == 1 && at == cpu;
}

static bool process_is_here(pid_t pid, int cpu)
{
	char path[32];
	const struct dirent *e;
	bool found = false;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = opendir(path);
	if (!tasks)
		return false;
	for (int i = 0; !found && i < THREADS_MAX && (e = readdir(tasks)); i++)
		found = e->d_name[0] != '.' && thread_is_here(pid, e->d_name, cpu);
	closedir(tasks);
	return found;
}

/* Does descriptor @name of the process hold the socket? */
static bool descriptor_matches(const struct apptap_refused *r, int pidfd, int dir, const char *name,
			       uint16_t port, uid_t *uid, uint64_t *cookie)
{
	char target[16] = "";
	struct stat st;
	bool found;
	int fd;

	if (readlinkat(dir, name, target, sizeof(target)) < 8 ||
	    strncmp(target, "socket:[", 8) != 0)
		return false;
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, (int)strtol(name, NULL, 10), 0);
	if (fd < 0)
		return false;
	found = socket_matches(r, fd, port, cookie) && fstat(fd, &st) == 0;
	if (found)
		*uid = st.st_uid;
	close(fd);
	return found;
}

static bool search_process(const struct apptap_refused *r, pid_t pid, uint16_t port,
			   uint64_t deadline_ns, uid_t *uid, uint64_t *cookie)
{
	char path[32];
	auto_close int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	const struct dirent *e;
	bool found = false;
	DIR *fds;

	if (!process_is_here(pid, r->cpu))
		return false;
	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	fds = pidfd >= 0 ? opendir(path) : NULL;
	if (!fds)
		return false;
	while (!found && (e = readdir(fds)) && apptap_clock_ns(CLOCK_MONOTONIC) < deadline_ns)
		found = e->d_name[0] != '.' &&
			descriptor_matches(r, pidfd, dirfd(fds), e->d_name, port, uid, cookie);
	closedir(fds);
	return found;
}

static void remember(struct apptap_refused *r, pid_t pid)
{
	size_t i = 0;

	while (i < r->pid_count && r->pids[i] != pid)
		i++;
	if (i == r->pid_count && r->pid_count < PIDS_MAX)
		r->pid_count++;
	memmove(&r->pids[1], &r->pids[0], MIN(i, (size_t)PIDS_MAX - 1) * sizeof(r->pids[0]));
	r->pids[0] = pid;
}

static bool search_known(struct apptap_refused *r, const struct apptap_flow *flow,
			 uint64_t deadline_ns, uid_t *uid, uint64_t *cookie)
{
	for (size_t i = 0; i < r->pid_count; i++) {
		pid_t pid = r->pids[i];

		if (!search_process(r, pid, flow->lport, deadline_ns, uid, cookie))
			continue;
		remember(r, pid);
		return true;
	}
	return false;
}

static bool is_known(const struct apptap_refused *r, pid_t pid)
{
	for (size_t i = 0; i < r->pid_count; i++)
		if (r->pids[i] == pid)
			return true;
	return false;
}

/* One that has just begun: while all of /proc is read, another CPU would take it from here. */
static bool search_newest(struct apptap_refused *r, const struct apptap_flow *flow,
			  uint64_t deadline_ns, uid_t *uid, uint64_t *cookie)
{
	auto_close int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
	char buf[128];
	char name[16];
	int last;
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);

	if (n <= 0)
		return false;
	buf[n] = '\0';
	if (sscanf(buf, "%*s %*s %*s %*s %d", &last) != 1)
		return false;
	for (int pid = last; pid > 0 && pid > last - NEWEST; pid--) {
		struct stranger *s = &r->strangers[pid % NEWEST];
		uint64_t now_ns = apptap_clock_ns(CLOCK_MONOTONIC);

		if (s->pid == pid && now_ns < s->checked_ns + RECHECK_NS)
			continue;
		snprintf(name, sizeof(name), "%d", pid);
		if (!process_is_ours(r, name)) {
			*s = (struct stranger){ pid, now_ns };
			continue;
		}
		if (is_known(r, pid))
			continue;
		remember(r, pid);
		if (search_process(r, pid, flow->lport, deadline_ns, uid, cookie))
			return true;
	}
	return false;
}

static void list_processes(struct apptap_refused *r, uint64_t now_ns)
{
	DIR *proc;
	const struct dirent *e;

	if (now_ns < r->listed_ns + r->list_cost_ns * SHARE_ALL)
		return;
	proc = opendir("/proc");
	if (!proc)
		return;
	r->pid_count = 0;
	while (r->pid_count < PIDS_MAX && (e = readdir(proc)))
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9' && process_is_ours(r, e->d_name))
			r->pids[r->pid_count++] = (pid_t)strtol(e->d_name, NULL, 10);
	closedir(proc);
	r->listed_ns = apptap_clock_ns(CLOCK_MONOTONIC);
	r->list_cost_ns = r->listed_ns - now_ns;
}

static bool search(struct apptap_refused *r, struct apptap_sighting *s)
{
	uint64_t now_ns = apptap_clock_ns(CLOCK_MONOTONIC);
	bool found;

	if (now_ns - r->window_ns > APPTAP_NSEC_PER_SEC) {
		r->window_ns = now_ns;
		r->spent_ns = 0;
	}
	if (r->spent_ns > APPTAP_NSEC_PER_SEC / SHARE_LAST)
		return false;
	/* Whoever answered last costs a tenth of them all: most refusals come in rows, and those of
	 * strangers must not use up the time for ours. */
	found = r->pid_count && search_process(r, r->pids[0], s->flow.lport, now_ns + SEARCH_NS,
					       &s->uid, &s->cookie);
	if (!found && r->spent_ns <= APPTAP_NSEC_PER_SEC / SHARE_ALL) {
		found = search_known(r, &s->flow, now_ns + SEARCH_NS, &s->uid, &s->cookie) ||
			search_newest(r, &s->flow, now_ns + SEARCH_NS, &s->uid, &s->cookie);
		if (!found)
			list_processes(r, now_ns); /* for the next time */
	}
	r->spent_ns += apptap_clock_ns(CLOCK_MONOTONIC) - now_ns;
	if (!found)
		return false;
	r->witnesses[r->next_witness++ % WITNESSES] = (struct witness){ s->cookie, s->flow.lport };
	s->sight = APPTAP_SIGHT_OWNED;
	/* Whose process has it, made it: a socket's own cgroup cannot be asked for any more. */
	s->member = r->members ? APPTAP_MEMBER_IN : APPTAP_MEMBER_BY_UID;
	s->asked_ns = apptap_clock_ns(CLOCK_REALTIME);
	return true;
}

static void *work(void *arg)
{
	struct apptap_refused *r = arg;
	struct apptap_sighting s;

	list_processes(r, apptap_clock_ns(CLOCK_MONOTONIC));
	for (;;) {
		/* The one place where close() may end this thread. */
		pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
		while (sem_wait(&r->waiting) < 0)
			;
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
		if (apptap_sighting_queue_pop(r->questions, UINT64_MAX, &s) && search(r, &s))
			apptap_sighting_queue_push(r->answers, &s);
	}
	return NULL;
}

void apptap_refused_rescope(struct apptap_refused *r, const struct apptap_scope *scope)
{
	size_t count = atomic_load_explicit(&r->uid_count, memory_order_relaxed);

	for (size_t i = 0; i < scope->uid_count && count < ARRAY_SIZE(r->uids); i++) {
		if (is_ours(r, scope->uids[i].uid))
			continue;
		r->uids[count++] = scope->uids[i].uid;
		atomic_store_explicit(&r->uid_count, count, memory_order_release);
	}
}

int apptap_refused_open(struct apptap_refused **out, int cpu, const struct apptap_scope *scope,
			struct apptap_members *members, struct apptap_error *err)
{
	struct apptap_refused *r = calloc(1, sizeof(*r));
	int code;

	if (!r)
		return apptap_error_set(err, ENOMEM, "allocating a search for refused sockets");
	r->cpu = cpu;
	r->members = members;
	sem_init(&r->waiting, 0, 0);
	apptap_refused_rescope(r, scope);
	if (apptap_sighting_queue_new(&r->questions, QUESTIONS) < 0 ||
	    apptap_sighting_queue_new(&r->answers, ANSWERS) < 0) {
		apptap_refused_close(r);
		return apptap_error_set(err, ENOMEM, "allocating a search for refused sockets");
	}
	code = apptap_rtthread_start(&r->thread, cpu, APPTAP_RT_SEARCH, work, r, NULL);
	if (code) {
		apptap_refused_close(r);
		return apptap_error_set(err, code, "starting a search thread");
	}
	r->started = true;
	*out = r;
	return 0;
}

void apptap_refused_close(struct apptap_refused *r)
{
	if (!r)
		return;
	if (r->started) {
		pthread_cancel(r->thread);
		pthread_join(r->thread, NULL);
	}
	sem_destroy(&r->waiting);
	apptap_sighting_queue_free(r->questions);
	apptap_sighting_queue_free(r->answers);
	free(r);
}

void apptap_refused_ask(struct apptap_refused *r, const struct apptap_sighting *syn)
{
	if (apptap_sighting_queue_push(r->questions, syn))
		sem_post(&r->waiting);
}

struct apptap_sighting_queue *apptap_refused_answers(struct apptap_refused *r)
{
	return r->answers;
}
