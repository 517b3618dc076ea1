/* executor_ssh.c - a Linux machine by the installed OpenSSH client */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

#include "host/elevate.h"
#include "base/launch.h"
#include "host/quote.h"

/*
 * How it works. The user's ssh connects with the user's configuration, keys and agent. Each command
 * is one `ssh`, whose line the login shell there takes apart; a master connection of ours, that
 * ends with us, saves all but the first of them the handshake.
 */
#define FOLDER "apptap-ssh-" /* then our PID */
#define SSH_MS 30000 /* a passphrase or password may have to be typed */
#define ROOT_MS 10000
#define COPY_MS 120000

struct ssh {
	char *destination; /* owned */
	char folder[64]; /* of the master's socket; empty: none */
	char control[128]; /* "ControlPath=..." */
	enum apptap_elevation how;
};

static const enum apptap_elevation ways[] = {
	APPTAP_ELEVATION_NONE,
	APPTAP_ELEVATION_SUDO,
	APPTAP_ELEVATION_UNKNOWN,
};

/* ssh's own failure has the status 255. */
static int complain(const struct ssh *s, const char *said, struct apptap_error *err)
{
	apptap_error_say(err, ECONNREFUSED, "ssh to '%s' fails: %s", s->destination,
			 said[0] ? said : "it gave no reason");
	apptap_error_hint(err, "'ssh %s true' has to work first", s->destination);
	return -ECONNREFUSED;
}

static int ssh_shell(void *arg, const char *line, int timeout_ms, struct apptap_ran *out,
		     struct apptap_error *err)
{
	const struct ssh *s = arg;
	const char *const argv[] = {
		"ssh", "-T",	   "-o", "ControlMaster=auto", "-o", "ControlPersist=10",
		"-o",  s->control, "--", s->destination,       line, NULL
	};
	/* The first of them may ask for a password; what comes later leaves half of its work. */
	bool first = s->how == APPTAP_ELEVATION_UNKNOWN;
	int r = first ? apptap_launch_asking(argv, MAX(timeout_ms, SSH_MS), out, err)
		      : apptap_launch_run(argv, MAX(timeout_ms, SSH_MS), out, err);

	apptap_ran_clean(out);
	if (r >= 0 && out->status < 0)
		r = complain(s, "it was ended by a signal", err);
	else if (r >= 0 && out->status == 255)
		r = complain(s, out->said, err);
	return r;
}

static int ssh_run(void *arg, const char *const *argv, int timeout_ms, struct apptap_ran *out,
		   struct apptap_error *err)
{
	const struct ssh *s = arg;
	auto_free char *line = apptap_elevate(s->how, argv);

	if (!line)
		return apptap_error_set(err, ENOMEM, "running a command over ssh");
	return ssh_shell(arg, line, timeout_ms, out, err);
}

/* Through cat, not scp: that needs a server of its own there, which is not everywhere. */
static int ssh_copy(const struct ssh *s, const char *line, const char *in_path,
		    const char *out_path, struct apptap_error *err)
{
	const char *const argv[] = { "ssh", "-T",	"-o", "ControlMaster=no",
				     "-o",  s->control, "--", s->destination,
				     line,  NULL };
	struct apptap_ran ran = { 0 };
	int r = apptap_launch_files(argv, in_path, out_path, COPY_MS, &ran, err);

	apptap_ran_clean(&ran);
	if (r >= 0 && ran.status == 255)
		r = complain(s, ran.said, err);
	else if (r >= 0 && ran.status != 0)
		r = apptap_error_say(err, EIO, "copying over ssh: %s",
				     ran.said[0] ? ran.said : "it gave no reason");
	apptap_ran_free(&ran);
	return r;
}

static int ssh_push(void *arg, const char *local, const char *remote, struct apptap_error *err)
{
	auto_free char *path = apptap_quote((const char *[]){ remote, NULL });
	auto_free char *line = NULL;

	if (!path || asprintf(&line, "umask 077; set -C; cat > %s", path) < 0)
		return apptap_error_set(err, ENOMEM, "copying over ssh");
	return ssh_copy(arg, line, local, NULL, err);
}

static int ssh_pull(void *arg, const char *remote, const char *local, struct apptap_error *err)
{
	auto_free char *line = apptap_quote((const char *[]){ "cat", "--", remote, NULL });

	if (!line)
		return apptap_error_set(err, ENOMEM, "copying over ssh");
	return ssh_copy(arg, line, NULL, local, err);
}

static int ssh_is_root(void *arg, struct apptap_error *err)
{
	struct ssh *s = arg;
	int r = 0;

	if (s->how == APPTAP_ELEVATION_UNKNOWN)
		r = apptap_elevate_find(&s->how, ways, ssh_shell, arg, ROOT_MS, err);
	return r < 0 ? r : 1;
}

static int ssh_stream(void *arg, const char *const *argv, struct apptap_child *out,
		      struct apptap_error *err)
{
	const struct ssh *s = arg;
	auto_free char *line = apptap_elevate(s->how, argv);
	const char *const words[] = { "ssh", "-T",	     "-o", "ControlMaster=no",
				      "-o",  s->control,     "-o", "ServerAliveInterval=5",
				      "--",  s->destination, line, NULL };

	if (!line)
		return apptap_error_set(err, ENOMEM, "starting the agent over ssh");
	return apptap_launch_stream(words, out, err);
}

/* Folders of hosts that were killed: their masters have ended by themselves, and their sockets with
 * them. */
static void remove_stale(void)
{
	DIR *tmp = opendir("/tmp");
	struct dirent *entry;
	struct stat st;
	int pid, end;

	while (tmp && (entry = readdir(tmp))) {
		end = 0;
		if (sscanf(entry->d_name, FOLDER "%d-%n", &pid, &end) == 1 && end && pid > 0 &&
		    kill(pid, 0) < 0 && errno == ESRCH &&
		    fstatat(dirfd(tmp), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    st.st_uid == geteuid())
			unlinkat(dirfd(tmp), entry->d_name, AT_REMOVEDIR); /* if it is empty */
	}
	if (tmp)
		closedir(tmp);
}

static void ssh_free(void *arg)
{
	struct ssh *s = arg;
	struct apptap_ran ran = { 0 };
	struct apptap_error ignored;
	const char *const argv[] = { "ssh",	 "-O", "exit",	       "-o",
				     s->control, "--", s->destination, NULL };

	if (s->folder[0]) {
		apptap_launch_run(argv, 2000, &ran, &ignored);
		apptap_ran_free(&ran);
		unlink(s->control + strlen("ControlPath="));
		rmdir(s->folder);
	}
	free(s->destination);
	free(s);
}

static const struct apptap_link_ops ssh_ops = {
	.size = sizeof(struct apptap_link_ops),
	.name = "ssh",
	.run = ssh_run,
	.push = ssh_push,
	.pull = ssh_pull,
	.is_root = ssh_is_root,
	.stream = ssh_stream,
	.free = ssh_free,
};

int apptap_executor_ssh_new(struct apptap_executor **out, const char *destination,
			    const struct apptap_remote_config *cfg, struct apptap_error *err)
{
	struct ssh *s;

	if (!destination[0] || destination[0] == '-')
		return apptap_error_say(err, EINVAL, "'%s' is nowhere that ssh could go",
					destination);
	s = calloc(1, sizeof(*s));
	if (s)
		s->destination = strdup(destination);
	if (!s || !s->destination) {
		free(s);
		return apptap_error_set(err, ENOMEM, "reaching another machine");
	}
	remove_stale();
	/* Short: the path of a socket has 108 bytes. */
	snprintf(s->folder, sizeof(s->folder), "/tmp/" FOLDER "%d-XXXXXX", (int)getpid());
	if (!mkdtemp(s->folder))
		s->folder[0] = '\0';
	snprintf(s->control, sizeof(s->control), "ControlPath=%s%s",
		 s->folder[0] ? s->folder : "none", s->folder[0] ? "/m" : "");
	return apptap_executor_remote_new(out, &ssh_ops, s, cfg, err);
}
