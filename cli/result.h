/* result.h - all that a capture came to, for the summary and for --json */
#ifndef APPTAP_CLI_RESULT_H
#define APPTAP_CLI_RESULT_H

#include <stdio.h>

#include "host/run.h"
#include "options.h"

struct apptap_result {
	const struct apptap_options *options; /* borrowed */
	const struct apptap_outcome *outcome; /* borrowed */
	struct apptap_error error; /* code 0: none */
};

const char *apptap_output_name(const struct apptap_options *o); /* for the user */

/* Puts the connections with most bytes first. */
void apptap_summary_sort(struct apptap_outcome *o);

/* A capture's connections and its figures, on stderr. */
void apptap_summary_print(const struct apptap_result *r);

/* The live line while a capture runs. */
void apptap_status_show(const struct apptap_wire_counters *c);

/* One JSON object in one line. Return 0, -errno when it could not be written. */
int apptap_jsonout_result(const struct apptap_result *r, FILE *to);
int apptap_jsonout_probe(const struct apptap_event_probe *p, FILE *to);
int apptap_jsonout_cleanup(const struct apptap_event_cleanup *c, FILE *to);
int apptap_jsonout_error(const struct apptap_error *err, FILE *to);

/* "tcp"; "10.0.0.1:80", "[2001:db8::1]:443". Return @buf. */
const char *apptap_conn_proto(const struct apptap_conn_record *c, char *buf, size_t size);
const char *apptap_conn_address(const struct apptap_conn_record *c, bool local, char *buf,
				size_t size);

#endif
