/* where.h - on which machine: what --local, --device and --ssh mean */
#ifndef APPTAP_CLI_WHERE_H
#define APPTAP_CLI_WHERE_H

#include "host/executor.h"
#include "options.h"

/* The executor that the options ask for; freed with apptap_executor_free(). */
int apptap_where_open(struct apptap_executor **out, const struct apptap_options *o,
		      struct apptap_error *err);

#endif
