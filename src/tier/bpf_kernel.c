/* bpf_kernel.c - the programs in the kernel: loaded, told what is wanted, attached to interfaces */
#include "tier/bpf_kernel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <capture.skel.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>

#include "tier/bpf_apart.h"
#include "tier/bpf_attach.h"
#include "tier/bpf_process.h"
#include "tier/btf.h"

#define RING_BYTES_MIN ((size_t)1 << 20)
#define RING_BYTES_MAX ((size_t)1 << 30)
#define WAKE_SHARE 4 /* a ring filled to one part in so many wakes its reader */

struct apptap_bpf_kernel {
	struct capture_bpf *skel; /* owned */
	int arrive; /* owned: the program */
	struct apptap_bpf_ring *ring; /* owned */
	struct apptap_bpf_attach *attach; /* owned */
	struct apptap_bpf_process *process; /* owned; NULL: makers are not known */
	struct apptap_bpf_wanted wanted;
	size_t ring_bytes;
};

/* What libbpf had to say last: the verifier's or the loader's words, for the error. */
static __thread char said[256];

static int hear(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	if (level == LIBBPF_WARN && !said[0])
		vsnprintf(said, sizeof(said), fmt, ap);
	said[strcspn(said, "\n")] = '\0';
	return 0;
}

static int explain(int r, struct apptap_error *err)
{
	if (r == -EPERM || r == -EACCES) {
		apptap_error_set(err, -r, "loading the programs into the kernel");
		apptap_error_hint(err, "run as root, or give it CAP_BPF, CAP_PERFMON and "
				       "CAP_NET_ADMIN (Linux 5.8 and later)");
		return r;
	}
	apptap_error_set(err, -r, "loading the programs into the kernel (%s)", said);
	return r;
}

/* The first of @names is what the field is called now, the others what it was before. */
static bool find_field(const struct apptap_btf *b, const char *type, const char *const names[3],
		       uint32_t unit, uint32_t *out)
{
	for (size_t i = 0; i < 3 && names[i]; i++) {
		int64_t bits = apptap_btf_field(b, type, names[i]);

		if (bits < 0 || bits > UINT32_MAX)
			continue;
		*out = (uint32_t)bits / unit;
		return true;
	}
	return false;
}

static void find_numbers(struct apptap_bpf_facts *f, const struct apptap_btf *b)
{
	f->cast = apptap_btf_func(b, "bpf_rdonly_cast");
	if (f->cast) {
		f->layout.sock_type_id = apptap_btf_struct(b, "sock");
		f->layout.cgroup_type_id = apptap_btf_struct(b, "cgroup");
		f->layout.node_type_id = apptap_btf_struct(b, "kernfs_node");
	}
	apptap_bpf_facts_find(f, b);
}

static int lay_out(struct apptap_bpf_facts *f, struct apptap_error *err)
{
	struct apptap_bpf_layout *l = &f->layout;
	const struct {
		const char *type, *names[3];
		uint32_t unit, *out;
	} fields[] = {
		{ "sock_common", { "skc_state" }, 8, &l->sock_state },
		{ "sock_common", { "skc_num" }, 8, &l->sock_num },
		{ "sock_common", { "skc_family" }, 8, &l->sock_family },
		{ "sock_common", { "skc_flags" }, 8, &l->sock_flags },
		{ "sock_common", { "skc_listener" }, 8, &l->sock_listener },
		{ "sock_common", { "skc_net" }, 8, &l->sock_net },
		{ "sock", { "sk_uid" }, 8, &l->sock_uid },
		{ "sock", { "sk_socket" }, 8, &l->sock_socket },
		{ "sock", { "sk_type" }, 8, &l->sock_type },
		{ "sock", { "sk_protocol" }, 8, &l->sock_protocol },
		{ "sock", { "sk_cgrp_data.cgroup", "sk_cgrp_data" }, 8, &l->sock_cgroup },
		{ "sock", { "sk_kern_sock" }, 1, &l->sock_kern_bit },
		{ "cgroup", { "kn" }, 8, &l->cgroup_node },
		{ "cgroup", { "self.parent" }, 8, &l->cgroup_parent },
		{ "kernfs_node", { "id" }, 8, &l->node_id },
		{ "sk_buff", { "head" }, 8, &l->skb_head },
		{ "sk_buff", { "data" }, 8, &l->skb_data },
		{ "sk_buff", { "network_header" }, 8, &l->skb_network },
		{ "task_struct", { "pid" }, 8, &l->task_pid },
		{ "task_struct", { "tgid" }, 8, &l->task_tgid },
		{ "task_struct", { "comm" }, 8, &l->task_comm },
		{ "task_struct", { "real_parent" }, 8, &l->task_parent },
		{ "task_struct", { "signal" }, 8, &l->task_signal },
		{ "signal_struct", { "live" }, 8, &l->signal_live },
		{ "sk_buff", { "encapsulation" }, 1, &l->skb_encapsulation_bit },
	};
	struct apptap_btf *b = NULL;
	int r = apptap_btf_open(&b, err);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(fields); i++)
		if (!find_field(b, fields[i].type, fields[i].names, fields[i].unit, fields[i].out))
			r = apptap_error_say(err, ENOTSUP, "this kernel's struct %s has no %s",
					     fields[i].type, fields[i].names[0]);
	if (r == 0)
		find_numbers(f, b);
	apptap_btf_close(b);
	return r;
}

/* ---- the programs ---- */

/* The programs as they were built, but that they call the function with the number @cast. */
static uint8_t *put_cast(uint32_t cast)
{
	const struct bpf_insn placed = { .code = BPF_JMP | BPF_CALL, .imm = APPTAP_BPF_CAST };
	const struct bpf_insn call = { .code = BPF_JMP | BPF_CALL,
				       .src_reg = BPF_PSEUDO_KFUNC_CALL,
				       .imm = (int32_t)cast };
	const void *built;
	uint8_t *bytes;
	size_t size;

	built = capture_bpf__elf_bytes(&size);
	bytes = malloc(size);
	if (!bytes)
		return NULL;
	memcpy(bytes, built, size);
	for (size_t i = 0; i + sizeof(call) <= size; i += sizeof(call))
		if (memcmp(bytes + i, &placed, sizeof(placed)) == 0)
			memcpy(bytes + i, &call, sizeof(call));
	return bytes;
}

/* ---- the ring: half of the time that all of it takes, so it is made meanwhile ---- */

struct maker {
	struct apptap_bpf_ring **out;
	size_t bytes;
	int fd; /* -1: there is none */
	sem_t made; /* the map; that we can see it too is the thread's end */
	int r; /* of the whole */
	struct apptap_error err;
};

static void *make_ring(void *arg)
{
	struct maker *m = arg;

	m->fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "ring", 0, 0, (uint32_t)m->bytes, NULL);
	m->r = m->fd < 0 ? explain(-errno, &m->err) : 0;
	sem_post(&m->made);
	if (m->r == 0)
		m->r = apptap_bpf_ring_open(m->out, m->fd, m->bytes, &m->err);
	return NULL;
}

/* Without them a packet has no process and command; what is asked for by process has nothing. */
static int open_process(struct apptap_bpf_kernel *k, const struct apptap_bpf_facts *facts,
			struct apptap_error *err)
{
	struct apptap_error why = { 0 };
	int r = !k->wanted.makers
			? 0
			: apptap_bpf_process_open(&k->process, facts, &k->wanted,
						  bpf_map__fd(k->skel->maps.makers),
						  bpf_map__fd(k->skel->maps.changed), &why);

	if (r == 0 || !k->wanted.processes)
		return 0;
	if (err)
		*err = why;
	return r;
}

static int load_both(struct apptap_bpf_kernel *k, const struct apptap_bpf_facts *facts, bool direct,
		     int ring)
{
	struct apptap_bpf_layout *layout;
	int r = bpf_object__open_skeleton(k->skel->skeleton, NULL);

	if (r < 0)
		return r;
	layout = &k->skel->rodata->layout;
	*layout = facts->layout;
	if (!direct)
		layout->sock_type_id = layout->cgroup_type_id = layout->node_type_id = 0;
	k->skel->rodata->wanted = k->wanted;
	r = bpf_map__reuse_fd(k->skel->maps.ring, ring);
	return r < 0 ? r : capture_bpf__load(k->skel);
}

/* @direct: with the kernel's function for that. */
static int load_with(struct apptap_bpf_kernel *k, const struct apptap_bpf_facts *facts, bool direct,
		     int ring)
{
	auto_free uint8_t *bytes = put_cast(facts->cast);
	struct apptap_bpf_apart *apart;
	int r;

	k->skel = calloc(1, sizeof(*k->skel));
	if (!bytes || !k->skel || capture_bpf__create_skeleton(k->skel) < 0)
		return -ENOMEM;
	if (direct)
		k->skel->skeleton->data = bytes;
	apart = apptap_bpf_apart_begin();
	if (!apart)
		return -ENOMEM;
	r = load_both(k, facts, direct, ring);
	k->arrive = apptap_bpf_apart_end(apart);
	return r < 0 ? r : MIN(k->arrive, 0);
}

static int load(struct apptap_bpf_kernel *k, struct maker *m, struct apptap_error *err)
{
	struct apptap_bpf_facts facts = { 0 };
	int r = lay_out(&facts, err);

	sem_wait(&m->made);
	if (r < 0)
		return r;
	if (m->fd < 0) { /* the thread has said its last */
		if (err)
			*err = m->err;
		return m->r < 0 ? m->r : -EIO;
	}
	k->wanted.mptcp = facts.mptcp;
	r = load_with(k, &facts, facts.cast != 0, m->fd);
	/* Not all that know the function can call it: those without a JIT cannot. */
	if (r < 0 && r != -EPERM && facts.cast) {
		if (k->arrive >= 0)
			close(k->arrive);
		capture_bpf__destroy(k->skel);
		k->skel = NULL;
		said[0] = '\0';
		r = load_with(k, &facts, false, m->fd);
	}
	if (r < 0) {
		explain(r, err);
		return r;
	}
	return open_process(k, &facts, err);
}

/* The ring's descriptor is the skeleton's own copy from here on. */
static int make_all(struct apptap_bpf_kernel *k, struct apptap_error *err)
{
	struct maker m = { .out = &k->ring, .bytes = k->ring_bytes, .fd = -1 };
	pthread_t thread;
	int r;

	sem_init(&m.made, 0, 0);
	r = pthread_create(&thread, NULL, make_ring, &m);
	if (r > 0)
		return apptap_error_set(err, r, "starting a thread");
	r = load(k, &m, err);
	pthread_join(thread, NULL);
	sem_destroy(&m.made);
	if (m.fd >= 0)
		close(m.fd);
	if (r == 0 && m.r < 0) {
		if (err)
			*err = m.err;
		r = m.r;
	}
	return r;
}

static size_t ring_size(size_t wanted)
{
	size_t size = RING_BYTES_MIN;

	while (size < wanted && size < RING_BYTES_MAX)
		size *= 2;
	return size;
}

int apptap_bpf_kernel_open(struct apptap_bpf_kernel **out, size_t ring_bytes,
			   const struct apptap_bpf_wanted *wanted, char *const *names, size_t count,
			   struct apptap_error *err)
{
	struct apptap_bpf_kernel *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return apptap_error_set(err, ENOMEM, "allocating the bpf tier");
	said[0] = '\0';
	libbpf_set_print(hear);
	k->arrive = -1;
	k->ring_bytes = ring_size(ring_bytes);
	k->wanted = *wanted;
	r = apptap_bpf_attach_open(&k->attach, names, count, err);
	if (r == 0)
		r = make_all(k, err);
	if (r == 0)
		r = apptap_bpf_attach_programs(k->attach, k->arrive,
					       bpf_program__fd(k->skel->progs.leave),
					       &k->skel->bss->settings, err);
	if (r < 0)
		goto fail;
	k->skel->bss->settings.wake_bytes = (uint32_t)(k->ring_bytes / WAKE_SHARE);
	/* What the kernel's own sockets have for a port: their protocol. And none at all. */
	k->skel->bss->marked[0] = 1;
	k->skel->bss->marked[IPPROTO_ICMP] = 1;
	k->skel->bss->marked[IPPROTO_TCP] = 1;
	k->skel->bss->marked[IPPROTO_ICMPV6] = 1;
	k->skel->bss->marked[IPPROTO_RAW] = 1;
	*out = k;
	return 0;
fail:
	apptap_bpf_kernel_close(k);
	return r;
}

void apptap_bpf_kernel_close(struct apptap_bpf_kernel *k)
{
	if (!k)
		return;
	apptap_bpf_attach_close(k->attach);
	apptap_bpf_ring_close(k->ring);
	apptap_bpf_process_close(k->process);
	if (k->arrive >= 0)
		close(k->arrive);
	capture_bpf__destroy(k->skel);
	free(k);
}

struct apptap_bpf_settings *apptap_bpf_kernel_settings(struct apptap_bpf_kernel *k)
{
	return &k->skel->bss->settings;
}

const struct apptap_bpf_counts *apptap_bpf_kernel_counts(const struct apptap_bpf_kernel *k)
{
	return &k->skel->bss->counts;
}

struct apptap_bpf_ring *apptap_bpf_kernel_ring(const struct apptap_bpf_kernel *k, int *fd)
{
	*fd = bpf_map__fd(k->skel->maps.ring);
	return k->ring;
}

int apptap_bpf_kernel_follow(struct apptap_bpf_kernel *k, const struct apptap_scope *scope,
			     struct apptap_error *err)
{
	return k->process ? apptap_bpf_process_follow(k->process, scope, err) : 0;
}

uint64_t apptap_bpf_kernel_lost_processes(const struct apptap_bpf_kernel *k)
{
	return k->process ? apptap_bpf_process_counts(k->process)->lost_processes : 0;
}

/* The counts last: a program never sees one that is larger than what is written. */
void apptap_bpf_kernel_scope(struct apptap_bpf_kernel *k, const struct apptap_scope *scope)
{
	struct apptap_bpf_settings *s = &k->skel->bss->settings;

	for (size_t i = 0; i < scope->uid_count; i++)
		s->uids[i] = scope->uids[i].uid;
	for (size_t i = 0; i < scope->cgroup_count; i++)
		s->cgroups[i] = scope->cgroups[i].id;
	__atomic_store_n(&s->uid_count, (uint32_t)scope->uid_count, __ATOMIC_RELEASE);
	__atomic_store_n(&s->cgroup_count, (uint32_t)scope->cgroup_count, __ATOMIC_RELEASE);
	if (k->process && apptap_bpf_process_tells_ports(k->process))
		__atomic_add_fetch(&s->epoch, 1, __ATOMIC_RELEASE);
}

int apptap_bpf_kernel_attach(struct apptap_bpf_kernel *k, char *const *names, size_t count,
			     struct apptap_error *err)
{
	return apptap_bpf_attach_follow(k->attach, names, count, err);
}

int apptap_bpf_kernel_attach_fd(const struct apptap_bpf_kernel *k)
{
	return apptap_bpf_attach_fd(k->attach);
}

int apptap_bpf_kernel_restore(struct apptap_bpf_kernel *k, struct apptap_error *err)
{
	return apptap_bpf_attach_restore(k->attach, err);
}
