/*
 * trigger.c - ask for a packet's owner while its sender is still held by our interruption
 *
 * How it works. A socket may live for microseconds: socket, sendto, close. A reader on another CPU
 * finds it gone. But the tap hands a copy of the packet to our socket inside sendto() itself, on
 * the sender's CPU, and a real-time thread bound to that very CPU runs before the sender's next
 * instruction in user space: before its close(). So there is one socket and one SCHED_FIFO thread
 * a CPU, a PACKET_FANOUT_CPU group, and fire-and-forget UDP is attributed to the last datagram.
 * (tests/kernel/tap_preempt.c) A classic filter keeps out what needs no question; busy ports are
 * reported to the reader, who adds them to the filter.
 */
#include "tier/trigger.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "tier/diag.h"
#include "tier/links.h"
#include "tier/refused.h"
#include "tier/rtthread.h"

#define CPUS_MAX 256
#define QUEUE_SIGHTINGS 16384
#define RCVBUF_BYTES (8 << 20)
/* A thread asks at most so often in a window (60,000/s): it must not starve the machine. */
#define ASKS_MAX 1000
/* What only /proc/net knows costs ten times as much: ask once a flow in so long. */
#define SLOW_ASK_NS (5 * APPTAP_NSEC_PER_MSEC)
#define SLOW_FLOWS 64
#define ACCEPTED 1024 /* connections of which we know who accepted them */
/* Asking who gets a multicast lists all sockets: of each second at most one part in so many. */
#define GROUP_SHARE 10

struct port_use {
	uint32_t window;
	uint32_t packets;
};

struct slow_flow {
	struct apptap_flow flow;
	uint64_t asked_ns;
};

struct worker {
	int fd; /* owned */
	int cpu;
	bool started;
	bool stopped;
	pthread_t thread;
	_Atomic(const struct apptap_scope *) scope; /* one of the trigger's snapshots */
	struct apptap_diag *diag; /* owned */
	struct apptap_refused *refused; /* owned */
	struct apptap_sighting_queue *queue; /* owned */
	struct port_use *ports; /* owned: 65536 */
	struct slow_flow slow[SLOW_FLOWS];
	struct apptap_flow *accepted; /* owned */
	uint8_t listeners[65536 / 8]; /* ports that the reader has been told of */
	int event; /* the trigger's */
	uint32_t window;
	uint32_t asks;
	uint64_t group_window_ns; /* a second, in which so much was spent on asking about groups */
	uint64_t group_spent_ns;
	_Atomic int32_t busy_port; /* -1: none */
	_Atomic uint64_t asked;
	_Atomic uint64_t skipped;
	_Atomic uint64_t lost;
};

/* A scope as it was: the threads may still be reading an older one. */
struct snapshot {
	struct snapshot *older;
	struct apptap_scope scope;
};

struct apptap_trigger {
	struct snapshot *snapshots; /* owned, the latest first */
	size_t count;
	int event; /* owned: an eventfd */
	size_t next; /* whose queue to look into first */
	uint64_t kernel_drops;
	struct worker workers[];
};

static bool may_ask(struct worker *w, uint64_t pkt_ns)
{
	uint32_t window = (uint32_t)(pkt_ns / APPTAP_TRIGGER_WINDOW_NS);

	if (window != w->window) {
		w->window = window;
		w->asks = 0;
	}
	return ++w->asks <= ASKS_MAX;
}

/* true: so busy that this packet is not worth a question. */
static bool port_is_busy(struct worker *w, uint16_t port, uint64_t pkt_ns)
{
	struct port_use *p = &w->ports[port];
	uint32_t window = (uint32_t)(pkt_ns / APPTAP_TRIGGER_WINDOW_NS);

	if (p->window != window) {
		p->window = window;
		p->packets = 0;
	}
	if (++p->packets <= APPTAP_TRIGGER_BUSY)
		return false;
	atomic_store_explicit(&w->busy_port, port, memory_order_relaxed);
	return true;
}

static bool asked_lately(struct worker *w, const struct apptap_flow *flow, uint64_t now_ns)
{
	struct slow_flow *s =
		&w->slow[(flow->lport ^ flow->raddr.b[15] ^ flow->proto) % SLOW_FLOWS];

	if (apptap_flow_equal(&s->flow, flow) && now_ns - s->asked_ns < SLOW_ASK_NS)
		return true;
	s->flow = *flow;
	s->asked_ns = now_ns;
	return false;
}

/* Where a connection stands of which we know that somebody accepted it. */
static struct apptap_flow *accepted_slot(struct worker *w, const struct apptap_flow *flow)
{
	uint32_t h = (uint32_t)flow->lport << 16 | flow->rport;

	h = (h ^ apptap_get_be32(flow->raddr.b + 12)) * 2654435761U;
	return &w->accepted[h >> 16 & (ACCEPTED - 1)];
}

static void push(struct worker *w, const struct apptap_sighting *s)
{
	atomic_fetch_add_explicit(&w->asked, 1, memory_order_relaxed);
	if (!apptap_sighting_queue_push(w->queue, s))
		atomic_fetch_add_explicit(&w->lost, 1, memory_order_relaxed);
}

static void tell_listener(struct worker *w, uint16_t port)
{
	static const uint64_t one = 1;

	if (w->listeners[port / 8] & (1 << (port % 8)))
		return;
	w->listeners[port / 8] |= (uint8_t)(1 << (port % 8));
	if (write(w->event, &one, sizeof(one)) < 0)
		return; /* full: the reader has been told often enough */
}

static void ask(struct worker *w, const struct apptap_dissect *d, bool local_is_src, int ifindex,
		uint64_t pkt_ns)
{
	struct apptap_sighting s;
	struct apptap_flow flow;
	bool tcp = d->proto == IPPROTO_TCP;
	bool udp = d->proto == IPPROTO_UDP || d->proto == IPPROTO_UDPLITE;
	bool syn = (d->flags & (APPTAP_DIS_TCP_SYN | APPTAP_DIS_TCP_ACK)) == APPTAP_DIS_TCP_SYN;
	struct apptap_flow *accepted;

	apptap_dissect_flow(d, local_is_src, &flow);
	accepted = accepted_slot(w, &flow);
	if (tcp && !syn && apptap_flow_equal(accepted, &flow))
		return;
	if ((udp && port_is_busy(w, flow.lport, pkt_ns)) ||
	    (!udp && !tcp && asked_lately(w, &flow, pkt_ns)))
		return;
	if (!may_ask(w, pkt_ns)) {
		atomic_fetch_add_explicit(&w->skipped, 1, memory_order_relaxed);
		return;
	}
	apptap_diag_ask(w->diag, &flow, ifindex, &s);
	s.pkt_ns = pkt_ns;
	s.is_syn = syn;
	s.outgoing = local_is_src;
	s.isn = d->tcp_seq;
	push(w, &s);
	if (s.sight == APPTAP_SIGHT_PENDING)
		tell_listener(w, flow.lport);
	if (tcp && !syn && s.sight == APPTAP_SIGHT_OWNED)
		*accepted = flow;
	else if (syn && apptap_flow_equal(accepted, &flow))
		memset(accepted, 0, sizeof(*accepted)); /* the ports are used again */
	if (syn && local_is_src && s.sight == APPTAP_SIGHT_NONE)
		apptap_refused_ask(w->refused, &s);
}

/* Multicast and broadcast are delivered to every socket there. */
static void ask_group(struct worker *w, const struct apptap_dissect *d, uint64_t pkt_ns)
{
	struct apptap_sighting s;
	struct apptap_flow flow;
	uint64_t begun_ns;

	apptap_dissect_flow(d, false, &flow);
	if (port_is_busy(w, flow.lport, pkt_ns))
		return;
	begun_ns = apptap_clock_ns(CLOCK_REALTIME);
	if (begun_ns - w->group_window_ns > APPTAP_NSEC_PER_SEC) {
		w->group_window_ns = begun_ns;
		w->group_spent_ns = 0;
	}
	if (w->group_spent_ns > APPTAP_NSEC_PER_SEC / GROUP_SHARE) {
		atomic_fetch_add_explicit(&w->skipped, 1, memory_order_relaxed);
		return;
	}
	apptap_diag_ask_group(w->diag, &flow, atomic_load_explicit(&w->scope, memory_order_acquire),
			      &s);
	s.pkt_ns = pkt_ns;
	w->group_spent_ns += s.asked_ns - begun_ns;
	push(w, &s);
}

static void look(struct worker *w, struct apptap_view v, const struct sockaddr_ll *from,
		 uint64_t pkt_ns)
{
	struct apptap_dissect d;
	bool portless;

	apptap_dissect(v, ntohs(from->sll_protocol), &d);
	portless = d.proto != IPPROTO_TCP && d.proto != IPPROTO_UDP && d.proto != IPPROTO_UDPLITE &&
		   d.proto != IPPROTO_ICMP && d.proto != IPPROTO_ICMPV6;
	if (!(d.flags & APPTAP_DIS_IP) || (d.flags & APPTAP_DIS_FRAG_LATER) ||
	    (!(d.flags & APPTAP_DIS_PORTS) && !portless))
		return;
	if (from->sll_pkttype == PACKET_MULTICAST || from->sll_pkttype == PACKET_BROADCAST) {
		if (d.proto == IPPROTO_UDP || d.proto == IPPROTO_UDPLITE)
			ask_group(w, &d, pkt_ns);
	} else if (from->sll_ifindex == APPTAP_LOOPBACK_IFINDEX) { /* both ends are here */
		ask(w, &d, true, from->sll_ifindex, pkt_ns);
		if (d.proto != IPPROTO_TCP || d.flags & APPTAP_DIS_TCP_SYN)
			ask(w, &d, false, from->sll_ifindex, pkt_ns);
	} else {
		ask(w, &d, from->sll_pkttype == PACKET_OUTGOING, from->sll_ifindex, pkt_ns);
	}
}

static uint64_t time_of(struct msghdr *m)
{
	struct timespec ts;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SO_TIMESTAMPNS ||
		    c->cmsg_len < CMSG_LEN(sizeof(ts)))
			continue;
		memcpy(&ts, CMSG_DATA(c), sizeof(ts));
		return (uint64_t)ts.tv_sec * APPTAP_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
	}
	return 0;
}

/* Closing a packet socket waits for every CPU to be done with it: all do so at the same time. */
static void close_own(void *arg)
{
	struct worker *w = arg;

	close(apptap_steal_fd(&w->fd));
}

static void *work(void *arg)
{
	struct worker *w = arg;
	uint8_t packet[APPTAP_TRIGGER_SNAPLEN];
	uint8_t control[128] __attribute__((aligned(__alignof__(struct cmsghdr))));

	pthread_cleanup_push(close_own, w);
	for (;;) {
		struct sockaddr_ll from;
		struct iovec iov = { packet, sizeof(packet) };
		struct msghdr m = { .msg_name = &from,
				    .msg_namelen = sizeof(from),
				    .msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = control,
				    .msg_controllen = sizeof(control) };
		ssize_t n;

		/* The one place where close() may end this thread. */
		pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
		n = recvmsg(w->fd, &m, 0);
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
		if (n > 0)
			look(w, (struct apptap_view){ packet, (size_t)n }, &from, time_of(&m));
		else if (n < 0 && errno != EINTR && errno != ENETDOWN)
			break;
	}
	pthread_cleanup_pop(0); /* close() in the opener's thread */
	return NULL;
}

static int bind_to_all(struct worker *w, struct apptap_error *err)
{
	struct sockaddr_ll all = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };

	if (bind(w->fd, (struct sockaddr *)&all, sizeof(all)) < 0)
		return apptap_error_set(err, errno, "binding a trigger socket");
	return 0;
}

static bool join_group(struct worker *w, uint32_t id, uint32_t flags)
{
	uint32_t group = id | (PACKET_FANOUT_CPU | flags) << 16;

	return setsockopt(w->fd, SOL_PACKET, PACKET_FANOUT, &group, sizeof(group)) == 0;
}

static int open_socket(struct worker *w, const struct sock_fprog *filter, struct apptap_error *err)
{
	int size = RCVBUF_BYTES;
	int one = 1;

	w->fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (w->fd < 0)
		return apptap_error_set(err, errno, "opening a trigger socket");
	if (setsockopt(w->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(w->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (setsockopt(w->fd, SOL_SOCKET, SO_ATTACH_FILTER, filter, sizeof(*filter)) < 0)
		return apptap_error_set(err, errno, "attaching the trigger filter");
	/* The ring's time and this one come from the same stamp on the packet, equal to the
	 * nanosecond: that is how an answer finds its packet. (tests/kernel/tap_time.c) */
	if (setsockopt(w->fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof(one)) < 0)
		return apptap_error_set(err, errno, "asking for packet times");
	return 0;
}

static int start_thread(struct worker *w, bool *realtime, struct apptap_error *err)
{
	int code = apptap_rtthread_start(&w->thread, w->cpu, APPTAP_RT_TRIGGER, work, w, realtime);

	if (code)
		return apptap_error_set(err, code, "starting a trigger thread");
	w->started = true;
	return 0;
}

static int open_worker(struct worker *w, const struct apptap_scope *scope,
		       struct apptap_members *members, const struct sock_fprog *filter,
		       struct apptap_error *err)
{
	int r = apptap_diag_open(&w->diag, err);

	atomic_store_explicit(&w->scope, scope, memory_order_release);
	if (r == 0)
		r = apptap_diag_tell_members(w->diag, members, err);
	if (r == 0)
		r = open_socket(w, filter, err);
	if (r == 0)
		r = apptap_refused_open(&w->refused, w->cpu, scope, members, err);
	if (r < 0)
		return r;
	w->ports = calloc(65536, sizeof(*w->ports));
	w->accepted = calloc(ACCEPTED, sizeof(*w->accepted));
	if (!w->ports || !w->accepted || apptap_sighting_queue_new(&w->queue, QUEUE_SIGHTINGS) < 0)
		return apptap_error_set(err, ENOMEM, "allocating a trigger");
	return 0;
}

/* A group of our own: joining another capture's would take half of its packets, and it ours. */
static int open_group(struct apptap_trigger *t, struct apptap_error *err)
{
	uint32_t id = 0;
	socklen_t len = sizeof(id);
	int r = 0;

	for (size_t i = 0; r == 0 && i < t->count; i++)
		r = bind_to_all(&t->workers[i], err);
	if (r < 0 || t->count == 1)
		return r;
	if (join_group(&t->workers[0], 0, PACKET_FANOUT_FLAG_UNIQUEID)) {
		if (getsockopt(t->workers[0].fd, SOL_PACKET, PACKET_FANOUT, &id, &len) < 0)
			return apptap_error_set(err, errno, "reading the fanout group's number");
		id &= 0xffff;
	} else { /* before 4.12 */
		id = (uint32_t)getpid() & 0xffff;
		if (!join_group(&t->workers[0], id, 0))
			return apptap_error_set(err, errno, "opening packet fanout group %u", id);
	}
	for (size_t i = 1; i < t->count; i++)
		if (!join_group(&t->workers[i], id, 0))
			return apptap_error_set(err, errno, "joining packet fanout group %u", id);
	return 0;
}

static const struct apptap_scope *keep_scope(struct apptap_trigger *t,
					     const struct apptap_scope *scope)
{
	struct snapshot *s = malloc(sizeof(*s));

	if (!s)
		return NULL;
	s->scope = *scope;
	s->older = t->snapshots;
	t->snapshots = s;
	return &s->scope;
}

int apptap_trigger_rescope(struct apptap_trigger *t, const struct apptap_scope *scope,
			   struct apptap_error *err)
{
	scope = keep_scope(t, scope);
	if (!scope)
		return apptap_error_set(err, ENOMEM, "telling the triggers of a new user");
	for (size_t i = 0; i < t->count; i++) {
		apptap_refused_rescope(t->workers[i].refused, scope);
		atomic_store_explicit(&t->workers[i].scope, scope, memory_order_release);
	}
	return 0;
}

int apptap_trigger_open(struct apptap_trigger **out, const struct apptap_scope *scope,
			struct apptap_members *members, const struct sock_fprog *filter,
			bool *realtime, struct apptap_error *err)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	size_t count = cpus < 1 ? 1 : MIN((size_t)cpus, (size_t)CPUS_MAX);
	struct apptap_trigger *t = calloc(1, sizeof(*t) + count * sizeof(t->workers[0]));
	int r = 0;

	if (!t)
		return apptap_error_set(err, ENOMEM, "allocating the triggers");
	t->count = count;
	*realtime = true;
	t->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (t->event < 0)
		r = apptap_error_set(err, errno, "making an event counter");
	for (size_t i = 0; i < count; i++) {
		t->workers[i].fd = -1;
		t->workers[i].cpu = (int)i;
		t->workers[i].busy_port = -1;
		t->workers[i].event = t->event;
	}
	scope = keep_scope(t, scope);
	if (!scope)
		r = apptap_error_set(err, ENOMEM, "allocating the triggers");
	for (size_t i = 0; r == 0 && i < count; i++)
		r = open_worker(&t->workers[i], scope, members, filter, err);
	if (r == 0)
		r = open_group(t, err);
	for (size_t i = 0; r == 0 && i < count; i++)
		r = start_thread(&t->workers[i], realtime, err);
	if (r < 0) {
		apptap_trigger_close(t);
		return r;
	}
	*out = t;
	return 0;
}

int apptap_trigger_filter(struct apptap_trigger *t, const struct sock_fprog *filter,
			  struct apptap_error *err)
{
	for (size_t i = 0; i < t->count; i++)
		if (setsockopt(t->workers[i].fd, SOL_SOCKET, SO_ATTACH_FILTER, filter,
			       sizeof(*filter)) < 0)
			return apptap_error_set(err, errno, "replacing the trigger filter");
	return 0;
}

bool apptap_trigger_pop(struct apptap_trigger *t, uint64_t until_ns, struct apptap_sighting *s)
{
	for (size_t tried = 0; tried < t->count; tried++) {
		struct worker *w = &t->workers[t->next];

		if (apptap_sighting_queue_pop(w->queue, until_ns, s) ||
		    apptap_sighting_queue_pop(apptap_refused_answers(w->refused), until_ns, s))
			return true;
		t->next = (t->next + 1) % t->count;
	}
	return false;
}

int apptap_trigger_fd(const struct apptap_trigger *t)
{
	return t->event;
}

void apptap_trigger_scan(struct apptap_trigger *t,
			 void (*each)(const struct apptap_sighting *s, void *arg), void *arg)
{
	for (size_t i = 0; i < t->count; i++)
		apptap_sighting_queue_scan(t->workers[i].queue, each, arg);
}

bool apptap_trigger_busy(struct apptap_trigger *t, uint16_t *port)
{
	for (size_t i = 0; i < t->count; i++) {
		int32_t p = atomic_load_explicit(&t->workers[i].busy_port, memory_order_relaxed);

		if (p < 0)
			continue;
		atomic_store_explicit(&t->workers[i].busy_port, -1, memory_order_relaxed);
		*port = (uint16_t)p;
		return true;
	}
	return false;
}

void apptap_trigger_counters(const struct apptap_trigger *t, struct apptap_trigger_counters *out)
{
	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < t->count; i++) {
		const struct worker *w = &t->workers[i];

		out->asked += atomic_load_explicit(&w->asked, memory_order_relaxed);
		out->skipped += atomic_load_explicit(&w->skipped, memory_order_relaxed);
		out->dropped += atomic_load_explicit(&w->lost, memory_order_relaxed);
	}
}

void apptap_trigger_stop(struct apptap_trigger *t)
{
	for (size_t i = 0; i < t->count; i++)
		if (t->workers[i].started && !t->workers[i].stopped) {
			pthread_cancel(t->workers[i].thread);
			t->workers[i].stopped = true;
		}
}

void apptap_trigger_close(struct apptap_trigger *t)
{
	if (!t)
		return;
	apptap_trigger_stop(t);
	for (size_t i = 0; i < t->count; i++) {
		struct worker *w = &t->workers[i];

		if (w->started)
			pthread_join(w->thread, NULL);
		if (w->fd >= 0)
			close(w->fd);
		apptap_diag_close(w->diag);
		apptap_refused_close(w->refused);
		apptap_sighting_queue_free(w->queue);
		free(w->ports);
		free(w->accepted);
	}
	if (t->event >= 0)
		close(t->event);
	for (struct snapshot *s = t->snapshots, *older; s; s = older) {
		older = s->older;
		free(s);
	}
	free(t);
}
