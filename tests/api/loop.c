/* loop.c - sessions started and stopped over and over, in every way; tells what is left of them */
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <apptap/apptap.h>

static const uint32_t uids[] = { 5001 };

struct seen {
	uint64_t packets;
	uint64_t connections;
	uint64_t closed;
	uint64_t ready;
	int enough; /* of packets: then the callback wants no more */
};

static int take_packet(void *arg, const struct apptap_packet *pkt)
{
	struct seen *s = arg;

	s->packets += pkt->len > 0;
	return s->enough && s->packets >= (uint64_t)s->enough;
}

static void take_event(void *arg, const struct apptap_event *ev)
{
	struct seen *s = arg;

	s->ready += ev->type == APPTAP_EVENT_READY;
	s->connections += ev->type == APPTAP_EVENT_CONNECTION_NEW;
	s->closed += ev->type == APPTAP_EVENT_CONNECTION_CLOSED;
}

static void fail(const char *what, const struct apptap_error *err)
{
	fprintf(stderr, "loop: %s: %s\n", what, err->msg);
	exit(1);
}

static struct apptap_options begin_options(struct seen *seen)
{
	struct apptap_options o;

	memset(&o, 0, sizeof(o));
	memset(seen, 0, sizeof(*seen));
	o.size = sizeof(o);
	o.uids = uids;
	o.uid_count = 1;
	o.callback_arg = seen;
	return o;
}

static void capture(const struct apptap_options *o, int with_stop)
{
	struct apptap_error err;
	struct apptap_session *s;
	const struct apptap_result *result;

	if (apptap_session_new(&s, o, &err) < 0 || apptap_session_start(s, &err) < 0)
		fail("starting", &err);
	if (with_stop && (apptap_session_stop(s, &result, &err) < 0 || !result->uid_count))
		fail("stopping", &err);
	apptap_session_free(s);
}

/* A file; with or without a stop before the free. */
static void to_file(const char *path, int round)
{
	struct seen seen;
	struct apptap_options o = begin_options(&seen);

	o.output = path;
	capture(&o, round % 2);
}

/* Callbacks, and one that has seen enough. */
static void to_callbacks(int round)
{
	struct seen seen;
	struct apptap_options o = begin_options(&seen);
	struct apptap_error err;
	struct apptap_result *result;

	o.packet = take_packet;
	o.event = take_event;
	o.events_of_connections = 1;
	seen.enough = 500 + round;
	if (apptap_capture(&o, &result, &err) < 0)
		fail("capturing", &err);
	if (seen.packets != (uint64_t)seen.enough || seen.ready != 1 || seen.connections != 10)
		fail("callbacks", &(struct apptap_error){ .msg = "not as many as expected" });
	if (result->connection_count != 10 || strcmp(result->ended_by, "stopped") != 0)
		fail("result", &(struct apptap_error){ .msg = "not as expected" });
	apptap_result_free(result);
}

/* What is never read is freed all the same. */
static void to_nobody(void)
{
	struct seen seen;
	struct apptap_options o = begin_options(&seen);

	o.read_packets = 1;
	capture(&o, 1);
}

/* Nothing comes of it: no such user; options that make no sense; called off before it began. */
static void to_nothing(const char *path)
{
	struct seen seen;
	struct apptap_options o = begin_options(&seen);
	struct apptap_error err;
	struct apptap_session *s;

	o.output = path;
	o.uid_count = 0;
	if (apptap_session_new(&s, &o, &err) >= 0)
		exit(2);
	o.user = "no-such-user-here";
	if (apptap_session_new(&s, &o, &err) < 0 || apptap_session_start(s, &err) >= 0)
		exit(3);
	apptap_session_free(s);
	o.user = NULL;
	o.uid_count = 1;
	if (apptap_session_new(&s, &o, &err) < 0)
		fail("making", &err);
	apptap_session_interrupt(s);
	if (apptap_session_start(s, &err) >= 0)
		exit(4);
	apptap_session_free(s);
}

static void *in_thread(void *arg)
{
	to_callbacks(*(int *)arg);
	return NULL;
}

/* Two at once, each in a thread of its own. */
static void at_once(int round)
{
	pthread_t threads[2];

	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, in_thread, &round);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

static int count_in(const char *folder)
{
	DIR *dir = opendir(folder);
	int count = 0;

	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count;
}

int main(int argc, char **argv)
{
	int rounds = argc > 2 ? atoi(argv[2]) : 1;
	int files = count_in("/proc/self/fd");
	int threads = count_in("/proc/self/task");

	for (int i = 0; i < rounds; i++) { /* seven sessions a round */
		to_file(argv[1], i);
		to_callbacks(i % 100);
		to_nobody();
		to_nothing(argv[1]);
		at_once(i % 100);
	}
	printf("{\"files\": %d, \"threads\": %d, \"children\": %d}\n",
	       count_in("/proc/self/fd") - files, count_in("/proc/self/task") - threads,
	       waitpid(-1, NULL, WNOHANG) >= 0);
	return 0;
}
