/* elevate.h - how commands on a target get root's rights: found once, then put before each */
#ifndef APPTAP_HOST_ELEVATE_H
#define APPTAP_HOST_ELEVATE_H

#include "host/executor.h"

enum apptap_elevation {
	APPTAP_ELEVATION_UNKNOWN,
	APPTAP_ELEVATION_NONE, /* they have them already */
	APPTAP_ELEVATION_SU_C, /* su -c 'COMMAND': Magisk, KernelSU, APatch */
	APPTAP_ELEVATION_SU_0, /* su 0 COMMAND: AOSP's own, in userdebug builds */
	APPTAP_ELEVATION_SU_ROOT, /* su root COMMAND: older ones */
	APPTAP_ELEVATION_SUDO, /* sudo -n */
};

/* A line for the target's shell that runs @argv as root. The caller frees it. NULL: no memory. */
char *apptap_elevate(enum apptap_elevation how, const char *const *argv);

/* Runs a line in the target's shell, as who connects; like run in struct apptap_link_ops. */
typedef int (*apptap_shell_fn)(void *arg, const char *line, int timeout_ms, struct apptap_ran *out,
			       struct apptap_error *err);

/*
 * Tries what @ways, ended by UNKNOWN, lists, in this order; each within @timeout_ms. -EPERM: none
 * works; @err says whether it was denied, not answered, or is not there, and what to do.
 */
int apptap_elevate_find(enum apptap_elevation *out, const enum apptap_elevation *ways,
			apptap_shell_fn shell, void *arg, int timeout_ms, struct apptap_error *err);

#endif
