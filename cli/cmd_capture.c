/* cmd_capture.c - capture until the end that was asked for, Ctrl-C, or a failure */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "cmd.h"
#include "host/job.h"
#include "host/run.h"
#include "result.h"
#include "terminal.h"
#include "where.h"

struct command {
	struct apptap_run run;
	const struct apptap_options *options; /* borrowed */
	struct apptap_job job; /* owned; pid 0: none was given */
	struct apptap_error job_err; /* code 0: it could be started */
	int signal_fd; /* owned */
	int signals; /* so many came */
	bool is_remote;
};

int apptap_cmd_exit_code(enum apptap_failure failure)
{
	switch (failure) {
	case APPTAP_FAILURE_NO_TIER:
		return APPTAP_EXIT_NO_TIER;
	case APPTAP_FAILURE_USAGE:
		return APPTAP_EXIT_USAGE;
	default:
		return APPTAP_EXIT_FAILED;
	}
}

/* "UID 5001 (user web)", "cgroup /a (unit b)": the @i-th part of what is captured; false: no more.
 */
static bool say_part(const struct apptap_event_ready *ready, uint32_t i, char *buf, size_t size)
{
	if (i < ready->cgroup_count) {
		snprintf(buf, size, "cgroup %s (%s)", ready->cgroups[i].path,
			 ready->cgroups[i].why);
		return true;
	}
	i -= ready->cgroup_count;
	if (i < ready->process_count) {
		snprintf(buf, size, "process %" PRIu32 "%s (%s)", ready->processes[i].pid,
			 ready->processes[i].tree ? " and its descendants" : "",
			 ready->processes[i].why);
		return true;
	}
	i -= ready->process_count;
	if (i >= ready->uid_count)
		return false;
	snprintf(buf, size, "UID %" PRIu32 " (%s)", ready->uids[i].uid, ready->uids[i].why);
	return true;
}

static void say_ready(const struct apptap_event_ready *ready, const struct apptap_options *o)
{
	char part[768] = "the whole device", more[768];
	bool several = say_part(ready, 1, more, sizeof(more));

	if (o->quiet)
		return;
	if (!ready->whole_device)
		say_part(ready, 0, part, sizeof(part));
	apptap_terminal_say("capturing %s%s with %s to %s", part, several ? " and others" : "",
			    ready->tier, apptap_output_name(o));
	for (uint32_t i = 1; say_part(ready, i, more, sizeof(more)); i++)
		apptap_terminal_line("  and %s", more);
	if (ready->netns[0])
		apptap_terminal_line("  in the network namespace of %s%s",
				     strspn(ready->netns, "0123456789") == strlen(ready->netns)
					     ? "process "
					     : "",
				     ready->netns);
}

static void begin_job(struct command *c)
{
	if (c->job.pid && apptap_job_release(&c->job, c->options->command[0], &c->job_err) < 0)
		apptap_run_stop(&c->run);
}

static void say_scope(const struct apptap_event_ready *now, const struct apptap_options *o)
{
	char part[768];

	if (o->quiet)
		return;
	apptap_terminal_say("what is captured has changed:");
	for (uint32_t i = 0; say_part(now, i, part, sizeof(part)); i++)
		apptap_terminal_line("  %s", part);
}

static void take_event(void *arg, const struct apptap_wire_event *ev)
{
	struct command *c = arg;

	switch (ev->type) {
	case APPTAP_WIRE_EVENT_READY:
		say_ready(&ev->ready, c->options);
		begin_job(c);
		break;
	case APPTAP_WIRE_EVENT_SCOPE:
		say_scope(&ev->ready, c->options);
		break;
	case APPTAP_WIRE_EVENT_STATUS:
		if (!c->options->quiet && !c->job.pid) /* the terminal is the command's */
			apptap_status_show(&ev->status);
		break;
	case APPTAP_WIRE_EVENT_WARNING:
		apptap_terminal_say("warning: %s", ev->warning);
		break;
	default:
		break;
	}
}

static void take_log(void *arg, const char *line)
{
	const struct command *c = arg;

	if (c->options->verbose)
		apptap_terminal_line("%s", line);
}

/* What the terminal sends, it sends to the command too; what others send us, is meant for it. */
static bool pass_signal(struct command *c, const struct signalfd_siginfo *info)
{
	if (!c->job.pid)
		return false;
	if (info->ssi_signo == SIGCHLD) {
		/* Without a cgroup nobody else can tell when it is over. */
		if (apptap_job_reap(&c->job) && c->run.outcome.ready.process_count)
			apptap_run_stop(&c->run);
		return true;
	}
	if (c->job.ended)
		return false;
	if (info->ssi_code != SI_KERNEL)
		apptap_job_signal(&c->job, (int)info->ssi_signo);
	return true;
}

/* Ctrl-C and kin: the first asks for the end, the second waits neither for a slow reader nor for
 * another machine. */
static void take_signal(void *arg)
{
	struct command *c = arg;
	struct signalfd_siginfo info;

	while (read(c->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (pass_signal(c, &info))
			continue;
		c->signals++;
		apptap_run_stop(&c->run);
		if (c->signals > 1 && (c->run.output.is_pipe || c->is_remote))
			apptap_run_abandon(&c->run);
	}
}

static int catch_signals(struct command *c, struct apptap_error *err)
{
	/* The second half only for a command, to which they are passed on. */
	static const int signals[] = {
		SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGQUIT, SIGUSR1, SIGUSR2
	};
	size_t count = c->job.pid ? ARRAY_SIZE(signals) : 3;
	struct sigaction old;
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < count; i++) {
		/* nohup means it; a script's background ignores SIGINT, and is sent it */
		sigaction(signals[i], NULL, &old);
		if (signals[i] == SIGINT || signals[i] == SIGTERM || old.sa_handler != SIG_IGN)
			sigaddset(&set, signals[i]);
	}
	sigprocmask(SIG_BLOCK, &set, NULL);
	c->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return c->signal_fd < 0 ? apptap_error_set(err, errno, "catching signals") : 0;
}

/* Everything from the first signal that could come to the last byte of the file. */
static int capture(struct command *c, struct apptap_options *o, struct apptap_error *err)
{
	struct apptap_executor *executor = NULL;
	int r = o->command ? apptap_job_hold(&c->job, o->command, err) : 0;

	o->start.command_pid = (uint32_t)c->job.pid;
	if (r >= 0)
		r = catch_signals(c, err);
	if (r < 0) {
		apptap_output_remove(&c->run.output);
		return r;
	}
	c->run.handler = (struct apptap_dialog_handler){
		.arg = c,
		.event = take_event,
		.log = take_log,
		.wake_fd = c->signal_fd,
		.wake = take_signal,
	};
	r = apptap_where_open(&executor, o, err);
	c->is_remote = r >= 0 && executor->is_remote;
	if (r >= 0)
		r = apptap_run_go(&c->run, executor, &o->start, err);
	else
		apptap_output_remove(&c->run.output);
	apptap_executor_free(executor);
	if (!c->job_err.code)
		return r;
	apptap_output_remove(&c->run.output);
	*err = c->job_err;
	return -c->job_err.code;
}

/* The capture is over; what was started may go on. */
static void await_job(struct command *c)
{
	struct pollfd p = { .fd = c->signal_fd, .events = POLLIN };
	struct signalfd_siginfo info;

	if (c->job.go_fd >= 0)
		apptap_job_close(&c->job); /* it never began */
	while (c->job.pid && !apptap_job_reap(&c->job))
		if (poll(&p, 1, -1) > 0 && read(c->signal_fd, &info, sizeof(info)) > 0)
			pass_signal(c, &info);
}

/* The command's own, unless it went well and we did not. */
static int exit_code(const struct command *c, int r)
{
	if (c->job.status || (c->job.pid && r >= 0))
		return c->job.status;
	return r < 0 ? apptap_cmd_exit_code(c->run.failure) : APPTAP_EXIT_DONE;
}

/* What is said and written when it is over. Return: @r, or that writing it failed. */
static int conclude(struct command *c, int r, struct apptap_error *err)
{
	struct apptap_result result = { .options = c->options, .outcome = &c->run.outcome };

	apptap_terminal_clear();
	if (r < 0)
		result.error = *err;
	apptap_summary_sort(&c->run.outcome);
	if (c->run.outcome.is_done && !c->options->quiet)
		apptap_summary_print(&result);
	if (c->options->json && apptap_jsonout_result(&result, stdout) < 0 && r >= 0)
		r = apptap_error_set(err, errno, "writing JSON to stdout");
	return r;
}

int apptap_cmd_capture(struct apptap_options *o, struct apptap_error *err)
{
	auto_free struct command *c = calloc(1, sizeof(*c));
	int r;

	if (!c) {
		apptap_error_set(err, ENOMEM, "starting");
		return APPTAP_EXIT_FAILED;
	}
	c->signal_fd = -1;
	c->job = (struct apptap_job)APPTAP_JOB_NONE;
	c->options = o;
	/* Opened first: opening a FIFO waits, and must end by Ctrl-C as everywhere. */
	r = apptap_output_open(&c->run.output, o->output, err);
	if (r < 0) {
		if (o->json)
			apptap_jsonout_error(err, stdout);
		return r == -EINVAL ? APPTAP_EXIT_USAGE : APPTAP_EXIT_FAILED; /* a terminal */
	}
	r = capture(c, o, err);
	await_job(c);
	r = conclude(c, r, err);
	apptap_run_free(&c->run);
	if (c->signal_fd >= 0)
		close(c->signal_fd);
	r = exit_code(c, r);
	apptap_job_close(&c->job);
	return r;
}
