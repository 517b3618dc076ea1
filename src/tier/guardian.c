/*
 * guardian.c - a process that outlives a killed agent, and removes what it has left in the kernel
 *
 * How it works. It waits at one end of a pipe for the other to close: the agent does that when it
 * is done, and the kernel does it when the agent is killed. So there is one way for both. Programs
 * that change rules for the agent have that end too: when it closes, nobody is left who can. It
 * runs the same program afresh, in a session of its own, and holds nothing but that pipe and names.
 */
#include "tier/guardian.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>

#include "tier/clsact_end.h"
#include "tier/ipt_table.h"
#include "tier/marks.h"
#include "tier/tag.h"

#define HELD_FD 3
#define HELD_ABSENT_FD 4
#define TRIES 20
#define TRY_AGAIN_US 100000

/* fork() would copy the tables of all the pages of a ring. Return: 0, or an errno. */
static int spawn(pid_t *pid, const struct apptap_guardian_orders *orders, int in)
{
	char number[16];
	char *argv[] = { (char *)"apptap",
			 (char *)"--guardian",
			 (char *)orders->what,
			 (char *)orders->tag,
			 orders->absent ? number : NULL,
			 (char *)orders->absent,
			 NULL };
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	int r;

	snprintf(number, sizeof(number), "%x", orders->mark);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
	posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
	/* Not to be closed by exec, unlike all others of ours. */
	posix_spawn_file_actions_adddup2(&files, orders->held, HELD_FD);
	if (orders->absent && orders->held_absent >= 0)
		posix_spawn_file_actions_adddup2(&files, orders->held_absent, HELD_ABSENT_FD);
	r = posix_spawn(pid, "/proc/self/exe", &files, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return r;
}

int apptap_guardian_start(struct apptap_guardian *g, const struct apptap_guardian_orders *orders,
			  struct apptap_error *err)
{
	int ends[2], r;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return apptap_error_set(err, errno, "making a pipe");
	r = spawn(&g->pid, orders, ends[0]);
	close(ends[0]);
	g->fd = ends[1];
	if (r == 0)
		return 0;
	close(apptap_steal_fd(&g->fd));
	return apptap_error_set(err, r, "starting the process that removes our %s", orders->what);
}

void apptap_guardian_tell(struct apptap_guardian *g)
{
	if (g->fd < 0 || g->told)
		return;
	while (write(g->fd, "q", 1) < 0 && errno == EINTR) /* so it knows that we were not killed */
		;
	g->told = true;
}

void apptap_guardian_end(struct apptap_guardian *g)
{
	if (g->fd < 0)
		return;
	apptap_guardian_tell(g);
	close(apptap_steal_fd(&g->fd));
	while (waitpid(g->pid, NULL, 0) < 0)
		if (errno != EINTR)
			return;
}

/* Another program's change at the same moment may get in the way of ours. */
static void remove_chains(const char *tag)
{
	for (int i = 0; i < TRIES && apptap_ipt_remove(tag, NULL) < 0; i++)
		usleep(TRY_AGAIN_US);
}

static void end_chains(const char *tag, const char *mark, const char *absent)
{
	remove_chains(tag);
	apptap_marks_clear((uint32_t)strtoul(mark, NULL, 16), NULL);
	apptap_ipt_restore_absent(absent);
}

int apptap_guardian_main(int argc, char **argv)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE };
	char byte, tag[APPTAP_TAG_BYTES + 1];
	bool chains = argc == 4 && strcmp(argv[0], APPTAP_IPT_HELD) == 0;
	bool filters = argc == 2 && strcmp(argv[0], APPTAP_CLSACT_HELD) == 0;

	if ((!chains && !filters) || !apptap_tag_parse(argv[1], tag) || argv[1][APPTAP_TAG_BYTES])
		return 2;
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		signal(signals[i], SIG_IGN);
	while (read(STDIN_FILENO, &byte, 1) < 0)
		if (errno != EINTR)
			break;
	if (chains)
		end_chains(tag, argv[2], argv[3]);
	else
		apptap_clsact_remove(tag, NULL);
	return 0;
}
