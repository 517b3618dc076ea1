/*
 * bpf_kernel.c - the programs in the kernel: loaded, told what is wanted, attached to interfaces
 *
 * How it works. A link (tcx, Linux 6.6) is a descriptor of ours, so the kernel takes the program
 * from the interface when we end, however we end. We are the first in the row, and always let the
 * next have its say: whatever others drop or redirect has been seen before.
 */
#include "tier/bpf_kernel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <capture.skel.h>
#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>

#include "tier/devices.h"
#include "tier/links.h"

#define RING_BYTES_MIN ((size_t)1 << 20)
#define RING_BYTES_MAX ((size_t)1 << 30)
#define WAKE_SHARE 4 /* a ring filled to one part in so many wakes its reader */
#define INTERFACES_MAX 4096
/* Of newer headers than Debian 12's. */
#define BPF_TCX_INGRESS_ ((enum bpf_attach_type)46)
#define BPF_TCX_EGRESS_ ((enum bpf_attach_type)47)
#define BPF_F_BEFORE_ (1U << 3)

struct attached {
	int32_t ifindex;
	int in, out; /* owned: links; -1: none */
	bool there;
};

struct apptap_bpf_kernel {
	struct capture_bpf *skel; /* owned */
	struct apptap_devices *devices; /* owned */
	size_t ring_bytes;
	struct attached *attached; /* owned */
	size_t count;
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
	if (access("/sys/kernel/btf/vmlinux", R_OK) < 0)
		return apptap_error_say(err, -r,
					"this kernel does not describe its own types "
					"(/sys/kernel/btf/vmlinux, CONFIG_DEBUG_INFO_BTF)");
	return apptap_error_set(err, -r, "loading the programs into the kernel (%s)", said);
}

static size_t ring_size(size_t wanted)
{
	size_t size = RING_BYTES_MIN;

	while (size < wanted && size < RING_BYTES_MAX)
		size *= 2;
	return size;
}

int apptap_bpf_kernel_open(struct apptap_bpf_kernel **out, size_t ring_bytes,
			   struct apptap_error *err)
{
	struct apptap_bpf_kernel *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return apptap_error_set(err, ENOMEM, "allocating the bpf tier");
	said[0] = '\0';
	libbpf_set_print(hear);
	k->ring_bytes = ring_size(ring_bytes);
	r = apptap_devices_open(&k->devices, err);
	if (r < 0)
		goto fail;
	k->skel = capture_bpf__open();
	if (!k->skel) {
		r = apptap_error_set(err, errno, "reading the programs");
		goto fail;
	}
	bpf_map__set_max_entries(k->skel->maps.ring, (uint32_t)k->ring_bytes);
	r = capture_bpf__load(k->skel);
	if (r < 0) {
		r = explain(r, err);
		goto fail;
	}
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

static void let_go(struct attached *a)
{
	if (a->in >= 0)
		close(a->in);
	if (a->out >= 0)
		close(a->out);
	a->in = a->out = -1;
}

void apptap_bpf_kernel_close(struct apptap_bpf_kernel *k)
{
	if (!k)
		return;
	for (size_t i = 0; i < k->count; i++)
		let_go(&k->attached[i]);
	free(k->attached);
	capture_bpf__destroy(k->skel);
	apptap_devices_close(k->devices);
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

int apptap_bpf_kernel_ring(const struct apptap_bpf_kernel *k, size_t *bytes)
{
	*bytes = k->ring_bytes;
	return bpf_map__fd(k->skel->maps.ring);
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
}

/* ---- interfaces ---- */

static int attach_one(const struct bpf_program *prog, int32_t ifindex, bool out)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = BPF_F_BEFORE_);

	return bpf_link_create(bpf_program__fd(prog), ifindex,
			       out ? BPF_TCX_EGRESS_ : BPF_TCX_INGRESS_, &opts);
}

/* Interfaces that share a place in the table and differ are measured packet by packet. */
static void set_shape(struct apptap_bpf_kernel *k, int32_t ifindex)
{
	const struct apptap_device *device = apptap_devices_get(k->devices, ifindex);
	uint8_t *is_ether = &k->skel->bss->settings.is_ether[(uint32_t)ifindex % APPTAP_BPF_SHAPES];
	bool shared = false;

	for (size_t i = 0; i < k->count; i++)
		shared |= k->attached[i].ifindex % APPTAP_BPF_SHAPES == ifindex % APPTAP_BPF_SHAPES;
	if (device->arphrd != ARPHRD_ETHER && device->arphrd != ARPHRD_LOOPBACK)
		*is_ether = 0;
	else if (!shared)
		*is_ether = 1;
}

static int attach(struct apptap_bpf_kernel *k, struct attached *a, const char *name,
		  struct apptap_error *err)
{
	bool loopback = a->ifindex == APPTAP_LOOPBACK_IFINDEX; /* judged on the way out */

	set_shape(k, a->ifindex);
	a->out = attach_one(k->skel->progs.leave, a->ifindex, true);
	if (a->out >= 0 && !loopback)
		a->in = attach_one(k->skel->progs.arrive, a->ifindex, false);
	if (a->out < 0 || (a->in < 0 && !loopback)) {
		int r = a->out < 0 ? a->out : a->in;

		let_go(a);
		if (r == -ENODEV)
			return 0; /* gone meanwhile */
		return apptap_error_set(err, -r, "attaching to %s", name);
	}
	return 0;
}

static struct attached *find(struct apptap_bpf_kernel *k, int32_t ifindex)
{
	for (size_t i = 0; i < k->count; i++)
		if (k->attached[i].ifindex == ifindex)
			return &k->attached[i];
	return NULL;
}

static bool is_wanted(const char *name, char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return count == 0;
}

static int add(struct apptap_bpf_kernel *k, const struct if_nameindex *link,
	       struct apptap_error *err)
{
	struct attached *grown, new = { (int32_t)link->if_index, -1, -1, true };
	int r;

	if (k->count == INTERFACES_MAX)
		return apptap_error_say(err, E2BIG, "more than %d interfaces", INTERFACES_MAX);
	grown = reallocarray(k->attached, k->count + 1, sizeof(*grown));
	if (!grown)
		return apptap_error_set(err, ENOMEM, "growing the list of interfaces");
	k->attached = grown;
	r = attach(k, &new, link->if_name, err);
	if (r == 0 && new.out >= 0)
		k->attached[k->count++] = new;
	return r;
}

int apptap_bpf_kernel_attach(struct apptap_bpf_kernel *k, char *const *names, size_t count,
			     struct apptap_error *err)
{
	struct if_nameindex *links = if_nameindex();
	size_t kept = 0;
	int r = 0;

	if (!links)
		return apptap_error_set(err, errno, "listing interfaces");
	for (size_t i = 0; i < k->count; i++)
		k->attached[i].there = false;
	for (size_t i = 0; r == 0 && links[i].if_index; i++) {
		struct attached *a = find(k, (int32_t)links[i].if_index);

		if (!is_wanted(links[i].if_name, names, count))
			continue;
		if (a)
			a->there = true;
		else
			r = add(k, &links[i], err);
	}
	if_freenameindex(links);
	for (size_t i = 0; r == 0 && i < k->count; i++) {
		if (k->attached[i].there)
			k->attached[kept++] = k->attached[i];
		else
			let_go(&k->attached[i]);
	}
	if (r == 0)
		k->count = kept;
	return r;
}
