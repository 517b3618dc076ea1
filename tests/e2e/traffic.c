/* traffic.c - a workload of one UID, for the lab: every socket in a port range that names its owner
 *
 * How it works: `traffic WORKLOAD key=value...` becomes the UID, sets up, prints "ready", waits for
 * a line on stdin, runs, prints its result as one JSON object. lab.py drives it.
 */
#include "traffic.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct traffic_job job = { .uid = 0, .count = 1, .seconds = 1 };
struct traffic_result result;

void traffic_die(const char *what)
{
	fprintf(stderr, "traffic %s: %s: %s\n", job.workload ? job.workload : "", what,
		strerror(errno));
	exit(1);
}

double traffic_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static const struct traffic_workload *find(const char *name)
{
	const struct traffic_workload *const tables[] = { traffic_tcp, traffic_udp, traffic_odd };

	for (size_t i = 0; i < 3; i++) {
		for (const struct traffic_workload *w = tables[i]; w->name; w++) {
			if (!strcmp(w->name, name))
				return w;
		}
	}
	return NULL;
}

/* "key=7" or "ports=7-9"; the workload makes what it can of a number that is none. */
static int parse_option(const char *text)
{
	const char *value = strchr(text, '=');
	size_t len = value ? (size_t)(value - text) : 0;
	uint64_t n;
	char *end;

	if (!value)
		return -1;
	n = strtoull(value + 1, &end, 10);
	if (!strncmp(text, "uid", len))
		job.uid = (uid_t)n;
	else if (!strncmp(text, "other", len))
		job.other = (uid_t)n;
	else if (!strncmp(text, "ports", len) && *end == '-')
		job.lo = (uint16_t)n, job.hi = (uint16_t)strtoul(end + 1, NULL, 10);
	else if (!strncmp(text, "peer", len))
		job.peer = (uint16_t)n;
	else if (!strncmp(text, "port", len))
		job.port = (uint16_t)n;
	else if (!strncmp(text, "count", len))
		job.count = (unsigned)n;
	else if (!strncmp(text, "size", len))
		job.size = n;
	else if (!strncmp(text, "seconds", len))
		job.seconds = strtod(value + 1, NULL);
	else
		return -1;
	return 0;
}

/* A raw socket made before the change of UID would be root's: change first, keep the right. */
static void become(uid_t uid, bool raw)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	if (raw && prctl(PR_SET_KEEPCAPS, 1) < 0)
		traffic_die("PR_SET_KEEPCAPS");
	if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
		traffic_die("changing the UID");
	if (!raw)
		return;
	data[0].permitted = data[0].effective = 1U << CAP_NET_RAW;
	if (syscall(SYS_capset, &head, data) < 0)
		traffic_die("keeping CAP_NET_RAW");
}

int main(int argc, char **argv)
{
	struct rlimit files;
	const struct traffic_workload *w;
	char line[16];
	double start;

	w = argc > 1 ? find(argv[1]) : NULL;
	if (!w) {
		fprintf(stderr, "usage: traffic WORKLOAD key=value...\n");
		return 2;
	}
	job.workload = w->name;
	for (int i = 2; i < argc; i++) {
		if (parse_option(argv[i]) < 0) {
			fprintf(stderr, "traffic: what is %s?\n", argv[i]);
			return 2;
		}
	}
	signal(SIGPIPE, SIG_IGN);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	if (job.uid && !w->root)
		become(job.uid, w->raw);
	/* The parent's death must not leave a workload behind; after setuid, which clears it. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (w->setup)
		w->setup();
	puts("ready");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		return 0;
	start = traffic_now();
	w->go();
	printf("{\"flows\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"failed\": %" PRIu64
	       ", \"seconds\": %.3f, \"changed\": [%.6f, %.6f]}\n",
	       result.flows, result.bytes, result.failed, traffic_now() - start, result.changed[0],
	       result.changed[1]);
	fflush(stdout);
	/* Sockets kept open by a workload close when the lab says so, or when this process ends. */
	if (fgets(line, sizeof(line), stdin))
		return 0;
	return 0;
}
