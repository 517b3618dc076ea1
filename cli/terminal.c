/* terminal.c - what is said to the user: on stderr, one line each, nothing of others raw */
#include "terminal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "wire/text.h"

static bool status_shown;

static void put(const char *prefix, const char *fmt, va_list ap)
{
	char raw[2048], clean[2048];

	vsnprintf(raw, sizeof(raw), fmt, ap);
	apptap_text_clean(clean, sizeof(clean), raw);
	apptap_terminal_clear();
	fprintf(stderr, "%s%s\n", prefix, clean);
}

void apptap_terminal_say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put("apptap: ", fmt, ap);
	va_end(ap);
}

void apptap_terminal_line(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put("", fmt, ap);
	va_end(ap);
}

void apptap_terminal_error(const struct apptap_error *err)
{
	apptap_terminal_say("%s", err->msg);
	if (err->hint[0])
		apptap_terminal_line("try: %s", err->hint);
}

static bool is_terminal(void)
{
	static int known = -1;

	if (known < 0)
		known = isatty(STDERR_FILENO);
	return known;
}

void apptap_terminal_status(const char *text)
{
	struct winsize size;
	int width = 80;

	if (!is_terminal())
		return;
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col)
		width = size.ws_col;
	/* The last column stays free: writing there makes some terminals wrap. Text is ASCII. */
	fprintf(stderr, "\r%.*s\033[K", width - 1, text);
	fflush(stderr);
	status_shown = true;
}

void apptap_terminal_clear(void)
{
	if (!status_shown)
		return;
	fputs("\r\033[K", stderr);
	status_shown = false;
}

const char *apptap_terminal_size(uint64_t bytes, char *buf, size_t size)
{
	static const char *const units[] = { "B", "kB", "MB", "GB", "TB", "PB", "EB" };
	double value = (double)bytes;
	size_t unit = 0;

	for (; value >= 999.5 && unit + 1 < ARRAY_SIZE(units); unit++)
		value /= 1000;
	snprintf(buf, size, unit && value < 9.95 ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return buf;
}

const char *apptap_terminal_count(uint64_t n, char *buf, size_t size)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%" PRIu64, n);
	size_t at = 0;

	for (int i = 0; i < len && at + 2 < size; i++) {
		if (i && (len - i) % 3 == 0)
			buf[at++] = ',';
		buf[at++] = digits[i];
	}
	buf[at] = '\0';
	return buf;
}
