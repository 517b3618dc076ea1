/*
 * ipt.c - iptables and ip6tables: changes in one go, and an end to what is ours
 *
 * How it works. The programs of the system know their kernel: legacy tables or nftables. They are
 * run without a shell, by their full path. What is ours is found in what iptables-save says, by the
 * names of chains; nothing else is ever named in what we ask for.
 */
#include "tier/ipt.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "tier/tag.h"

#define SAVED_MAX (4U << 20)
#define TAG_MAX 16
#define WAIT_SECONDS "5" /* for others who change rules at this moment */

static const char *const folders[] = { "/usr/sbin", "/sbin", "/system/bin", "/usr/bin", "/bin" };

/* NULL, and an empty @buf: there is none. */
static const char *program(enum apptap_ipt_family family, const char *what, char *buf, size_t size)
{
	for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
		snprintf(buf, size, "%s/%s-%s", folders[i],
			 family == APPTAP_IPT_V6 ? "ip6tables" : "iptables", what);
		if (access(buf, X_OK) == 0)
			return buf;
	}
	buf[0] = '\0';
	return NULL;
}

int apptap_ipt_check(enum apptap_ipt_family family, struct apptap_error *err)
{
	char path[64];

	if (family == APPTAP_IPT_V6 && access("/proc/net/if_inet6", F_OK) < 0)
		return apptap_error_say(err, EAFNOSUPPORT, "this kernel has no IPv6");
	if (program(family, "restore", path, sizeof(path)) &&
	    program(family, "save", path, sizeof(path)))
		return 0;
	return apptap_error_say(err, ENOENT, "there is no %s-restore here",
				family == APPTAP_IPT_V6 ? "ip6tables" : "iptables");
}

/*
 * Programs of nftables make way for each other: who comes too late begins anew. Those of the legacy
 * tables share a lock, and old ones look only once a second whether it is free.
 */
static bool may_run_together(void)
{
	char path[64], real[PATH_MAX];
	const char *name;

	if (!program(APPTAP_IPT_V4, "restore", path, sizeof(path)) || !realpath(path, real))
		return false;
	name = strrchr(real, '/');
	return name && strncmp(name, "/xtables-nft", 12) == 0;
}

/* ---- running them ---- */

struct job {
	char path[64]; /* "": there is nothing to do */
	char *argv[6];
	const char *text; /* what is left of it, to its stdin */
	bool talks; /* what it says is wanted, not what it complains about */
	char *buf; /* for that: @size bytes */
	size_t size;
	pid_t pid;
	int in, out; /* owned: to its stdin, from its stdout or stderr */
	int held; /* borrowed: stays open in it; -1: none */
	int result; /* its exit code, or -errno */
};

/* In the new process: only calls that are safe there. */
static void become(const struct job *j, int in, int out)
{
	static const int defaults[] = { SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	char *const env[] = { (char *)"PATH=/usr/sbin:/sbin:/system/bin:/usr/bin:/bin",
			      (char *)"LC_ALL=C", NULL };
	int null = open("/dev/null", O_RDWR);

	for (size_t i = 0; i < ARRAY_SIZE(defaults); i++)
		signal(defaults[i], SIG_DFL);
	dup2(in, STDIN_FILENO);
	dup2(j->talks ? out : null, STDOUT_FILENO);
	dup2(j->talks ? null : out, STDERR_FILENO);
	if (j->held >= 0)
		fcntl(j->held, F_SETFD, 0);
	execve(j->argv[0], j->argv, env);
	_exit(127);
}

/* Writes what there is room for, and closes its stdin when that was all. */
static void feed(struct job *j)
{
	size_t left = strlen(j->text);
	ssize_t sent = left ? write(j->in, j->text, left) : 0;

	if (sent < 0 && errno != EAGAIN)
		sent = (ssize_t)left; /* it has had enough: its exit code tells */
	if (sent > 0)
		j->text += sent;
	if (!*j->text)
		close(apptap_steal_fd(&j->in));
}

static int start(struct job *j)
{
	int in[2], out[2];

	if (pipe2(in, O_CLOEXEC) < 0)
		return -errno;
	if (pipe2(out, O_CLOEXEC) < 0) {
		int code = errno;

		close(in[0]);
		close(in[1]);
		return -code;
	}
	j->pid = fork();
	if (j->pid == 0)
		become(j, in[0], out[1]);
	j->in = in[1];
	j->out = out[0];
	close(in[0]);
	close(out[1]);
	if (j->pid > 0) {
		fcntl(j->in, F_SETFL, O_NONBLOCK);
		feed(j);
		return 0;
	}
	close(apptap_steal_fd(&j->in));
	close(apptap_steal_fd(&j->out));
	return -EAGAIN;
}

/* Writes the rest of its text and reads all that comes, at most @size - 1 bytes. */
static void converse(struct job *j)
{
	size_t len = 0;
	ssize_t n = 1;

	while (n > 0) {
		struct pollfd p[2] = { { .fd = j->out, .events = POLLIN },
				       { .fd = j->in, .events = POLLOUT } };

		if (poll(p, 2, -1) < 0)
			continue;
		if (p[1].revents)
			feed(j);
		if (p[0].revents) {
			char over[512];
			bool room = len + 1 < j->size;

			n = read(j->out, room ? j->buf + len : over,
				 room ? j->size - 1 - len : sizeof(over));
			len += room && n > 0 ? (size_t)n : 0;
		}
	}
	j->buf[len] = '\0';
}

static void finish(struct job *j)
{
	int status;

	if (j->result < 0 || !j->path[0])
		return;
	converse(j);
	if (j->in >= 0)
		close(apptap_steal_fd(&j->in));
	close(apptap_steal_fd(&j->out));
	while (waitpid(j->pid, &status, 0) < 0)
		if (errno != EINTR) {
			j->result = -errno;
			return;
		}
	j->result = WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

/* Those of both families, at the same time where that is quicker. */
static void run(struct job jobs[APPTAP_IPT_FAMILIES])
{
	bool together = may_run_together();

	for (int i = 0; i < APPTAP_IPT_FAMILIES; i++) {
		jobs[i].argv[0] = jobs[i].path;
		jobs[i].result = jobs[i].path[0] ? start(&jobs[i]) : 0;
		if (!together)
			finish(&jobs[i]);
	}
	for (int i = 0; together && i < APPTAP_IPT_FAMILIES; i++)
		finish(&jobs[i]);
}

/* One line for a human, of what a program wrote. */
static void first_line(char *text)
{
	text[strcspn(text, "\n")] = '\0';
	for (char *p = text; *p; p++)
		if (!isprint((unsigned char)*p))
			*p = ' ';
}

static int judge_restore(struct job *j, struct apptap_error *err)
{
	if (j->result == 0)
		return 0;
	if (j->result < 0)
		return apptap_error_set(err, -j->result, "running %s", j->path);
	first_line(j->buf);
	return apptap_error_say(err, EOPNOTSUPP, "%s refuses our rules: %.150s", j->path, j->buf);
}

int apptap_ipt_restore(const char *const text[APPTAP_IPT_FAMILIES], int held,
		       struct apptap_error *err)
{
	struct job jobs[APPTAP_IPT_FAMILIES] = { 0 };
	char said[APPTAP_IPT_FAMILIES][200] = { "", "" };
	int r = 0;

	for (int i = 0; i < APPTAP_IPT_FAMILIES; i++) {
		struct job *j = &jobs[i];

		if (!text[i])
			continue;
		if (!program((enum apptap_ipt_family)i, "restore", j->path, sizeof(j->path)))
			return apptap_ipt_check((enum apptap_ipt_family)i, err);
		j->argv[1] = (char *)"-w";
		j->argv[2] = (char *)WAIT_SECONDS;
		j->argv[3] = (char *)"--noflush";
		j->text = text[i];
		j->held = held;
		j->buf = said[i];
		j->size = sizeof(said[i]);
	}
	run(jobs);
	for (int i = 0; i < APPTAP_IPT_FAMILIES; i++) {
		int code = judge_restore(&jobs[i], err);

		r = r < 0 ? r : code;
	}
	return r;
}

static void prepare_save(struct job *j, enum apptap_ipt_family family, const char *what,
			 const char *table, char *buf)
{
	if (!buf || !program(family, what, j->path, sizeof(j->path)))
		return;
	j->argv[1] = table ? (char *)"-t" : NULL;
	j->argv[2] = (char *)table;
	j->text = "";
	j->held = -1;
	j->talks = true;
	j->buf = buf;
	j->size = SAVED_MAX;
}

void apptap_ipt_save(char *out[APPTAP_IPT_FAMILIES])
{
	struct job jobs[APPTAP_IPT_FAMILIES] = { 0 };

	for (int i = 0; i < APPTAP_IPT_FAMILIES; i++) {
		enum apptap_ipt_family family = (enum apptap_ipt_family)i;

		out[i] = apptap_ipt_check(family, NULL) == 0 ? calloc(1, SAVED_MAX) : NULL;
		prepare_save(&jobs[i], family, "save", "mangle", out[i]);
	}
	run(jobs);
	for (int i = 0; i < APPTAP_IPT_FAMILIES; i++)
		if (!jobs[i].path[0] || jobs[i].result != 0) {
			free(out[i]);
			out[i] = NULL;
		}
}

void apptap_ipt_free(char *saved[APPTAP_IPT_FAMILIES])
{
	for (int i = 0; i < APPTAP_IPT_FAMILIES; i++)
		free(saved[i]);
}

bool apptap_ipt_is_nftables(const char *saved)
{
	const char *program = strstr(saved, "(nf_tables)");

	return program && program < strchrnul(saved, '\n');
}

/* Of all tables, by the program whose name ends so. NULL: it does not say. */
static char *save_all(enum apptap_ipt_family family, const char *what)
{
	struct job jobs[APPTAP_IPT_FAMILIES] = { 0 };
	char *buf = calloc(1, SAVED_MAX);

	prepare_save(&jobs[0], family, what, NULL, buf);
	run(jobs);
	if (jobs[0].path[0] && jobs[0].result == 0)
		return buf;
	free(buf);
	return NULL;
}

uint32_t apptap_ipt_legacy_marks(enum apptap_ipt_family family)
{
	static const char *const names[] = { "/proc/net/ip_tables_names",
					     "/proc/net/ip6_tables_names" };
	auto_close int fd = open(names[family], O_RDONLY | O_CLOEXEC);
	auto_free char *saved = NULL;
	char byte;

	if (fd < 0 || read(fd, &byte, 1) != 1)
		return 0;
	/* Where both programs are there, the one without the word may speak of nftables. */
	saved = save_all(family, "legacy-save");
	if (!saved)
		saved = save_all(family, "save");
	return saved ? apptap_ipt_marks(saved) : 0;
}

/* ---- what is ours ---- */

struct writer {
	char *p;
	size_t left;
};

static void put(struct writer *w, const char *text, size_t len)
{
	if (len >= w->left) {
		w->left = 0;
		return;
	}
	memcpy(w->p, text, len);
	w->p += len;
	w->left -= len;
	*w->p = '\0';
}

static bool names_ours(const char *word, const char *prefix)
{
	return strncmp(word, prefix, strlen(prefix)) == 0;
}

static const char *next_line(const char *p)
{
	p = strchr(p, '\n');
	return p && p[1] ? p + 1 : NULL;
}

/* "-A CHAIN ... -j OURS": of a chain that is not ours, but leads to one that is. */
static bool leads_to_ours(const char *line, const char *prefix)
{
	size_t len = strcspn(line, "\n");
	const char *target;

	if (strncmp(line, "-A ", 3) != 0 || names_ours(line + 3, prefix))
		return false;
	for (target = line; (target = strstr(target, " -j ")) && target < line + len; target += 4)
		if (names_ours(target + 4, prefix))
			return true;
	return false;
}

static int put_chains(struct writer *w, const char *saved, const char *prefix, const char *verb)
{
	int count = 0;

	for (const char *l = saved; l; l = next_line(l)) {
		if (l[0] != ':' || !names_ours(l + 1, prefix))
			continue;
		put(w, verb, 3);
		put(w, l + 1, strcspn(l + 1, " \n"));
		put(w, "\n", 1);
		count++;
	}
	return count;
}

int apptap_ipt_removal(const char *saved, const char *tag, char *out, size_t size)
{
	struct writer w = { out, size };
	char prefix[sizeof(APPTAP_IPT_PREFIX) + TAG_MAX];
	int count;

	snprintf(prefix, sizeof(prefix), APPTAP_IPT_PREFIX "%s", tag);
	put(&w, "*mangle\n", 8);
	for (const char *l = saved; l; l = next_line(l)) {
		if (!leads_to_ours(l, prefix))
			continue;
		put(&w, "-D", 2);
		put(&w, l + 2, strcspn(l + 2, "\n") + 1);
	}
	put_chains(&w, saved, prefix, "-F ");
	count = put_chains(&w, saved, prefix, "-X ");
	put(&w, "COMMIT\n", 7);
	return w.left ? count : -ENOSPC;
}

/* Of the families that have a list in @saved. */
static int remove_saved(char *const saved[APPTAP_IPT_FAMILIES], const char *tag,
			struct apptap_error *err)
{
	char *text[APPTAP_IPT_FAMILIES] = { NULL, NULL };
	int total = 0, r = 0;

	for (int i = 0; r >= 0 && i < APPTAP_IPT_FAMILIES; i++) {
		if (!saved[i])
			continue;
		text[i] = malloc(SAVED_MAX);
		r = text[i] ? apptap_ipt_removal(saved[i], tag, text[i], SAVED_MAX) : -ENOMEM;
		total += r;
		if (r == 0) {
			free(text[i]);
			text[i] = NULL;
		}
	}
	if (r < 0)
		apptap_error_set(err, -r, "removing rules");
	else if (total)
		r = apptap_ipt_restore((const char *const *)text, -1, err);
	for (int i = 0; i < APPTAP_IPT_FAMILIES; i++)
		free(text[i]);
	return r < 0 ? r : total;
}

int apptap_ipt_remove(const char *tag, struct apptap_error *err)
{
	char *saved[APPTAP_IPT_FAMILIES];
	bool unknown = false;
	int r;

	apptap_ipt_save(saved);
	for (int i = 0; i < APPTAP_IPT_FAMILIES; i++)
		unknown |= !saved[i] && apptap_ipt_check((enum apptap_ipt_family)i, NULL) == 0;
	r = remove_saved(saved, tag, err);
	apptap_ipt_free(saved);
	if (r >= 0 && unknown)
		return apptap_error_say(err, EOPNOTSUPP, "iptables-save fails");
	return r;
}

static uint32_t fewer(uint32_t v)
{
	return __builtin_popcount(v) > 16 ? ~v : v;
}

uint32_t apptap_ipt_marks(const char *saved)
{
	uint32_t used = 0;

	for (const char *l = saved; l; l = next_line(l)) {
		const char *end = l + strcspn(l, "\n"), *p = strcasestr(l, "mark");

		if (l[0] != '-' || !p || p > end)
			continue;
		for (p = strstr(l, "0x"); p && p < end; p = strstr(p + 2, "0x"))
			used |= fewer((uint32_t)strtoul(p, NULL, 16));
	}
	return used;
}

/* The tag in a chain's name; false: it is none of ours. */
static bool tag_of(const char *line, char tag[APPTAP_TAG_BYTES + 1])
{
	const char *p = line + 1 + strlen(APPTAP_IPT_PREFIX);

	return line[0] == ':' && names_ours(line + 1, APPTAP_IPT_PREFIX) &&
	       apptap_tag_parse(p, tag) && p[APPTAP_TAG_BYTES] == '_';
}

/* Chains in one family's list whose tag nobody holds: all of those captures, in both families. */
static int heal_listed(char *const saved[APPTAP_IPT_FAMILIES], const char *list,
		       struct apptap_error *err)
{
	char tag[APPTAP_TAG_BYTES + 1], last[APPTAP_TAG_BYTES + 1] = "";
	int total = 0;

	for (const char *l = list; l; l = next_line(l)) {
		auto_close int fd = -1;
		int r;

		if (!tag_of(l, tag) || strcmp(tag, last) == 0)
			continue;
		memcpy(last, tag, sizeof(last));
		fd = apptap_tag_hold(APPTAP_IPT_HELD, tag);
		if (fd < 0)
			continue; /* somebody looks after it */
		r = remove_saved(saved, tag, err);
		if (r < 0)
			return r;
		total += r;
	}
	return total;
}

int apptap_ipt_heal(char *const saved[APPTAP_IPT_FAMILIES], struct apptap_error *err)
{
	int total = 0, r = 0;

	/* Each by itself: what a list says is there once. */
	for (int i = 0; r >= 0 && i < APPTAP_IPT_FAMILIES; i++) {
		char *one[APPTAP_IPT_FAMILIES] = { NULL, NULL };

		one[i] = saved[i];
		r = heal_listed(one, saved[i], err);
		total += r;
	}
	return r < 0 ? r : total;
}
