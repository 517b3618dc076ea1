/*
 * rules_ipt.c - rules of iptables and ip6tables, in chains of the table mangle
 *
 * How it works. They say what those of nft_table.c say, in other words; but an owner is known on
 * the way out only, so what comes in is told by marks alone. Both families are changed by one
 * iptables-restore each. A guardian removes them at the end, whatever that is.
 */
#include <errno.h>
#include <linux/filter.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tier/guardian.h"
#include "tier/ipt_table.h"
#include "tier/rules.h"

#define TEXT_BYTES (256U << 10)
#define COST_SHARE 20 /* looking for our rules takes at most one part in so many of a CPU */
#define PORTS_MAX 500 /* rules for bound ports */
#define LIMIT_MAX 10000 /* a second: iptables knows no more */
#define ANYBODY "-m owner --uid-owner 0-4294967294" /* there is a socket with an open file */

struct ipt_rules {
	struct apptap_rules base;
	uint32_t bit[APPTAP_BITS];
	uint32_t mark;
	uint16_t group;
	uid_t prover;
	char tag[APPTAP_RULES_TAG_BYTES + 1];
	bool v6;
	bool witnessed; /* there are witnesses */
	bool by_bpf; /* the CPU is told so */
	int held; /* owned: the name of our chains */
	int held_absent; /* owned: tells other captures what was not there; -1: nothing */
	struct apptap_guardian guardian; /* owned */
	pid_t errand; /* owned: does what nobody waits for; 0: there is none */
	uint64_t
		rest_ns; /* CLOCK_MONOTONIC: until then looking for our rules would cost too much */
	bool gone; /* it has found that our rules are not there any more */
	uint8_t told[65536 / 8]; /* ports that have a rule */
	size_t ports;
	enum apptap_ipt_family family; /* of the text that is being written */
	size_t len;
	char text[APPTAP_IPT_FAMILIES][TEXT_BYTES];
};

static struct ipt_rules *ipt_of(struct apptap_rules *r)
{
	return apptap_container_of(r, struct ipt_rules, base);
}

static void say(struct ipt_rules *n, const char *fmt, ...) APPTAP_PRINTF(2, 3);

static void say(struct ipt_rules *n, const char *fmt, ...)
{
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(n->text[n->family] + n->len, TEXT_BYTES - n->len, fmt, ap);
	va_end(ap);
	n->len = MIN(n->len + (size_t)MAX(len, 0), TEXT_BYTES - 1);
}

/* -A <chain of ours> @match -j or -g @target, a chain of ours too */
static void rule(struct ipt_rules *n, const char *chain, const char *match, const char *verb,
		 const char *target)
{
	say(n, "-A " APPTAP_IPT_PREFIX "%s_%s %s %s " APPTAP_IPT_PREFIX "%s_%s\n", n->tag, chain,
	    match, verb, n->tag, target);
}

static void go_to(struct ipt_rules *n, const char *chain, const char *match, const char *target)
{
	rule(n, chain, match, "-g", target);
}

static void leave(struct ipt_rules *n, const char *chain, const char *match)
{
	say(n, "-A " APPTAP_IPT_PREFIX "%s_%s %s -j RETURN\n", n->tag, chain, match);
}

static void log_as(struct ipt_rules *n, const char *chain, const char *match,
		   enum apptap_rule_class class)
{
	say(n,
	    "-A " APPTAP_IPT_PREFIX "%s_%s %s -j NFLOG --nflog-group %u --nflog-prefix %s%c%s%s\n",
	    n->tag, chain, match, n->group, n->tag, class,
	    apptap_rules_at_once(class) ? " --nflog-threshold 1" : "",
	    apptap_rules_is_notice(class) ? " --nflog-size 64" : "");
}

static void set_mark(struct ipt_rules *n, const char *chain, const char *match, uint32_t clear,
		     uint32_t set)
{
	say(n, "-A " APPTAP_IPT_PREFIX "%s_%s %s -j CONNMARK --set-xmark 0x%x/0x%x\n", n->tag,
	    chain, match, set, clear | set);
}

#define ORIGINAL "-m conntrack --ctdir ORIGINAL"
#define REPLY "-m conntrack --ctdir REPLY"

/* @dir (may be "") and the connection's mark has @bit */
static const char *marked(const char *dir, uint32_t bit, char buf[96])
{
	snprintf(buf, 96, "%s -m connmark --mark 0x%x/0x%x", dir, bit, bit);
	return buf;
}

/* Shows it to the witness of the CPU that works on it; but not all of a busy port: nft_table.c. */
static void watch(struct ipt_rules *n, const char *chain, const char *match, const char *port)
{
	char m[320];

	if (!n->witnessed)
		return;
	snprintf(m, sizeof(m),
		 "-p udp %s -m hashlimit --hashlimit-name apptap_%s --hashlimit-mode %s "
		 "--hashlimit-upto %d/sec --hashlimit-burst %d --hashlimit-htable-expire 2000",
		 match, n->tag, port, APPTAP_WITNESSED_A_PORT, APPTAP_WITNESSED_A_PORT / 2);
	rule(n, chain, m, "-j", "WATCH");
}

static void watch_chain(struct ipt_rules *n, const uint16_t *groups, size_t count)
{
	char m[96];

	for (size_t i = 0; i < count; i++) {
		if (n->by_bpf) /* ld cpu; jeq #i; ret */
			snprintf(m, sizeof(m),
				 "bpf --bytecode \"4,32 0 0 %u,21 0 1 %zu,6 0 0 1,6 0 0 0\"",
				 (uint32_t)(SKF_AD_OFF + SKF_AD_CPU), i);
		else
			snprintf(m, sizeof(m), "cpu --cpu %zu", i);
		say(n,
		    "-A " APPTAP_IPT_PREFIX "%s_WATCH -m %s -m limit --limit %d/sec "
		    "--limit-burst %d -j NFLOG --nflog-group %u --nflog-prefix %s%c "
		    "--nflog-threshold 1 --nflog-size %d\n",
		    n->tag, m, LIMIT_MAX, LIMIT_MAX / 10, groups[i], n->tag, APPTAP_RULE_WITNESS,
		    APPTAP_RULES_NOTICE_BYTES);
	}
}

static void out_rules(struct ipt_rules *n, const struct apptap_scope *scope)
{
	const uint32_t *bit = n->bit;
	char m[96];

	if (n->prover != APPTAP_UID_NONE && n->family == APPTAP_IPT_V4) {
		snprintf(m, sizeof(m), "-d 127.0.0.1/32 -p udp -m owner --uid-owner %u",
			 (unsigned)n->prover);
		go_to(n, "OUT", m, "MINE");
	}
	for (size_t i = 0; i < scope->uid_count; i++) {
		snprintf(m, sizeof(m), "-m owner --uid-owner %u", (unsigned)scope->uids[i].uid);
		go_to(n, "OUT", m, "MINE");
	}
	go_to(n, "OUT", marked("", bit[APPTAP_BIT_GIVEN], m), "GIVEN");
	go_to(n, "OUT", marked(ORIGINAL, bit[APPTAP_BIT_A0], m), "SENT");
	go_to(n, "OUT", marked(REPLY, bit[APPTAP_BIT_A1], m), "SENT");
	go_to(n, "OUT", marked(REPLY, bit[APPTAP_BIT_PENDING], m), "WAITS");
	go_to(n, "OUT", "-m conntrack --ctstate INVALID,UNTRACKED", "STRAY");
}

static void out_chains(struct ipt_rules *n)
{
	const uint32_t *bit = n->bit;
	uint32_t known = bit[APPTAP_BIT_PENDING] | bit[APPTAP_BIT_GIVEN];
	char m[96], syn[160];

	snprintf(syn, sizeof(syn), "-p tcp -m tcp --tcp-flags SYN SYN %s",
		 marked(REPLY, bit[APPTAP_BIT_PENDING], m));
	go_to(n, "MINE", syn, "PENDING");
	watch(n, "MINE", "", "srcport");
	set_mark(n, "MINE", ORIGINAL, known, bit[APPTAP_BIT_A0]);
	set_mark(n, "MINE", REPLY, known, bit[APPTAP_BIT_A1]);
	log_as(n, "MINE", "", APPTAP_RULE_SENT);
	go_to(n, "SENT", ANYBODY, "TAKEN");
	log_as(n, "SENT", "", APPTAP_RULE_SENT_MARKED);
	log_as(n, "TAKEN", "", APPTAP_RULE_TAKEN);
	set_mark(n, "TAKEN", ORIGINAL, bit[APPTAP_BIT_A0], bit[APPTAP_BIT_TAKEN]);
	set_mark(n, "TAKEN", REPLY, bit[APPTAP_BIT_A1], bit[APPTAP_BIT_TAKEN]);
	go_to(n, "WAITS", "-p tcp -m tcp ! --tcp-flags SYN SYN " ANYBODY, "DECIDED");
	log_as(n, "WAITS", "", APPTAP_RULE_PENDING);
	log_as(n, "DECIDED", "", APPTAP_RULE_ACCEPTED);
	set_mark(n, "DECIDED", REPLY, bit[APPTAP_BIT_PENDING], 0);
	log_as(n, "PENDING", "", APPTAP_RULE_PENDING);
	log_as(n, "GIVEN", "", APPTAP_RULE_GIVEN);
	leave(n, "STRAY", ANYBODY);
	log_as(n, "STRAY", "-p tcp", APPTAP_RULE_SENT_ASK);
	log_as(n, "STRAY", "-p udp", APPTAP_RULE_SENT_ASK);
	log_as(n, "STRAY", "-p udplite", APPTAP_RULE_SENT_ASK);
}

static void in_rules(struct ipt_rules *n)
{
	static const char syn[] = "-p tcp -m tcp --tcp-flags SYN,ACK SYN";
	const uint32_t *bit = n->bit;
	char m[96];

	leave(n, "IN", marked(ORIGINAL, bit[APPTAP_BIT_A0], m));
	leave(n, "IN", marked(REPLY, bit[APPTAP_BIT_A1], m));
	go_to(n, "IN", marked("", bit[APPTAP_BIT_GIVEN], m), "CAME");
	go_to(n, "IN", syn, "ASK");
	go_to(n, "IN", marked(ORIGINAL, bit[APPTAP_BIT_PENDING], m), "PENDING");
	go_to(n, "IN", marked(ORIGINAL, bit[APPTAP_BIT_A1], m), "GOT");
	go_to(n, "IN", marked(REPLY, bit[APPTAP_BIT_A0], m), "GOT");
	go_to(n, "IN", marked("", bit[APPTAP_BIT_TAKEN], m), "ASK");
	go_to(n, "IN", "-m conntrack --ctstate NEW,INVALID,UNTRACKED", "ASK");
	go_to(n, "IN", "-p udp", "PORTS");
	leave(n, "CAME", "-i lo");
	log_as(n, "CAME", "", APPTAP_RULE_GIVEN);
	watch(n, "GOT", "", "dstport");
	log_as(n, "GOT", "-p udp", APPTAP_RULE_GOT_DATAGRAM);
	leave(n, "GOT", "-p udp");
	log_as(n, "GOT", "-p udplite", APPTAP_RULE_GOT_DATAGRAM);
	leave(n, "GOT", "-p udplite");
	log_as(n, "GOT", "", APPTAP_RULE_GOT_MARKED);
	leave(n, "ASK", n->family == APPTAP_IPT_V6 ? "-p ipv6-icmp" : "-p icmp");
	snprintf(m, sizeof(m), "%s " ORIGINAL, syn);
	set_mark(n, "ASK", m, 0, bit[APPTAP_BIT_PENDING]);
	watch(n, "ASK", marked("", bit[APPTAP_BIT_TAKEN], m), "dstport");
	log_as(n, "ASK", "", APPTAP_RULE_ASK);
}

static const char *const chains[] = { "OUT",	 "MINE",    "SENT",  "TAKEN", "WAITS",
				      "DECIDED", "PENDING", "GIVEN", "STRAY", "IN",
				      "CAME",	 "GOT",	    "ASK",   "PORTS", "WATCH" };

/* One change of both families: @each writes it. */
static int change(struct ipt_rules *n, void (*each)(struct ipt_rules *n, const void *arg),
		  const void *arg, struct apptap_error *err)
{
	const char *texts[APPTAP_IPT_FAMILIES] = { NULL, NULL };

	for (int i = 0; i <= (n->v6 ? APPTAP_IPT_V6 : APPTAP_IPT_V4); i++) {
		n->family = (enum apptap_ipt_family)i;
		n->len = 0;
		say(n, "*mangle\n");
		each(n, arg);
		say(n, "COMMIT\n");
		if (n->len >= TEXT_BYTES - 1)
			return apptap_error_say(err, E2BIG, "more rules than there is room for");
		texts[i] = n->text[i];
	}
	return apptap_ipt_restore(texts, n->guardian.fd, err);
}

static void write_all(struct ipt_rules *n, const void *arg)
{
	const struct apptap_rules_config *cfg = arg;
	const char *group = n->family == APPTAP_IPT_V6 ? "ff00::/8" : "224.0.0.0/3";

	n->witnessed = cfg->witness_count > 0;
	for (size_t i = 0; i < ARRAY_SIZE(chains); i++)
		say(n, ":" APPTAP_IPT_PREFIX "%s_%s - [0:0]\n", n->tag, chains[i]);
	out_rules(n, cfg->scope);
	out_chains(n);
	in_rules(n);
	watch_chain(n, cfg->witnesses, cfg->witness_count);
	/* Behind every filter of OUTPUT, before every filter of INPUT. What comes back to this
	 * machine as well passes POSTROUTING twice. */
	say(n, "-I POSTROUTING ! -d %s -j " APPTAP_IPT_PREFIX "%s_OUT\n", group, n->tag);
	say(n, "-I OUTPUT -d %s -j " APPTAP_IPT_PREFIX "%s_OUT\n", group, n->tag);
	say(n, "-I INPUT -j " APPTAP_IPT_PREFIX "%s_IN\n", n->tag);
}

/* ---- errands: programs take a while to run, and packets come meanwhile ---- */

#define RULES_GONE 1 /* its exit code */

static uint64_t nsec_of(const struct timeval *t)
{
	return (uint64_t)t->tv_sec * APPTAP_NSEC_PER_SEC +
	       (uint64_t)t->tv_usec * APPTAP_NSEC_PER_USEC;
}

/* false: it is under way still. */
static bool end_errand(struct ipt_rules *n, bool wait)
{
	struct rusage used;
	int status;

	if (n->errand > 0) {
		pid_t pid = wait4(n->errand, &status, wait ? 0 : WNOHANG, &used);

		if (pid == 0)
			return false;
		if (pid > 0)
			n->rest_ns =
				apptap_clock_ns(CLOCK_MONOTONIC) +
				COST_SHARE * (nsec_of(&used.ru_utime) + nsec_of(&used.ru_stime));
		n->gone |= pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == RULES_GONE;
	}
	n->errand = 0;
	return true;
}

/* Does @what in a copy of this process. */
static void run_errand(struct ipt_rules *n, int (*what)(struct ipt_rules *n, bool arg), bool arg)
{
	end_errand(n, true);
	n->errand = fork();
	if (n->errand == 0)
		_exit(what(n, arg));
	if (n->errand < 0)
		what(n, arg); /* then ourselves */
}

static void ipt_remove(struct apptap_rules *r)
{
	struct ipt_rules *n;

	if (!r)
		return;
	n = ipt_of(r);
	apptap_guardian_tell(&n->guardian);
	end_errand(n, true);
	apptap_guardian_end(&n->guardian);
	if (n->held >= 0)
		close(n->held);
	if (n->held_absent >= 0)
		close(n->held_absent);
	free(n);
}

/* Phones have no CPU match, but know classic BPF; who has neither, or no hashlimit: no witnesses.
 */
static int change_at_first(struct ipt_rules *n, const struct apptap_rules_config *cfg,
			   struct apptap_error *err)
{
	struct apptap_rules_config without = *cfg;
	int r = change(n, write_all, cfg, err);

	if (r == 0 || !cfg->witness_count)
		return r;
	apptap_ipt_remove(n->tag, NULL);
	n->by_bpf = true;
	if (change(n, write_all, cfg, NULL) == 0)
		return 0;
	apptap_ipt_remove(n->tag, NULL);
	without.witness_count = 0;
	return change(n, write_all, &without, err);
}

/* What iptables-nft is about to make for us is ours to remove. */
static int note_absent(struct ipt_rules *n, char *const saved[APPTAP_IPT_FAMILIES],
		       struct apptap_guardian_orders *orders,
		       char absent[APPTAP_IPT_ABSENT_MAX + 1], struct apptap_error *err)
{
	for (int i = 0; i <= (n->v6 ? APPTAP_IPT_V6 : APPTAP_IPT_V4); i++)
		if (saved[i] && apptap_ipt_is_nftables(saved[i]))
			apptap_ipt_absent((enum apptap_ipt_family)i, absent);
	n->held_absent = apptap_ipt_absent_hold(absent, n->tag);
	orders->absent = absent;
	orders->held_absent = n->held_absent;
	if (n->held_absent < 0 && *absent)
		return apptap_error_set(err, -n->held_absent, "naming what iptables makes for us");
	return 0;
}

static int install_held(struct ipt_rules *n, const struct apptap_rules_config *cfg,
			struct apptap_error *err)
{
	char absent[APPTAP_IPT_ABSENT_MAX + 1] = "", *saved[APPTAP_IPT_FAMILIES];
	struct apptap_guardian_orders orders = {
		.what = APPTAP_IPT_HELD,
		.tag = n->tag,
		.held = n->held,
		.mark = n->mark,
	};
	int lock, r;

	apptap_ipt_save(saved);
	if (!cfg->trial)
		apptap_ipt_heal(saved, NULL); /* what a power cut has left */
	lock = apptap_tag_lock(APPTAP_IPT_LOCK);
	r = note_absent(n, saved, &orders, absent, err);
	if (r == 0)
		r = apptap_guardian_start(&n->guardian, &orders, err);
	if (r == 0)
		r = change_at_first(n, cfg, err);
	apptap_tag_unlock(lock);
	apptap_ipt_free(saved);
	return r;
}

static int install_both(struct ipt_rules *n, const struct apptap_rules_config *cfg,
			struct apptap_error *err)
{
	int r = apptap_ipt_check(APPTAP_IPT_V4, err);

	if (r < 0)
		return r;
	n->v6 = !cfg->trial && apptap_ipt_check(APPTAP_IPT_V6, NULL) != -EAFNOSUPPORT;
	n->held = apptap_tag_hold(APPTAP_IPT_HELD, n->tag);
	if (n->held < 0)
		return apptap_error_set(err, -n->held, "naming our chains");
	return install_held(n, cfg, err);
}

static int ipt_install(struct apptap_rules **out, const struct apptap_rules_config *cfg,
		       struct apptap_error *err)
{
	struct ipt_rules *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return apptap_error_set(err, ENOMEM, "allocating rules");
	n->base.ops = &apptap_rules_ipt;
	n->group = cfg->group;
	n->prover = cfg->prover;
	n->mark = cfg->mark;
	n->held = n->held_absent = -1;
	n->guardian = (struct apptap_guardian)APPTAP_GUARDIAN_NONE;
	apptap_rules_bits(cfg->mark, n->bit);
	snprintf(n->tag, sizeof(n->tag), "%s", cfg->tag);
	r = install_both(n, cfg, err);
	if (r < 0) {
		ipt_remove(&n->base);
		return r;
	}
	*out = &n->base;
	return 0;
}

/* A chain that is declared again begins empty. */
static void write_update(struct ipt_rules *n, const void *arg)
{
	say(n, ":" APPTAP_IPT_PREFIX "%s_OUT - [0:0]\n", n->tag);
	out_rules(n, arg);
}

static int ipt_update(struct apptap_rules *r, const struct apptap_scope *scope,
		      struct apptap_error *err)
{
	return change(ipt_of(r), write_update, scope, err);
}

struct port_list {
	const uint16_t *ports;
	size_t count;
};

static bool is_told(const struct ipt_rules *n, uint16_t port)
{
	return n->told[port / 8] & 1U << port % 8;
}

static void write_ports(struct ipt_rules *n, const void *arg)
{
	const struct port_list *list = arg;
	char m[64];

	for (size_t i = 0; i < list->count; i++) {
		if (is_told(n, list->ports[i]))
			continue;
		snprintf(m, sizeof(m), "-p udp -m udp --dport %u", list->ports[i]);
		go_to(n, "PORTS", m, "ASK");
	}
}

static int ipt_own_ports(struct apptap_rules *r, const uint16_t *ports, size_t count,
			 struct apptap_error *err)
{
	struct ipt_rules *n = ipt_of(r);
	struct port_list list = { ports, 0 };
	size_t fresh = 0;
	int code;

	while (list.count < count && n->ports + fresh < PORTS_MAX)
		fresh += !is_told(n, ports[list.count++]);
	if (!fresh)
		return 0;
	code = change(n, write_ports, &list, err);
	if (code < 0)
		return code;
	for (size_t i = 0; i < list.count; i++)
		n->told[ports[i] / 8] |= (uint8_t)(1U << ports[i] % 8);
	n->ports += fresh;
	return 0;
}

/* In front of the ports, which lead to the same: nothing is to be logged twice. */
static void write_doubt(struct ipt_rules *n, const void *arg)
{
	say(n,
	    "-%c " APPTAP_IPT_PREFIX
	    "%s_PORTS -m limit --limit %d/sec --limit-burst %d -g " APPTAP_IPT_PREFIX "%s_ASK\n",
	    *(const bool *)arg ? 'I' : 'D', n->tag, APPTAP_DOUBTS_A_SECOND,
	    APPTAP_DOUBTS_A_SECOND / 10, n->tag);
}

static int change_doubt(struct ipt_rules *n, bool all)
{
	change(n, write_doubt, &all, NULL);
	return 0;
}

static int ipt_doubt(struct apptap_rules *r, bool all, struct apptap_error *err)
{
	(void)err;
	run_errand(ipt_of(r), change_doubt, all);
	return 0;
}

/* Do packets come to our chains, and is something in them? */
static bool is_whole(struct ipt_rules *n, const char *saved)
{
	static const char *const parts[] = { " -j %s%s_OUT\n", " -j %s%s_IN\n", "-A %s%s_OUT ",
					     "-A %s%s_IN ",    "-A %s%s_MINE ", "-A %s%s_GOT " };
	char part[64];

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		snprintf(part, sizeof(part), parts[i], APPTAP_IPT_PREFIX, n->tag);
		if (!strstr(saved, part))
			return false;
	}
	return true;
}

static int look_for_rules(struct ipt_rules *n, bool both)
{
	char *saved[APPTAP_IPT_FAMILIES];
	bool whole = true; /* as far as is known */

	apptap_ipt_save(saved);
	if (saved[APPTAP_IPT_V4])
		whole = is_whole(n, saved[APPTAP_IPT_V4]);
	if (saved[APPTAP_IPT_V6] && both)
		whole &= is_whole(n, saved[APPTAP_IPT_V6]);
	apptap_ipt_free(saved);
	return whole ? 0 : RULES_GONE;
}

/* Looks anew, and says what was found the last time. */
static int ipt_check(struct apptap_rules *r, struct apptap_error *err)
{
	struct ipt_rules *n = ipt_of(r);

	if (!end_errand(n, false))
		return 0;
	if (n->gone)
		return apptap_error_say(err, ESTALE,
					"somebody has removed our rules from iptables");
	if (apptap_clock_ns(CLOCK_MONOTONIC) >= n->rest_ns)
		run_errand(n, look_for_rules, n->v6);
	return 0;
}

/* The guardian begins to remove them. What was logged is not counted here: @logged stays. */
static int ipt_silence(struct apptap_rules *r, uint64_t *logged, struct apptap_error *err)
{
	(void)logged;
	(void)err;
	apptap_guardian_tell(&ipt_of(r)->guardian);
	return 0;
}

const struct apptap_rules_ops apptap_rules_ipt = {
	.name = "iptables",
	.slow = true,
	.clears = true,
	.install = ipt_install,
	.update = ipt_update,
	.own_ports = ipt_own_ports,
	.doubt = ipt_doubt,
	.check = ipt_check,
	.silence = ipt_silence,
	.remove = ipt_remove,
};
