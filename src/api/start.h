/* start.h - the caller's options, checked and turned into what host and agent speak */
#ifndef APPTAP_API_START_H
#define APPTAP_API_START_H

#include "api/convert.h"
#include "host/executor.h"

/* The options with all that they point to, copied; callbacks and their argument as they are. */
struct apptap_plan {
	struct apptap_options
		options; /* of this library's size; output and agent are owned below */
	struct apptap_start start;
	char *output; /* owned; NULL: none */
	char *agent; /* owned, as are the next three; NULL: the default */
	char *agents;
	char *device;
	char *ssh;
	char **command; /* owned; NULL: none */
};

/* @out owns memory only on success. -EINVAL with a sentence. */
int apptap_plan_make(struct apptap_plan *out, const struct apptap_options *options,
		     struct apptap_error *err);
void apptap_plan_free(struct apptap_plan *p); /* what it owns; not @p itself */

/* For what captures nothing: only where is looked at. @options may be NULL. */
int apptap_plan_where(struct apptap_plan *out, const struct apptap_options *options,
		      struct apptap_error *err);

/* Where the plan says that the agent runs; the caller frees it. */
int apptap_plan_executor(const struct apptap_plan *p, struct apptap_executor **out,
			 struct apptap_error *err);

#endif
