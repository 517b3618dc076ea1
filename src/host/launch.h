/* launch.h - programs of this machine: started, run to their end, or spoken with */
#ifndef APPTAP_HOST_LAUNCH_H
#define APPTAP_HOST_LAUNCH_H

#include "host/executor.h"

/*
 * Starts @file, searched in PATH when it has no slash, with these descriptors as its standard ones
 * and default signals; Ctrl-C on the terminal does not reach it. Return: 0, -errno (-ENOENT: not
 * installed); fills no error.
 */
int apptap_launch(pid_t *pid, const char *file, char *const *argv, int in_fd, int out_fd,
		  int err_fd);

/* Runs @argv to its end, without input, and keeps what it writes. -ETIMEDOUT: it was killed. */
int apptap_launch_run(const char *const *argv, int timeout_ms, struct apptap_ran *out,
		      struct apptap_error *err);

/* Starts @argv with pipes to it; all ends here are close-on-exec, the err_fd nonblocking. */
int apptap_launch_stream(const char *const *argv, struct apptap_child *out,
			 struct apptap_error *err);

#endif
