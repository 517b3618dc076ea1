/* rate.c - how fast packets come: by callback, by reading, or into a file; prints one JSON object,
 * and before it, where it is told whose packets and maybe on which machine, "ready" */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <apptap/apptap.h>

struct tally {
	uint64_t packets;
	uint64_t bytes;
};

static int take(void *arg, const struct apptap_packet *pkt)
{
	struct tally *t = arg;

	t->packets++;
	t->bytes += pkt->data[pkt->len - 1] + pkt->len; /* the bytes are looked at */
	return 0;
}

static double now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int read_all(struct apptap_session *s, struct tally *t, struct apptap_error *err)
{
	const struct apptap_packet *pkts;
	int n;

	while ((n = apptap_session_read(s, -1, &pkts, err)) > 0)
		for (int i = 0; i < n; i++)
			take(t, &pkts[i]);
	return 0;
}

int main(int argc, char **argv)
{
	uint32_t uids[] = { 5001 };
	struct tally t = { 0, 0 };
	struct apptap_options o;
	struct apptap_error err;
	struct apptap_session *s;
	const struct apptap_result *result;
	double began;

	if (argc < 3) {
		fprintf(stderr, "usage: rate callback|read|FILE PACKETS [UID [device|ssh NAME]]\n");
		return 2;
	}
	memset(&o, 0, sizeof(o));
	o.size = sizeof(o);
	o.uids = uids;
	o.uid_count = 1;
	o.count = strtoull(argv[2], NULL, 10);
	if (argc > 3)
		uids[0] = (uint32_t)strtoul(argv[3], NULL, 10);
	if (argc > 5)
		*(strcmp(argv[4], "ssh") == 0 ? &o.ssh : &o.device) = argv[5];
	o.callback_arg = &t;
	if (strcmp(argv[1], "callback") == 0)
		o.packet = take;
	else if (strcmp(argv[1], "read") == 0)
		o.read_packets = 1;
	else
		o.output = argv[1];
	if (apptap_session_new(&s, &o, &err) < 0 || apptap_session_start(s, &err) < 0) {
		fprintf(stderr, "rate: %s\n", err.msg);
		return 1;
	}
	if (argc > 3) {
		puts("ready");
		fflush(stdout);
	}
	began = now(CLOCK_MONOTONIC);
	if (o.read_packets)
		read_all(s, &t, &err);
	apptap_session_wait(s, -1, &err);
	if (apptap_session_stop(s, &result, &err) < 0) {
		fprintf(stderr, "rate: %s\n", err.msg);
		return 1;
	}
	printf("{\"packets\": %llu, \"kept\": %llu, \"seconds\": %.6f, \"cpu\": %.6f}\n",
	       (unsigned long long)t.packets, (unsigned long long)result->counters->kept,
	       now(CLOCK_MONOTONIC) - began, now(CLOCK_PROCESS_CPUTIME_ID));
	apptap_session_free(s);
	return 0;
}
