/* whose.c - starts a command and captures it; tells of each packet, by callback, whose it was */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <apptap/apptap.h>

static int take_packet(void *arg, const struct apptap_packet *pkt)
{
	fprintf(arg, "%" PRIu32 " %" PRIu32 " %s\n", pkt->uid, pkt->pid, pkt->command);
	return 0;
}

int main(int argc, char **argv)
{
	struct apptap_options o;
	struct apptap_result *result;
	struct apptap_error err;

	if (argc < 2)
		return 2;
	memset(&o, 0, sizeof(o));
	o.size = sizeof(o);
	o.command = (const char *const *)(argv + 1);
	o.packet = take_packet;
	o.callback_arg = stdout;
	if (apptap_capture(&o, &result, &err) < 0) {
		fprintf(stderr, "whose: %s\n", err.msg);
		return 1;
	}
	for (size_t i = 0; i < result->connection_count; i++)
		printf("connection %" PRIu32 " %s\n", result->connections[i].pid,
		       result->connections[i].command);
	apptap_result_free(result);
	return 0;
}
