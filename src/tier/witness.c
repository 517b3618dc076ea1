/*
 * witness.c - ask whose a datagram's socket is on the CPU where its rule has just logged it
 *
 * How it works. A rule logs what the app sends, and what comes in for the app's ports, to a group
 * of NFLOG that belongs to the CPU it runs on. That wakes a real-time thread which is bound to this
 * CPU: it runs as soon as the kernel is done with the packet, before who sent it can close its
 * socket, and mostly before who gets it has read it. What trigger.c does for every packet by a tap
 * is done here for the app's alone, so strangers are not interrupted.
 */
#include "tier/witness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "tier/claims.h"
#include "tier/diag.h"
#include "tier/nflog_read.h"
#include "tier/rtthread.h"

#define CPUS_MAX APPTAP_WITNESSES_MAX
#define GROUPS_FROM 20000 /* far from those that people give by hand */
#define GROUPS_SPAN 40000
#define QUEUE_SIGHTINGS 16384
#define COPY_BYTES 128
#define BUFFER_BYTES (4U << 20)

struct worker {
	struct apptap_nflog_reader *reader; /* owned, like the next two */
	struct apptap_diag *diag;
	struct apptap_sighting_queue *queue;
	const char *tag; /* borrowed from the witness */
	pthread_t thread;
	bool started;
	_Atomic uint64_t asked;
};

struct apptap_witness {
	char tag[APPTAP_RULES_TAG_BYTES + 1];
	int stamps; /* owned: keeps the kernel stamping what comes in */
	size_t next; /* whose queue to look into first */
	size_t count;
	uint16_t groups[CPUS_MAX];
	struct worker workers[];
};

static int look(const struct apptap_nflog_packet *p, void *arg)
{
	struct worker *w = arg;
	bool outgoing = p->hook == NF_INET_LOCAL_OUT || p->hook == NF_INET_POST_ROUTING;
	struct apptap_dissect d;
	struct apptap_sighting s;
	struct apptap_flow flow;
	uint64_t now_ns;

	if (p->prefix_len != APPTAP_RULES_TAG_BYTES + 1 ||
	    memcmp(p->prefix, w->tag, APPTAP_RULES_TAG_BYTES) != 0)
		return 0;
	apptap_dissect((struct apptap_view){ p->data, p->len }, p->protocol, &d);
	if (!(d.flags & APPTAP_DIS_PORTS) || d.flags & APPTAP_DIS_MULTICAST)
		return 0;
	now_ns = apptap_clock_ns(CLOCK_REALTIME);
	apptap_dissect_flow(&d, outgoing, &flow);
	apptap_diag_ask(w->diag, &flow, outgoing ? p->outdev : p->indev, &s);
	s.pkt_ns = outgoing || !p->rx_ns ? now_ns : p->rx_ns;
	s.outgoing = outgoing;
	atomic_fetch_add_explicit(&w->asked, 1, memory_order_relaxed);
	apptap_sighting_queue_push(w->queue, &s); /* one that is lost proves nothing, that is all */
	return 0;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	int r = 0;

	while (r >= 0)
		r = apptap_nflog_wait(w->reader, look, w, NULL);
	return NULL;
}

static int open_worker(struct apptap_witness *w, size_t cpu, uint16_t *group,
		       struct apptap_error *err)
{
	struct worker *k = &w->workers[cpu];
	bool realtime = true;
	int r = apptap_nflog_open_free(&k->reader, group, COPY_BYTES, BUFFER_BYTES, err);

	k->tag = w->tag;
	if (r == 0 && fcntl(apptap_nflog_fd(k->reader), F_SETFL, 0) < 0)
		r = apptap_error_set(err, errno, "having a witness wait");
	if (r == 0)
		r = apptap_diag_open(&k->diag, err);
	if (r == 0 && apptap_sighting_queue_new(&k->queue, QUEUE_SIGHTINGS) < 0)
		r = apptap_error_set(err, ENOMEM, "allocating a witness");
	if (r < 0)
		return r;
	w->groups[cpu] = (*group)++;
	r = apptap_rtthread_start(&k->thread, (int)cpu, APPTAP_RT_TRIGGER, work, k, &realtime);
	if (r)
		return apptap_error_set(err, r, "starting a witness");
	k->started = true;
	return realtime ? 0 : apptap_error_say(err, EPERM, "no real-time priority for a witness");
}

int apptap_witness_open(struct apptap_witness **out, const char *tag, struct apptap_error *err)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	size_t count = cpus < 1 ? 1 : (size_t)cpus;
	struct apptap_witness *w;
	uint16_t group;
	int r = 0, one = 1;

	if (count > CPUS_MAX)
		return apptap_error_say(err, E2BIG, "more CPUs than there are witnesses");
	w = calloc(1, sizeof(*w) + count * sizeof(w->workers[0]));
	if (!w)
		return apptap_error_set(err, ENOMEM, "allocating witnesses");
	memcpy(w->tag, tag, APPTAP_RULES_TAG_BYTES);
	w->count = count;
	group = (uint16_t)(GROUPS_FROM + (size_t)getpid() * count % GROUPS_SPAN);
	w->stamps = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (w->stamps < 0 ||
	    setsockopt(w->stamps, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof(one)) < 0)
		r = apptap_error_set(err, errno, "asking for packet times");
	for (size_t i = 0; r == 0 && i < count; i++)
		r = open_worker(w, i, &group, err);
	if (r < 0) {
		apptap_witness_close(w);
		return r;
	}
	*out = w;
	return 0;
}

void apptap_witness_close(struct apptap_witness *w)
{
	if (!w)
		return;
	for (size_t i = 0; i < w->count; i++)
		if (w->workers[i].started)
			pthread_cancel(w->workers[i].thread);
	for (size_t i = 0; i < w->count; i++) {
		struct worker *k = &w->workers[i];

		if (k->started)
			pthread_join(k->thread, NULL);
		apptap_nflog_close(k->reader);
		apptap_diag_close(k->diag);
		apptap_sighting_queue_free(k->queue);
	}
	if (w->stamps >= 0)
		close(w->stamps);
	free(w);
}

size_t apptap_witness_groups(const struct apptap_witness *w, const uint16_t **groups)
{
	*groups = w ? w->groups : NULL;
	return w ? w->count : 0;
}

bool apptap_witness_pop(struct apptap_witness *w, struct apptap_sighting *s)
{
	for (size_t tried = 0; tried < w->count; tried++) {
		if (apptap_sighting_queue_pop(w->workers[w->next].queue, UINT64_MAX, s))
			return true;
		w->next = (w->next + 1) % w->count;
	}
	return false;
}

uint64_t apptap_witness_asked(const struct apptap_witness *w)
{
	uint64_t asked = 0;

	for (size_t i = 0; w && i < w->count; i++)
		asked += atomic_load_explicit(&w->workers[i].asked, memory_order_relaxed);
	return asked;
}
