/* job.h - the command that a capture is about: held until the capture is ready, then let go */
#ifndef APPTAP_HOST_JOB_H
#define APPTAP_HOST_JOB_H

#include "base/error.h"

struct apptap_job {
	pid_t pid; /* 0: there is none */
	int go_fd; /* owned: a byte lets it go, the end of it does not */
	int failed_fd; /* owned: the errno of an exec that failed, or its end */
	bool ended;
	int status; /* as a shell would say it, once it has ended */
};

#define APPTAP_JOB_NONE                      \
	{                                    \
		.go_fd = -1, .failed_fd = -1 \
	}

/*
 * Forks what will be @argv (ended by NULL; the program is looked for in PATH) with the signals,
 * terminal and environment of this process. Run as root by sudo, it becomes the user who called
 * sudo, with his groups. It waits; when this process ends, so does it. -errno: there is no such
 * program, say; job->status is set then as by apptap_job_release().
 */
int apptap_job_hold(struct apptap_job *job, char *const *argv, struct apptap_error *err);

/* Lets it go. -errno: it could not be started; job->status is then 127 or 126, as with sh(1). */
int apptap_job_release(struct apptap_job *job, const char *name, struct apptap_error *err);

/* Whether it has ended by now: job->status is then set. */
bool apptap_job_reap(struct apptap_job *job);

void apptap_job_signal(const struct apptap_job *job, int sig); /* nothing, if it has ended */

/* Ends one that was never let go, and forgets it. Without one: nothing. */
void apptap_job_close(struct apptap_job *job);

#endif
