/* guardian.h - a process that outlives a killed agent, and removes the chains it has left */
#ifndef APPTAP_TIER_GUARDIAN_H
#define APPTAP_TIER_GUARDIAN_H

#include "base/error.h"

struct apptap_guardian {
	pid_t pid;
	int fd; /* owned: when it closes, by whatever cause, the guardian does its work */
};

#define APPTAP_GUARDIAN_NONE \
	{                    \
		.fd = -1     \
	}

struct apptap_guardian_orders {
	const char *tag; /* of the chains */
	const char *absent; /* before our rules: see apptap_ipt_absent() */
	uint32_t mark; /* bits to clear in conntrack */
	int held; /* the name of the chains, which it holds as well */
};

int apptap_guardian_start(struct apptap_guardian *g, const struct apptap_guardian_orders *orders,
			  struct apptap_error *err);

/* Has it do its work now, and waits for it. */
void apptap_guardian_end(struct apptap_guardian *g);

/* What `apptap --guardian TAG MARK ABSENT` does: waits for the end of its stdin. Return: an exit
 * code. */
int apptap_guardian_main(const char *tag, const char *mark, const char *absent);

#endif
