/*
 * fence.c - have all sockets been told dead that were closed until now?
 *
 * How it works. A closed socket is told dead by a work queue of the CPU that closed it, in order of
 * the closing; on a busy machine that may take any time. So we close a socket of our own on each
 * CPU, by a thread that is bound to it: when these have been told dead, so has been what was closed
 * before them. (tests/kernel/diag_handover.c) The threads start when they are needed first.
 */
#include "tier/fence.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "tier/rtthread.h"

#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif

#define CPUS_MAX 256
#define PAUSE_NS (500 * APPTAP_NSEC_PER_USEC) /* between two of them */
#define LOST_NS (1 * APPTAP_NSEC_PER_SEC) /* what is not told by then will not be */

struct closer {
	pthread_t thread;
	int cpu;
	bool started;
	bool told;
	int bell; /* owned: an eventfd */
	_Atomic bool quit;
	_Atomic uint64_t rung, done; /* how often it was to close one, and has */
	uint64_t cookie; /* of the last */
};

struct apptap_fence {
	const struct apptap_deaths *deaths; /* borrowed */
	uint64_t raised_ns; /* CLOCK_REALTIME, like the next two */
	uint64_t passed_ns, told_ns; /* of the last that has passed: when raised, and when known */
	int count; /* of closers; 0: not started */
	int left; /* not told dead yet */
	uint32_t deaths_seen; /* at the last look, by when all had been closed: nothing is new */
	bool all_closed;
	struct closer closers[CPUS_MAX];
};

int apptap_fence_new(struct apptap_fence **out, const struct apptap_deaths *deaths)
{
	struct apptap_fence *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->deaths = deaths;
	*out = f;
	return 0;
}

static void ring(struct closer *c)
{
	static const uint64_t one = 1;

	while (write(c->bell, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void apptap_fence_free(struct apptap_fence *f)
{
	if (!f)
		return;
	for (int i = 0; i < f->count; i++) {
		atomic_store(&f->closers[i].quit, true);
		ring(&f->closers[i]);
	}
	for (int i = 0; i < f->count; i++) {
		if (f->closers[i].started)
			pthread_join(f->closers[i].thread, NULL);
		close(f->closers[i].bell);
	}
	free(f);
}

/* 0: there is no telling it apart here. */
static uint64_t close_one(void)
{
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) < 0)
		return 0;
	return cookie;
}

static void *work(void *arg)
{
	struct closer *c = arg;
	uint64_t count;

	while (!atomic_load(&c->quit)) {
		if (read(c->bell, &count, sizeof(count)) < 0)
			continue;
		count = atomic_load(&c->rung);
		c->cookie = close_one();
		atomic_store(&c->done, count);
	}
	return NULL;
}

static void start(struct apptap_fence *f)
{
	long cpus = MIN(sysconf(_SC_NPROCESSORS_CONF), (long)CPUS_MAX);
	bool realtime = true;

	for (int cpu = 0; cpu < cpus; cpu++) {
		struct closer *c = &f->closers[f->count];

		c->cpu = cpu;
		c->bell = eventfd(0, EFD_CLOEXEC);
		if (c->bell < 0)
			return;
		c->started = apptap_rtthread_start(&c->thread, cpu, APPTAP_RT_TRIGGER, work, c,
						   &realtime) == 0;
		f->count++;
	}
}

static void raise_it(struct apptap_fence *f, uint64_t now_ns)
{
	if (!f->count)
		start(f);
	f->raised_ns = now_ns;
	f->left = 0;
	f->all_closed = false;
	for (int i = 0; i < f->count; i++) {
		struct closer *c = &f->closers[i];

		c->told = !c->started; /* its CPU is switched off */
		f->left += c->started;
		atomic_fetch_add(&c->rung, 1);
		if (c->started)
			ring(c);
	}
}

/* Is called for each packet that waits, over and over: must cost nothing where nothing is new. */
static void look(struct apptap_fence *f)
{
	static const struct apptap_flow unbound = { .proto = IPPROTO_UDP };
	uint32_t deaths = apptap_deaths_count(f->deaths);

	if (f->all_closed && deaths == f->deaths_seen)
		return;
	f->deaths_seen = deaths;
	f->all_closed = true;
	for (int i = 0; i < f->count; i++) {
		struct closer *c = &f->closers[i];

		if (c->told)
			continue;
		if (atomic_load(&c->done) != atomic_load(&c->rung)) {
			f->all_closed = false;
			continue;
		}
		if (!apptap_deaths_has(f->deaths, &unbound, c->cookie))
			continue;
		c->told = true;
		f->left--;
	}
	if (f->count && !f->left && f->passed_ns != f->raised_ns) {
		f->passed_ns = f->raised_ns;
		f->told_ns = apptap_clock_ns(CLOCK_REALTIME);
	}
}

bool apptap_fence_passed(struct apptap_fence *f, uint64_t wanted_ns, uint64_t *told_ns)
{
	uint64_t now_ns;

	if (f->passed_ns < wanted_ns) {
		look(f);
		now_ns = apptap_clock_ns(CLOCK_REALTIME);
		if (f->passed_ns < wanted_ns &&
		    now_ns > f->raised_ns + (f->left ? LOST_NS : PAUSE_NS))
			raise_it(f, now_ns);
	}
	*told_ns = f->told_ns;
	return f->passed_ns >= wanted_ns;
}
