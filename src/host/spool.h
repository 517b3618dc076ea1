/* spool.h - the dialog with an agent over a link that has no byte streams: exchanges, and a file at
 * the end (agent/spool.h tells how) */
#ifndef APPTAP_HOST_SPOOL_H
#define APPTAP_HOST_SPOOL_H

#include "host/executor.h"

struct apptap_spool;

/* Where things are on the target; strings are copied. */
struct apptap_spool_config {
	const char *agent; /* the program */
	const char *drop; /* a path that who connects can write to; begins with ".apptap-" */
	bool once; /* the program goes too at the end */
};

/* Starts the agent. @child gets descriptors as if it were a child, but no PID; @link is borrowed.
 */
int apptap_spool_open(struct apptap_spool **out, const struct apptap_link_ops *link, void *arg,
		      const struct apptap_spool_config *cfg, struct apptap_child *child,
		      struct apptap_error *err);

/* One exchange. Return: milliseconds until the next is due, -errno. */
int apptap_spool_carry(struct apptap_spool *s, struct apptap_error *err);

/* The finished capture, written to @o. */
int apptap_spool_fetch(struct apptap_spool *s, struct apptap_output *o, struct apptap_error *err);

/* Takes all of it away from the target. NULL is fine. */
void apptap_spool_close(struct apptap_spool *s);

#endif
