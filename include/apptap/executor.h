/* executor.h - a transport of your own: how another machine is reached */
#ifndef APPTAP_EXECUTOR_H
#define APPTAP_EXECUTOR_H

#include <apptap/packet.h>

#ifdef __cplusplus
extern "C" {
#endif

struct apptap_answer; /* what a command of a transport came to, as far as it was told */

/**
 * struct apptap_link - a transport of your own: how commands and files reach another machine
 * @size:	sizeof(struct apptap_link)
 * @name:	For the user: "adb", "my link"
 * @run:	Runs a command to its end, without input, and tells what it wrote and came to with
 *		apptap_answer_output() and apptap_answer_status()
 * @push:	Copies a file of this machine there, with the rights of whoever connects
 * @pull:	Copies a file from there
 * @is_root:	1 commands run as root, 0 they do not
 * @platform:	"android" or "linux". NULL, or no function: it is found out
 * @stream:	Starts a command whose stdin and stdout come back as descriptors that end when the
 *		other side does; err_fd is its stderr, nonblocking, or -1. The library closes
 *		them, and waits for pid where it is above 0. NULL: there is no such thing; the
 *		agent then goes to the background by itself and writes on the target, run() carries
 *		the talk to and fro, and the file is pulled at the end
 * @start:	Starts a command that goes on when this returns, without input or output. NULL, or a
 *		table too small to have it: run() does, for the agent leaves whoever started it
 *
 * A command is a list of arguments ended by NULL: data, which the transport quotes for whatever
 * shell it passes. It runs with root's rights: the transport elevates it. All run in the session's
 * thread, with signals blocked, one at a time; arg is the options' link_arg. They return 0, or
 * -errno with err filled (it is never NULL): -ETIMEDOUT where a command was given up.
 */
struct apptap_link {
	size_t size;
	const char *name;
	int (*run)(void *arg, const char *const *argv, int timeout_ms, struct apptap_answer *answer,
		   struct apptap_error *err);
	int (*push)(void *arg, const char *local, const char *remote, struct apptap_error *err);
	int (*pull)(void *arg, const char *remote, const char *local, struct apptap_error *err);
	int (*is_root)(void *arg, struct apptap_error *err);
	const char *(*platform)(void *arg);
	int (*stream)(void *arg, const char *const *argv, int *in_fd, int *out_fd, int *err_fd,
		      int32_t *pid, struct apptap_error *err);
	int (*start)(void *arg, const char *const *argv, struct apptap_error *err);
};

/** apptap_answer_output() - Add to what a command wrote to its stdout. Since 0.1. */
APPTAP_API void apptap_answer_output(struct apptap_answer *answer, const void *bytes, size_t len);

/**
 * apptap_answer_status() - Tell what a command came to
 * @status:	Its exit status; -1: a signal ended it, or it is not known
 * @said:	The last line of its stderr, or NULL
 * Since 0.1.
 */
APPTAP_API void apptap_answer_status(struct apptap_answer *answer, int status, const char *said);

#ifdef __cplusplus
}
#endif

#endif
