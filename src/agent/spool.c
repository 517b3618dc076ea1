/* spool.c - an agent without a link: what would cross it lies in a folder of the target */
#include "agent/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "agent/agent.h"

#define LOOK_MS 20
#define NEWS_MS 200 /* that io waits for something to tell */
#define AWAIT_MS 5000 /* that the first io waits for a serve which was started beside it */
#define BACKLOG_BYTES (8u << 20) /* of out, which the host has not taken yet */
#define REPLY_BYTES (1u << 20) /* of out, in one exchange: twice that in hexadecimal */

static const char *const names[] = { "in", "out", "taken", "err", APPTAP_SPOOL_CAPTURE };

static int complain(const char *what, const char *path)
{
	fprintf(stderr, "apptap: %s %s: %s\n", what, path, strerror(errno));
	return 1;
}

static void wait_a_little(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = LOOK_MS * (long)APPTAP_NSEC_PER_MSEC }, NULL);
}

/* The folder, if it is ours alone. */
static int open_folder(const char *path)
{
	auto_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0 || st.st_uid != geteuid() || st.st_mode & (S_IRWXG | S_IRWXO)) {
		errno = EPERM;
		return -1;
	}
	return apptap_steal_fd(&fd);
}

/* The same, once serve has made all of its files: capture is the last. */
static int await_folder(const char *path)
{
	for (int waited = 0;; waited += LOOK_MS) {
		auto_close int fd = open_folder(path);

		if (fd >= 0 && faccessat(fd, APPTAP_SPOOL_CAPTURE, F_OK, 0) == 0)
			return apptap_steal_fd(&fd);
		if (waited >= AWAIT_MS)
			return -1;
		wait_a_little();
	}
}

static void remove_files(int fd, bool with_capture)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (with_capture || strcmp(names[i], APPTAP_SPOOL_CAPTURE) != 0)
			unlinkat(fd, names[i], 0);
}

/* An agent holds a lock on its out for as long as it runs. */
static bool is_served(int fd)
{
	auto_close int out = openat(fd, "out", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	return out >= 0 && flock(out, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

bool apptap_spool_remove(int folder_fd, const char *name)
{
	auto_close int fd =
		openat(folder_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	/* Another user's may have a FIFO in it, whose opening never ends. */
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_uid != geteuid() || is_served(fd))
		return false;
	remove_files(fd, true);
	return unlinkat(folder_fd, name, AT_REMOVEDIR) == 0;
}

/* --- serve */

struct tail {
	int in_fd; /* owned by main */
	int pipe_fd; /* to what the agent takes for its stdin */
	atomic_bool heard_nothing; /* it ended the pipe for that */
};

struct record {
	int pipe_fd; /* owned: what the agent takes for its stdout */
	int out_fd; /* borrowed */
	int taken_fd; /* borrowed: how much of out the host has */
	const struct tail *tail; /* borrowed */
};

/* Passes on what the host appends, until the host is silent for too long. */
static void *follow(void *arg)
{
	struct tail *t = arg;
	uint64_t heard_ns = apptap_clock_ns(CLOCK_MONOTONIC);
	struct stat last = { 0 }, st;
	char buf[16384];

	for (;;) {
		ssize_t n = read(t->in_fd, buf, sizeof(buf));

		if (n > 0 && write(t->pipe_fd, buf, (size_t)n) != n)
			break;
		if (n < 0 || fstat(t->in_fd, &st) < 0 || st.st_nlink == 0)
			break;
		if (st.st_mtim.tv_sec != last.st_mtim.tv_sec ||
		    st.st_mtim.tv_nsec != last.st_mtim.tv_nsec) {
			heard_ns = apptap_clock_ns(CLOCK_MONOTONIC);
			last = st;
		}
		if (apptap_clock_ns(CLOCK_MONOTONIC) - heard_ns >
		    APPTAP_SPOOL_SILENCE_MS * APPTAP_NSEC_PER_MSEC)
			break;
		if (n == 0)
			wait_a_little();
	}
	t->heard_nothing = true;
	close(t->pipe_fd);
	return NULL;
}

static uint64_t taken_so_far(int fd)
{
	uint64_t taken = 0;

	return pread(fd, &taken, sizeof(taken), 0) == sizeof(taken) ? taken : 0;
}

/* Puts what the agent says into out. A host that is behind makes it wait, as a link would. */
static void *record(void *arg)
{
	struct record *r = arg;
	uint64_t written = 0;
	char buf[65536];
	ssize_t n;

	while ((n = read(r->pipe_fd, buf, sizeof(buf))) > 0) {
		while (written > taken_so_far(r->taken_fd) + BACKLOG_BYTES &&
		       !r->tail->heard_nothing)
			wait_a_little();
		if (write(r->out_fd, buf, (size_t)n) != n)
			break; /* no space is left: the agent finds its pipe closed */
		written += (uint64_t)n;
	}
	close(r->pipe_fd);
	return NULL;
}

/* Away from who started us: neither its terminal, its group nor its end concern the agent. */
static void detach(void)
{
	if (fork() > 0)
		_exit(0);
	setsid();
	if (fork() > 0)
		_exit(0);
}

/* Descriptors of the folder's files, made here; -1: they could not all be made. */
struct files {
	int in, err, taken, capture;
};

static bool make_files(int folder_fd, struct files *f)
{
	const int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC;

	f->err = openat(folder_fd, "err", flags, 0600);
	f->in = openat(folder_fd, "in", flags, 0600);
	f->taken = openat(folder_fd, "taken", flags, 0600);
	f->capture =
		openat(folder_fd, APPTAP_SPOOL_CAPTURE, flags, 0600); /* the last: await_folder() */
	return f->err >= 0 && f->in >= 0 && f->taken >= 0 && f->capture >= 0;
}

/* The process ends soon after this returns, and closes what is left open. */
static int be_agent(int fd, int out_fd)
{
	struct tail tail = { 0 };
	struct record rec = { .out_fd = out_fd, .tail = &tail };
	pthread_t follower, recorder;
	struct files files;
	int said[2], heard[2], code;

	if (!make_files(fd, &files) || pipe2(heard, O_CLOEXEC) < 0 || pipe2(said, O_CLOEXEC) < 0)
		return 1;
	tail.in_fd = files.in;
	tail.pipe_fd = heard[1];
	rec.pipe_fd = said[0];
	rec.taken_fd = files.taken;
	detach();
	dup2(heard[0], STDIN_FILENO);
	dup2(said[1], STDOUT_FILENO);
	dup2(files.err, STDERR_FILENO);
	close(heard[0]);
	close(said[1]);
	if (pthread_create(&follower, NULL, follow, &tail) != 0 ||
	    pthread_create(&recorder, NULL, record, &rec) != 0)
		return 1;
	code = apptap_agent_main(false, files.capture);
	close(STDOUT_FILENO); /* where the agent has not taken it away: the recorder's end */
	pthread_join(recorder, NULL);
	if (tail.heard_nothing) {
		remove_files(fd, true);
		code = 3; /* the folder too */
	}
	return code;
}

static int serve(const char *path)
{
	auto_close int fd = -1;
	int out_fd, code;

	if (mkdir(path, 0700) < 0)
		return complain("making", path);
	fd = open_folder(path);
	out_fd = fd < 0 ? -1
			: openat(fd, "out", O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC,
				 0600);
	if (out_fd < 0 || flock(out_fd, LOCK_EX | LOCK_NB) < 0)
		return complain("opening", path);
	code = be_agent(fd, out_fd);
	if (code == 3) {
		rmdir(path);
		apptap_agent_remove_own_file();
	}
	return code;
}

/* --- the host's side of an exchange */

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Appends what @hex says, in one write: the agent must not read half a frame's end as silence. */
static int append(int fd, const char *hex)
{
	auto_close int in = openat(fd, "in", O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC);
	size_t len = strlen(hex) / 2;
	auto_free uint8_t *bytes = malloc(len + 1);

	if (in < 0 || !bytes)
		return -1;
	for (size_t i = 0; i < len; i++) {
		int high = hex_value(hex[2 * i]), low = hex_value(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return -1;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	futimens(in, NULL); /* we are there, also when we have nothing to say */
	return len && write(in, bytes, len) != (ssize_t)len ? -1 : 0;
}

/* The host has out up to @offset: that is given back, as far as the file system can. */
static int note_taken(int fd, int out, off_t offset)
{
	auto_close int taken = openat(fd, "taken", O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	uint64_t n = (uint64_t)offset;
	off_t pages = offset & ~(off_t)4095;

	if (taken < 0 || pwrite(taken, &n, sizeof(n), 0) != sizeof(n))
		return -1;
	if (pages)
		fallocate(out, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, pages);
	return 0;
}

static int exchange(int fd, off_t offset, const char *hex)
{
	auto_close int out = openat(fd, "out", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	auto_free uint8_t *bytes = malloc(REPLY_BYTES);
	bool served = true;
	ssize_t n = 0;

	if (out < 0 || !bytes || note_taken(fd, out, offset) < 0 || append(fd, hex) < 0)
		return 1;
	for (int waited = 0; waited <= NEWS_MS && n == 0 && served; waited += LOOK_MS) {
		served = is_served(fd); /* before the last look: what it wrote is then there */
		n = pread(out, bytes, REPLY_BYTES, offset);
		if (n == 0 && served)
			wait_a_little();
	}
	if (n < 0)
		return 1;
	printf("%s ", served ? "here" : "gone");
	for (ssize_t i = 0; i < n; i++)
		printf("%02x", bytes[i]);
	printf("\nend\n");
	return 0;
}

/* @path was made by who will fetch it, and stays theirs alone: adbd lets others read what it
 * writes. */
static int give(int fd, const char *path)
{
	auto_close int from = openat(fd, "capture", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	auto_close int to = open(path, O_WRONLY | O_TRUNC | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n;

	if (from < 0 || to < 0 || fchmod(to, 0600) < 0)
		return complain("copying to", path);
	do
		n = sendfile(to, from, NULL, 16u << 20);
	while (n > 0);
	if (n < 0)
		return complain("copying to", path);
	printf("end\n");
	return 0;
}

static int finish(const char *folder, const char *dropped, bool once, bool keep)
{
	auto_close int fd = open_folder(folder);
	const char *name = strrchr(dropped, '/');

	if (fd >= 0) {
		remove_files(fd, !keep);
		rmdir(folder); /* fails while something is kept */
	}
	if (name && strncmp(name, "/.apptap-", strlen("/.apptap-")) == 0)
		unlink(dropped);
	if (once)
		apptap_agent_remove_own_file();
	printf("end\n");
	return 0;
}

int apptap_spool_main(char *const *args)
{
	const char *folder = args[0], *verb = folder ? args[1] : NULL;
	auto_close int fd = -1;

	if (!verb) {
		fputs("apptap: --agent-spool is used by apptap itself\n", stderr);
		return 2;
	}
	if (strcmp(verb, "serve") == 0)
		return serve(folder);
	if (strcmp(verb, "end") == 0 && args[2])
		return finish(folder, args[2], args[3] != NULL, false);
	if (strcmp(verb, "keep") == 0 && args[2])
		return finish(folder, args[2], args[3] != NULL, true);
	fd = args[2] && strcmp(args[2], "0") == 0 ? await_folder(folder) : open_folder(folder);
	if (fd < 0)
		return complain("opening", folder);
	if (strcmp(verb, "io") == 0 && args[2] && args[3])
		return exchange(fd, (off_t)strtoull(args[2], NULL, 10), args[3]);
	if (strcmp(verb, "give") == 0 && args[2])
		return give(fd, args[2]);
	return 2;
}
