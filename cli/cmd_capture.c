/* cmd_capture.c - capture until the end that was asked for, Ctrl-C, or a failure */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "cmd.h"
#include "host/dialog.h"
#include "host/job.h"
#include "result.h"
#include "terminal.h"

#define WARNINGS_MAX 1000

struct run {
	struct apptap_result result;
	struct apptap_dialog *session; /* owned */
	struct apptap_output output; /* owned */
	struct apptap_job job; /* owned; pid 0: no command was given */
	int signal_fd; /* owned */
	int signals; /* so many came */
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

static void say_ready(const struct run *run)
{
	const struct apptap_event_ready *ready = &run->result.ready;
	const struct apptap_options *o = run->result.options;
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
}

static void keep_warning(struct apptap_result *r, const char *text)
{
	void *grown;

	if (r->warning_count == WARNINGS_MAX) {
		r->warnings_more++;
		return;
	}
	grown = realloc(r->warnings, (r->warning_count + 1) * sizeof(*r->warnings));
	if (!grown)
		return;
	r->warnings = grown;
	snprintf(r->warnings[r->warning_count++], sizeof(*r->warnings), "%s", text);
}

static void take_event(void *arg, const struct apptap_wire_event *ev)
{
	struct run *run = arg;

	switch (ev->type) {
	case APPTAP_WIRE_EVENT_READY:
		run->result.ready = ev->ready;
		run->result.is_ready = true;
		say_ready(run);
		break;
	case APPTAP_WIRE_EVENT_STATUS:
		if (!run->result.options->quiet &&
		    !run->job.pid) /* the terminal is the command's */
			apptap_status_show(&ev->status);
		break;
	case APPTAP_WIRE_EVENT_WARNING:
		apptap_terminal_say("warning: %s", ev->warning);
		keep_warning(&run->result, ev->warning);
		break;
	case APPTAP_WIRE_EVENT_DONE:
		run->result.done = ev->done;
		run->result.is_done = true;
		break;
	default:
		break;
	}
}

static void take_connection(void *arg, const struct apptap_conn_record *conn)
{
	struct apptap_result *r = &((struct run *)arg)->result;

	if (!(r->conn_count & (r->conn_count - 1))) { /* full at every power of two */
		void *grown = realloc(r->conns, MAX(2 * r->conn_count, (size_t)1) * sizeof(*conn));

		if (!grown)
			return;
		r->conns = grown;
	}
	r->conns[r->conn_count++] = *conn;
}

static void take_log(void *arg, const char *line)
{
	const struct run *run = arg;

	if (run->result.options->verbose)
		apptap_terminal_line("%s", line);
}

/* What the terminal sends, it sends to the command too; what others send us, is meant for it. */
static bool pass_signal(struct run *run, const struct signalfd_siginfo *info)
{
	if (!run->job.pid)
		return false;
	if (info->ssi_signo == SIGCHLD) {
		apptap_job_reap(&run->job);
		return true;
	}
	if (run->job.ended)
		return false;
	if (info->ssi_code != SI_KERNEL)
		apptap_job_signal(&run->job, (int)info->ssi_signo);
	return true;
}

/* Ctrl-C and kin: the first asks for the end, the second does not wait for a slow reader. */
static void take_signal(void *arg)
{
	struct run *run = arg;
	struct signalfd_siginfo info;

	while (read(run->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (pass_signal(run, &info))
			continue;
		run->signals++;
		apptap_dialog_stop(run->session);
		if (run->signals > 1 && run->output.is_pipe)
			apptap_dialog_abandon(run->session);
	}
}

static int catch_signals(struct run *run, struct apptap_error *err)
{
	/* The second half only for a command, to which they are passed on. */
	static const int signals[] = {
		SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGQUIT, SIGUSR1, SIGUSR2
	};
	size_t count = run->job.pid ? ARRAY_SIZE(signals) : 3;
	struct sigaction old;
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < count; i++) {
		/* nohup, and shells that start us in the background, mean it */
		sigaction(signals[i], NULL, &old);
		if (old.sa_handler != SIG_IGN)
			sigaddset(&set, signals[i]);
	}
	sigprocmask(SIG_BLOCK, &set, NULL);
	run->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return run->signal_fd < 0 ? apptap_error_set(err, errno, "catching signals") : 0;
}

/* Everything from the first signal that could come to the last byte of the file. */
static int capture(struct run *run, struct apptap_options *o, enum apptap_failure *failure,
		   struct apptap_error *err)
{
	struct apptap_dialog_handler handler = {
		.arg = run,
		.event = take_event,
		.connection = take_connection,
		.log = take_log,
		.wake = take_signal,
	};
	int released = 0;
	int r = o->command ? apptap_job_hold(&run->job, o->command, err) : 0;

	*failure = APPTAP_FAILURE_OTHER;
	o->start.command_pid = (uint32_t)run->job.pid;
	if (r >= 0)
		r = catch_signals(run, err);
	if (r < 0)
		return r;
	handler.wake_fd = run->signal_fd;
	r = apptap_dialog_open(&run->session, &apptap_executor_local, &handler, err);
	if (r >= 0)
		r = apptap_dialog_start(run->session, &o->start, &run->output, err);
	if (r >= 0 && run->job.pid)
		released = r = apptap_job_release(&run->job, o->command[0], err);
	if (r >= 0)
		r = apptap_dialog_run(run->session, err);
	if (run->session && apptap_dialog_failure(run->session) != APPTAP_FAILURE_NONE)
		*failure = apptap_dialog_failure(run->session);
	if (!run->result.is_ready || released < 0)
		apptap_output_remove(&run->output);
	else if (r >= 0 && !apptap_output_is_there(&run->output))
		r = apptap_error_say(err, ENOENT,
				     "the file '%s' was removed while it was written: its "
				     "packets are lost",
				     o->output);
	apptap_dialog_close(run->session);
	run->session = NULL;
	return r;
}

/* The capture is over; what was started may go on. */
static void await_job(struct run *run)
{
	struct pollfd p = { .fd = run->signal_fd, .events = POLLIN };
	struct signalfd_siginfo info;

	if (run->job.go_fd >= 0)
		apptap_job_close(&run->job); /* it never began */
	while (run->job.pid && !apptap_job_reap(&run->job))
		if (poll(&p, 1, -1) > 0 && read(run->signal_fd, &info, sizeof(info)) > 0)
			pass_signal(run, &info);
}

/* The command's own, unless it went well and we did not. */
static int exit_code(const struct run *run, int r, enum apptap_failure failure)
{
	if (run->job.pid && (r >= 0 || run->job.status))
		return run->job.status;
	return r < 0 ? apptap_cmd_exit_code(failure) : APPTAP_EXIT_DONE;
}

int apptap_cmd_capture(struct apptap_options *o, struct apptap_error *err)
{
	auto_free struct run *run = calloc(1, sizeof(*run));
	enum apptap_failure failure;
	int r;

	if (!run) {
		apptap_error_set(err, ENOMEM, "starting");
		return APPTAP_EXIT_FAILED;
	}
	run->signal_fd = -1;
	run->job = (struct apptap_job)APPTAP_JOB_NONE;
	run->result.options = o;
	/* Opened first: opening a FIFO waits, and must end by Ctrl-C as everywhere. */
	r = apptap_output_open(&run->output, o->output, err);
	if (r < 0) {
		if (o->json)
			apptap_jsonout_error(err, stdout);
		return r == -EINVAL ? APPTAP_EXIT_USAGE : APPTAP_EXIT_FAILED; /* a terminal */
	}
	r = capture(run, o, &failure, err);
	await_job(run);
	apptap_terminal_clear();
	if (r < 0)
		run->result.error = *err;
	apptap_summary_sort(&run->result);
	if (run->result.is_done && !o->quiet)
		apptap_summary_print(&run->result);
	if (o->json && apptap_jsonout_result(&run->result, stdout) < 0 && r >= 0)
		r = apptap_error_set(err, errno, "writing JSON to stdout");
	apptap_output_close(&run->output);
	if (run->signal_fd >= 0)
		close(run->signal_fd);
	free(run->result.conns);
	free(run->result.warnings);
	r = exit_code(run, r, failure);
	apptap_job_close(&run->job);
	return r;
}
