/* spooldrive.c - a capture over a transport of our own that only runs commands and copies files
 *
 *   spooldrive SERIAL PACKAGE FILE [no-pull]
 *
 * Until its stdin ends: "ready" on stdout, then the UIDs and the number of packets at the end.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

#include "base/launch.h"
#include "host/elevate.h"
#include "host/run.h"

struct drive {
	struct apptap_run run;
	const char *serial;
	bool no_pull; /* it fails, always */
};

static int run(void *arg, const char *const *argv, int timeout_ms, struct apptap_ran *out,
	       struct apptap_error *err)
{
	const struct drive *d = arg;
	auto_free char *line = apptap_elevate(APPTAP_ELEVATION_SU_C, argv);
	const char *const words[] = { "adb", "-s", d->serial, "shell", line, NULL };

	return apptap_launch_run(words, timeout_ms, out, err);
}

static int copy(const char *serial, const char *verb, const char *from, const char *to,
		struct apptap_error *err)
{
	const char *const words[] = { "adb", "-s", serial, verb, from, to, NULL };
	struct apptap_ran ran;
	int r = apptap_launch_run(words, 20000, &ran, err);

	if (r >= 0 && ran.status != 0)
		r = apptap_error_say(err, 5, "adb %s: %s", verb, ran.said);
	apptap_ran_free(&ran);
	return r;
}

static int push(void *arg, const char *local, const char *remote, struct apptap_error *err)
{
	return copy(((struct drive *)arg)->serial, "push", local, remote, err);
}

static int pull(void *arg, const char *remote, const char *local, struct apptap_error *err)
{
	const struct drive *d = arg;

	return d->no_pull ? apptap_error_say(err, 5, "the test's pull fails")
			  : copy(d->serial, "pull", remote, local, err);
}

static int is_root(void *arg, struct apptap_error *err)
{
	(void)arg;
	(void)err;
	return 1;
}

static const char *platform(void *arg)
{
	(void)arg;
	return "android";
}

static void take_event(void *arg, const struct apptap_wire_event *ev)
{
	(void)arg;
	if (ev->type == APPTAP_WIRE_EVENT_READY) {
		puts("ready");
		fflush(stdout);
	}
}

static void take_wake(void *arg)
{
	struct drive *d = arg;

	apptap_run_stop(&d->run);
	d->run.handler.wake_fd = -1;
}

int main(int argc, char **argv)
{
	static const struct apptap_link_ops ops = {
		.size = sizeof(ops),
		.name = "a transport of our own",
		.run = run,
		.push = push,
		.pull = pull,
		.is_root = is_root,
		.platform = platform,
	};
	static struct apptap_start start = { .format = "pcapng", .snaplen_bytes = 262144 };
	static struct drive d;
	struct apptap_executor *executor = NULL;
	struct apptap_error err = { 0 };
	int r;

	if (argc != 4 && argc != 5)
		return 2;
	d.no_pull = argc == 5;
	signal(SIGPIPE, SIG_IGN);
	d.serial = argv[1];
	snprintf(start.name, sizeof(start.name), "%s", argv[2]);
	d.run.handler = (struct apptap_dialog_handler){
		.arg = &d, .event = take_event, .wake_fd = STDIN_FILENO, .wake = take_wake
	};
	r = apptap_output_open(&d.run.output, argv[3], &err);
	if (r >= 0)
		r = apptap_executor_remote_new(&executor, &ops, &d, NULL, &err);
	if (r >= 0)
		r = apptap_run_go(&d.run, executor, &start, &err);
	if (r < 0)
		fprintf(stderr, "%s\n%s\n", err.msg, err.hint);
	printf("%" PRIu64 "\n", d.run.outcome.done.counters.packets);
	apptap_executor_free(executor);
	apptap_run_free(&d.run);
	return r < 0;
}
