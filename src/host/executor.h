/* executor.h - where the agent runs and how it is reached: ops table */
#ifndef APPTAP_HOST_EXECUTOR_H
#define APPTAP_HOST_EXECUTOR_H

#include "base/error.h"

/* A started agent. Descriptors are owned by who holds the struct; -1: none. */
struct apptap_child {
	pid_t pid;
	int in_fd; /* commands to it */
	int out_fd; /* events from it; may be the same descriptor as in_fd */
	int err_fd; /* its diagnostics, in lines */
	uint64_t socket_inode; /* of its stdin, if that is a unix socket of ours; else 0 */
};

#define APPTAP_CHILD_NONE                                          \
	{                                                          \
		.pid = -1, .in_fd = -1, .out_fd = -1, .err_fd = -1 \
	}

struct apptap_executor_ops {
	const char *name;
	/* Starts the agent with root's rights. It greets when it is there (wire/frame.h). */
	int (*spawn)(struct apptap_child *out, struct apptap_error *err);
	/*
	 * The agent ended before it greeted, with @status of waitpid(2), having said @said (may be
	 * empty): fills @err with the reason and what to try. Returns -errno.
	 */
	int (*explain)(int status, const char *said, struct apptap_error *err);
};

extern const struct apptap_executor_ops apptap_executor_local;

#endif
