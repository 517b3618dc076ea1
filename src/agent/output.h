/* output.h - where the agent's file goes: a descriptor of the host's, or back over the wire */
#ifndef APPTAP_AGENT_OUTPUT_H
#define APPTAP_AGENT_OUTPUT_H

#include "base/error.h"

/*
 * How it works. The sink writes to a descriptor. Where the host's own could be handed over, it is
 * that one. Else it is a memfd: after every flush, what the sink has put there goes to the host in
 * DATA frames and its pages are given back, so that the memfd never holds more than one batch.
 */
struct apptap_agent_output {
	int fd; /* owned; what the sink writes to */
	int wire_fd; /* borrowed; -1 unless streaming */
	uint64_t sent;
	uint8_t *buf; /* owned */
};

#define APPTAP_AGENT_OUTPUT_CLOSED      \
	{                               \
		.fd = -1, .wire_fd = -1 \
	}

/* Takes @file_fd, or streams to @wire_fd when @file_fd is -1. */
int apptap_agent_output_open(struct apptap_agent_output *o, int file_fd, int wire_fd,
			     struct apptap_error *err);

/* Streaming: sends what is new. The file ends with a whole record now. Else: nothing to do. */
int apptap_agent_output_flush(struct apptap_agent_output *o, struct apptap_error *err);

void apptap_agent_output_close(struct apptap_agent_output *o);

#endif
