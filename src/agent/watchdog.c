/*
 * watchdog.c - ends the agent when its host, on another machine, has been silent for too long
 *
 * How it works. A link may go silent without an end: a half-dead cable, a router that forgot. The
 * host beats (host/beat.c) as long as it lives, also while it is slow. An agent that waits for a
 * slow host reads nothing, so what waits to be read counts as heard too. But adbd carries nothing
 * in while it cannot get rid of what goes out: then a slow host and a dead link look alike, and are
 * given long. Time is counted in looks, so that neither a suspended phone nor a stopped agent takes
 * its own sleep for the host's silence. Ending like this leaves nothing that SIGKILL would not:
 * what the tiers have in the kernel goes with its descriptors and guardians.
 */
#include "agent/watchdog.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/ioctl.h>

#define LOOKS 20u /* in the time after which it ends */
#define STATUS_SILENT 4

struct watch {
	int in_fd;
	int out_fd;
	long look_ms;
};

static _Atomic uint64_t taken; /* bytes */

static void *look_out(void *arg)
{
	const struct watch w = *(struct watch *)arg;
	const struct timespec pause = { .tv_sec = w.look_ms / 1000,
					.tv_nsec = w.look_ms % 1000 * 1000000 };
	static const char said[] = "apptap agent: nothing came from the host for too long\n";
	uint64_t heard = 0;
	unsigned silent = 0;

	free(arg);
	while (silent < LOOKS * APPTAP_WATCHDOG_JAMMED) {
		struct pollfd out = { .fd = w.out_fd, .events = POLLOUT };
		uint64_t now = atomic_load(&taken);
		int waiting = 0;

		nanosleep(&pause, NULL);
		if (ioctl(w.in_fd, FIONREAD, &waiting) == 0)
			now += (uint64_t)waiting;
		silent += poll(&out, 1, 0) == 0 ? 1 : APPTAP_WATCHDOG_JAMMED;
		if (now != heard)
			silent = 0;
		heard = now;
	}
	if (write(STDERR_FILENO, said, sizeof(said) - 1) < 0)
		_exit(STATUS_SILENT);
	_exit(STATUS_SILENT);
}

int apptap_watchdog_start(int in_fd, int out_fd, uint32_t silence_ms, struct apptap_error *err)
{
	struct watch *w = malloc(sizeof(*w));
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	if (!w)
		return apptap_error_set(err, ENOMEM, "watching the link");
	*w = (struct watch){ .in_fd = in_fd,
			     .out_fd = out_fd,
			     .look_ms = MAX((long)(silence_ms / LOOKS), 1L) };
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &attr, look_out, w);
	pthread_attr_destroy(&attr);
	if (r == 0)
		return 0;
	free(w);
	return apptap_error_set(err, r, "watching the link");
}

void apptap_watchdog_heard(size_t len)
{
	atomic_fetch_add(&taken, len);
}
