/* output.h - the user's capture file, opened with the user's rights */
#ifndef APPTAP_HOST_OUTPUT_H
#define APPTAP_HOST_OUTPUT_H

#include "base/error.h"

struct apptap_output {
	int fd; /* owned */
	int folder_fd; /* owned; -1: opened by somebody else */
	const char *path; /* borrowed; "-" is stdout */
	const char *name; /* within the folder; points into path */
	bool created; /* by us: it may be removed again */
	bool to_empty; /* it holds what was there before, until our first byte comes */
	bool begun; /* bytes of ours are in it, or have been */
	bool is_regular; /* can be cut back; a pipe cannot */
	bool is_pipe; /* or a socket: its reader may be slow, or go */
	uint64_t written; /* by apptap_output_write; counted from the start of the file */
	uint64_t whole; /* of those: up to the end of the last whole record */
};

#define APPTAP_OUTPUT_CLOSED              \
	{                                 \
		.fd = -1, .folder_fd = -1 \
	}

/*
 * Opens @path for a capture: mode 0600 when it is new; what is there already stays as it is, and
 * what it holds does too, until apptap_output_begin(). In a folder where everybody may write, no
 * symbolic link is followed and nothing of another user is written to. stdout ("-", /dev/stdout)
 * goes on from where it stands. A terminal is refused. Opening a FIFO waits for its reader.
 */
int apptap_output_open(struct apptap_output *o, const char *path, struct apptap_error *err);

/*
 * Writes a capture to a copy of the descriptor @fd, from where it stands; @name is what it is
 * called in errors, and is borrowed. Never removed, never followed by name.
 */
int apptap_output_adopt(struct apptap_output *o, int fd, const char *name,
			struct apptap_error *err);

/*
 * Before the first byte of a capture, once nothing stands in its way any more: empties what was
 * there. May be repeated. apptap_output_write() does so itself; an agent that holds the descriptor
 * was told to (start->empty), and apptap_output_begun() notes that it has.
 */
int apptap_output_begin(struct apptap_output *o, struct apptap_error *err);
void apptap_output_begun(struct apptap_output *o);

/* Whether @path names the stdout of this process. */
bool apptap_output_is_stdout(const char *path);

/*
 * Writes some of @len bytes. Return: how many, -EAGAIN a pipe is full (poll for POLLOUT), -EPIPE
 * its reader is gone. Other failures cut a regular file back to its last whole record.
 */
ssize_t apptap_output_write(struct apptap_output *o, const void *bytes, size_t len,
			    struct apptap_error *err);
void apptap_output_cut(struct apptap_output *o); /* back to the last whole record */

/* Whether the file can still be found: somebody may have removed it while it was written. */
bool apptap_output_is_there(const struct apptap_output *o);

bool apptap_output_is_empty(const struct apptap_output *o);

/* The capture came to nothing: takes the file away again if we made it, and it holds nothing of
 * anybody else's. */
void apptap_output_remove(struct apptap_output *o);
void apptap_output_close(struct apptap_output *o);

#endif
