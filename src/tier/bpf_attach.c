/*
 * bpf_attach.c - the programs at each interface: put there, followed, let go
 *
 * How it works. A link (tcx, Linux 6.6) is a descriptor of ours, so the kernel takes the program
 * from the interface when we end, however we end. We are the first in the row, and always let the
 * next have its say: whatever others drop or redirect has been seen before. Who puts himself before
 * us later is found once a second, and we go before him again. Older kernels have filters of tc
 * instead, and more to do (clsact.c).
 */
#include "tier/bpf_attach.h"

#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <sys/timerfd.h>

#include "tier/bpf_row.h"
#include "tier/clsact.h"
#include "tier/devices.h"
#include "tier/links.h"

#define INTERFACES_MAX 4096
#define AHEAD_MAX 256 /* places; where there are more, the others are attached to one by one */
#define LOOK_S 1
#define LOOKS_A_TURN 64 /* interfaces */
#define MOVES_MAX 5 /* then whoever wants to be the first more than we do, is */

struct attached {
	int32_t ifindex;
	int in, out; /* owned: links; -1: none */
	struct apptap_bpf_row in_row, out_row;
	bool there;
};

struct apptap_bpf_attach {
	int in, out; /* borrowed: programs */
	struct apptap_bpf_settings *settings; /* borrowed */
	struct apptap_devices *devices; /* owned, like all below */
	struct apptap_bpf_ahead *ahead; /* NULL: no links are being made */
	struct apptap_clsact *clsact; /* NULL: this kernel has links */
	int nothing[2]; /* programs that do nothing */
	int held[4]; /* names of all programs: other captures know them by these */
	int timer; /* of looks at who is the first */
	struct attached *attached;
	size_t count;
	size_t next; /* to be looked at */
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
	a->ahead = apptap_bpf_ahead_start(places, n, a->nothing[0]);
}

static int open_timer(struct apptap_bpf_attach *a, struct apptap_error *err)
{
	const struct itimerspec t = { { LOOK_S, 0 }, { LOOK_S, 0 } };

	a->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (a->timer < 0 || timerfd_settime(a->timer, 0, &t, NULL) < 0)
		return apptap_error_set(err, errno, "making a timer");
	return 0;
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
	a->timer = -1;
	for (size_t i = 0; i < ARRAY_SIZE(a->held); i++)
		a->held[i] = -1;
	a->nothing[0] = a->nothing[1] = -1;
	r = apptap_devices_open(&a->devices, err);
	if (r == 0)
		r = open_timer(a, err);
	if (r < 0) {
		apptap_bpf_attach_close(a);
		return r;
	}
	if (!a->no_links) {
		for (size_t i = 0; i < ARRAY_SIZE(a->nothing); i++) {
			a->nothing[i] = apptap_bpf_link_nothing();
			a->held[i] = apptap_bpf_row_name(a->nothing[i]);
		}
		start_ahead(a, names, count);
	}
	*out = a;
	return 0;
}

int apptap_bpf_attach_programs(struct apptap_bpf_attach *a, int in, int out,
			       struct apptap_bpf_settings *settings, struct apptap_error *err)
{
	a->in = in;
	a->out = out;
	a->settings = settings;
	a->held[2] = apptap_bpf_row_name(in);
	a->held[3] = apptap_bpf_row_name(out);
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
	for (size_t i = 0; i < ARRAY_SIZE(a->held); i++)
		if (a->held[i] >= 0)
			close(a->held[i]);
	for (size_t i = 0; i < ARRAY_SIZE(a->nothing); i++)
		if (a->nothing[i] >= 0)
			close(a->nothing[i]);
	if (a->timer >= 0)
		close(a->timer);
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
	struct attached *grown, new = { (int32_t)link->if_index, -1, -1, { 0 }, { 0 }, true };
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
	return a->clsact ? apptap_clsact_fd(a->clsact) : a->timer;
}

/* ---- what others do ---- */

/* What is to be said of interfaces, and their names. */
struct news {
	char restored[IF_NAMESIZE * 4], lost[IF_NAMESIZE * 4];
	struct apptap_error why; /* of the last that is lost */
};

static void name_it(char *names, size_t size, int32_t ifindex)
{
	char name[IF_NAMESIZE];
	size_t used = strlen(names);

	if (if_indextoname((uint32_t)ifindex, name)) /* else it is gone, and all is well */
		snprintf(names + used, size - used, "%s%s", used ? ", " : "", name);
}

static int move(struct apptap_bpf_attach *a, const struct apptap_bpf_place *place, int *link,
		struct apptap_bpf_row *row, struct apptap_error *err)
{
	int program = place->side == APPTAP_BPF_EGRESS ? a->out : a->in, r;

	if (row->moves == MOVES_MAX)
		return apptap_error_say(err, EBUSY, "somebody always puts a program before ours");
	r = apptap_bpf_link_move(link, program, a->nothing, place);
	row->moves++;
	return r < 0 ? apptap_error_set(err, -r, "making a link again") : 0;
}

/* Return: 1 ours is the first again, 0 it was, -1 it is not. */
static int look_at(struct apptap_bpf_attach *a, struct attached *one, enum apptap_bpf_side side,
		   struct apptap_error *err)
{
	const struct apptap_bpf_place place = { one->ifindex, side };
	int *link = side == APPTAP_BPF_EGRESS ? &one->out : &one->in;
	struct apptap_bpf_row *row = side == APPTAP_BPF_EGRESS ? &one->out_row : &one->in_row;

	if (*link < 0 || row->moves > MOVES_MAX || apptap_bpf_row_is_first(row, &place, *link) != 0)
		return 0;
	if (move(a, &place, link, row, err) == 0)
		return 1;
	row->moves = MOVES_MAX + 1; /* said once */
	return -1;
}

static void look_at_links(struct apptap_bpf_attach *a, struct news *news)
{
	uint64_t ticks;

	if (read(a->timer, &ticks, sizeof(ticks)) != sizeof(ticks))
		return;
	for (size_t i = 0; i < MIN(a->count, (size_t)LOOKS_A_TURN); i++) {
		struct attached *one = &a->attached[a->next++ % a->count];

		int out = look_at(a, one, APPTAP_BPF_EGRESS, &news->why);
		int in = look_at(a, one, APPTAP_BPF_INGRESS, &news->why);

		if (out < 0 || in < 0)
			name_it(news->lost, sizeof(news->lost), one->ifindex);
		else if (out || in)
			name_it(news->restored, sizeof(news->restored), one->ifindex);
	}
}

static void look_at_filters(struct apptap_bpf_attach *a, struct news *news)
{
	if (!apptap_clsact_is_disturbed(a->clsact))
		return;
	for (size_t i = 0; i < a->count; i++) {
		int32_t ifindex = a->attached[i].ifindex;
		struct apptap_error err = { 0 };
		int r = apptap_clsact_ensure(a->clsact, ifindex, has_both(ifindex), &err);

		if (r == 0 || r == -ENODEV)
			continue;
		if (r < 0)
			news->why = err;
		name_it(r < 0 ? news->lost : news->restored, sizeof(news->lost), ifindex);
	}
}

int apptap_bpf_attach_restore(struct apptap_bpf_attach *a, struct apptap_error *err)
{
	struct news news = { 0 };

	if (a->clsact)
		look_at_filters(a, &news);
	else
		look_at_links(a, &news);
	if (news.lost[0])
		apptap_error_say(err, ESTALE, "packets of %s may be missing from now on: %.120s",
				 news.lost, news.why.msg);
	else if (news.restored[0])
		apptap_error_say(err, ESTALE,
				 "somebody has removed our filters from %s, or put theirs before "
				 "them; ours are the first again, what passed meanwhile may be "
				 "missing",
				 news.restored);
	return news.lost[0] || news.restored[0];
}
