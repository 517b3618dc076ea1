/*
 * bpf_row.c - the row of programs at one side of an interface (tcx): is ours the first?
 *
 * How it works. The kernel tells nobody of a change, but counts them: so one short question a look
 * is enough while there is none. Whose a program is that stands before ours, only its number says,
 * for the agent may not open it; captures hold a name for each of theirs. They all want to be the
 * first, and are content with being before all others.
 */
#include "tier/bpf_row.h"

#include <bpf/bpf.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "tier/tag.h"

#define HELD "program"
#define ROW_MAX 64 /* as the kernel's */

/* BPF_PROG_QUERY's part of union bpf_attr, as it is since 6.6. */
struct query {
	uint32_t ifindex, attach_type;
	uint32_t query_flags, attach_flags;
	uint64_t prog_ids;
	uint32_t count, zero;
	uint64_t prog_attach_flags, link_ids, link_attach_flags;
	uint64_t revision;
};
static_assert(sizeof(struct query) == 64, "the kernel's");

static int hold(uint32_t id)
{
	char text[APPTAP_TAG_BYTES + 1];

	snprintf(text, sizeof(text), "%08x", id);
	return apptap_tag_hold(HELD, text);
}

int apptap_bpf_row_name(int program)
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);

	if (bpf_obj_get_info_by_fd(program, &info, &len) < 0)
		return -errno;
	return hold(info.id);
}

static bool is_captures(uint32_t id)
{
	auto_close int held = hold(id);

	return held == -EADDRINUSE;
}

static int ask(struct query *q, const struct apptap_bpf_place *place)
{
	q->ifindex = (uint32_t)place->ifindex;
	q->attach_type = (uint32_t)apptap_bpf_link_type(place->side);
	return syscall(SYS_bpf, BPF_PROG_QUERY, q, sizeof(*q)) < 0 ? -errno : 0;
}

int apptap_bpf_row_is_first(struct apptap_bpf_row *row, const struct apptap_bpf_place *place,
			    int link)
{
	uint32_t programs[ROW_MAX] = { 0 }, links[ROW_MAX] = { 0 };
	struct query q = { .prog_ids = (uintptr_t)programs,
			   .link_ids = (uintptr_t)links,
			   .count = ROW_MAX };
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);
	int r = ask(&q, place);

	if (r < 0)
		return r;
	if (q.revision == row->revision)
		return row->is_first;
	if (bpf_obj_get_info_by_fd(link, &info, &len) < 0)
		return -errno;
	row->revision = q.revision;
	row->is_first = false;
	for (uint32_t i = 0; i < MIN(q.count, (uint32_t)ROW_MAX); i++) {
		row->is_first = links[i] == info.id;
		if (row->is_first || !is_captures(programs[i]))
			break;
	}
	return row->is_first;
}
