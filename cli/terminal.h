/* terminal.h - what is said to the user: on stderr, one line each, nothing of others raw */
#ifndef APPTAP_CLI_TERMINAL_H
#define APPTAP_CLI_TERMINAL_H

#include "base/error.h"

/* "apptap: <text>", in a line of its own, above the status line where there is one. */
void apptap_terminal_say(const char *fmt, ...) APPTAP_PRINTF(1, 2);
void apptap_terminal_line(const char *fmt, ...) APPTAP_PRINTF(1, 2); /* without "apptap: " */

/* The error, and what to try. */
void apptap_terminal_error(const struct apptap_error *err);

/* Shows @text as the status line, cut to the width. Nothing happens when stderr is no terminal. */
void apptap_terminal_status(const char *text);
void apptap_terminal_clear(void); /* takes the status line away */

/* "1.2 MB"; "1,234". Return @buf. */
const char *apptap_terminal_size(uint64_t bytes, char *buf, size_t size);
const char *apptap_terminal_count(uint64_t n, char *buf, size_t size);

#endif
