/* error.h - what failed and why, in words for the user */
#ifndef APPTAP_BASE_ERROR_H
#define APPTAP_BASE_ERROR_H

#include "base/base.h"

#ifndef APPTAP_ERROR_DEFINED /* the public header has the very same struct */
#define APPTAP_ERROR_DEFINED
struct apptap_error {
	int code; /* positive errno; 0 while nothing has failed */
	char msg[512]; /* act and object: "binding NFLOG group 30: Operation not permitted" */
	char hint[256]; /* what to try, or empty: "run as root, or --tier sockdiag" */
};
#endif

/* Formats the message, appends strerror(@code), and returns -@code. @err may be NULL. */
int apptap_error_set(struct apptap_error *err, int code, const char *fmt, ...) APPTAP_PRINTF(3, 4);

/* The same without strerror: for what no errno describes ("no process is named 'x'"). */
int apptap_error_say(struct apptap_error *err, int code, const char *fmt, ...) APPTAP_PRINTF(3, 4);

/* Puts "<fmt>: " in front of what is there, or of strerror(-r), and returns @r, -errno. @err may be
 * NULL. */
int apptap_error_wrap(struct apptap_error *err, int r, const char *fmt, ...) APPTAP_PRINTF(3, 4);

/* Says what to try; the first hint stays, being nearest to the cause. @err may be NULL. */
void apptap_error_hint(struct apptap_error *err, const char *fmt, ...) APPTAP_PRINTF(2, 3);

#endif
