/* link.h - a caller's own transport, as the rooms below know one */
#ifndef APPTAP_API_LINK_H
#define APPTAP_API_LINK_H

#include "host/executor.h"

#include <apptap/apptap.h> /* last: see convert.h */

int apptap_link_check(const struct apptap_link *link, struct apptap_error *err); /* -EINVAL */

/* @link and @arg are borrowed for the executor's life. */
int apptap_link_executor(struct apptap_executor **out, const struct apptap_link *link, void *arg,
			 const struct apptap_remote_config *cfg, struct apptap_error *err);

#endif
