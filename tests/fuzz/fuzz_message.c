/* fuzz_message.c - any bytes as a command and as an event; what is taken can be said again */
#include "wire/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct apptap_command cmd;
	static struct apptap_wire_event ev;
	struct apptap_view v = { data, size };
	struct apptap_error err;
	char *json = NULL;
	int len;

	if (apptap_command_decode(v, &cmd, &err) == 0) {
		len = apptap_command_encode(&cmd, &json, &err);
		if (len < 0 ||
		    apptap_command_decode((struct apptap_view){ (uint8_t *)json, (size_t)len },
					  &cmd, &err) < 0)
			abort();
		free(json);
	}
	if (apptap_event_decode(v, &ev, &err) == 0) {
		len = apptap_event_encode(&ev, &json, &err);
		if (len < 0 ||
		    apptap_event_decode((struct apptap_view){ (uint8_t *)json, (size_t)len }, &ev,
					&err) < 0)
			abort();
		free(json);
	}
	return 0;
}
