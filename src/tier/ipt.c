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
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "tier/tag.h"

#define SAVED_MAX (4U << 20)
#define TAG_MAX 16
#define WAIT_SECONDS "5" /* for others who change rules at this moment */

static const char *const folders[] = { "/usr/sbin", "/sbin", "/system/bin", "/usr/bin", "/bin" };

static const char *program(enum apptap_ipt_family family, const char *what, char *buf, size_t size)
{
	for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
		snprintf(buf, size, "%s/%s-%s", folders[i],
			 family == APPTAP_IPT_V6 ? "ip6tables" : "iptables", what);
		if (access(buf, X_OK) == 0)
			return buf;
	}
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

/* ---- running one ---- */

struct child {
	pid_t pid;
	int in, out; /* owned: to its stdin, from its stdout or stderr */
};

/* In the new process: only calls that are safe there. */
static void become(char *const argv[], int in, int out, bool talks)
{
	static const int defaults[] = { SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	char *const env[] = { (char *)"PATH=/usr/sbin:/sbin:/system/bin:/usr/bin:/bin",
			      (char *)"LC_ALL=C", NULL };
	int null = open("/dev/null", O_RDWR);

	for (size_t i = 0; i < ARRAY_SIZE(defaults); i++)
		signal(defaults[i], SIG_DFL);
	dup2(in, STDIN_FILENO);
	dup2(talks ? out : null, STDOUT_FILENO);
	dup2(talks ? null : out, STDERR_FILENO);
	execve(argv[0], argv, env);
	_exit(127);
}

static int start(struct child *c, char *const argv[], bool talks)
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
	c->pid = fork();
	if (c->pid == 0)
		become(argv, in[0], out[1], talks);
	c->in = in[1];
	c->out = out[0];
	close(in[0]);
	close(out[1]);
	if (c->pid > 0)
		return 0;
	close(c->in);
	close(c->out);
	return -EAGAIN;
}

/* Writes @text and reads all that comes, at most @size - 1 bytes. */
static void converse(struct child *c, const char *text, char *buf, size_t size)
{
	size_t left = strlen(text), len = 0;
	ssize_t n = 1;

	fcntl(c->in, F_SETFL, O_NONBLOCK);
	while (n > 0) {
		struct pollfd p[2] = { { .fd = c->out, .events = POLLIN },
				       { .fd = left ? c->in : -1, .events = POLLOUT } };

		if (!left && c->in >= 0)
			close(apptap_steal_fd(&c->in));
		if (poll(p, 2, -1) < 0)
			continue;
		if (p[1].revents) {
			ssize_t sent = write(c->in, text, left);

			if (sent < 0 && errno != EAGAIN)
				left = 0; /* it has had enough: its exit code tells */
			else if (sent > 0) {
				text += sent;
				left -= (size_t)sent;
			}
		}
		if (p[0].revents) {
			char over[512];
			bool room = len + 1 < size;

			n = read(c->out, room ? buf + len : over,
				 room ? size - 1 - len : sizeof(over));
			len += room && n > 0 ? (size_t)n : 0;
		}
	}
	buf[len] = '\0';
	if (c->in >= 0)
		close(c->in);
	close(c->out);
}

/* Return: its exit code, or -errno. */
static int run(char *const argv[], const char *text, bool talks, char *buf, size_t size)
{
	struct child c = { .in = -1, .out = -1 };
	int status, r = start(&c, argv, talks);

	if (r < 0)
		return r;
	converse(&c, text, buf, size);
	while (waitpid(c.pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

/* One line for a human, of what a program wrote. */
static void first_line(char *text)
{
	text[strcspn(text, "\n")] = '\0';
	for (char *p = text; *p; p++)
		if (!isprint((unsigned char)*p))
			*p = ' ';
}

int apptap_ipt_restore(enum apptap_ipt_family family, const char *text, struct apptap_error *err)
{
	char path[64], said[200] = "";
	char *argv[] = { path, (char *)"-w", (char *)WAIT_SECONDS, (char *)"--noflush", NULL };
	int r;

	if (!program(family, "restore", path, sizeof(path)))
		return apptap_ipt_check(family, err);
	r = run(argv, text, false, said, sizeof(said));
	if (r == 0)
		return 0;
	if (r < 0)
		return apptap_error_set(err, -r, "running %s", path);
	first_line(said);
	return apptap_error_say(err, EOPNOTSUPP, "%s refuses our rules: %.150s", path, said);
}

/* @table: NULL: all of them. */
static int save(enum apptap_ipt_family family, const char *what, const char *table, char **out,
		struct apptap_error *err)
{
	char path[64];
	char *argv[] = { path, table ? (char *)"-t" : NULL, (char *)table, NULL };
	auto_free char *buf = malloc(SAVED_MAX);
	int r;

	if (!program(family, what, path, sizeof(path)))
		return apptap_ipt_check(family, err);
	if (!buf)
		return apptap_error_set(err, ENOMEM, "reading the rules");
	r = run(argv, "", true, buf, SAVED_MAX);
	if (r < 0)
		return apptap_error_set(err, -r, "running %s", path);
	if (r > 0)
		return apptap_error_say(err, EOPNOTSUPP, "%s fails", path);
	*out = apptap_steal(&buf);
	return 0;
}

int apptap_ipt_save(enum apptap_ipt_family family, char **out, struct apptap_error *err)
{
	return save(family, "save", "mangle", out, err);
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
	if (save(family, "legacy-save", NULL, &saved, NULL) < 0 || !saved)
		save(family, "save", NULL, &saved, NULL);
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

static int remove_family(enum apptap_ipt_family family, const char *tag, struct apptap_error *err)
{
	auto_free char *saved = NULL;
	auto_free char *text = NULL;
	int count, r = apptap_ipt_save(family, &saved, err);

	if (r < 0)
		return r;
	text = malloc(SAVED_MAX);
	if (!text)
		return apptap_error_set(err, ENOMEM, "removing rules");
	count = apptap_ipt_removal(saved, tag, text, SAVED_MAX);
	if (count <= 0)
		return count;
	r = apptap_ipt_restore(family, text, err);
	return r < 0 ? r : count;
}

int apptap_ipt_remove(const char *tag, struct apptap_error *err)
{
	int total = 0, failed = 0;

	for (int family = APPTAP_IPT_V4; family <= APPTAP_IPT_V6; family++) {
		int r;

		if (apptap_ipt_check((enum apptap_ipt_family)family, NULL) < 0)
			continue;
		r = remove_family((enum apptap_ipt_family)family, tag, err);
		failed = r < 0 ? r : failed;
		total += r > 0 ? r : 0;
	}
	return failed ? failed : total;
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

int apptap_ipt_heal(struct apptap_error *err)
{
	int total = 0;

	for (int family = APPTAP_IPT_V4; family <= APPTAP_IPT_V6; family++) {
		auto_free char *saved = NULL;
		char tag[APPTAP_TAG_BYTES + 1], last[APPTAP_TAG_BYTES + 1] = "";

		if (apptap_ipt_check((enum apptap_ipt_family)family, NULL) < 0 ||
		    apptap_ipt_save((enum apptap_ipt_family)family, &saved, NULL) < 0)
			continue;
		for (const char *l = saved; l; l = next_line(l)) {
			auto_close int fd = -1;
			int r;

			if (!tag_of(l, tag) || strcmp(tag, last) == 0)
				continue;
			memcpy(last, tag, sizeof(last));
			fd = apptap_tag_hold(APPTAP_IPT_HELD, tag);
			if (fd < 0)
				continue; /* somebody looks after it */
			r = remove_family((enum apptap_ipt_family)family, tag, err);
			if (r < 0)
				return r;
			total += r;
		}
	}
	return total;
}
