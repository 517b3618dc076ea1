/* replay_agent.c - the program with a tier that makes up its packets, as the environment says */
#include <errno.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>

#include "base/view.h"
#include "tier/tier.h"

/*
 * How it works. It is the program, and so the agent, with another table of tiers: this file has
 *what src/tier/tier.c has else, so that the linker leaves that out. Everything behind the tier, and
 *the way to the host, is the real thing.
 *
 *	REPLAY_PACKETS	how many, in all		(1000)
 *	REPLAY_BYTES	of each, from its IP header on	(64)
 *	REPLAY_FLOWS	TCP connections they are of	(10)
 *	REPLAY_DIE	after so many, by SIGKILL	(never)
 *	REPLAY_REFUSE	the tier does not open
 */
#define BATCH 4096
#define LARGEST 65535

struct replay {
	struct apptap_tier base;
	uint64_t wanted;
	uint64_t made;
	uint64_t die_at;
	uint32_t bytes;
	uint32_t flows;
	uint32_t uid;
	uint8_t packets[][LARGEST]; /* one per flow */
};

static uint64_t setting(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

/* A TCP segment of flow @n: 10.0.0.1:10000+n to 10.0.0.2:443. */
static void make_packet(uint8_t *p, uint32_t n, uint32_t bytes)
{
	memset(p, 0, bytes);
	p[0] = 0x45;
	apptap_put_be16(p + 2, (uint16_t)bytes);
	p[8] = 64;
	p[9] = IPPROTO_TCP;
	apptap_put_be32(p + 12, 0x0a000001);
	apptap_put_be32(p + 16, 0x0a000002);
	apptap_put_be16(p + 20, (uint16_t)(10000 + n));
	apptap_put_be16(p + 22, 443);
	p[32] = 0x50;
	p[33] = 0x10; /* ACK */
}

static int replay_probe(struct apptap_error *err)
{
	return getenv("REPLAY_REFUSE") ? apptap_error_say(err, ENOTSUP, "it was told not to") : 0;
}

static int replay_open(struct apptap_tier **out, const struct apptap_tier_config *cfg,
		       struct apptap_error *err)
{
	uint32_t flows = (uint32_t)setting("REPLAY_FLOWS", 10);
	struct replay *r = calloc(1, sizeof(*r) + (size_t)flows * LARGEST);

	if (!r)
		return apptap_error_set(err, ENOMEM, "allocating packets");
	r->base.fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	r->wanted = setting("REPLAY_PACKETS", 1000);
	r->die_at = setting("REPLAY_DIE", UINT64_MAX);
	r->bytes = (uint32_t)setting("REPLAY_BYTES", 64);
	r->flows = flows;
	r->uid = cfg->scope->uid_count ? cfg->scope->uids[0].uid : APPTAP_UID_NONE;
	for (uint32_t i = 0; i < flows; i++)
		make_packet(r->packets[i], i, r->bytes);
	*out = &r->base;
	return 0;
}

static void make(const struct replay *r, struct apptap_packet *pkt)
{
	*pkt = (struct apptap_packet){
		.data = r->packets[r->made % r->flows],
		.len = r->bytes,
		.wire_len = r->bytes,
		.ts_ns = 1000000000ull * 1700000000 + r->made,
		.ifindex = 1 + (int32_t)(r->made % 2),
		.protocol = ETH_P_IP,
		.arphrd = ARPHRD_ETHER,
		.pkttype = PACKET_OUTGOING,
		.uid = r->uid,
		.pid = 4711,
		.comm = "re\x1bplay",
	};
}

static int replay_dispatch(struct apptap_tier *t, struct apptap_consumer *c,
			   struct apptap_error *err)
{
	struct replay *r = (struct replay *)(void *)t;
	struct apptap_packet pkt;
	uint64_t none;
	int result = 0;

	for (int i = 0; i < BATCH && r->made < r->wanted && result >= 0; i++) {
		make(r, &pkt);
		result = c->packet(c, &pkt, err);
		r->made++;
		if (r->made == r->die_at)
			raise(SIGKILL);
	}
	if (result >= 0)
		result = c->flush(c, err);
	if (r->made == r->wanted && read(t->fd, &none, sizeof(none)) < 0 && errno != EAGAIN)
		return -errno;
	return result;
}

static int replay_drain(struct apptap_tier *t, struct apptap_consumer *c, struct apptap_error *err)
{
	(void)t;
	return c->flush(c, err);
}

static void replay_counters(const struct apptap_tier *t, struct apptap_tier_counters *out)
{
	const struct replay *r = (const struct replay *)(const void *)t;

	out->seen = r->made;
	out->kept = r->made;
	out->kept_bytes = r->made * r->bytes;
	out->dropped_kernel = setting("REPLAY_DROPS", 0);
}

static const char *replay_ifname(const struct apptap_tier *t, int32_t ifindex)
{
	(void)t;
	return ifindex == 1 ? "first" : "second";
}

static void replay_close(struct apptap_tier *t)
{
	if (!t)
		return;
	close(t->fd);
	free(t);
}

static const struct apptap_tier_ops replay = {
	.name = "replay",
	.gist = "packets that nobody sent",
	.probe = replay_probe,
	.open = replay_open,
	.dispatch = replay_dispatch,
	.drain = replay_drain,
	.counters = replay_counters,
	.ifname = replay_ifname,
	.close = replay_close,
};

const struct apptap_tier_ops *const apptap_tiers[] = { &replay, NULL };

const struct apptap_tier_ops *apptap_tier_find(const char *name)
{
	return strcmp(name, replay.name) == 0 ? &replay : NULL;
}

int apptap_tier_open(struct apptap_tier **out, const char *name,
		     const struct apptap_tier_config *cfg, struct apptap_error *err)
{
	(void)name;
	if (replay_probe(err) < 0)
		return -ENOTSUP;
	if (replay_open(out, cfg, err) < 0)
		return -ENOMEM;
	(*out)->ops = &replay;
	return 0;
}
