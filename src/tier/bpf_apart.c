/*
 * bpf_apart.c - a program that a thread gives to the kernel, while libbpf gives it the others
 *
 * How it works. Checking a program takes the kernel 15 ms, and libbpf has one after the other
 * checked. When it is about to load ours, which is complete by then, a thread does that instead,
 * and libbpf gets one that does nothing.
 */
#include "tier/bpf_apart.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <pthread.h>

#include "base/base.h"

struct apptap_bpf_apart {
	pthread_t thread;
	bool started;
	struct bpf_insn *insns; /* owned */
	size_t count;
	struct bpf_prog_load_opts opts; /* what it points to is libbpf's, and the object's */
	const char *name;
	int fd; /* or -errno */
};

/* Of the thread that loads: what libbpf's handler is about. */
static __thread struct apptap_bpf_apart *current;

static void *load(void *arg)
{
	struct apptap_bpf_apart *a = arg;

	a->fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, a->name, "Dual MIT/GPL", a->insns, a->count,
			      &a->opts);
	return NULL;
}

static int set_apart(struct bpf_program *prog, struct bpf_prog_load_opts *opts, long cookie)
{
	struct bpf_insn nothing[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = -1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	struct apptap_bpf_apart *a = current;

	(void)cookie;
	if (!a || a->insns)
		return -EEXIST;
	a->count = bpf_program__insn_cnt(prog);
	a->insns = calloc(a->count, sizeof(*a->insns));
	if (!a->insns)
		return -ENOMEM;
	memcpy(a->insns, bpf_program__insns(prog), a->count * sizeof(*a->insns));
	a->name = bpf_program__name(prog);
	a->opts = *opts;
	if (pthread_create(&a->thread, NULL, load, a) > 0)
		return -EAGAIN;
	a->started = true;
	opts->func_info_cnt = opts->line_info_cnt = 0;
	return bpf_program__set_insns(prog, nothing, ARRAY_SIZE(nothing));
}

/* For good: libbpf before 1.3 frees its list of handlers with the last, and goes on using it. */
static void add_handler(void)
{
	LIBBPF_OPTS(libbpf_prog_handler_opts, opts, .prog_prepare_load_fn = set_apart);

	libbpf_register_prog_handler("apart", BPF_PROG_TYPE_SCHED_CLS, 0, &opts);
}

struct apptap_bpf_apart *apptap_bpf_apart_begin(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct apptap_bpf_apart *a = calloc(1, sizeof(*a));

	pthread_once(&once, add_handler);
	if (a)
		a->fd = -ENOENT;
	current = a;
	return a;
}

int apptap_bpf_apart_end(struct apptap_bpf_apart *a)
{
	int fd;

	if (a->started)
		pthread_join(a->thread, NULL);
	current = NULL;
	fd = a->fd;
	free(a->insns);
	free(a);
	return fd;
}
