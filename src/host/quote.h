/* quote.h - lists of arguments as lines for a POSIX shell: data stays data */
#ifndef APPTAP_HOST_QUOTE_H
#define APPTAP_HOST_QUOTE_H

#include "base/base.h"

/*
 * @argv, ended by NULL, as one line that a shell takes apart into exactly these arguments. The
 * caller frees it. NULL: no memory.
 */
char *apptap_quote(const char *const *argv);

#endif
