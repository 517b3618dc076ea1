/* rtthread.h - a thread that runs before all ordinary ones, on one CPU */
#ifndef APPTAP_TIER_RTTHREAD_H
#define APPTAP_TIER_RTTHREAD_H

#include <pthread.h>

#include "base/base.h"

/* Of the lowest real-time priorities: above everything ordinary, below everything else. */
enum apptap_rt { APPTAP_RT_SEARCH = 1, APPTAP_RT_TRIGGER = 2 };

/*
 * Starts it with all signals blocked, a small stack, and only the capabilities that a capture
 * needs. @realtime, when not NULL, becomes false where the kernel refused the priority: the thread
 * runs all the same. Return: 0 or an errno.
 */
int apptap_rtthread_start(pthread_t *thread, int cpu, enum apptap_rt priority,
			  void *(*run)(void *arg), void *arg, bool *realtime);

#endif
