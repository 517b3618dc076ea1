/* cmd.h - what the program can be asked to do; one file each, returning the exit code */
#ifndef APPTAP_CLI_CMD_H
#define APPTAP_CLI_CMD_H

#include "options.h"

enum {
	APPTAP_EXIT_DONE = 0,
	APPTAP_EXIT_FAILED = 1,
	APPTAP_EXIT_USAGE = 2,
	APPTAP_EXIT_NO_TIER = 3,
};

/* On another code than 0, @err (if filled) is for main to print. */
int apptap_cmd_capture(struct apptap_options *o, struct apptap_error *err);
int apptap_cmd_probe(struct apptap_options *o, struct apptap_error *err);
int apptap_cmd_list(struct apptap_options *o, struct apptap_error *err);
int apptap_cmd_cleanup(struct apptap_options *o, struct apptap_error *err);

int apptap_cmd_exit_code(enum apptap_failure failure);

#endif
