/* guardian.h - a process that outlives a killed agent, and removes what it has left in the kernel
 */
#ifndef APPTAP_TIER_GUARDIAN_H
#define APPTAP_TIER_GUARDIAN_H

#include "base/error.h"

struct apptap_guardian {
	pid_t pid;
	int fd; /* owned: when nobody has it open any more, the guardian does its work */
	bool told;
};

#define APPTAP_GUARDIAN_NONE \
	{                    \
		.fd = -1     \
	}

struct apptap_guardian_orders {
	const char *what; /* APPTAP_IPT_HELD or APPTAP_CLSACT_HELD: chains or filters */
	const char *tag; /* of these */
	int held; /* from apptap_tag_hold(what, tag): the guardian holds it as well */
	int held_absent; /* with chains: from apptap_ipt_absent_hold(); -1: none */
	uint32_t mark; /* with chains: bits to clear in conntrack */
	const char *absent; /* with chains: before our rules, see apptap_ipt_absent() */
};

int apptap_guardian_start(struct apptap_guardian *g, const struct apptap_guardian_orders *orders,
			  struct apptap_error *err);

/* Has it do its work now. */
void apptap_guardian_tell(struct apptap_guardian *g);

/* The same, if that was not done yet, and waits for it. */
void apptap_guardian_end(struct apptap_guardian *g);

/* What `apptap --guardian WHAT TAG [MARK ABSENT]` does: waits for the end of its stdin. @argc and
 * @argv: from WHAT on. Return: an exit code. */
int apptap_guardian_main(int argc, char **argv);

#endif
