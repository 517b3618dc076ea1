/* main.c - the program apptap */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/spool.h"
#include "cmd.h"
#include "terminal.h"
#include "tier/guardian.h"

/* With one of them closed, the next file opened would take its place and be written into. What is
 * wanted of a closed stdout must fail, and not go nowhere. */
static void ensure_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null",
			  fcntl(STDIN_FILENO, F_GETFD) >= 0 && fcntl(STDOUT_FILENO, F_GETFD) < 0
				  ? O_RDONLY
				  : O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

static int run(struct apptap_options *o, struct apptap_error *err)
{
	switch (o->action) {
	case APPTAP_ACTION_AGENT:
	case APPTAP_ACTION_AGENT_ONCE:
		return apptap_agent_main(o->action == APPTAP_ACTION_AGENT_ONCE, -1);
	case APPTAP_ACTION_AGENT_SPOOL:
		return apptap_spool_main(o->spool_args);
	case APPTAP_ACTION_HELP:
		apptap_options_help(stdout);
		return APPTAP_EXIT_DONE;
	case APPTAP_ACTION_VERSION:
		printf("apptap %s\n", APPTAP_VERSION);
		return APPTAP_EXIT_DONE;
	case APPTAP_ACTION_PROBE:
		return apptap_cmd_probe(o, err);
	case APPTAP_ACTION_LIST:
		return apptap_cmd_list(o, err);
	case APPTAP_ACTION_CLEANUP:
		return apptap_cmd_cleanup(o, err);
	case APPTAP_ACTION_CAPTURE:
		break;
	}
	return apptap_cmd_capture(o, err);
}

int main(int argc, char **argv)
{
	static struct apptap_options options;
	struct apptap_error err = { 0 };
	int code;

	ensure_standard_descriptors();
	if (argc > 2 && strcmp(argv[1], "--guardian") == 0)
		return apptap_guardian_main(argc - 2, argv + 2);
	signal(SIGPIPE, SIG_IGN);
	if (apptap_options_parse(&options, argc, argv, &err) < 0)
		code = APPTAP_EXIT_USAGE;
	else
		code = run(&options, &err);
	if (err.code)
		apptap_terminal_error(&err);
	if ((fflush(stdout) == EOF || ferror(stdout)) && code == APPTAP_EXIT_DONE) {
		apptap_terminal_say("writing to stdout failed");
		code = APPTAP_EXIT_FAILED;
	}
	return code;
}
