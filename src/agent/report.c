/* report.c - the agent's voice: events sent to the host */
#include "agent/report.h"

#include <stdio.h>

#include "wire/frame.h"
#include "wire/text.h"

void apptap_report_event(int wire_fd, const struct apptap_wire_event *ev)
{
	auto_free char *json = NULL;
	struct apptap_error err = { 0 };
	int len = apptap_event_encode(ev, &json, &err);

	if (len >= 0)
		len = apptap_frame_send(wire_fd, APPTAP_FRAME_EVENT, 0, json, (size_t)len, &err);
	if (len < 0)
		fprintf(stderr, "apptap agent: %s\n", err.msg);
}

void apptap_report_warning(int wire_fd, const char *text)
{
	struct apptap_wire_event ev = { .type = APPTAP_WIRE_EVENT_WARNING };

	apptap_text_clean(ev.warning, sizeof(ev.warning), text);
	apptap_report_event(wire_fd, &ev);
}

void apptap_report_fill(struct apptap_wire_error *out, enum apptap_failure failure,
			const struct apptap_error *err)
{
	out->failure = failure;
	out->code = (uint32_t)err->code;
	snprintf(out->msg, sizeof(out->msg), "%s", err->msg);
	snprintf(out->hint, sizeof(out->hint), "%s", err->hint);
}

void apptap_report_error(int wire_fd, enum apptap_failure failure, const struct apptap_error *err)
{
	struct apptap_wire_event ev = { .type = APPTAP_WIRE_EVENT_ERROR };

	apptap_report_fill(&ev.error, failure, err);
	apptap_report_event(wire_fd, &ev);
}
