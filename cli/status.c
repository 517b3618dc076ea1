/* status.c - the live line while a capture runs */
#include <inttypes.h>

#include "result.h"
#include "terminal.h"

void apptap_status_show(const struct apptap_wire_counters *c)
{
	char packets[32], bytes[32], conns[32], held[32], dropped[32], line[256];
	int n = snprintf(line, sizeof(line),
			 "%" PRIu64 ":%02" PRIu64
			 "  %s packets  %s  %s connections  %s held  %s dropped",
			 c->elapsed_ms / 60000, c->elapsed_ms / 1000 % 60,
			 apptap_terminal_count(c->packets, packets, sizeof(packets)),
			 apptap_terminal_size(c->bytes, bytes, sizeof(bytes)),
			 apptap_terminal_count(c->connections, conns, sizeof(conns)),
			 apptap_terminal_count(c->held, held, sizeof(held)),
			 apptap_terminal_count(c->dropped_kernel, dropped, sizeof(dropped)));

	if (c->unattributed && n > 0 && (size_t)n < sizeof(line))
		snprintf(line + n, sizeof(line) - (size_t)n, "  %s not attributed",
			 apptap_terminal_count(c->unattributed, held, sizeof(held)));
	apptap_terminal_status(line);
}
