/* error.c - what failed and why, in words for the user */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static void format(struct apptap_error *err, int code, const char *fmt, va_list ap)
{
	err->code = code;
	err->hint[0] = '\0';
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
}

int apptap_error_set(struct apptap_error *err, int code, const char *fmt, ...)
{
	va_list ap;
	size_t len;

	if (!err)
		return -code;
	va_start(ap, fmt);
	format(err, code, fmt, ap);
	va_end(ap);
	len = strlen(err->msg);
	snprintf(err->msg + len, sizeof(err->msg) - len, ": %s", strerror(code));
	return -code;
}

int apptap_error_say(struct apptap_error *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return -code;
	va_start(ap, fmt);
	format(err, code, fmt, ap);
	va_end(ap);
	return -code;
}

int apptap_error_wrap(struct apptap_error *err, int r, const char *fmt, ...)
{
	char inner[sizeof(err->msg)];
	va_list ap;
	size_t len;

	if (!err)
		return r;
	/* What the kernel refuses comes up as a number alone (apptap_nl_ask()). */
	if (!err->code)
		apptap_error_say(err, -r, "%s", strerror(-r));
	memcpy(inner, err->msg, sizeof(inner));
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	len = strlen(err->msg);
	snprintf(err->msg + len, sizeof(err->msg) - len, ": %s", inner);
	return r;
}

void apptap_error_hint(struct apptap_error *err, const char *fmt, ...)
{
	va_list ap;

	if (!err || err->hint[0])
		return;
	va_start(ap, fmt);
	vsnprintf(err->hint, sizeof(err->hint), fmt, ap);
	va_end(ap);
}
