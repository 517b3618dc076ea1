/*
 * live_connections.c - print an application's connections as they begin and end
 *
 *	cc live_connections.c $(pkg-config --cflags --libs apptap) -o live_connections
 *	./live_connections firefox
 *
 * Until Ctrl-C, or for as many seconds as a second argument says. No file is written.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apptap/apptap.h>

static struct apptap_session *session; /* for the signal handler */

static void print(void *arg, const struct apptap_event *ev)
{
	const struct apptap_connection *c = ev->connection;

	(void)arg;
	switch (ev->type) {
	case APPTAP_EVENT_READY:
		fprintf(stderr, "capturing with %s: %s\n", ev->tier,
			ev->uid_count ? ev->uids[0].why : "everything");
		break;
	case APPTAP_EVENT_WARNING:
		fprintf(stderr, "warning: %s\n", ev->text);
		break;
	case APPTAP_EVENT_CONNECTION_NEW:
		printf("begins  %3u  %s %u -> %s %u  %s\n", c->protocol, c->local_text,
		       c->local_port, c->remote_text, c->remote_port, c->community_id);
		break;
	case APPTAP_EVENT_CONNECTION_CLOSED:
		printf("ended   %3u  %s %u -> %s %u  %llu bytes out, %llu in\n", c->protocol,
		       c->local_text, c->local_port, c->remote_text, c->remote_port,
		       (unsigned long long)c->bytes_out, (unsigned long long)c->bytes_in);
		break;
	default: /* also what a later library may tell */
		break;
	}
	fflush(stdout);
}

static void interrupt(int sig)
{
	(void)sig;
	apptap_session_interrupt(session); /* NOLINT: made for it, and documented so */
}

int main(int argc, char **argv)
{
	struct apptap_options options;
	struct apptap_error err;
	const struct apptap_result *result;

	if (argc < 2) {
		fprintf(stderr, "usage: live_connections APP [SECONDS]\n");
		return 2;
	}
	memset(&options, 0, sizeof(options));
	options.size = sizeof(options);
	options.target = argv[1];
	options.event = print;
	options.events_of_connections = 1;
	options.duration_ms = argc > 2 ? (uint64_t)atoi(argv[2]) * 1000 : 0;
	if (apptap_session_new(&session, &options, &err) < 0)
		goto failed;
	signal(SIGINT, interrupt);
	if (apptap_session_start(session, &err) < 0 || apptap_session_wait(session, -1, &err) < 0 ||
	    apptap_session_stop(session, &result, &err) < 0)
		goto failed;
	printf("%llu connections, %llu packets\n", (unsigned long long)result->connections_total,
	       (unsigned long long)result->counters->kept);
	apptap_session_free(session);
	return 0;
failed:
	fprintf(stderr, "%s\n", err.msg);
	if (err.hint[0])
		fprintf(stderr, "try: %s\n", err.hint);
	apptap_session_free(session);
	return 1;
}
