/* job.c - the command that a capture is about: held until the capture is ready, then let go */
#include "host/job.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "wire/text.h"

enum { STATUS_NOT_RUN = 126, STATUS_NOT_FOUND = 127, STATUS_SIGNAL = 128 };

/* What sudo says of who called it. false: it was not sudo, or he is root himself. */
static bool sudo_number(const char *name, unsigned long *out)
{
	const char *text = getenv(name);
	char *end;

	if (!text || !*text)
		return false;
	errno = 0;
	*out = strtoul(text, &end, 10);
	return !errno && !*end && *out < UINT32_MAX;
}

static void set_from(const char *name, const char *value)
{
	if (value && *value)
		setenv(name, value, 1);
}

/* sudo has made root's environment: what names the user is his own again. */
static void restore_environment(const struct passwd *pw)
{
	static const char *const sudos[] = { "SUDO_UID", "SUDO_GID", "SUDO_USER", "SUDO_COMMAND",
					     "MAIL" };

	for (size_t i = 0; i < ARRAY_SIZE(sudos); i++)
		unsetenv(sudos[i]);
	if (!pw)
		return;
	set_from("USER", pw->pw_name);
	set_from("LOGNAME", pw->pw_name);
	set_from("HOME", pw->pw_dir);
	set_from("SHELL", pw->pw_shell);
}

/* 0 or -errno; in the child. */
static int become_caller(void)
{
	unsigned long uid, gid;
	const struct passwd *pw;
	gid_t only;

	if (geteuid() != 0 || !sudo_number("SUDO_UID", &uid) || uid == 0 ||
	    !sudo_number("SUDO_GID", &gid))
		return 0;
	only = (gid_t)gid;
#ifdef APPTAP_STATIC
	pw = NULL; /* there is no NSS to ask */
#else
	pw = getpwuid((uid_t)uid);
#endif
	if ((pw ? initgroups(pw->pw_name, only) : setgroups(1, &only)) < 0 || setgid(only) < 0 ||
	    setuid((uid_t)uid) < 0)
		return -errno;
	restore_environment(pw);
	return 0;
}

static _Noreturn void be_job(char *const *argv, int go_fd, int failed_fd)
{
	int code = -become_caller();
	char byte;

	signal(SIGPIPE, SIG_DFL); /* ours is ignored, and that would pass to the program */
	if (write(failed_fd, &code, sizeof(code)) < 0 || code || read(go_fd, &byte, 1) != 1)
		_exit(code ? STATUS_NOT_RUN : STATUS_NOT_FOUND);
	execvp(argv[0], argv);
	code = errno;
	if (write(failed_fd, &code, sizeof(code)) < 0)
		_exit(STATUS_NOT_RUN);
	_exit(code == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_RUN);
}

static bool is_program(const char *path, int *code)
{
	struct stat st;

	if (access(path, X_OK) == 0 && stat(path, &st) == 0 && !S_ISDIR(st.st_mode))
		return true;
	if (errno != ENOENT && errno != ENOTDIR)
		*code = EACCES; /* one of that name was there */
	return false;
}

/* 0, or the errno that execvp(3) would fail with: known before anything begins. */
static int look_for(const char *name)
{
	const char *path = getenv("PATH");
	char candidate[PATH_MAX];
	int code = ENOENT;

	if (strchr(name, '/'))
		return is_program(name, &code) ? 0 : code;
	if (!path)
		path = "/bin:/usr/bin";
	for (;;) {
		const char *end = strchrnul(path, ':');

		snprintf(candidate, sizeof(candidate), "%.*s%s%s", (int)(end - path), path,
			 end > path ? "/" : "", name);
		if (is_program(candidate, &code))
			return 0;
		if (!*end)
			return code;
		path = end + 1;
	}
}

static int refuse(struct apptap_job *job, const char *name, int code, struct apptap_error *err)
{
	char shown[128];

	apptap_error_set(err, code, "starting '%s'", apptap_text_clean(shown, sizeof(shown), name));
	if (code == ENOENT)
		apptap_error_hint(err,
				  "the command behind -- is a program, not a line for a shell");
	job->status = code == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_RUN;
	return -code;
}

/* Why it cannot go on, if it says so. */
static int hear(struct apptap_job *job, const char *name, struct apptap_error *err)
{
	int code = 0;
	ssize_t n;

	do
		n = read(job->failed_fd, &code, sizeof(code));
	while (n < 0 && errno == EINTR);
	return n == sizeof(code) && code ? refuse(job, name, code, err) : 0;
}

int apptap_job_hold(struct apptap_job *job, char *const *argv, struct apptap_error *err)
{
	int go[2], failed[2], r;
	int code = look_for(argv[0]);

	if (code)
		return refuse(job, argv[0], code, err);
	if (pipe2(go, O_CLOEXEC) < 0)
		return apptap_error_set(err, errno, "making a pipe for the command");
	if (pipe2(failed, O_CLOEXEC) < 0) {
		close(go[0]);
		close(go[1]);
		return apptap_error_set(err, errno, "making a pipe for the command");
	}
	fflush(NULL); /* what is buffered must not come twice */
	job->pid = fork();
	if (job->pid == 0) {
		close(go[1]);
		close(failed[0]);
		be_job(argv, go[0], failed[1]);
	}
	close(go[0]);
	close(failed[1]);
	job->go_fd = go[1];
	job->failed_fd = failed[0];
	if (job->pid < 0) {
		job->pid = 0;
		return apptap_error_set(err, errno, "starting the command");
	}
	r = hear(job, argv[0], err); /* from then on it is who it is to run as */
	if (r < 0) {
		code = job->status;
		apptap_job_close(job);
		job->status = code;
	}
	return r;
}

int apptap_job_release(struct apptap_job *job, const char *name, struct apptap_error *err)
{
	ssize_t n = write(job->go_fd, "g", 1);

	close(apptap_steal_fd(&job->go_fd));
	if (n < 0 && errno != EPIPE) /* that: it was killed while it waited */
		return apptap_error_set(err, errno, "starting the command");
	return hear(job, name, err);
}

bool apptap_job_reap(struct apptap_job *job)
{
	int status;

	if (!job->pid || job->ended)
		return job->ended;
	if (waitpid(job->pid, &status, WNOHANG) != job->pid)
		return false;
	job->ended = true;
	job->status = WIFSIGNALED(status) ? STATUS_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
	return true;
}

void apptap_job_signal(const struct apptap_job *job, int sig)
{
	if (job->pid && !job->ended) /* not reaped: the number is still its own */
		kill(job->pid, sig);
}

void apptap_job_close(struct apptap_job *job)
{
	if (job->go_fd >= 0) {
		close(apptap_steal_fd(&job->go_fd));
		if (job->pid && !job->ended)
			waitpid(job->pid, NULL, 0);
	}
	if (job->failed_fd >= 0)
		close(job->failed_fd);
	*job = (struct apptap_job)APPTAP_JOB_NONE;
}
