/* options.h - the command line, as a struct */
#ifndef APPTAP_CLI_OPTIONS_H
#define APPTAP_CLI_OPTIONS_H

#include <stdio.h>

#include "wire/message.h"

enum apptap_action {
	APPTAP_ACTION_CAPTURE,
	APPTAP_ACTION_PROBE,
	APPTAP_ACTION_CLEANUP,
	APPTAP_ACTION_LIST,
	APPTAP_ACTION_HELP,
	APPTAP_ACTION_VERSION,
	APPTAP_ACTION_AGENT, /* hidden: the other half of this program */
	APPTAP_ACTION_AGENT_ONCE, /* the same, and its file goes as soon as it runs */
	APPTAP_ACTION_AGENT_SPOOL, /* the same, without a link */
};

struct apptap_options {
	enum apptap_action action;
	struct apptap_start start;
	const char *output; /* borrowed from argv; "-" is stdout */
	char **command; /* borrowed from argv, ended by NULL; NULL: none is started */
	const char *device; /* borrowed from argv, like ssh: a serial */
	const char *ssh; /* a destination */
	bool local;
	bool keep_agent;
	char *const *spool_args; /* borrowed from argv: the rest of it */
	bool json;
	bool quiet;
	bool verbose;
	bool nano;
};

/* 0, or -EINVAL with a sentence (and a hint) for the user. Prints nothing. */
int apptap_options_parse(struct apptap_options *o, int argc, char **argv, struct apptap_error *err);

void apptap_options_help(FILE *to);

#endif
