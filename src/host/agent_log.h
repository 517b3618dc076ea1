/* agent_log.h - what an agent writes to its stderr, line by line */
#ifndef APPTAP_HOST_AGENT_LOG_H
#define APPTAP_HOST_AGENT_LOG_H

#include "base/base.h"

struct apptap_agent_log {
	char line[512]; /* so far */
	size_t line_len;
	char said[512]; /* its last whole line, made harmless for a terminal */
};

/* Reads at most some @max bytes, and calls @line (may be NULL) with each that is whole. false:
 * there will be no more. */
bool apptap_agent_log_read(struct apptap_agent_log *l, int fd, size_t max,
			   void (*line)(void *arg, const char *text), void *arg);

#endif
