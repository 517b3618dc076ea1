/* beat.c - tells an agent on another machine, every so often, that its host is still there */
#include "host/beat.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "wire/frame.h"

static const char beat_command[] = "{\"type\":\"beat\"}";

struct apptap_beat {
	int fd; /* borrowed */
	int end_fd; /* owned: readable when it is over */
	int every_ms;
	pthread_t thread;
};

/* Few enough bytes that no pipe or socket takes them in parts, between those of another command. */
static void *go_on(void *arg)
{
	const struct apptap_beat *b = arg;
	struct pollfd end = { .fd = b->end_fd, .events = POLLIN };

	while (poll(&end, 1, b->every_ms) <= 0) {
		struct pollfd to = { .fd = b->fd, .events = POLLOUT };

		/* A full pipe: the agent has plenty to read, and will hear of us by that. */
		if (poll(&to, 1, 0) > 0 && (to.revents & POLLOUT))
			apptap_frame_send(b->fd, APPTAP_FRAME_COMMAND, 0, beat_command,
					  sizeof(beat_command) - 1, NULL);
	}
	return NULL;
}

int apptap_beat_start(struct apptap_beat **out, int fd, uint32_t every_ms, struct apptap_error *err)
{
	struct apptap_beat *b = calloc(1, sizeof(*b));
	sigset_t all, before;
	int r;

	if (!b)
		return apptap_error_set(err, ENOMEM, "keeping the link alive");
	b->fd = fd;
	b->every_ms = (int)every_ms;
	b->end_fd = eventfd(0, EFD_CLOEXEC);
	if (b->end_fd < 0) {
		free(b);
		return apptap_error_set(err, errno, "keeping the link alive");
	}
	sigfillset(&all); /* signals are the owner's; a broken pipe's, nobody's */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&b->thread, NULL, go_on, b);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0) {
		close(b->end_fd);
		free(b);
		return apptap_error_set(err, r, "keeping the link alive");
	}
	*out = b;
	return 0;
}

void apptap_beat_stop(struct apptap_beat *b)
{
	if (!b)
		return;
	eventfd_write(b->end_fd, 1);
	pthread_join(b->thread, NULL);
	close(b->end_fd);
	free(b);
}
