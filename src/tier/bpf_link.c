/*
 * bpf_link.c - a program at one side of an interface (tcx, Linux 6.6); many, made ahead of time
 *
 * How it works. A link takes the kernel 8 to 16 ms, which it spends asleep (a grace period of RCU,
 * under the lock of all interfaces, so that more threads gain nothing). Loading the programs takes
 * longer. So a thread makes the links meanwhile, with a program that does nothing, and later the
 * real one replaces it: at once, for that needs no such wait.
 */
#include "tier/bpf_link.h"

#include <bpf/bpf.h>
#include <pthread.h>

#include "base/base.h"

/* Of newer headers than Debian 12's. */
#define BPF_TCX_INGRESS_ ((enum bpf_attach_type)46)
#define BPF_TCX_EGRESS_ ((enum bpf_attach_type)47)
#define BPF_F_BEFORE_ (1U << 3)

struct made {
	struct apptap_bpf_place place;
	int fd; /* owned; -1: not yet, or taken */
};

struct apptap_bpf_ahead {
	pthread_t thread;
	int nothing; /* borrowed: a program */
	size_t count;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	bool over; /* the thread makes no more */
	bool unwanted; /* nor need it */
	struct made made[];
};

int apptap_bpf_link_type(enum apptap_bpf_side side)
{
	return side == APPTAP_BPF_EGRESS ? BPF_TCX_EGRESS_ : BPF_TCX_INGRESS_;
}

int apptap_bpf_link(int program, const struct apptap_bpf_place *place)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = BPF_F_BEFORE_);

	return bpf_link_create(program, place->ifindex,
			       (enum bpf_attach_type)apptap_bpf_link_type(place->side), &opts);
}

int apptap_bpf_link_move(int *link, int program, const int nothing[2],
			 const struct apptap_bpf_place *place)
{
	auto_close int fresh = apptap_bpf_link(nothing[0], place);
	int r;

	if (fresh < 0)
		return fresh;
	bpf_link_update(*link, nothing[1], NULL); /* unless somebody has detached it */
	r = bpf_link_update(fresh, program, NULL);
	if (r < 0) {
		bpf_link_update(*link, program, NULL);
		return r;
	}
	close(*link);
	*link = apptap_steal_fd(&fresh);
	return 0;
}

int apptap_bpf_link_nothing(void)
{
	static const struct bpf_insn nothing[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = -1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "apptap_ahead", "GPL", nothing,
			     ARRAY_SIZE(nothing), NULL);
}

/* @fd: takes it. Return: whether to go on. */
static bool report(struct apptap_bpf_ahead *a, struct made *made, int fd, bool over)
{
	bool more;

	pthread_mutex_lock(&a->lock);
	if (made)
		made->fd = fd;
	a->over = over;
	more = !a->unwanted;
	pthread_cond_signal(&a->changed);
	pthread_mutex_unlock(&a->lock);
	return more;
}

static void *make_all(void *arg)
{
	struct apptap_bpf_ahead *a = arg;
	bool more = a->nothing >= 0;

	for (size_t i = 0; more && i < a->count; i++) {
		int fd = apptap_bpf_link(a->nothing, &a->made[i].place);

		more = fd >= 0 && report(a, &a->made[i], fd, false);
	}
	report(a, NULL, -1, true);
	return NULL;
}

struct apptap_bpf_ahead *apptap_bpf_ahead_start(const struct apptap_bpf_place *places, size_t count,
						int nothing)
{
	struct apptap_bpf_ahead *a = calloc(1, sizeof(*a) + count * sizeof(a->made[0]));

	if (!a)
		return NULL;
	for (size_t i = 0; i < count; i++)
		a->made[i] = (struct made){ places[i], -1 };
	a->count = count;
	a->nothing = nothing;
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->changed, NULL);
	if (pthread_create(&a->thread, NULL, make_all, a) == 0)
		return a;
	free(a);
	return NULL;
}

static struct made *find(struct apptap_bpf_ahead *a, const struct apptap_bpf_place *place)
{
	for (size_t i = 0; i < a->count; i++)
		if (a->made[i].place.ifindex == place->ifindex &&
		    a->made[i].place.side == place->side)
			return &a->made[i];
	return NULL;
}

int apptap_bpf_ahead_take(struct apptap_bpf_ahead *a, const struct apptap_bpf_place *place,
			  int program)
{
	struct made *made = a ? find(a, place) : NULL;
	auto_close int fd = -1;

	if (!made)
		return -1;
	pthread_mutex_lock(&a->lock);
	while (made->fd < 0 && !a->over)
		pthread_cond_wait(&a->changed, &a->lock);
	fd = apptap_steal_fd(&made->fd);
	pthread_mutex_unlock(&a->lock);
	return fd >= 0 && bpf_link_update(fd, program, NULL) == 0 ? apptap_steal_fd(&fd) : -1;
}

void apptap_bpf_ahead_end(struct apptap_bpf_ahead *a)
{
	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	a->unwanted = true;
	pthread_mutex_unlock(&a->lock);
	pthread_join(a->thread, NULL);
	for (size_t i = 0; i < a->count; i++)
		if (a->made[i].fd >= 0)
			close(a->made[i].fd);
	pthread_mutex_destroy(&a->lock);
	pthread_cond_destroy(&a->changed);
	free(a);
}
