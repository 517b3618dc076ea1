/*
 * nft_table.c - what the rules of nftables say, as messages of one transaction
 *
 * Each rule stands in nft's own words above the code that puts it. The mark's bits: A0 (the app is
 * the end that sent the first packet), A1 (the other end), T (was the app's once), P (a connection
 * from outside that nobody has accepted yet), G (the socket table alone says whose it is).
 */
#include "tier/nft_table.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>

#include "tier/links.h"
#include "tier/nft_expr.h"

#define OUT_PRIORITY 300 /* behind NAT and every filter: what they drop is not sent */
#define IN_PRIORITY (-140) /* before every filter: what they drop has come all the same */
#define TYPE_UID 24 /* nft's own numbers of data types, so that it can print the sets */
#define TYPE_PORT 13
#define OURS_MS 600000 /* a port of the app's, since it last sent from it */
#define PACED_MS 2000
#define TH_FLAGS 13 /* offset in TCP's header */
#define SYN_ACK_BITS 0x12
#define SYN_BIT 0x02

enum { ORIGINAL = 0, REPLY = 1 }; /* directions of a connection */

void apptap_nft_table_begin(struct apptap_nft_table *n, uint16_t message, uint16_t flags,
			    const char *what)
{
	apptap_nfmsg_begin(&n->msg, NFNL_SUBSYS_NFTABLES << 8 | message, flags, NFPROTO_INET, 0,
			   what);
}

/* The kernel does not say what it could not log for want of memory: so they are counted here. */
static void count(struct apptap_nft_table *n)
{
	size_t data, at = apptap_nft_begin(&n->msg, "objref", &data);

	apptap_nfmsg_put_be32(&n->msg, NFTA_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER);
	apptap_nfmsg_put_str(&n->msg, NFTA_OBJREF_IMM_NAME, APPTAP_NFT_LOGGED);
	apptap_nft_end(&n->msg, at, data);
}

static void log_to(struct apptap_nft_table *n, uint16_t group, enum apptap_rule_class class)
{
	char prefix[APPTAP_RULES_TAG_BYTES + 2];
	size_t data, at = apptap_nft_begin(&n->msg, "log", &data);

	snprintf(prefix, sizeof(prefix), "%s%c", n->tag, class);
	apptap_nfmsg_put_be16(&n->msg, NFTA_LOG_GROUP, group);
	apptap_nfmsg_put_str(&n->msg, NFTA_LOG_PREFIX, prefix);
	/* Who waits for these must hear at once: what has been gathered so far goes with them. */
	if (apptap_rules_at_once(class))
		apptap_nfmsg_put_be16(&n->msg, NFTA_LOG_QTHRESHOLD, 1);
	if (apptap_rules_is_notice(class) || class == APPTAP_RULE_WITNESS)
		apptap_nfmsg_put_be32(&n->msg, NFTA_LOG_SNAPLEN, APPTAP_RULES_NOTICE_BYTES);
	apptap_nft_end(&n->msg, at, data);
}

static void log_as(struct apptap_nft_table *n, enum apptap_rule_class class)
{
	count(n);
	log_to(n, n->group, class);
}

static void leave(struct apptap_nft_table *n)
{
	apptap_nft_verdict(&n->msg, NFT_RETURN, NULL);
}

/* ---- what several rules begin with ---- */

static void rule(struct apptap_nft_table *n, const char *chain, const char *what)
{
	apptap_nft_table_begin(n, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, what);
	apptap_nfmsg_put_str(&n->msg, NFTA_RULE_TABLE, n->name);
	apptap_nfmsg_put_str(&n->msg, NFTA_RULE_CHAIN, chain);
	n->exprs = apptap_nfmsg_nest(&n->msg, NFTA_RULE_EXPRESSIONS);
}

static void rule_end(struct apptap_nft_table *n)
{
	apptap_nfmsg_unnest(&n->msg, n->exprs);
}

/* meta skuid [!=] @uids: true in neither form where the packet has no socket with an open file. */
static void owner_is(struct apptap_nft_table *n, bool ours)
{
	apptap_nft_meta(&n->msg, NFT_META_SKUID, NFT_REG_1);
	apptap_nft_lookup(&n->msg, APPTAP_NFT_UIDS, !ours);
}

/* ct mark & @bits != 0 */
static void has_mark(struct apptap_nft_table *n, uint32_t bits)
{
	apptap_nft_ct(&n->msg, NFT_CT_MARK, false);
	apptap_nft_and(&n->msg, bits);
	apptap_nft_cmp32(&n->msg, NFT_CMP_NEQ, 0);
}

/* ct direction @dir ct mark & @bits != 0 */
static void marked(struct apptap_nft_table *n, int dir, uint32_t bits)
{
	apptap_nft_ct(&n->msg, NFT_CT_DIRECTION, false);
	apptap_nft_cmp8(&n->msg, NFT_CMP_EQ, (uint8_t)dir);
	has_mark(n, bits);
}

/* ct direction @dir ct mark set ct mark & ~clear | set */
static void put_mark(struct apptap_nft_table *n, int dir, uint32_t clear, uint32_t set)
{
	uint32_t keep = ~(clear | set);

	apptap_nft_ct(&n->msg, NFT_CT_DIRECTION, false);
	apptap_nft_cmp8(&n->msg, NFT_CMP_EQ, (uint8_t)dir);
	apptap_nft_ct(&n->msg, NFT_CT_MARK, false);
	apptap_nft_bitwise(&n->msg, &keep, &set, sizeof(keep));
	apptap_nft_ct(&n->msg, NFT_CT_MARK, true);
}

static void set_mark(struct apptap_nft_table *n, const char *chain, int dir, uint32_t clear,
		     uint32_t set)
{
	rule(n, chain, "a rule that sets the connection's mark");
	put_mark(n, dir, clear, set);
	rule_end(n);
}

static void log_rule(struct apptap_nft_table *n, const char *chain, enum apptap_rule_class class)
{
	rule(n, chain, "a rule that logs to NFLOG");
	log_as(n, class);
	rule_end(n);
}

/* ct direction @dir ct mark & @mask == @bits */
static void marked_as(struct apptap_nft_table *n, int dir, uint32_t mask, uint32_t bits)
{
	apptap_nft_ct(&n->msg, NFT_CT_DIRECTION, false);
	apptap_nft_cmp8(&n->msg, NFT_CMP_EQ, (uint8_t)dir);
	apptap_nft_ct(&n->msg, NFT_CT_MARK, false);
	apptap_nft_and(&n->msg, mask);
	apptap_nft_cmp32(&n->msg, NFT_CMP_EQ, bits);
}

/* meta l4proto @proto, then what follows */
static void protocol(struct apptap_nft_table *n, uint8_t proto)
{
	apptap_nft_meta(&n->msg, NFT_META_L4PROTO, NFT_REG_1);
	apptap_nft_cmp8(&n->msg, NFT_CMP_EQ, proto);
}

/* meta l4proto tcp tcp flags & @mask == @bits */
static void tcp_flags(struct apptap_nft_table *n, uint8_t mask, uint8_t bits)
{
	uint8_t zero = 0;

	protocol(n, IPPROTO_TCP);
	apptap_nft_transport(&n->msg, TH_FLAGS, 1, NFT_REG_1);
	apptap_nft_bitwise(&n->msg, &mask, &zero, 1);
	apptap_nft_cmp8(&n->msg, NFT_CMP_EQ, bits);
}

static void go_to(struct apptap_nft_table *n, const char *chain)
{
	apptap_nft_verdict(&n->msg, NFT_GOTO, chain);
	rule_end(n);
}

/* For what has ports: the socket table can be asked about no other. */
static void log_ports(struct apptap_nft_table *n, const char *chain, enum apptap_rule_class class)
{
	static const uint8_t protos[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE };

	for (size_t i = 0; i < ARRAY_SIZE(protos); i++) {
		rule(n, chain, "a rule that logs to NFLOG");
		protocol(n, protos[i]);
		log_as(n, class);
		leave(n);
		rule_end(n);
	}
}

/*
 * update @paced { (a port) limit rate ... } jump watch: a port with many packets has a socket that
 * lives, of which the reader learns in time.
 */
static void watch(struct apptap_nft_table *n)
{
	apptap_nft_pace(&n->msg, APPTAP_NFT_PACED, PACED_MS, APPTAP_WITNESSED_A_PORT,
			APPTAP_WITNESSED_A_PORT / 2);
	apptap_nft_verdict(&n->msg, NFT_JUMP, "watch");
	rule_end(n);
}

/* ---- the table ---- */

static void out_rules(struct apptap_nft_table *n)
{
	static const char what[] = "the owner match";

	/* meta skuid @uids goto mine */
	rule(n, "out", what);
	owner_is(n, true);
	go_to(n, "mine");
	/* ct mark & G != 0 goto given */
	rule(n, "out", "the connection mark match");
	has_mark(n, n->bit[APPTAP_BIT_GIVEN]);
	go_to(n, "given");
	/* ct direction original ct mark & A0 != 0 goto sent; the same for reply and A1 */
	for (int dir = ORIGINAL; dir <= REPLY; dir++) {
		rule(n, "out", "the connection mark match");
		marked(n, dir, n->bit[dir]);
		go_to(n, "sent");
	}
	/* ct direction reply ct mark & P != 0 goto waits */
	rule(n, "out", "the connection mark match");
	marked(n, REPLY, n->bit[APPTAP_BIT_PENDING]);
	go_to(n, "waits");
	/* ct state invalid,untracked goto stray */
	rule(n, "out", "the connection state match");
	apptap_nft_ct(&n->msg, NFT_CT_STATE, false);
	apptap_nft_and(&n->msg, NF_CT_STATE_INVALID_BIT | NF_CT_STATE_UNTRACKED_BIT);
	apptap_nft_cmp32(&n->msg, NFT_CMP_NEQ, 0);
	go_to(n, "stray");
}

static void out_chains(struct apptap_nft_table *n)
{
	static const char what[] = "the owner match";
	uint32_t known = n->bit[APPTAP_BIT_PENDING] | n->bit[APPTAP_BIT_GIVEN];

	/* meta l4proto udp (udp sport) jump watch: while its socket is there */
	rule(n, "mine", "a rule for witnesses");
	protocol(n, IPPROTO_UDP);
	apptap_nft_transport(&n->msg, 0, 2, NFT_REG_1);
	watch(n);
	/* ct direction original ct mark & (A0 | P | G) == A0 goto sure; the same for reply and A1:
	 * nothing would change. All but the first packets come by here. */
	for (int dir = ORIGINAL; dir <= REPLY; dir++) {
		rule(n, "mine", "the connection mark match");
		marked_as(n, dir, n->bit[dir] | known, n->bit[dir]);
		go_to(n, "sure");
	}
	log_rule(n, "sure", APPTAP_RULE_SENT);
	/* meta l4proto udp update @ours { udp sport timeout ... } */
	rule(n, "mine", "a set that rules add to");
	protocol(n, IPPROTO_UDP);
	apptap_nft_transport(&n->msg, 0, 2, NFT_REG_1);
	apptap_nft_update(&n->msg, APPTAP_NFT_OURS, OURS_MS);
	rule_end(n);
	/* ct direction reply ct mark & P != 0 tcp flags & syn != 0 goto pending: it only listens */
	rule(n, "mine", "the connection mark match");
	marked(n, REPLY, n->bit[APPTAP_BIT_PENDING]);
	tcp_flags(n, SYN_BIT, SYN_BIT);
	go_to(n, "pending");
	set_mark(n, "mine", ORIGINAL, known, n->bit[APPTAP_BIT_A0]);
	set_mark(n, "mine", REPLY, known, n->bit[APPTAP_BIT_A1]);
	log_rule(n, "mine", APPTAP_RULE_SENT);
	/* meta skuid != @uids jump taken */
	rule(n, "sent", what);
	owner_is(n, false);
	go_to(n, "taken");
	log_rule(n, "sent", APPTAP_RULE_SENT_MARKED);
	log_rule(n, "taken", APPTAP_RULE_TAKEN);
	set_mark(n, "taken", ORIGINAL, n->bit[APPTAP_BIT_A0], n->bit[APPTAP_BIT_TAKEN]);
	set_mark(n, "taken", REPLY, n->bit[APPTAP_BIT_A1], n->bit[APPTAP_BIT_TAKEN]);
	/* meta skuid != @uids tcp flags & syn == 0 goto decided: who sends has accepted it */
	rule(n, "waits", what);
	owner_is(n, false);
	tcp_flags(n, SYN_BIT, 0);
	go_to(n, "decided");
	log_rule(n, "waits", APPTAP_RULE_PENDING);
	log_rule(n, "decided", APPTAP_RULE_ACCEPTED);
	set_mark(n, "decided", REPLY, n->bit[APPTAP_BIT_PENDING], 0);
	log_rule(n, "pending", APPTAP_RULE_PENDING);
	log_rule(n, "given", APPTAP_RULE_GIVEN);
	/* meta skuid != @uids return: the kernel's own answers remain */
	rule(n, "stray", what);
	owner_is(n, false);
	leave(n);
	rule_end(n);
	log_ports(n, "stray", APPTAP_RULE_SENT_ASK);
}

static void in_rules(struct apptap_nft_table *n)
{
	/* ct direction original ct mark & A0 != 0 return: the app sent it, and it was logged then.
	 * Loopback, and multicast that comes back. */
	for (int dir = ORIGINAL; dir <= REPLY; dir++) {
		rule(n, "in", "the connection mark match");
		marked(n, dir, n->bit[dir]);
		leave(n);
		rule_end(n);
	}
	/* ct mark & G != 0 goto came */
	rule(n, "in", "the connection mark match");
	has_mark(n, n->bit[APPTAP_BIT_GIVEN]);
	go_to(n, "came");
	/* tcp flags & (syn | ack) == syn goto ask: a new connection, whatever went before it */
	rule(n, "in", "the TCP flags match");
	tcp_flags(n, SYN_ACK_BITS, SYN_BIT);
	go_to(n, "ask");
	/* ct direction original ct mark & P != 0 goto pending: the listener is found, or nobody */
	rule(n, "in", "the connection mark match");
	marked(n, ORIGINAL, n->bit[APPTAP_BIT_PENDING]);
	go_to(n, "pending");
	/* meta skuid @uids goto found; meta skuid != @uids goto other */
	rule(n, "in", "the owner match");
	owner_is(n, true);
	go_to(n, "found");
	rule(n, "in", "the owner match");
	owner_is(n, false);
	go_to(n, "other");
	/* ct direction original ct mark & A1 != 0 goto got; the same for reply and A0 */
	for (int dir = ORIGINAL; dir <= REPLY; dir++) {
		rule(n, "in", "the connection mark match");
		marked(n, dir, n->bit[!dir]);
		go_to(n, "got");
	}
	/* ct mark & T != 0 goto ask: the app may have its port back */
	rule(n, "in", "the connection mark match");
	has_mark(n, n->bit[APPTAP_BIT_TAKEN]);
	go_to(n, "ask");
	/* meta l4proto udp udp dport @ours goto ask: a connection older than the rules */
	rule(n, "in", "the lookup of a port");
	protocol(n, IPPROTO_UDP);
	apptap_nft_transport(&n->msg, 2, 2, NFT_REG_1);
	apptap_nft_lookup(&n->msg, APPTAP_NFT_OURS, false);
	go_to(n, "ask");
	/* ct state new,invalid,untracked goto ask */
	rule(n, "in", "the connection state match");
	apptap_nft_ct(&n->msg, NFT_CT_STATE, false);
	apptap_nft_and(&n->msg, NF_CT_STATE_BIT(IP_CT_NEW) | NF_CT_STATE_INVALID_BIT |
					NF_CT_STATE_UNTRACKED_BIT);
	apptap_nft_cmp32(&n->msg, NFT_CMP_NEQ, 0);
	go_to(n, "ask");
	/* goto doubt: mostly empty */
	rule(n, "in", "a chain for doubts");
	go_to(n, "doubt");
}

void apptap_nft_table_empty(struct apptap_nft_table *n, const char *chain)
{
	apptap_nft_table_begin(n, NFT_MSG_DELRULE, 0, "the end of a chain's rules");
	apptap_nfmsg_put_str(&n->msg, NFTA_RULE_TABLE, n->name);
	apptap_nfmsg_put_str(&n->msg, NFTA_RULE_CHAIN, chain);
}

void apptap_nft_table_doubt(struct apptap_nft_table *n, bool all)
{
	if (!all) {
		apptap_nft_table_empty(n, "doubt");
		return;
	}
	/* meta l4proto udp limit rate ... goto ask */
	rule(n, "doubt", "a limit");
	protocol(n, IPPROTO_UDP);
	apptap_nft_limit(&n->msg, APPTAP_DOUBTS_A_SECOND, APPTAP_DOUBTS_A_SECOND / 10);
	go_to(n, "ask");
}

static void in_chains(struct apptap_nft_table *n)
{
	static const uint8_t datagrams[] = { IPPROTO_UDP, IPPROTO_UDPLITE };

	/* iif lo return: it was logged on its way out */
	rule(n, "came", "the interface match");
	apptap_nft_meta(&n->msg, NFT_META_IIF, NFT_REG_1);
	apptap_nft_cmp32(&n->msg, NFT_CMP_EQ, APPTAP_LOOPBACK_IFINDEX);
	leave(n);
	rule_end(n);
	log_rule(n, "came", APPTAP_RULE_GIVEN);
	set_mark(n, "found", ORIGINAL, 0, n->bit[APPTAP_BIT_A1]);
	set_mark(n, "found", REPLY, 0, n->bit[APPTAP_BIT_A0]);
	log_rule(n, "found", APPTAP_RULE_GOT);
	/* What was the app's end is another's now: ct mark & A1 != 0 ct mark set ... */
	for (int dir = ORIGINAL; dir <= REPLY; dir++) {
		uint32_t keep = ~(n->bit[!dir] | n->bit[APPTAP_BIT_TAKEN]);

		rule(n, "other", "a rule that sets the connection's mark");
		marked(n, dir, n->bit[!dir]);
		apptap_nft_ct(&n->msg, NFT_CT_MARK, false);
		apptap_nft_bitwise(&n->msg, &keep, &n->bit[APPTAP_BIT_TAKEN], sizeof(keep));
		apptap_nft_ct(&n->msg, NFT_CT_MARK, true);
		rule_end(n);
	}
	/* meta l4proto udp (udp dport) jump watch */
	rule(n, "got", "a rule for witnesses");
	protocol(n, IPPROTO_UDP);
	apptap_nft_transport(&n->msg, 2, 2, NFT_REG_1);
	watch(n);
	for (size_t i = 0; i < ARRAY_SIZE(datagrams); i++) {
		rule(n, "got", "a rule that logs to NFLOG");
		protocol(n, datagrams[i]);
		log_as(n, APPTAP_RULE_GOT_DATAGRAM);
		leave(n);
		rule_end(n);
	}
	log_rule(n, "got", APPTAP_RULE_GOT_MARKED);
	/* tcp flags & (syn | ack) == syn ct direction original ct mark set ct mark | P */
	rule(n, "ask", "a rule that sets the connection's mark");
	tcp_flags(n, SYN_ACK_BITS, SYN_BIT);
	put_mark(n, ORIGINAL, 0, n->bit[APPTAP_BIT_PENDING]);
	rule_end(n);
	/* meta l4proto udp udp dport @ours jump watch: others' ports do not concern us */
	rule(n, "ask", "a rule for witnesses");
	protocol(n, IPPROTO_UDP);
	apptap_nft_transport(&n->msg, 2, 2, NFT_REG_1);
	apptap_nft_lookup(&n->msg, APPTAP_NFT_OURS, false);
	watch(n);
	log_ports(n, "ask", APPTAP_RULE_ASK);
	/* meta l4proto != icmp, != icmpv6: a raw socket may want it */
	rule(n, "ask", "a rule that logs to NFLOG");
	apptap_nft_meta(&n->msg, NFT_META_L4PROTO, NFT_REG_1);
	apptap_nft_cmp8(&n->msg, NFT_CMP_NEQ, IPPROTO_ICMP);
	apptap_nft_cmp8(&n->msg, NFT_CMP_NEQ, IPPROTO_ICMPV6);
	log_as(n, APPTAP_RULE_ASK);
	rule_end(n);
}

/* Whoever works on this CPU is interrupted by the witness that is bound to it. */
static void watch_chain(struct apptap_nft_table *n, const uint16_t *groups, size_t count)
{
	/* limit rate over ... return */
	rule(n, "watch", "a limit");
	apptap_nft_limit_over(&n->msg, APPTAP_WITNESSED_A_SECOND, APPTAP_WITNESSED_A_SECOND / 10);
	leave(n);
	rule_end(n);
	/* meta cpu ... log group ... */
	for (size_t i = 0; i < count; i++) {
		rule(n, "watch", "the CPU match");
		apptap_nft_meta(&n->msg, NFT_META_CPU, NFT_REG_1);
		apptap_nft_cmp32(&n->msg, NFT_CMP_EQ, (uint32_t)i);
		log_to(n, groups[i], APPTAP_RULE_WITNESS);
		leave(n);
		rule_end(n);
	}
}

static void add_chain(struct apptap_nft_table *n, const char *name, int hook, int32_t priority)
{
	apptap_nft_table_begin(n, NFT_MSG_NEWCHAIN, NLM_F_CREATE, "a chain");
	apptap_nfmsg_put_str(&n->msg, NFTA_CHAIN_TABLE, n->name);
	apptap_nfmsg_put_str(&n->msg, NFTA_CHAIN_NAME, name);
	if (hook >= 0) {
		size_t at = apptap_nfmsg_nest(&n->msg, NFTA_CHAIN_HOOK);

		apptap_nfmsg_put_be32(&n->msg, NFTA_HOOK_HOOKNUM, (uint32_t)hook);
		apptap_nfmsg_put_be32(&n->msg, NFTA_HOOK_PRIORITY, (uint32_t)priority);
		apptap_nfmsg_unnest(&n->msg, at);
		apptap_nfmsg_put_str(&n->msg, NFTA_CHAIN_TYPE, "filter");
	}
}

/* @size: how many it can hold, which lets the kernel take a quicker kind; 0: it grows. */
static void add_set(struct apptap_nft_table *n, const char *name, uint32_t flags, uint32_t type,
		    uint32_t len, uint32_t size)
{
	uint8_t byte_order[6] = { 0, 4 };
	uint32_t order = len == 4 ? 1 : 2;

	memcpy(byte_order + 2, &order, sizeof(order));
	apptap_nft_table_begin(n, NFT_MSG_NEWSET, NLM_F_CREATE, "a set");
	apptap_nfmsg_put_str(&n->msg, NFTA_SET_TABLE, n->name);
	apptap_nfmsg_put_str(&n->msg, NFTA_SET_NAME, name);
	apptap_nfmsg_put_be32(&n->msg, NFTA_SET_FLAGS, flags);
	apptap_nfmsg_put_be32(&n->msg, NFTA_SET_KEY_TYPE, type);
	apptap_nfmsg_put_be32(&n->msg, NFTA_SET_KEY_LEN, len);
	apptap_nfmsg_put_be32(&n->msg, NFTA_SET_ID, ++n->sets);
	if (size) {
		size_t at = apptap_nfmsg_nest(&n->msg, NFTA_SET_DESC);

		apptap_nfmsg_put_be32(&n->msg, NFTA_SET_DESC_SIZE, size);
		apptap_nfmsg_unnest(&n->msg, at);
	}
	/* nft prints an element's number in this order: 0 is the key's byte order, 1 the host's, 2
	 * the network's.
	 */
	apptap_nfmsg_put(&n->msg, NFTA_SET_USERDATA, byte_order, sizeof(byte_order));
}

size_t apptap_nft_table_elements(struct apptap_nft_table *n, uint16_t message, const char *set)
{
	apptap_nft_table_begin(n, message, message == NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0,
			       "a set's elements");
	apptap_nfmsg_put_str(&n->msg, NFTA_SET_ELEM_LIST_TABLE, n->name);
	apptap_nfmsg_put_str(&n->msg, NFTA_SET_ELEM_LIST_SET, set);
	return apptap_nfmsg_nest(&n->msg, NFTA_SET_ELEM_LIST_ELEMENTS);
}

void apptap_nft_table_element(struct apptap_nft_table *n, const void *key, size_t len)
{
	size_t at = apptap_nfmsg_nest(&n->msg, NFTA_LIST_ELEM);

	apptap_nft_value(&n->msg, NFTA_SET_ELEM_KEY, key, len);
	apptap_nfmsg_unnest(&n->msg, at);
}

void apptap_nft_table_uids(struct apptap_nft_table *n, const struct apptap_scope *scope,
			   uid_t prover)
{
	size_t at;

	if (!scope->uid_count && prover == APPTAP_UID_NONE)
		return;
	at = apptap_nft_table_elements(n, NFT_MSG_NEWSETELEM, APPTAP_NFT_UIDS);
	for (size_t i = 0; i < scope->uid_count; i++) {
		uint32_t uid = scope->uids[i].uid;

		apptap_nft_table_element(n, &uid, sizeof(uid));
	}
	if (prover != APPTAP_UID_NONE)
		apptap_nft_table_element(n, &prover, sizeof(prover));
	apptap_nfmsg_unnest(&n->msg, at);
}

void apptap_nft_table_put(struct apptap_nft_table *n, const struct apptap_rules_config *cfg)
{
	static const char *const chains[] = { "mine",  "sure",	"stray",   "sent",
					      "taken", "waits", "decided", "found",
					      "other", "got",	"ask",	   "pending",
					      "given", "came",	"doubt",   "watch" };

	apptap_nft_table_begin(n, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL,
			       "a table that ends with its owner (since Linux 5.12)");
	apptap_nfmsg_put_str(&n->msg, NFTA_TABLE_NAME, n->name);
	apptap_nfmsg_put_be32(&n->msg, NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER);
	apptap_nft_table_begin(n, NFT_MSG_NEWOBJ, NLM_F_CREATE, "a counter");
	apptap_nfmsg_put_str(&n->msg, NFTA_OBJ_TABLE, n->name);
	apptap_nfmsg_put_str(&n->msg, NFTA_OBJ_NAME, APPTAP_NFT_LOGGED);
	apptap_nfmsg_put_be32(&n->msg, NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER);
	apptap_nfmsg_unnest(&n->msg, apptap_nfmsg_nest(&n->msg, NFTA_OBJ_DATA));
	add_set(n, APPTAP_NFT_UIDS, 0, TYPE_UID, 4, 2 * APPTAP_SCOPE_UIDS_MAX);
	add_set(n, APPTAP_NFT_OURS, NFT_SET_TIMEOUT | NFT_SET_EVAL, TYPE_PORT, 2, 0);
	add_set(n, APPTAP_NFT_PACED, NFT_SET_TIMEOUT | NFT_SET_EVAL, TYPE_PORT, 2, 0);
	apptap_nft_table_uids(n, cfg->scope, cfg->prover);
	for (size_t i = 0; i < ARRAY_SIZE(chains); i++)
		add_chain(n, chains[i], -1, 0);
	add_chain(n, "out", NF_INET_LOCAL_OUT, OUT_PRIORITY);
	add_chain(n, "in", NF_INET_LOCAL_IN, IN_PRIORITY);
	out_rules(n);
	out_chains(n);
	in_rules(n);
	in_chains(n);
	watch_chain(n, cfg->witnesses, cfg->witness_count);
}
