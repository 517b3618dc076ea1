/*
 * nflog.c - tier 2: rules in the kernel decide, NFLOG delivers the app's packets and no others
 *
 * How it works. The rules (rules.h) know of most packets for certain whose they are, and say with
 * each how they know it. What they cannot know is whose port a first packet from outside is for,
 * and whether the port of a datagram socket has changed hands: then the socket table is asked.
 */
#include <errno.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include "tier/adopt.h"
#include "tier/beacon.h"
#include "tier/claims.h"
#include "tier/deaths.h"
#include "tier/devices.h"
#include "tier/haste.h"
#include "tier/interfaces.h"
#include "tier/links.h"
#include "tier/marks.h"
#include "tier/nflog_packet.h"
#include "tier/nflog_probe.h"
#include "tier/nflog_read.h"
#include "tier/room.h"
#include "tier/rules.h"
#include "tier/silence.h"
#include "tier/tier.h"
#include "tier/waiting.h"

#define GROUP_DEFAULT 30
#define READS_A_TURN 64
#define READER_NICE (-20)
#define HOLD_BYTES (64U << 20)
#define HOLD_TICK_MS 4
#define IDLE_TICK_MS 100
#define GATHERED_NS \
	(30 * APPTAP_NSEC_PER_MSEC) /* what need not come at once may lie in the kernel */
#define LAST_NEWS_NS (500 * APPTAP_NSEC_PER_MSEC)
#define CHECK_NS (1 * APPTAP_NSEC_PER_SEC)

struct nflog {
	struct apptap_tier base;
	const struct apptap_scope *scope; /* borrowed */
	struct apptap_tier_config cfg;
	struct apptap_rules *rules; /* owned, like all below */
	struct apptap_nflog_reader *reader;
	struct apptap_links *links;
	struct apptap_diag *diag;
	struct apptap_claims *claims;
	struct apptap_adopt *adopt;
	struct apptap_waiting *waiting;
	struct apptap_silence *silence;
	struct apptap_beacon *beacon; /* NULL: nobody can send one */
	struct apptap_deaths *deaths;
	struct apptap_obituaries *obituaries; /* NULL: the kernel has none */
	struct apptap_contest *contest;
	bool contested;
	int timer;
	long timer_ms; /* its interval; 0: not armed */
	struct apptap_marks marks;
	char tag[APPTAP_RULES_TAG_BYTES + 1];
	char **interfaces; /* owned */
	struct apptap_devices *devices;
	bool flood; /* comes: this must not take a CPU from all others */
	bool doubts; /* something of the last turn has to be asked about */
	bool rests; /* in a flood of certain packets: only the timer wakes us */
	bool more; /* the last turn ended before all was read */
	bool silenced; /* draining: the rules log nothing more */
	uint64_t delivered; /* packets of our rules */
	uint64_t sent, came; /* of those: what goes, what comes; without the beacon */
	uint64_t check_ns; /* CLOCK_MONOTONIC: when to look for the rules next */
	uint64_t undelivered; /* known at the end: logged, but never delivered */
	uint64_t now_ns; /* of the read that is being judged */
	uint64_t behind_ns; /* CLOCK_REALTIME: what was read before was logged then or later */
	uint64_t gathered_ns; /* CLOCK_REALTIME: until then something may come late */
	uint64_t empty_ns; /* nothing had been left to read then: what is read now came later */
	struct apptap_consumer *consumer; /* of the dispatch that is under way */
	struct apptap_error *err;
	struct apptap_tier_counters n;
};

static struct nflog *nflog_of(const struct apptap_tier *t)
{
	return apptap_container_of((struct apptap_tier *)t, struct nflog, base);
}

static int watch(struct nflog *s, int fd, struct apptap_error *err)
{
	struct epoll_event e = { .events = EPOLLIN };

	if (epoll_ctl(s->base.fd, EPOLL_CTL_ADD, fd, &e) < 0)
		return apptap_error_set(err, errno, "watching a descriptor");
	return 0;
}

static void to_packet(struct nflog *s, const struct apptap_nflog_packet *p,
		      struct apptap_packet *out)
{
	apptap_nflog_to_packet(p, s->devices, s->cfg.snaplen, out);
	out->ts_ns = s->now_ns;
	if (s->scope->uid_count)
		out->uid = s->scope->uids[0].uid;
	if (p->has_uid && apptap_scope_has(s->scope, p->uid))
		out->uid = p->uid;
}

static bool interface_wanted(const struct nflog *s, int32_t ifindex)
{
	const char *name;

	if (!s->cfg.interface_count)
		return true;
	name = apptap_links_name(s->links, ifindex);
	return name && apptap_interfaces_have(s->interfaces, s->cfg.interface_count, name);
}

/* ---- judging ---- */

static int keep(struct nflog *s, const struct apptap_packet *pkt)
{
	s->n.kept++;
	s->n.kept_bytes += pkt->wire_len;
	return s->consumer->packet(s->consumer, pkt, s->err);
}

static int count_lost(struct nflog *s, enum apptap_claim what)
{
	if (what == APPTAP_CLAIM_FOREIGN)
		s->n.foreign++;
	else
		s->n.unattributed++;
	return 0;
}

/* Behind those that wait, so that order is kept. */
static int take_ours(struct nflog *s, const struct apptap_packet *pkt,
		     const struct apptap_dissect *d)
{
	if (apptap_waiting_count(s->waiting) && apptap_waiting_push(s->waiting, pkt, d, NULL))
		return 0;
	return keep(s, pkt);
}

static int wait_for(struct nflog *s, const struct apptap_packet *pkt,
		    const struct apptap_dissect *d, const struct apptap_claim_case *claim)
{
	if (apptap_waiting_push(s->waiting, pkt, d, claim))
		return 0;
	return count_lost(s, APPTAP_CLAIM_UNKNOWN); /* no room to wait */
}

/* What is read now was logged then or later: behind all that was read before. */
static uint64_t logged_since(const struct nflog *s, enum apptap_rule_class class)
{
	bool late = s->now_ns < s->gathered_ns && !apptap_rules_at_once(class);

	return MAX(s->empty_ns - (late ? GATHERED_NS : 0), s->behind_ns);
}

/* The rules know whose it is; but for what was given away. */
static int take_certain(struct nflog *s, enum apptap_rule_class class,
			const struct apptap_packet *pkt, const struct apptap_dissect *d)
{
	struct apptap_claim_case claim;

	switch (apptap_claims_see(s->claims, class, d, pkt->uid, logged_since(s, class), s->now_ns,
				  &claim)) {
	case APPTAP_CLAIM_OURS:
		return take_ours(s, pkt, d);
	case APPTAP_CLAIM_WAIT:
		return wait_for(s, pkt, d, &claim);
	default:
		return count_lost(s, APPTAP_CLAIM_FOREIGN);
	}
}

static int take_doubtful(struct nflog *s, enum apptap_rule_class class,
			 const struct apptap_packet *pkt, const struct apptap_dissect *d,
			 uint64_t rx_ns)
{
	struct apptap_claim_case claim;

	s->doubts = true;
	apptap_claims_open(s->claims, class, pkt, d, rx_ns, logged_since(s, class), &claim);
	return wait_for(s, pkt, d, &claim);
}

static int take(const struct apptap_nflog_packet *p, void *arg)
{
	struct nflog *s = arg;
	struct apptap_packet pkt;
	struct apptap_dissect d;
	enum apptap_rule_class class;

	/* Somebody else's rule may log to this group too. */
	if (p->prefix_len != APPTAP_RULES_TAG_BYTES + 1 ||
	    memcmp(p->prefix, s->tag, APPTAP_RULES_TAG_BYTES) != 0)
		return 0;
	s->delivered++;
	class = (enum apptap_rule_class)p->prefix[APPTAP_RULES_TAG_BYTES];
	to_packet(s, p, &pkt);
	apptap_dissect((struct apptap_view){ p->data, p->len }, pkt.protocol, &d);
	if (s->beacon && apptap_beacon_take(s->beacon, class, &d))
		return 0;
	*(pkt.pkttype == PACKET_OUTGOING ? &s->sent : &s->came) += 1;
	if (apptap_rules_is_notice(class)) {
		struct apptap_claim_case claim;

		apptap_claims_see(s->claims, class, &d, APPTAP_UID_NONE, s->empty_ns, s->now_ns,
				  &claim);
		return 0;
	}
	if (p->rx_ns <= s->now_ns || p->rx_ns <= apptap_clock_ns(CLOCK_REALTIME))
		s->behind_ns = MAX(s->behind_ns, p->rx_ns);
	if (pkt.pkttype != PACKET_OUTGOING || pkt.ifindex == APPTAP_LOOPBACK_IFINDEX)
		apptap_contest_came(s->contest, &d, p->rx_ns ? p->rx_ns : logged_since(s, class),
				    p->rx_ns ? p->rx_ns : s->now_ns);
	if (!interface_wanted(s, pkt.ifindex))
		return 0;
	s->n.seen++;
	switch (class) {
	case APPTAP_RULE_SENT:
	case APPTAP_RULE_SENT_MARKED:
	case APPTAP_RULE_GOT:
	case APPTAP_RULE_GOT_MARKED:
		return take_certain(s, class, &pkt, &d);
	case APPTAP_RULE_SENT_ASK:
	case APPTAP_RULE_ASK:
	case APPTAP_RULE_GOT_DATAGRAM:
	case APPTAP_RULE_PENDING:
	case APPTAP_RULE_GIVEN:
		return take_doubtful(s, class, &pkt, &d, p->rx_ns);
	default:
		return count_lost(s, APPTAP_CLAIM_FOREIGN);
	}
}

static int hand_over(const struct apptap_packet *pkt, enum apptap_claim what, void *arg)
{
	return what == APPTAP_CLAIM_OURS ? keep(arg, pkt) : count_lost(arg, what);
}

/* Hands over what waits, from the front, as far as it can be told whose it is. */
static int pump(struct nflog *s, bool last)
{
	uint64_t now_ns = apptap_clock_ns(CLOCK_REALTIME);
	int r;

	apptap_waiting_settle(s->waiting, now_ns, last);
	r = apptap_waiting_hand_over(s->waiting, now_ns, last, hand_over, s);
	if (r >= 0)
		r = s->consumer->flush(s->consumer, s->err);
	apptap_waiting_forget(s->waiting);
	return r;
}

/*
 * While a port of the app's is being taken by others, or we come too late to be told whose one is,
 * every moment counts until we ask. All that costs everybody a little, so it is for then only.
 */
static void tend_witnesses(struct nflog *s)
{
	bool contested = apptap_claims_contested(s->claims, s->now_ns);
	bool want = contested || apptap_claims_unsure(s->claims, s->now_ns);

	apptap_contest_widen(s->contest, want);
	if (contested != s->contested) /* last, for it may take a while */
		s->rules->ops->doubt(s->rules, contested, NULL);
	s->contested = contested;
}

/* What is asked of the socket table must be asked at once: who has a port may give it up soon. */
static void keep_pace(struct nflog *s)
{
	bool flood = apptap_nflog_is_flood(s->reader);

	if (apptap_nflog_is_busy(s->reader))
		s->gathered_ns = s->now_ns + GATHERED_NS;
	if (flood != s->flood)
		apptap_haste(!flood);
	s->flood = flood;
}

/* To be woken for each message costs the app and us, and gains nothing where no question waits. */
static void rest(struct nflog *s)
{
	bool want = s->flood && !s->doubts && !s->silenced;
	struct epoll_event e = { .events = want ? 0 : EPOLLIN };

	if (want != s->rests &&
	    epoll_ctl(s->base.fd, EPOLL_CTL_MOD, apptap_nflog_fd(s->reader), &e) == 0)
		s->rests = want;
}

/* Often while packets wait, else now and then: to look for sockets that the rules do not know. */
static void arm_timer(struct nflog *s)
{
	bool often = apptap_waiting_count(s->waiting) > 0 || s->rests;
	long ms = often ? HOLD_TICK_MS : IDLE_TICK_MS;
	struct itimerspec t = { .it_value.tv_nsec = ms * 1000000L,
				.it_interval.tv_nsec = ms * 1000000L };

	if (ms == s->timer_ms)
		return;
	timerfd_settime(s->timer, 0, &t, NULL);
	s->timer_ms = ms;
}

/* Where somebody has flushed them, nothing would come any more, and nobody would say so. */
static int check_rules(struct nflog *s, struct apptap_error *err)
{
	uint64_t now_ns = apptap_clock_ns(CLOCK_MONOTONIC);

	if (now_ns < s->check_ns)
		return 0;
	s->check_ns = now_ns + CHECK_NS;
	return s->rules->ops->check(s->rules, err);
}

static int nflog_dispatch(struct apptap_tier *t, struct apptap_consumer *c,
			  struct apptap_error *err)
{
	struct nflog *s = nflog_of(t);
	uint64_t ticks;
	int r = 1;

	s->consumer = c;
	s->err = err;
	s->doubts = false;
	if (read(s->timer, &ticks, sizeof(ticks)) < 0 && errno != EAGAIN)
		return apptap_error_set(err, errno, "reading a timer");
	for (int i = 0; r > 0 && i < READS_A_TURN; i++) {
		if (s->obituaries)
			apptap_obituaries_read(s->obituaries, s->deaths, NULL, NULL);
		apptap_contest_hear(s->contest, apptap_claims_hear, s->claims);
		s->now_ns = apptap_clock_ns(CLOCK_REALTIME);
		r = apptap_nflog_read(s->reader, take, s, err);
		if (r == 0)
			s->empty_ns = s->now_ns;
		apptap_contest_missed(s->contest, apptap_nflog_lost(s->reader));
		if (r > 0) {
			int flushed = c->flush(c, err);

			r = flushed < 0 ? flushed : r;
		}
	}
	s->more = r > 0;
	keep_pace(s);
	/* All that was logged before our questions has been read, but for a flood. */
	apptap_contest_hear(s->contest, apptap_claims_hear, s->claims);
	if (r >= 0)
		r = pump(s, false);
	apptap_links_read(s->links, NULL, NULL);
	if (!s->silenced)
		tend_witnesses(s);
	if (r >= 0 && !s->silenced)
		r = apptap_adopt_tend(s->adopt, err);
	if (r >= 0 && !s->silenced)
		r = check_rules(s, err);
	if (r >= 0 && !s->silenced && !s->more)
		r = apptap_silence_look(s->silence, s->sent, s->came, apptap_nflog_lost(s->reader),
					err);
	rest(s);
	arm_timer(s);
	return r < 0 ? r : 0;
}

static int nflog_drain(struct apptap_tier *t, struct apptap_consumer *c, struct apptap_error *err)
{
	struct nflog *s = nflog_of(t);
	struct epoll_event event;
	uint64_t end_ns, now_ns, logged = 0;
	int r;

	s->silenced = true;
	if (s->rules->ops->silence(s->rules, &logged, NULL) < 0) {
		s->rules->ops->remove(s->rules);
		s->rules = NULL;
	}
	end_ns = apptap_clock_ns(CLOCK_MONOTONIC) +
		 (uint64_t)apptap_nflog_delay_ms(s->reader) * APPTAP_NSEC_PER_MSEC;
	do
		r = nflog_dispatch(t, c, err);
	while (r == 0 && s->more);
	while (r == 0 && (now_ns = apptap_clock_ns(CLOCK_MONOTONIC)) < end_ns) {
		epoll_wait(s->base.fd, &event, 1,
			   (int)((end_ns - now_ns) / APPTAP_NSEC_PER_MSEC) + 1);
		r = nflog_dispatch(t, c, err);
	}
	end_ns = apptap_clock_ns(CLOCK_MONOTONIC) + LAST_NEWS_NS;
	while (r == 0 && apptap_waiting_for_news(s->waiting) &&
	       apptap_clock_ns(CLOCK_MONOTONIC) < end_ns) {
		epoll_wait(s->base.fd, &event, 1, HOLD_TICK_MS);
		r = nflog_dispatch(t, c, err);
	}
	if (logged > s->delivered)
		s->undelivered = logged - s->delivered;
	return r == 0 ? pump(s, true) : r;
}

static int nflog_rescope(struct apptap_tier *t, struct apptap_error *err)
{
	struct nflog *s = nflog_of(t);
	int r = s->rules->ops->update(s->rules, s->scope, err);

	return r < 0 ? r : apptap_adopt_rescope(s->adopt, err);
}

static void nflog_counters(const struct apptap_tier *t, struct apptap_tier_counters *out)
{
	const struct nflog *s = nflog_of(t);

	*out = s->n;
	out->held = apptap_waiting_count(s->waiting);
	out->lookups = apptap_claims_lookups(s->claims);
	out->lookups += apptap_contest_lookups(s->contest);
	out->dropped_kernel = MAX(apptap_nflog_lost(s->reader), s->undelivered);
}

static const char *nflog_ifname(const struct apptap_tier *t, int32_t ifindex)
{
	return apptap_links_name(nflog_of(t)->links, ifindex);
}

static void nflog_close(struct apptap_tier *t)
{
	struct nflog *s;
	bool clears;

	if (!t)
		return;
	s = nflog_of(t);
	apptap_haste(false);
	clears = s->rules && s->rules->ops->clears;
	if (s->rules)
		s->rules->ops->remove(s->rules);
	apptap_nflog_close(s->reader);
	if (s->marks.lock >= 0 && !clears)
		apptap_marks_clear(s->marks.mark, NULL);
	apptap_marks_release(&s->marks);
	apptap_links_close(s->links);
	apptap_devices_close(s->devices);
	apptap_obituaries_close(s->obituaries);
	apptap_deaths_free(s->deaths);
	apptap_adopt_free(s->adopt);
	apptap_silence_free(s->silence);
	apptap_beacon_close(s->beacon);
	apptap_contest_close(s->contest);
	apptap_waiting_free(s->waiting);
	apptap_claims_free(s->claims);
	apptap_diag_close(s->diag);
	if (s->timer >= 0)
		close(s->timer);
	apptap_interfaces_free(s->interfaces, s->cfg.interface_count);
	if (s->base.fd >= 0)
		close(s->base.fd);
	free(s);
}

/* ---- opening ---- */

/* The group that was asked for, or the next that nobody has. */
static int open_reader(struct nflog *s, uint16_t *group, struct apptap_error *err)
{
	uint16_t first = s->cfg.nflog_group ? s->cfg.nflog_group : GROUP_DEFAULT;
	int r;

	*group = first;
	r = apptap_nflog_open_free(&s->reader, group, s->cfg.snaplen, s->cfg.ring_bytes, err);
	if (r == 0 && *group != first && s->cfg.nflog_group)
		apptap_tier_warn(&s->cfg, "somebody listens to NFLOG group %u: group %u instead",
				 first, *group);
	return r;
}

static int open_parts(struct nflog *s, const struct apptap_tier_config *cfg,
		      struct apptap_error *err)
{
	int r = apptap_links_open(&s->links, err);

	if (r == 0)
		r = apptap_devices_open(&s->devices, err);
	if (r == 0)
		r = apptap_interfaces_copy(&s->interfaces, &s->cfg.interface_count, s->links, cfg,
					   err);
	if (r == 0)
		r = apptap_diag_open(&s->diag, err);
	if (r == 0 && apptap_deaths_new(&s->deaths) < 0)
		r = apptap_error_set(err, ENOMEM, "allocating the table of closed sockets");
	if (r == 0)
		r = apptap_contest_open(&s->contest, s->scope, s->tag, err);
	if (r == 0)
		r = apptap_claims_new(&s->claims, s->scope, s->diag, s->deaths, s->contest, err);
	if (r == 0 && apptap_waiting_new(&s->waiting, s->claims, HOLD_BYTES) < 0)
		r = apptap_error_set(err, ENOMEM, "allocating the queue of what waits");
	/* Not watched: to be woken for each of thousands of deaths would hold up who tells them. */
	if (r == 0 && apptap_obituaries_open(&s->obituaries, NULL) < 0)
		apptap_deaths_lost(s->deaths, UINT64_MAX);
	if (r == 0)
		r = watch(s, apptap_links_fd(s->links), err);
	return r < 0 ? r : watch(s, s->timer, err);
}

static int open_rules(struct nflog *s, struct apptap_error *err)
{
	struct apptap_rules_config rules = { .scope = s->scope,
					     .prover = apptap_nflog_prover(s->tag) };
	/* Rules of its own, then. */
	int r = rules.prover == APPTAP_UID_NONE ? apptap_nflog_probe(err) : apptap_room_check(err);

	if (r == 0)
		r = apptap_marks_take(&s->marks, err);
	if (r == 0)
		r = open_reader(s, &rules.group, err);
	if (r == 0)
		r = watch(s, apptap_nflog_fd(s->reader), err);
	if (r < 0)
		return r;
	s->empty_ns = apptap_clock_ns(CLOCK_REALTIME);
	rules.mark = s->marks.mark;
	rules.witness_count = apptap_contest_groups(s->contest, &rules.witnesses);
	memcpy(rules.tag, s->tag, sizeof(rules.tag));
	r = apptap_rules_install(&s->rules, &rules, err);
	if (r == 0 && rules.prover != APPTAP_UID_NONE) {
		apptap_beacon_open(&s->beacon, rules.prover); /* without it, less is noticed */
		r = apptap_nflog_prove(s->reader, &rules, &s->delivered, err);
	}
	return r;
}

static int begin_capture(struct nflog *s, const struct apptap_tier_config *cfg,
			 struct apptap_error *err)
{
	uint32_t bits[APPTAP_BITS];
	int r = open_parts(s, cfg, err);

	if (r < 0)
		return r;
	r = open_rules(s, err);
	if (r < 0)
		return apptap_nflog_explain(err, r);
	s->check_ns = apptap_clock_ns(CLOCK_MONOTONIC) + CHECK_NS;
	r = apptap_silence_new(&s->silence, s->scope, s->diag, s->beacon, err);
	if (r < 0)
		return r;
	apptap_rules_bits(s->marks.mark, bits);
	r = apptap_adopt_new(&s->adopt, s->scope, s->diag, s->claims, s->rules,
			     bits[APPTAP_BIT_GIVEN], err);
	return r < 0 ? r : apptap_adopt_tend(s->adopt, err);
}

static int nflog_open(struct apptap_tier **t, const struct apptap_tier_config *cfg,
		      struct apptap_error *err)
{
	struct nflog *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return apptap_error_set(err, ENOMEM, "allocating the nflog tier");
	s->base.ops = &apptap_tier_nflog;
	s->cfg = *cfg;
	s->cfg.interface_count = 0;
	s->scope = cfg->scope;
	s->marks = (struct apptap_marks)APPTAP_MARKS_NONE;
	s->base.fd = epoll_create1(EPOLL_CLOEXEC);
	s->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	apptap_tag_make(s->tag);
	if (cfg->scope->whole_device)
		r = apptap_error_say(err, ENOTSUP,
				     "a whole device is not what the tier nflog is for");
	else if (s->base.fd < 0 || s->timer < 0)
		r = apptap_error_set(err, errno, "making an event queue");
	else
		r = begin_capture(s, cfg, err);
	if (r < 0) {
		nflog_close(&s->base);
		return r;
	}
	if (setpriority(PRIO_PROCESS, 0, READER_NICE) < 0)
		apptap_tier_warn(
			&s->cfg,
			"no priority for the reader (CAP_SYS_NICE): packets may be lost under load");
	apptap_haste(true);
	arm_timer(s);
	*t = &s->base;
	return 0;
}

const struct apptap_tier_ops apptap_tier_nflog = {
	.name = "nflog",
	.gist = "netfilter marks the app's connections and logs their packets (NFLOG)",
	.may_end = true,
	.open_proves = true,
	.probe = apptap_nflog_probe,
	.features = apptap_nflog_features,
	.open = nflog_open,
	.dispatch = nflog_dispatch,
	.drain = nflog_drain,
	.rescope = nflog_rescope,
	.counters = nflog_counters,
	.ifname = nflog_ifname,
	.close = nflog_close,
};
