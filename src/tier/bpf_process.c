/*
 * bpf_process.c - the programs that know who makes sockets, and follow the processes of a scope
 *
 * How it works. First they are put where sockets are made and processes fork; then what was there
 * before is visited, by the kernel's own walks (iterators). So nothing falls between the two.
 */
#include "tier/bpf_process.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <process.skel.h>
#include <sys/stat.h>

#include "scope/cgroup.h"
#include "scope/process.h"

#define ROUNDS 64 /* over all processes: each finds a generation at least */
#define ROOT_CGROUP 1 /* its id */
#define FIRST_PIDS 0xeffffffcU /* the inode of the machine's own PID namespace */
#define LINKS 8

struct apptap_bpf_process {
	struct process_bpf *skel; /* owned */
	bool follows; /* processes, beside knowing who makes sockets */
	bool tells_ports;
	int links[LINKS]; /* owned */
	size_t link_count;
};

void apptap_bpf_facts_find(struct apptap_bpf_facts *f, const struct apptap_btf *b)
{
	f->visit_task = apptap_btf_func(b, "bpf_iter_task");
	if (apptap_btf_func(b, "bpf_sock_from_file") && /* 5.11 */
	    apptap_btf_field(b, "socket", "sk") == APPTAP_BPF_SOCKET_SK * 8LL)
		f->visit_file = apptap_btf_func(b, "bpf_iter_task_file");
	f->release = apptap_btf_struct(b, "bpf_sk_lookup_kern") != 0; /* came with it */
	f->mptcp = apptap_btf_func(b, "bpf_mptcp_sock_from_subflow") != 0; /* 5.19 */
}

/* ---- loading ---- */

static int set_walk(struct bpf_program *prog, struct bpf_prog_load_opts *opts, long cookie)
{
	opts->attach_btf_id = (uint32_t)cookie;
	opts->expected_attach_type = BPF_TRACE_ITER;
	return bpf_program__set_type(prog, BPF_PROG_TYPE_TRACING);
}

/* As a type of program that libbpf knows it would read all of the kernel's BTF for this number,
 * which takes it 10 ms and more. */
static int add_handler(const char *section, uint32_t function)
{
	LIBBPF_OPTS(libbpf_prog_handler_opts, opts, .cookie = (long)function,
		    .prog_prepare_load_fn = set_walk);

	return libbpf_register_prog_handler(section, BPF_PROG_TYPE_RAW_TRACEPOINT, 0, &opts);
}

static int load(struct apptap_bpf_process *p, const struct apptap_bpf_facts *facts,
		const struct apptap_bpf_wanted *wanted, int makers_fd, int changed_fd)
{
	int r;

	p->skel = process_bpf__open();
	if (!p->skel)
		return -errno;
	p->skel->rodata->layout = facts->layout;
	p->skel->rodata->wanted = *wanted;
	bpf_program__set_autoload(p->skel->progs.visit_file, facts->visit_file != 0);
	bpf_program__set_autoload(p->skel->progs.closed, facts->release);
	bpf_program__set_autoload(p->skel->progs.visit_task, wanted->processes);
	bpf_program__set_autoload(p->skel->progs.forked, wanted->processes);
	bpf_program__set_autoload(p->skel->progs.ended, wanted->processes);
	r = bpf_map__reuse_fd(p->skel->maps.makers, makers_fd);
	if (r == 0)
		r = bpf_map__reuse_fd(p->skel->maps.changed, changed_fd);
	return r < 0 ? r : process_bpf__load(p->skel);
}

static int load_all(struct apptap_bpf_process *p, const struct apptap_bpf_facts *facts,
		    const struct apptap_bpf_wanted *wanted, int makers_fd, int changed_fd)
{
	int task = add_handler("visit/task", facts->visit_task);
	int file = add_handler("visit/task_file", facts->visit_file);
	int r = task < 0 || file < 0 ? -EINVAL : load(p, facts, wanted, makers_fd, changed_fd);

	if (task >= 0)
		libbpf_unregister_prog_handler(task);
	if (file >= 0)
		libbpf_unregister_prog_handler(file);
	return r;
}

/* ---- attaching ---- */

static int keep(struct apptap_bpf_process *p, int link)
{
	if (link < 0)
		return link;
	p->links[p->link_count++] = link;
	return 0;
}

struct hook {
	const struct bpf_program *prog;
	enum bpf_attach_type type;
};

/* Other than a tc program's, the link of a cgroup's program lets those of others have their say. */
static int attach_to(struct apptap_bpf_process *p, int cgroup_fd, const struct hook *hooks,
		     size_t count)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++)
		r = keep(p, bpf_link_create(bpf_program__fd(hooks[i].prog), cgroup_fd,
					    hooks[i].type, NULL));
	return r;
}

static int attach_makers(struct apptap_bpf_process *p, int cgroup_fd)
{
	const struct hook hooks[] = {
		{ p->skel->progs.made, BPF_CGROUP_INET_SOCK_CREATE },
		{ p->skel->progs.accepted4, BPF_CGROUP_INET4_GETPEERNAME },
		{ p->skel->progs.accepted6, BPF_CGROUP_INET6_GETPEERNAME },
	};

	return attach_to(p, cgroup_fd, hooks, ARRAY_SIZE(hooks));
}

/* All of them or it tells nothing: somebody may have a place for himself alone. */
static int attach_ports(struct apptap_bpf_process *p, int cgroup_fd)
{
	const struct hook hooks[] = {
		{ p->skel->progs.bound4, BPF_CGROUP_INET4_BIND },
		{ p->skel->progs.bound6, BPF_CGROUP_INET6_BIND },
		{ p->skel->progs.closed, BPF_CGROUP_INET_SOCK_RELEASE },
	};

	if (bpf_program__fd(p->skel->progs.closed) < 0)
		return -ENOTSUP;
	return attach_to(p, cgroup_fd, hooks, ARRAY_SIZE(hooks));
}

static int attach_to_root(struct apptap_bpf_process *p, struct apptap_error *err)
{
	struct apptap_cgroup_root root = APPTAP_CGROUP_ROOT_CLOSED;
	uint64_t id = 0;
	int r = apptap_cgroup_root_open(&root, err);

	if (r < 0)
		return r;
	r = apptap_cgroup_id(root.fd, &id);
	if (r == 0 && id != ROOT_CGROUP && p->follows)
		r = apptap_error_say(err, ENOTSUP,
				     "only a part of cgroup2 is here: not all sockets would be "
				     "seen when they are made");
	if (r == 0) {
		r = attach_makers(p, root.fd);
		if (r < 0)
			apptap_error_set(err, -r, "attaching programs to the root of cgroup2");
	}
	p->tells_ports = r == 0 && id == ROOT_CGROUP && attach_ports(p, root.fd) == 0;
	apptap_cgroup_root_close(&root);
	return r;
}

static int attach(struct apptap_bpf_process *p, struct apptap_error *err)
{
	int r = attach_to_root(p, err);

	if (r < 0 || !p->follows)
		return r;
	r = keep(p, bpf_raw_tracepoint_open("sched_process_fork",
					    bpf_program__fd(p->skel->progs.forked)));
	if (r == 0)
		r = keep(p, bpf_raw_tracepoint_open("sched_process_exit",
						    bpf_program__fd(p->skel->progs.ended)));
	return r < 0 ? apptap_error_set(err, -r, "attaching programs to forks") : 0;
}

/* The programs know processes by the numbers that the whole machine knows them by. */
static int check_numbers(struct apptap_error *err)
{
	struct stat st;

	if (stat("/proc/self/ns/pid", &st) == 0 && st.st_ino == FIRST_PIDS)
		return 0;
	return apptap_error_say(err, ENOTSUP,
				"processes have other numbers here than outside of this container");
}

int apptap_bpf_process_open(struct apptap_bpf_process **out, const struct apptap_bpf_facts *facts,
			    const struct apptap_bpf_wanted *wanted, int makers_fd, int changed_fd,
			    struct apptap_error *err)
{
	struct apptap_bpf_process *p = calloc(1, sizeof(*p));
	int r = 0;

	if (!p)
		return apptap_error_set(err, ENOMEM, "following processes");
	p->follows = wanted->processes;
	if (p->follows && (!facts->visit_task || !facts->visit_file))
		r = apptap_error_say(err, ENOTSUP,
				     "this kernel does not let programs walk over processes");
	if (r == 0 && p->follows)
		r = check_numbers(err);
	if (r == 0) {
		r = load_all(p, facts, wanted, makers_fd, changed_fd);
		if (r < 0)
			apptap_error_set(err, -r, "loading the programs that follow processes");
	}
	if (r == 0)
		r = attach(p, err);
	if (r < 0) {
		apptap_bpf_process_close(p);
		return r;
	}
	*out = p;
	return 0;
}

void apptap_bpf_process_close(struct apptap_bpf_process *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->link_count; i++)
		close(p->links[i]);
	process_bpf__destroy(p->skel);
	free(p);
}

/* ---- what was there before ---- */

static int walk(const struct bpf_program *prog, struct apptap_error *err)
{
	auto_close int link = bpf_link_create(bpf_program__fd(prog), 0, BPF_TRACE_ITER, NULL);
	auto_close int fd = link < 0 ? link : bpf_iter_create(link);
	uint8_t nothing[64];

	if (fd < 0)
		return apptap_error_set(err, -fd, "walking over processes");
	while (read(fd, nothing, sizeof(nothing)) < 0)
		if (errno != EINTR && errno != EAGAIN)
			return apptap_error_set(err, errno, "walking over processes");
	return 0;
}

static int find_descendants(struct apptap_bpf_process *p, struct apptap_error *err)
{
	const struct apptap_bpf_process_counts *counts = &p->skel->bss->counts;
	uint64_t before;
	int r, rounds = ROUNDS;

	do {
		before = __atomic_load_n(&counts->taken_in, __ATOMIC_RELAXED);
		r = walk(p->skel->progs.visit_task, err);
	} while (r == 0 && --rounds &&
		 __atomic_load_n(&counts->taken_in, __ATOMIC_RELAXED) != before);
	return r;
}

static int add_process(struct apptap_bpf_process *p, const struct apptap_scope_process *process,
		       struct apptap_error *err)
{
	uint32_t pid = (uint32_t)process->pid, with_children = process->tree;

	if (bpf_map_update_elem(bpf_map__fd(p->skel->maps.family), &pid, &with_children, BPF_ANY) <
	    0)
		return apptap_error_set(err, errno, "following process %u", pid);
	return 0;
}

int apptap_bpf_process_follow(struct apptap_bpf_process *p, const struct apptap_scope *scope,
			      struct apptap_error *err)
{
	bool any = false, tree = false;
	int r = 0;

	for (size_t i = 0; r == 0 && i < scope->process_count; i++) {
		const struct apptap_scope_process *process = &scope->processes[i];
		auto_close int dir = -1;

		r = add_process(p, process, err);
		dir = apptap_process_open(process->pid);
		any |= dir >= 0;
		tree |= process->tree;
	}
	if (r == 0 && p->follows && !any)
		r = apptap_error_say(err, ESRCH, "the process has ended");
	if (r == 0 && tree)
		r = find_descendants(p, err);
	return r == 0 && bpf_program__fd(p->skel->progs.visit_file) >= 0
		       ? walk(p->skel->progs.visit_file, err)
		       : r;
}

bool apptap_bpf_process_tells_ports(const struct apptap_bpf_process *p)
{
	return p->tells_ports;
}

const struct apptap_bpf_process_counts *
apptap_bpf_process_counts(const struct apptap_bpf_process *p)
{
	return &p->skel->bss->counts;
}
