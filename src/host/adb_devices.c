/* adb_devices.c - what `adb devices -l` lists, and which of them is meant */
#include "host/adb_devices.h"

#include <errno.h>
#include <stdio.h>

#include "wire/text.h"

/* The end of a word is a space or a tab. */
static size_t word_len(const char *text)
{
	return strcspn(text, " \t\r\n");
}

static void keep(char *dst, size_t size, const char *text, size_t len)
{
	char raw[256];

	snprintf(raw, sizeof(raw), "%.*s", (int)MIN(len, sizeof(raw) - 1), text);
	apptap_text_clean(dst, size, raw);
}

static bool parse_line(const char *line, size_t len, struct apptap_adb_device *out)
{
	size_t serial = MIN(word_len(line), len);
	const char *p = line + serial;
	const char *end = line + len;
	size_t state;

	if (!serial || serial >= sizeof(out->serial) || serial == len || line[0] == '*')
		return false; /* "* daemon started successfully *" */
	p += strspn(p, " \t");
	if (p >= end)
		return false;
	state = MIN(word_len(p), (size_t)(end - p));
	if (strncmp(p, "no permissions", strlen("no permissions")) == 0)
		state = strlen("no permissions");
	keep(out->serial, sizeof(out->serial), line, serial);
	keep(out->state, sizeof(out->state), p, state);
	out->model[0] = '\0';
	for (p += state; p += strspn(p, " \t"), p < end; p += word_len(p)) {
		size_t word = MIN(word_len(p), (size_t)(end - p));

		if (!word)
			break; /* the line ends */
		if (word > 6 && strncmp(p, "model:", 6) == 0)
			keep(out->model, sizeof(out->model), p + 6, word - 6);
	}
	return true;
}

size_t apptap_adb_devices_parse(const char *text, struct apptap_adb_device *out, size_t max)
{
	const char *line = strstr(text, "List of devices attached");
	size_t count = 0;

	if (!line)
		return 0;
	for (line = strchr(line, '\n'); line && count < max; line = strchr(line, '\n')) {
		line++;
		if (parse_line(line, strcspn(line, "\r\n"), &out[count]))
			count++;
	}
	return count;
}

static void list(const struct apptap_adb_device *devices, size_t count, char *buf, size_t size)
{
	size_t len = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < count && len < size; i++) {
		const struct apptap_adb_device *d = &devices[i];
		bool ready = strcmp(d->state, "device") == 0;

		len += (size_t)snprintf(buf + len, size - len, "%s%s%s%s%s", i ? ", " : "",
					d->serial, d->model[0] || !ready ? " (" : "",
					ready ? d->model : d->state,
					d->model[0] || !ready ? ")" : "");
	}
}

static int refuse_state(const struct apptap_adb_device *d, struct apptap_error *err)
{
	int r;

	if (strcmp(d->state, "unauthorized") == 0) {
		r = apptap_error_say(err, EACCES, "the device %s has not authorised this computer",
				     d->serial);
		apptap_error_hint(err, "unlock it and accept the question that it shows");
	} else if (strcmp(d->state, "offline") == 0) {
		r = apptap_error_say(err, ENODEV, "the device %s is offline", d->serial);
		apptap_error_hint(err, "plug it in again, or 'adb reconnect offline'");
	} else {
		r = apptap_error_say(err, ENODEV, "the device %s cannot be used: adb says '%s'",
				     d->serial, d->state);
		apptap_error_hint(err, "see 'adb devices -l'");
	}
	return r;
}

int apptap_adb_devices_choose(const struct apptap_adb_device *devices, size_t count,
			      const struct apptap_adb_device **out, struct apptap_error *err)
{
	size_t ready = 0;
	char shown[320];

	for (size_t i = 0; i < count; i++)
		if (strcmp(devices[i].state, "device") == 0) {
			*out = &devices[i];
			ready++;
		}
	if (ready == 1)
		return 0;
	if (!ready && count == 1)
		return refuse_state(&devices[0], err);
	if (!count) {
		apptap_error_say(err, ENODEV, "no device is attached");
		apptap_error_hint(err, "attach one with USB debugging on, or add --local to "
				       "capture on this machine");
		return -ENODEV;
	}
	list(devices, count, shown, sizeof(shown));
	apptap_error_say(err, ENOTUNIQ, "%s: %s",
			 ready ? "several devices are attached" : "no device is ready", shown);
	apptap_error_hint(err, "name one with --device SERIAL");
	return -ENOTUNIQ;
}
