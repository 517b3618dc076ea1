/* launch.h - programs of this machine: started, run to their end, or spoken with */
#ifndef APPTAP_BASE_LAUNCH_H
#define APPTAP_BASE_LAUNCH_H

#include "base/error.h"

/* A started program. Descriptors are owned by who holds the struct; -1: none. */
struct apptap_child {
	pid_t pid;
	int in_fd; /* what it reads */
	int out_fd; /* what it writes; may be the same descriptor as in_fd */
	int err_fd; /* its diagnostics, in lines */
	uint64_t socket_inode; /* of its stdin, if that is a unix socket of ours; else 0 */
};

#define APPTAP_CHILD_NONE                                          \
	{                                                          \
		.pid = -1, .in_fd = -1, .out_fd = -1, .err_fd = -1 \
	}

/* What a command came to. */
struct apptap_ran {
	int status; /* exit status; -1: it was ended by a signal, or that is not known */
	char *out; /* owned: freed with apptap_ran_free(); NUL-terminated, may be NULL */
	size_t out_len;
	char said[256]; /* on its stderr: the last line, raw where the command ran here */
};

void apptap_ran_free(struct apptap_ran *ran);

/* Whether a program may ask the user something on the terminal that we are on; ASKING: and Ctrl-C,
 * by which he declines to answer, is for it. */
enum apptap_terminal { APPTAP_TERMINAL_OFF, APPTAP_TERMINAL_SHARED, APPTAP_TERMINAL_ASKING };

/*
 * Starts @file, searched in PATH when it has no slash, with these descriptors as its standard ones
 * and default signals; Ctrl-C on the terminal does not reach it, unless it is ASKING. Return: 0,
 * -errno (-ENOENT: not installed); fills no error.
 */
int apptap_launch(pid_t *pid, const char *file, char *const *argv, enum apptap_terminal terminal,
		  int in_fd, int out_fd, int err_fd);

/* Runs @argv to its end, without input, and keeps what it writes. -ETIMEDOUT: it was killed. */
int apptap_launch_run(const char *const *argv, int timeout_ms, struct apptap_ran *out,
		      struct apptap_error *err);

/* The same of a program that may ask the user first of all who he is. */
int apptap_launch_asking(const char *const *argv, int timeout_ms, struct apptap_ran *out,
			 struct apptap_error *err);

/* As apptap_launch_run() with a file as its input, or its output; NULL: as above. */
int apptap_launch_files(const char *const *argv, const char *in_path, const char *out_path,
			int timeout_ms, struct apptap_ran *out, struct apptap_error *err);

/* Starts @argv with pipes to it; all ends here are close-on-exec, the err_fd nonblocking. */
int apptap_launch_stream(const char *const *argv, struct apptap_child *out,
			 struct apptap_error *err);

#endif
