/*
 * bpf_attach.c - the programs at each interface: put there, followed, let go
 *
 * How it works. A link (tcx, Linux 6.6) is a descriptor of ours, so the kernel takes the program
 * from the interface when we end, however we end. We are the first in the row, and always let the
 * next have its say: whatever others drop or redirect has been seen before. Older kernels have
 * filters of tc instead, and more to do (clsact.c).
 */
#include "tier/bpf_attach.h"

#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>

#include "tier/bpf_link.h"
#include "tier/clsact.h"
#include "tier/devices.h"
#include "tier/links.h"

#define INTERFACES_MAX 4096
#define AHEAD_MAX 256 /* places; where there are more, the others are attached to one by one */

struct attached {
	int32_t ifindex;
	int in, out; /* owned: links; -1: none */
	bool there;
};

struct apptap_bpf_attach {
	int in, out; /* borrowed: programs */
	struct apptap_bpf_settings *settings; /* borrowed */
	struct apptap_devices *devices; /* owned, like all below */
	struct apptap_bpf_ahead *ahead; /* NULL: no links are being made */
	struct apptap_clsact *clsact; /* NULL: this kernel has links */
	struct attached *attached;
	size_t count;
	bool no_links;
};

/* On loopback a packet is judged on its way out, for both ends. */
static bool has_both(int32_t ifindex)
{
	return ifindex != APPTAP_LOOPBACK_IFINDEX;
}

static bool is_wanted(const char *name, char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return count == 0;
}

/* Loopback first: it is there that the programs are proven. */
static void start_ahead(struct apptap_bpf_attach *a, char *const *names, size_t count)
{
	struct apptap_bpf_place places[AHEAD_MAX] = { { APPTAP_LOOPBACK_IFINDEX,
							APPTAP_BPF_EGRESS } };
	struct if_nameindex *links = if_nameindex();
	size_t n = 1;

	for (size_t i = 0; links && links[i].if_index && n + 2 <= AHEAD_MAX; i++) {
		int32_t ifindex = (int32_t)links[i].if_index;

		if (!has_both(ifindex) || !is_wanted(links[i].if_name, names, count))
			continue;
		places[n++] = (struct apptap_bpf_place){ ifindex, APPTAP_BPF_EGRESS };
		places[n++] = (struct apptap_bpf_place){ ifindex, APPTAP_BPF_INGRESS };
	}
	if (links)
		if_freenameindex(links);
	a->ahead = apptap_bpf_ahead_start(places, n);
}

int apptap_bpf_attach_open(struct apptap_bpf_attach **out, char *const *names, size_t count,
			   struct apptap_error *err)
{
	const char *only = secure_getenv("APPTAP_TC"); /* for tests: "clsact" */
	struct apptap_bpf_attach *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return apptap_error_set(err, ENOMEM, "allocating the list of interfaces");
	a->no_links = only && strcmp(only, "clsact") == 0;
	r = apptap_devices_open(&a->devices, err);
	if (r < 0) {
		apptap_bpf_attach_close(a);
		return r;
	}
	if (!a->no_links)
		start_ahead(a, names, count);
	*out = a;
	return 0;
}

int apptap_bpf_attach_programs(struct apptap_bpf_attach *a, int in, int out,
			       struct apptap_bpf_settings *settings, struct apptap_error *err)
{
	a->in = in;
	a->out = out;
	a->settings = settings;
	return a->no_links ? apptap_clsact_open(&a->clsact, in, out, err) : 0;
}

static void let_go(struct apptap_bpf_attach *a, struct attached *one)
{
	if (a->clsact)
		apptap_clsact_detach(a->clsact, one->ifindex);
	if (one->in >= 0)
		close(one->in);
	if (one->out >= 0)
		close(one->out);
	one->in = one->out = -1;
}

void apptap_bpf_attach_close(struct apptap_bpf_attach *a)
{
	if (!a)
		return;
	for (size_t i = 0; !a->clsact && i < a->count; i++)
		let_go(a, &a->attached[i]);
	apptap_bpf_ahead_end(a->ahead);
	apptap_clsact_close(a->clsact);
	free(a->attached);
	apptap_devices_close(a->devices);
	free(a);
}

/* Interfaces that share a place in the table and differ are measured packet by packet. */
static void set_shape(struct apptap_bpf_attach *a, int32_t ifindex)
{
	const struct apptap_device *device = apptap_devices_get(a->devices, ifindex);
	uint8_t *is_ether = &a->settings->is_ether[(uint32_t)ifindex % APPTAP_BPF_SHAPES];
	bool shared = false;

	for (size_t i = 0; i < a->count; i++)
		shared |= a->attached[i].ifindex % APPTAP_BPF_SHAPES == ifindex % APPTAP_BPF_SHAPES;
	if (device->arphrd != ARPHRD_ETHER && device->arphrd != ARPHRD_LOOPBACK)
		*is_ether = 0;
	else if (!shared)
		*is_ether = 1;
}

static int make_link(struct apptap_bpf_attach *a, int32_t ifindex, enum apptap_bpf_side side)
{
	const struct apptap_bpf_place place = { ifindex, side };
	int program = side == APPTAP_BPF_EGRESS ? a->out : a->in;
	int fd = apptap_bpf_ahead_take(a->ahead, &place, program);

	return fd >= 0 ? fd : apptap_bpf_link(program, &place);
}

static int make_links(struct apptap_bpf_attach *a, struct attached *one, struct apptap_error *err)
{
	int r;

	r = one->out = make_link(a, one->ifindex, APPTAP_BPF_EGRESS);
	if (r >= 0 && has_both(one->ifindex))
		r = one->in = make_link(a, one->ifindex, APPTAP_BPF_INGRESS);
	if (r >= 0)
		return 0;
	let_go(a, one);
	return apptap_error_set(err, -r, "making a link");
}

static int attach(struct apptap_bpf_attach *a, struct attached *one, const char *name,
		  struct apptap_error *err)
{
	int r = -EINVAL;

	set_shape(a, one->ifindex);
	if (!a->clsact)
		r = make_links(a, one, err);
	/* What a kernel says before 6.6. */
	if (!a->clsact && a->count == 0 && (r == -EINVAL || r == -EOPNOTSUPP)) {
		r = apptap_clsact_open(&a->clsact, a->in, a->out, err);
		if (r < 0)
			return r;
	}
	if (a->clsact)
		r = apptap_clsact_attach(a->clsact, one->ifindex, has_both(one->ifindex), err);
	return r < 0 ? apptap_error_wrap(err, r, "attaching to %s", name) : 0;
}

static struct attached *find(struct apptap_bpf_attach *a, int32_t ifindex)
{
	for (size_t i = 0; i < a->count; i++)
		if (a->attached[i].ifindex == ifindex)
			return &a->attached[i];
	return NULL;
}

static int add(struct apptap_bpf_attach *a, const struct if_nameindex *link,
	       struct apptap_error *err)
{
	struct attached *grown, new = { (int32_t)link->if_index, -1, -1, true };
	int r;

	if (a->count == INTERFACES_MAX)
		return apptap_error_say(err, E2BIG, "more than %d interfaces", INTERFACES_MAX);
	grown = reallocarray(a->attached, a->count + 1, sizeof(*grown));
	if (!grown)
		return apptap_error_set(err, ENOMEM, "growing the list of interfaces");
	a->attached = grown;
	r = attach(a, &new, link->if_name, err);
	if (r == 0)
		a->attached[a->count++] = new;
	return r == -ENODEV ? 0 : r; /* gone meanwhile */
}

int apptap_bpf_attach_follow(struct apptap_bpf_attach *a, char *const *names, size_t count,
			     struct apptap_error *err)
{
	struct if_nameindex *links = if_nameindex();
	size_t kept = 0;
	int r = 0;

	if (!links)
		return apptap_error_set(err, errno, "listing interfaces");
	for (size_t i = 0; i < a->count; i++)
		a->attached[i].there = false;
	for (size_t i = 0; r == 0 && links[i].if_index; i++) {
		struct attached *one = find(a, (int32_t)links[i].if_index);

		if (!is_wanted(links[i].if_name, names, count))
			continue;
		if (one)
			one->there = true;
		else
			r = add(a, &links[i], err);
	}
	if_freenameindex(links);
	for (size_t i = 0; r == 0 && i < a->count; i++) {
		if (a->attached[i].there)
			a->attached[kept++] = a->attached[i];
		else
			let_go(a, &a->attached[i]);
	}
	if (r == 0)
		a->count = kept;
	return r;
}

int apptap_bpf_attach_fd(const struct apptap_bpf_attach *a)
{
	return a->clsact ? apptap_clsact_fd(a->clsact) : -1;
}

int apptap_bpf_attach_restore(struct apptap_bpf_attach *a, struct apptap_error *err)
{
	char name[IF_NAMESIZE];
	int restored = 0;

	if (!a->clsact || !apptap_clsact_is_disturbed(a->clsact))
		return 0;
	for (size_t i = 0; i < a->count; i++) {
		int32_t ifindex = a->attached[i].ifindex;
		int r = apptap_clsact_ensure(a->clsact, ifindex, has_both(ifindex), err);

		if (r == 0 || r == -ENODEV || !if_indextoname((uint32_t)ifindex, name))
			continue; /* not even the interface is there: nothing to restore */
		if (r < 0)
			return apptap_error_wrap(err, r, "attaching to %s again", name);
		apptap_error_say(err, ESTALE, "%s", name);
		restored++;
	}
	return restored;
}
