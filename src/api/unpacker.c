/* unpacker.c - records of packets, as they crossed the wire, turned into packets of the public kind
 */
#include <errno.h>
#include <linux/if_packet.h>

#include "api/convert.h"
#include "wire/text.h"

/*
 * How it works. Packets point to the names of their interface and command, and a whole batch of
 * them may be read at leisure: so each distinct name is kept once, for good, in a table with a
 * bound. Names beyond it are not told.
 */

#define NAME_BYTES APPTAP_PACKET_RECORD_NAME_BYTES
#define NAMES_MAX 3072u
#define SLOTS 4096u /* a power of two, never full */
#define INTERFACES 256u /* by index; the agent tells again what another has taken the place of */
#define SLL2_BYTES 20u
#define SLL2_PKTTYPE 10u

_Static_assert((SLOTS & (SLOTS - 1)) == 0 && SLOTS > NAMES_MAX, "probing ends");

struct name {
	char raw[NAME_BYTES];
	char clean[NAME_BYTES];
	bool used;
};

struct interface {
	int32_t ifindex;
	const char *name; /* in names; NULL: none was told */
};

struct apptap_unpacker {
	size_t count; /* of names */
	const struct name *last;
	struct name names[SLOTS];
	struct interface interfaces[INTERFACES];
};

int apptap_unpacker_new(struct apptap_unpacker **out, struct apptap_error *err)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : apptap_error_set(err, ENOMEM, "allocating room for packets");
}

void apptap_unpacker_free(struct apptap_unpacker *u)
{
	free(u);
}

static size_t slot_of(const char raw[NAME_BYTES])
{
	uint64_t halves[2];

	memcpy(halves, raw, sizeof(halves));
	return (size_t)((halves[0] ^ halves[1] * 31) * 0x9e3779b97f4a7c15ull >> 40) & (SLOTS - 1);
}

/* @raw, padded with NULs, as it is told; borrowed for the unpacker's life. */
static const char *intern(struct apptap_unpacker *u, const char raw[NAME_BYTES])
{
	size_t i;

	if (!raw[0])
		return "";
	if (u->last && memcmp(u->last->raw, raw, NAME_BYTES) == 0)
		return u->last->clean;
	for (i = slot_of(raw); u->names[i].used; i = (i + 1) & (SLOTS - 1))
		if (memcmp(u->names[i].raw, raw, NAME_BYTES) == 0)
			goto found;
	if (u->count == NAMES_MAX)
		return "";
	u->count++;
	u->names[i].used = true;
	memcpy(u->names[i].raw, raw, NAME_BYTES);
	apptap_text_clean(u->names[i].clean, NAME_BYTES, raw);
found:
	u->last = &u->names[i];
	return u->names[i].clean;
}

static void note_interface(struct apptap_unpacker *u, const struct apptap_packet_record *r)
{
	char raw[NAME_BYTES] = { 0 };

	memcpy(raw, r->data, MIN((size_t)r->len, sizeof(raw) - 1));
	raw[NAME_BYTES - 1] = '\0';
	u->interfaces[(uint32_t)r->ifindex % INTERFACES] = (struct interface){
		.ifindex = r->ifindex,
		.name = intern(u, raw),
	};
}

static void fill(struct apptap_unpacker *u, const struct apptap_packet_record *r,
		 struct apptap_packet *out)
{
	const struct interface *i = &u->interfaces[(uint32_t)r->ifindex % INTERFACES];

	*out = (struct apptap_packet){
		.data = r->data,
		.len = r->len,
		.wire_len = r->wire_len,
		.ts_ns = r->ts_ns,
		.network = r->network,
		.uid = r->uid,
		/* of the network layer: behind a VLAN tag its own two bytes, else the header's */
		.protocol = apptap_get_be16(r->network > SLL2_BYTES ? r->data + r->network - 2
								    : r->data),
		.direction = r->data[SLL2_PKTTYPE] == PACKET_OUTGOING ? APPTAP_OUT : APPTAP_IN,
		.linktype = APPTAP_LINKTYPE_LINUX_SLL2,
		.ifindex = r->ifindex,
		.pid = r->pid,
		.interface = i->ifindex == r->ifindex && i->name ? i->name : "",
		.command = intern(u, r->comm),
	};
}

int apptap_unpacker_next(struct apptap_unpacker *u, struct apptap_view *v,
			 struct apptap_packet *out, struct apptap_error *err)
{
	struct apptap_packet_record r;

	while (v->left) {
		if (!apptap_packet_record_take(v, &r) ||
		    (r.kind == APPTAP_PACKET_RECORD_PACKET && r.network < SLL2_BYTES))
			return apptap_error_say(err, EPROTO, "the agent sent a damaged packet");
		if (r.kind == APPTAP_PACKET_RECORD_PACKET) {
			fill(u, &r, out);
			return 1;
		}
		if (r.kind == APPTAP_PACKET_RECORD_INTERFACE)
			note_interface(u, &r);
	}
	return 0;
}
