/* rtthread.c - a thread that runs before all ordinary ones, on one CPU */
#include "tier/rtthread.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>

#include "base/privilege.h"

#define STACK_BYTES (256 * 1024)
#define CPUS_MAX 1024

struct start {
	void *(*run)(void *arg);
	void *arg;
};

/* Capabilities belong to the thread: what the main one gives up later, this one would keep. */
static void *begin(void *arg)
{
	struct start s = *(struct start *)arg;

	free(arg);
	apptap_privilege_drop(NULL);
	return s.run(s.arg);
}

static void bind_to(pthread_t thread, int cpu)
{
	cpu_set_t *set = CPU_ALLOC(CPUS_MAX);

	if (!set)
		return;
	CPU_ZERO_S(CPU_ALLOC_SIZE(CPUS_MAX), set);
	CPU_SET_S((size_t)cpu, CPU_ALLOC_SIZE(CPUS_MAX), set);
	/* A CPU that is offline now, or not ours to use, leaves the thread to float. */
	pthread_setaffinity_np(thread, CPU_ALLOC_SIZE(CPUS_MAX), set);
	CPU_FREE(set);
}

int apptap_rtthread_start(pthread_t *thread, int cpu, enum apptap_rt priority,
			  void *(*run)(void *arg), void *arg, bool *realtime)
{
	struct start *start = malloc(sizeof(*start));
	struct sched_param param = { .sched_priority = (int)priority };
	pthread_attr_t attr;
	sigset_t all, before;
	int code;

	if (!start)
		return ENOMEM;
	*start = (struct start){ run, arg };
	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	code = pthread_create(thread, &attr, begin, start);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (code) {
		free(start);
		return code;
	}
	bind_to(*thread, cpu);
	if (pthread_setschedparam(*thread, SCHED_FIFO, &param) != 0 && realtime)
		*realtime = false;
	return 0;
}
