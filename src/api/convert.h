/* convert.h - what crossed the wire, as the public header has it */
#ifndef APPTAP_API_CONVERT_H
#define APPTAP_API_CONVERT_H

#include "host/job.h"
#include "host/run.h"
#include "wire/packet_record.h"

#include <apptap/apptap.h> /* last: the internal headers have what it would define else */

void apptap_convert_connection(const struct apptap_conn_record *in, struct apptap_connection *out);
void apptap_convert_counters(const struct apptap_wire_counters *in, struct apptap_counters *out);

/* Borrows the reasons. */
void apptap_convert_uids(const struct apptap_wire_uid *in, size_t count, struct apptap_uid *out);

/*
 * All that a capture came to; @o may go then. @start is what was asked for, @path the file's name
 * or NULL. NULL: no memory.
 */
struct apptap_result *apptap_convert_outcome(const struct apptap_outcome *o,
					     const struct apptap_start *start, const char *path);

/* @result, of the function above, gets what became of the command. */
void apptap_convert_job(const struct apptap_job *job, struct apptap_result *result);

/* Turns records of packets into packets, and knows the names of their interfaces. */
struct apptap_unpacker;

int apptap_unpacker_new(struct apptap_unpacker **out, struct apptap_error *err);
void apptap_unpacker_free(struct apptap_unpacker *u); /* NULL is fine */

/*
 * The next packet of @v, borrowed from it and from @u until the next call. Return: 1, 0 there is
 * none left, -EPROTO.
 */
int apptap_unpacker_next(struct apptap_unpacker *u, struct apptap_view *v,
			 struct apptap_packet *out, struct apptap_error *err);

#endif
