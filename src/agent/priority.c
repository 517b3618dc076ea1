/* priority.c - the agent's place before the programs whose packets it reads */
#include "agent/priority.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>

#define HIGHEST_NICE (-20)

/* With CONFIG_SCHED_AUTOGROUP a nice value counts only within the session, and each session counts
 * as one (sched(7)): on a terminal all that we gained would be to come before the user's shell. */
static void raise_session(void)
{
	auto_close int fd = -1;
	char nice[8];
	int len = snprintf(nice, sizeof(nice), "%d", HIGHEST_NICE);

	if (setsid() < 0)
		return; /* a session's leader already, of a session that is not ours alone */
	fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, nice, (size_t)len) < 0)
		return; /* no such grouping here, and no need then */
}

int apptap_priority_raise(struct apptap_error *err)
{
	raise_session();
	if (setpriority(PRIO_PROCESS, 0, HIGHEST_NICE) < 0) {
		int r = apptap_error_set(err, errno, "raising the agent's priority");

		apptap_error_hint(err, "give it CAP_SYS_NICE; packets may be lost under load");
		return r;
	}
	return 0;
}
