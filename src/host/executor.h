/* executor.h - where the agent runs and how it is reached: ops tables */
#ifndef APPTAP_HOST_EXECUTOR_H
#define APPTAP_HOST_EXECUTOR_H

#include "base/launch.h"
#include "host/output.h"

struct apptap_executor; /* the struct of each kind starts with a struct apptap_executor */

struct apptap_executor_ops {
	const char *name;
	/* Starts the agent with root's rights. It greets when it is there (wire/frame.h). */
	int (*spawn)(struct apptap_executor *x, struct apptap_child *out, struct apptap_error *err);
	/*
	 * The agent ended before it greeted, with @status of waitpid(2), having said @said (may be
	 * empty): fills @err with the reason and what to try. Returns -errno.
	 */
	int (*explain)(struct apptap_executor *x, int status, const char *said,
		       struct apptap_error *err);
	/* The same for one that ended later, before it was done. NULL: nothing special to say. */
	int (*explain_lost)(struct apptap_executor *x, const char *said, struct apptap_error *err);
	/* The same for a link that is not cut, but over which nothing has come for @seconds. */
	int (*explain_silence)(struct apptap_executor *x, unsigned seconds,
			       struct apptap_error *err);
	/*
	 * Without a live link (NULL: there is one): carries what is new in both directions. To be
	 * called every so many milliseconds while waiting; returns that number, or -errno.
	 */
	int (*carry)(struct apptap_executor *x, struct apptap_error *err);
	/* With carry: writes the finished capture file to @o. Return: 0, -errno. */
	int (*fetch)(struct apptap_executor *x, struct apptap_output *o, struct apptap_error *err);
	void (*free)(struct apptap_executor *x); /* takes away what it put on the target */
};

struct apptap_executor {
	const struct apptap_executor_ops *ops;
	bool is_remote; /* the target has another clock, and a link that can be cut */
};

/* This machine, where the agent is this very program; as root, or by sudo -n. */
extern struct apptap_executor *const apptap_executor_local;

/* The same with another program as the agent: for a library, whose own program is somebody's. */
int apptap_executor_local_new(struct apptap_executor **out, const char *program, bool never_sudo,
			      struct apptap_error *err);

void apptap_executor_free(struct apptap_executor *x); /* NULL and the local one are fine */

void apptap_ran_clean(struct apptap_ran *ran); /* what it said, fit for display */

/*
 * How a machine is reached. adb and ssh are such tables, and so is a transport of the user's own.
 * Commands are lists of arguments, ended by NULL: data, however hostile, that the link quotes for
 * whatever shell it passes. They run with root's rights: the link elevates them. All functions
 * return 0, or -errno with @err filled; @err is never NULL.
 */
struct apptap_link_ops {
	size_t size; /* of this struct, as the caller knows it */
	const char *name; /* for the user: "adb", "ssh" */
	/* Runs a command to its end, without input. -ETIMEDOUT: it was given up. */
	int (*run)(void *arg, const char *const *argv, int timeout_ms, struct apptap_ran *out,
		   struct apptap_error *err);
	/* Starts one that goes on when this returns; its input and output are of no interest. */
	int (*start)(void *arg, const char *const *argv, struct apptap_error *err);
	/* A file there, made with the rights of who connects: not of root. */
	int (*push)(void *arg, const char *local, const char *remote, struct apptap_error *err);
	int (*pull)(void *arg, const char *remote, const char *local, struct apptap_error *err);
	/* 1 commands run as root, 0 they do not, -errno: why they cannot. */
	int (*is_root)(void *arg, struct apptap_error *err);
	/* "android" or "linux"; NULL, or no function: found out by looking. */
	const char *(*platform)(void *arg);
	/*
	 * Optional: starts a command whose stdin and stdout come back as byte streams that end when
	 * the other side does. Without it (spooled mode) the agent writes on the target, and its
	 * file is pulled at the end.
	 */
	int (*stream)(void *arg, const char *const *argv, struct apptap_child *out,
		      struct apptap_error *err);
	void (*free)(void *arg); /* optional: the executor goes, and @arg with it */
};

struct apptap_remote_config {
	bool keep_agent; /* leave the program on the target: the next start is faster */
	const char *agents_dir; /* where apptap-arm64-v8a and kin are; NULL: beside this program */
};

/*
 * An agent on another machine, reached by @ops with @arg. @ops is borrowed for the executor's life,
 * @arg is taken where @ops has a free(), also when this fails. @cfg may be NULL.
 */
int apptap_executor_remote_new(struct apptap_executor **out, const struct apptap_link_ops *ops,
			       void *arg, const struct apptap_remote_config *cfg,
			       struct apptap_error *err);

/*
 * The device @serial by the installed adb. NULL: the only one that is attached; an error lists them
 * when there are several.
 */
int apptap_executor_adb_new(struct apptap_executor **out, const char *serial,
			    const struct apptap_remote_config *cfg, struct apptap_error *err);

/* @destination ("user@host") by the installed OpenSSH client. */
int apptap_executor_ssh_new(struct apptap_executor **out, const char *destination,
			    const struct apptap_remote_config *cfg, struct apptap_error *err);

#endif
