/* result.h - all that a capture came to, for the summary and for --json */
#ifndef APPTAP_CLI_RESULT_H
#define APPTAP_CLI_RESULT_H

#include <stdio.h>

#include "host/dialog.h"
#include "options.h"
#include "wire/conn_record.h"

struct apptap_result {
	const struct apptap_options *options; /* borrowed */
	bool is_ready;
	bool is_done;
	struct apptap_event_ready ready;
	struct apptap_event_done done;
	struct apptap_conn_record *conns; /* owned */
	size_t conn_count;
	char (*warnings)[512]; /* owned */
	size_t warning_count;
	uint64_t warnings_more; /* not kept */
	struct apptap_clock_difference clock;
	struct apptap_error error; /* code 0: none */
};

const char *apptap_output_name(const struct apptap_options *o); /* for the user */

/* Puts the connections with most bytes first. */
void apptap_summary_sort(struct apptap_result *r);

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
