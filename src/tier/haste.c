/* haste.c - to run before others while that costs them little */
#include "tier/haste.h"

#include <sched.h>

bool apptap_haste(bool on)
{
	bool before = (sched_getscheduler(0) & ~SCHED_RESET_ON_FORK) == SCHED_FIFO;
	struct sched_param param = { .sched_priority = on ? 1 : 0 };

	/* Not for what we start: iptables, and the guardian. */
	if (on != before)
		sched_setscheduler(0, (on ? SCHED_FIFO : SCHED_OTHER) | SCHED_RESET_ON_FORK,
				   &param);
	return before;
}
