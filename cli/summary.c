/* summary.c - what a finished capture came to, as a table */
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "host/output.h"
#include "result.h"
#include "terminal.h"
#include "wire/text.h"

#define LISTED 20

const char *apptap_conn_proto(const struct apptap_conn_record *c, char *buf, size_t size)
{
	switch (c->proto) {
	case IPPROTO_TCP:
		snprintf(buf, size, "tcp");
		break;
	case IPPROTO_UDP:
		snprintf(buf, size, "udp");
		break;
	case IPPROTO_UDPLITE:
		snprintf(buf, size, "udplite");
		break;
	case IPPROTO_SCTP:
		snprintf(buf, size, "sctp");
		break;
	case IPPROTO_ICMP:
		snprintf(buf, size, "icmp");
		break;
	case IPPROTO_ICMPV6:
		snprintf(buf, size, "icmpv6");
		break;
	default:
		snprintf(buf, size, "ip-%u", c->proto);
	}
	return buf;
}

const char *apptap_conn_address(const struct apptap_conn_record *c, bool local, char *buf,
				size_t size)
{
	const uint8_t *a = local ? c->laddr : c->raddr;
	uint16_t port = local ? c->lport : c->rport;
	char text[INET6_ADDRSTRLEN] = "?";

	inet_ntop(c->ip == 4 ? AF_INET : AF_INET6, c->ip == 4 ? a + 12 : a, text, sizeof(text));
	/* an echo's identifier is kept where ports are: no port to the reader */
	if (!port || c->proto == IPPROTO_ICMP || c->proto == IPPROTO_ICMPV6)
		snprintf(buf, size, "%s", text);
	else
		snprintf(buf, size, c->ip == 4 ? "%s:%u" : "[%s]:%u", text, port);
	return buf;
}

static uint64_t total(const struct apptap_conn_record *c)
{
	return c->bytes_in + c->bytes_out;
}

static int larger_first(const void *a, const void *b)
{
	uint64_t x = total(a), y = total(b);

	return x < y ? 1 : x > y ? -1 : 0;
}

const char *apptap_output_name(const struct apptap_options *o)
{
	return apptap_output_is_stdout(o->output) ? "stdout" : o->output;
}

void apptap_summary_sort(struct apptap_outcome *o)
{
	if (o->conn_count)
		qsort(o->conns, o->conn_count, sizeof(*o->conns), larger_first);
}

/* "curl/4711"; "" where it is not known. */
static const char *process_of(const struct apptap_conn_record *c, char *buf, size_t size)
{
	char clean[sizeof(c->comm)];

	buf[0] = '\0';
	if (c->pid)
		snprintf(buf, size, "  %s/%" PRIu32,
			 apptap_text_clean(clean, sizeof(clean), c->comm), c->pid);
	return buf;
}

static void print_table(const struct apptap_result *r)
{
	bool any_process = false;
	size_t listed = MIN(r->outcome->conn_count, (size_t)LISTED);
	char local[80], remote[80], proto[16], in[32], out[32], packets[32], process[40];
	int lw = 5, rw = 6;

	if (!listed)
		return;
	for (size_t i = 0; i < listed; i++) {
		lw = MAX(lw, (int)strlen(apptap_conn_address(&r->outcome->conns[i], true, local,
							     sizeof(local))));
		rw = MAX(rw, (int)strlen(apptap_conn_address(&r->outcome->conns[i], false, remote,
							     sizeof(remote))));
		any_process |= r->outcome->conns[i].pid != 0;
	}
	apptap_terminal_line("  %-7s %-*s %-*s %8s %8s %9s %8s%s", "", lw, "local", rw, "remote",
			     "sent", "received", "packets", "seconds",
			     any_process ? "  process" : "");
	for (size_t i = 0; i < listed; i++) {
		const struct apptap_conn_record *c = &r->outcome->conns[i];
		uint64_t ns = c->last_ns > c->first_ns ? c->last_ns - c->first_ns : 0;

		apptap_terminal_line("  %-7s %-*s %-*s %8s %8s %9s %8.3f%s",
				     apptap_conn_proto(c, proto, sizeof(proto)), lw,
				     apptap_conn_address(c, true, local, sizeof(local)), rw,
				     apptap_conn_address(c, false, remote, sizeof(remote)),
				     apptap_terminal_size(c->bytes_out, out, sizeof(out)),
				     apptap_terminal_size(c->bytes_in, in, sizeof(in)),
				     apptap_terminal_count(c->packets_in + c->packets_out, packets,
							   sizeof(packets)),
				     (double)ns / 1e9, process_of(c, process, sizeof(process)));
	}
	if (r->outcome->done.counters.connections > listed)
		apptap_terminal_line(
			"  and %s more",
			apptap_terminal_count(r->outcome->done.counters.connections - listed,
					      packets, sizeof(packets)));
}

void apptap_summary_print(const struct apptap_result *r)
{
	const struct apptap_wire_counters *c = &r->outcome->done.counters;
	char packets[32], bytes[32], conns[32], dropped[32];

	print_table(r);
	apptap_terminal_say("%s packet%s (%s) of %s connection%s in %.1f s, written to %s",
			    apptap_terminal_count(c->packets, packets, sizeof(packets)),
			    c->packets == 1 ? "" : "s",
			    apptap_terminal_size(c->bytes, bytes, sizeof(bytes)),
			    apptap_terminal_count(c->connections, conns, sizeof(conns)),
			    c->connections == 1 ? "" : "s", (double)c->elapsed_ms / 1000,
			    apptap_output_name(r->options));
	if (c->dropped_kernel)
		apptap_terminal_say(
			"lost in the kernel before they could be looked at, whosever they were: "
			"%s (a larger -B helps)",
			apptap_terminal_count(c->dropped_kernel, dropped, sizeof(dropped)));
	if (c->unattributed)
		apptap_terminal_say(
			"left out, for the kernel did not name their owner: %s",
			apptap_terminal_count(c->unattributed, dropped, sizeof(dropped)));
	if (r->options->verbose)
		apptap_terminal_line("  seen %" PRIu64 ", kept %" PRIu64 ", of others %" PRIu64
				     ", not IP %" PRIu64 ", lookups %" PRIu64,
				     c->seen, c->kept, c->foreign, c->not_ip, c->lookups);
}
