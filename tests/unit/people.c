/* people.c - real processes with users and names to order, and what resolving them says */
#include "people.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

void hear(void *arg, const char *text)
{
	struct people *f = arg;
	size_t len = strlen(f->said);

	snprintf(f->said + len, sizeof(f->said) - len, "%s\n", text);
}

int people_setup(void **state)
{
	struct people *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	f->netns = -1;
	/* Two runs at once would find each other's processes: same names, same users. */
	f->lock = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->lock < 0 || flock(f->lock, LOCK_EX) < 0) {
		free(f);
		return -1;
	}
	*state = f;
	return 0;
}

void people_end(struct people *f, size_t i)
{
	if (f->children[i] <= 0)
		return;
	kill(f->children[i], SIGKILL);
	waitpid(f->children[i], NULL, 0);
	f->children[i] = 0;
}

int people_teardown(void **state)
{
	struct people *f = *state;
	char path[128];

	for (size_t i = 0; i < f->count; i++)
		people_end(f, i);
	if (f->netns >= 0) {
		setns(f->netns, CLONE_NEWNET);
		close(f->netns);
	}
	if (f->dir[0]) {
		snprintf(path, sizeof(path), "%s/resolv.conf", f->dir);
		unlink(path);
		rmdir(f->dir);
	}
	close(f->lock);
	free(f);
	return 0;
}

void people_need_root(void)
{
	if (geteuid() == 0)
		return;
	print_message("SKIP: becoming other users needs root\n");
	skip();
}

static int bind_udp(const struct life *l)
{
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(53) };
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(53) };
	bool is_v6 = strchr(l->bind_ip, ':') != NULL;
	int only = l->v6only;
	int yes = 1;
	int fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)); /* so that several may */
	if (is_v6) {
		inet_pton(AF_INET6, l->bind_ip, &v6.sin6_addr);
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only));
		return bind(fd, (struct sockaddr *)&v6, sizeof(v6));
	}
	inet_pton(AF_INET, l->bind_ip, &v4.sin_addr);
	if (bind(fd, (struct sockaddr *)&v4, sizeof(v4)) < 0)
		return -1;
	v4.sin_port = htons(9);
	return l->connected ? connect(fd, (struct sockaddr *)&v4, sizeof(v4)) : 0;
}

static void live(const struct life *l, int ready)
{
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (l->uid != APPTAP_UID_NONE && setresuid(l->uid, l->uid, l->uid) < 0)
		_exit(2);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* setresuid has cleared it */
	if (l->bind_ip && bind_udp(l) < 0)
		_exit(3);
	if (!l->late)
		prctl(PR_SET_NAME, l->comm);
	do {
		if (write(ready, "", 1) != 1)
			_exit(4);
		sigwait(&set, &sig);
		prctl(PR_SET_NAME, l->comm);
	} while (1);
}

pid_t people_spawn(struct people *f, struct life l, int *ready)
{
	int pipes[2];
	char byte;
	pid_t pid;

	assert_true(f->count < PEOPLE_MAX);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(pipes[0]);
		live(&l, pipes[1]);
	}
	close(pipes[1]);
	f->children[f->count++] = pid;
	assert_int_equal(read(pipes[0], &byte, 1), 1);
	if (ready)
		*ready = pipes[0];
	else
		close(pipes[0]);
	return pid;
}

pid_t people_spawn_named(struct people *f, uid_t uid, const char *comm)
{
	return people_spawn(f, (struct life){ .uid = uid, .comm = comm }, NULL);
}

int people_resolve(struct people *f, struct apptap_target target, pid_t *pid)
{
	f->said[0] = '\0';
	memset(&f->err, 0, sizeof(f->err));
	return apptap_scope_resolve(&f->scope, &target, pid, hear, f, &f->err);
}

int people_resolve_name(struct people *f, const char *name)
{
	return people_resolve(f, (struct apptap_target){ .name = name }, NULL);
}

void assert_has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" does not say \"%s\"", text, part);
}

void assert_clean(const char *text)
{
	for (; *text; text++)
		assert_false((unsigned char)*text < 0x20 || *text == 0x7f);
}

void assert_only(const struct people *f, uid_t uid)
{
	assert_int_equal(f->scope.uid_count, 1);
	assert_int_equal(f->scope.uids[0].uid, uid);
}

struct apptap_view view(const char *text)
{
	return (struct apptap_view){ .p = (const uint8_t *)text, .left = strlen(text) };
}
