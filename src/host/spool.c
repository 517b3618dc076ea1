/* spool.c - the dialog with an agent over a link that has no byte streams: exchanges, and a file at
 * the end (agent/spool.h tells how) */
#include "host/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>

#define RUN_MS 9000
#define GIVE_MS 600000 /* a copy within the target, of any size */
#define SAY_BYTES 16384u /* of ours, in one exchange */
#define PIPE_BYTES (1 << 20)
#define PAUSE_MS 30
#define TRIES 3 /* to fetch what would be lost otherwise */
#define TRY_PAUSE_MS 1000

struct apptap_spool {
	const struct apptap_link_ops *link; /* borrowed */
	void *arg; /* borrowed */
	char agent[160];
	char folder[192];
	char drop[128];
	bool once;
	enum { KEEP_NOTHING, KEEP_DROP, KEEP_FOLDER } keep; /* the only copy of a capture */
	int said_fd; /* owned: what the dialog writes */
	int heard_fd; /* owned: what it reads; -1: the agent has gone */
	uint64_t offset; /* of out, taken so far */
	uint8_t *left; /* owned: heard, and not yet taken by the dialog */
	size_t left_len;
	size_t left_done;
};

/* Runs the agent's program with @args after FOLDER; it must say "end". */
static int exchange(const struct apptap_spool *s, const char *const *args, int timeout_ms,
		    struct apptap_ran *ran, struct apptap_error *err)
{
	const char *argv[8] = { s->agent, "--agent-spool", s->folder };
	size_t n = 3;
	int r;

	while (*args)
		argv[n++] = *args++;
	argv[n] = NULL;
	*ran = (struct apptap_ran){ .status = -1 };
	r = s->link->run(s->arg, argv, timeout_ms, ran, err);
	if (r < 0)
		return apptap_error_wrap(err, r, "over %s", s->link->name);
	if (ran->out && strstr(ran->out, "end\n"))
		return 0;
	return apptap_error_say(err, ECONNRESET, "over %s: %s", s->link->name,
				ran->said[0] ? ran->said : "the link was cut");
}

static int start(struct apptap_spool *s, struct apptap_error *err)
{
	const char *const argv[] = { s->agent, "--agent-spool", s->folder, "serve", NULL };
	struct apptap_ran ran = { .status = -1 };
	int r;

	if (s->link->start)
		return s->link->start(s->arg, argv, err);
	r = s->link->run(s->arg, argv, RUN_MS, &ran, err);
	if (r >= 0 && ran.status != 0)
		r = apptap_error_say(err, EIO, "the agent did not start over %s: %s", s->link->name,
				     ran.said[0] ? ran.said : "it gave no reason");
	apptap_ran_free(&ran);
	return r;
}

static int make_pipes(struct apptap_spool *s, struct apptap_child *child, struct apptap_error *err)
{
	int said[2], heard[2];

	if (pipe2(said, O_CLOEXEC) < 0)
		return apptap_error_set(err, errno, "making a pipe");
	s->said_fd = said[0];
	child->in_fd = said[1];
	if (pipe2(heard, O_CLOEXEC) < 0)
		return apptap_error_set(err, errno, "making a pipe");
	s->heard_fd = heard[1];
	child->out_fd = heard[0];
	fcntl(s->said_fd, F_SETFL, O_NONBLOCK);
	fcntl(s->heard_fd, F_SETFL, O_NONBLOCK);
	fcntl(s->heard_fd, F_SETPIPE_SZ, PIPE_BYTES);
	return 0;
}

int apptap_spool_open(struct apptap_spool **out, const struct apptap_link_ops *link, void *arg,
		      const struct apptap_spool_config *cfg, struct apptap_child *child,
		      struct apptap_error *err)
{
	struct apptap_spool *s = calloc(1, sizeof(*s));
	const char *slash = strrchr(cfg->agent, '/');
	int r;

	if (!s)
		return apptap_error_set(err, ENOMEM, "talking to an agent without a link");
	*child = (struct apptap_child)APPTAP_CHILD_NONE;
	s->said_fd = s->heard_fd = -1;
	s->link = link;
	s->arg = arg;
	s->once = cfg->once;
	snprintf(s->agent, sizeof(s->agent), "%s", cfg->agent);
	snprintf(s->drop, sizeof(s->drop), "%s", cfg->drop);
	snprintf(s->folder, sizeof(s->folder), "%.*s/spool-%08" PRIx64 "-%d",
		 (int)(slash ? slash - cfg->agent : 0), cfg->agent,
		 apptap_clock_ns(CLOCK_REALTIME) & 0xffffffffu, (int)getpid());
	*out = s;
	r = make_pipes(s, child, err);
	return r < 0 ? r : start(s, err);
}

/* Hands the dialog what was heard. true: it has taken all of it. */
static bool pass_on(struct apptap_spool *s)
{
	while (s->left_done < s->left_len) {
		ssize_t n = write(s->heard_fd, s->left + s->left_done, s->left_len - s->left_done);

		if (n < 0)
			return false;
		s->left_done += (size_t)n;
	}
	free(s->left);
	s->left = NULL;
	s->left_len = s->left_done = 0;
	return true;
}

/* Of one of the sixteen digits. */
static unsigned hex_value(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* "here 4154...", or "gone" and what it said last. */
static int take_reply(struct apptap_spool *s, const char *reply, struct apptap_error *err)
{
	const char *hex = strchr(reply, ' ');
	size_t len = hex ? strspn(hex + 1, "0123456789abcdef") / 2 : 0;
	bool gone = strncmp(reply, "gone ", 5) == 0;

	if (!hex || (!gone && strncmp(reply, "here ", 5) != 0))
		return apptap_error_say(err, EPROTO, "over %s: what came is no answer",
					s->link->name);
	s->left = malloc(len + 1);
	if (!s->left)
		return apptap_error_set(err, ENOMEM, "hearing an agent without a link");
	for (size_t i = 0; i < len; i++)
		s->left[i] = (uint8_t)(hex_value(hex[1 + 2 * i]) << 4 | hex_value(hex[2 + 2 * i]));
	s->left_len = len;
	s->offset += len;
	if (pass_on(s) && gone && !len)
		close(apptap_steal_fd(&s->heard_fd));
	return (int)len;
}

int apptap_spool_carry(struct apptap_spool *s, struct apptap_error *err)
{
	uint8_t bytes[SAY_BYTES];
	char hex[2 * SAY_BYTES + 1] = "", offset[24];
	const char *const args[] = { "io", offset, hex, NULL };
	struct apptap_ran ran;
	ssize_t n;
	int r;

	if (s->heard_fd < 0 || !pass_on(s))
		return PAUSE_MS;
	n = read(s->said_fd, bytes, sizeof(bytes));
	for (ssize_t i = 0; i < n; i++)
		snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
	snprintf(offset, sizeof(offset), "%" PRIu64, s->offset);
	r = exchange(s, args, RUN_MS, &ran, err);
	if (r >= 0)
		r = take_reply(s, ran.out, err);
	apptap_ran_free(&ran);
	if (r < 0)
		return r;
	return r ? 0 : PAUSE_MS;
}

static int copy(const char *path, struct apptap_output *o, struct apptap_error *err)
{
	auto_close int from = open(path, O_RDONLY | O_CLOEXEC);
	auto_free char *buf = malloc(1u << 20);
	ssize_t n = -1;

	if (from >= 0 && buf && apptap_output_begin(o, err) < 0)
		return -err->code;
	if (from >= 0 && buf)
		while ((n = read(from, buf, 1u << 20)) > 0)
			for (ssize_t done = 0, more; done < n; done += more) {
				more = write(o->fd, buf + done, (size_t)(n - done));
				if (more < 0 && errno == EAGAIN) { /* a pipe, and it is full */
					poll(&(struct pollfd){ .fd = o->fd, .events = POLLOUT }, 1,
					     -1);
					more = 0;
				}
				if (more < 0)
					return apptap_error_set(err, errno, "writing the capture");
			}
	return n < 0 ? apptap_error_set(err, errno, "reading the fetched capture") : 0;
}

/* A file of who connects, into which root puts the capture: they could not read root's own. */
static int offer_drop(const struct apptap_spool *s, const char *empty, struct apptap_error *err)
{
	const char *const args[] = { "give", s->drop, NULL };
	struct apptap_ran ran;
	int r = s->link->push(s->arg, empty, s->drop, err);

	if (r < 0)
		return r;
	r = exchange(s, args, GIVE_MS, &ran, err);
	apptap_ran_free(&ran);
	return r;
}

/* From the target to @path. Until this has worked, what is there must not be removed. */
static int bring(struct apptap_spool *s, const char *path, struct apptap_error *err)
{
	int r;

	s->keep = KEEP_FOLDER;
	for (int tries = 0; tries < TRIES; tries++) {
		if (tries)
			poll(NULL, 0, TRY_PAUSE_MS);
		r = s->keep == KEEP_FOLDER ? offer_drop(s, path, err) : 0;
		if (r < 0)
			continue;
		s->keep = KEEP_DROP;
		r = s->link->pull(s->arg, s->drop, path, err);
		if (r >= 0) {
			s->keep = KEEP_NOTHING;
			return 0;
		}
	}
	apptap_error_wrap(err, r, "fetching the capture");
	if (s->keep == KEEP_DROP)
		apptap_error_hint(err,
				  "it is whole on the target, fetch it by hand (as by 'adb "
				  "pull'), then remove it: %s",
				  s->drop);
	else
		apptap_error_hint(err,
				  "it is whole on the target, where root may read it: "
				  "%s/capture",
				  s->folder);
	return r;
}

int apptap_spool_fetch(struct apptap_spool *s, struct apptap_output *o, struct apptap_error *err)
{
	char folder[] = "/tmp/apptap-fetch-XXXXXX";
	char path[64];
	int made, r;

	if (!mkdtemp(folder))
		return apptap_error_set(err, errno, "making a folder in /tmp");
	snprintf(path, sizeof(path), "%s/capture", folder);
	made = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	r = made < 0 ? apptap_error_set(err, errno, "writing '%s'", path) : bring(s, path, err);
	if (made >= 0)
		close(made);
	if (r >= 0) {
		r = copy(path, o, err);
		if (r < 0) { /* the target's copy goes: this is the only whole one */
			if (o->is_regular && ftruncate(o->fd, (off_t)o->whole) < 0)
				apptap_error_wrap(err, r, "half of it is written");
			apptap_error_hint(err, "the whole capture was left in '%s'", path);
			return apptap_error_wrap(err, r, "fetching the capture");
		}
	}
	unlink(path);
	rmdir(folder);
	return r;
}

static void end(const struct apptap_spool *s, const char *const *args)
{
	struct apptap_error ignored = { 0 };
	struct apptap_ran ran = { 0 };

	exchange(s, args, RUN_MS, &ran, &ignored);
	apptap_ran_free(&ran);
}

void apptap_spool_close(struct apptap_spool *s)
{
	const char *once;

	if (!s)
		return;
	once = s->once ? "once" : NULL;
	if (s->keep == KEEP_FOLDER)
		end(s, (const char *[]){ "keep", s->drop, once, NULL });
	else
		end(s, (const char *[]){ "end", s->keep == KEEP_DROP ? "-" : s->drop, once, NULL });
	if (s->said_fd >= 0)
		close(s->said_fd);
	if (s->heard_fd >= 0)
		close(s->heard_fd);
	free(s->left);
	free(s);
}
