/* agents.h - the agent's program for another machine, as a file of this one */
#ifndef APPTAP_HOST_AGENTS_H
#define APPTAP_HOST_AGENTS_H

#include <limits.h>

#include "base/error.h"
#include "base/sha256.h"

struct apptap_agent_file {
	char path[PATH_MAX];
	char sum[APPTAP_SHA256_HEX];
	char name[32]; /* apptap-<first 16 digits of sum>: what it is called there */
};

/* "arm64-v8a" and kin for what `uname -m` says; NULL: we are not built for that. */
const char *apptap_agents_abi(const char *machine);

/*
 * Finds the program for @machine (as `uname -m` has it): in @dir, or, with NULL, where the build or
 * the installation has put them.
 */
int apptap_agents_find(struct apptap_agent_file *out, const char *dir, const char *machine,
		       struct apptap_error *err);

#endif
