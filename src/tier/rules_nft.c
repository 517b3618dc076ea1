/*
 * rules_nft.c - rules of nftables, in a table that the kernel removes when its owner ends
 *
 * How it works. A table with the owner flag (5.12) belongs to a netlink socket: nobody else can
 * edit it, `nft flush ruleset` passes over it, and it goes when the socket does, also by SIGKILL.
 * What it says is laid out in out_rules() and in_rules(), in nft's own words. The mark's bits are
 * A0 (the app is the end that sent the first packet), A1 (the other end), T (was the app's once).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netinet/in.h>
#include <stdio.h>

#include "base/nfmsg.h"
#include "tier/nft_expr.h"
#include "tier/rules.h"

#define OUT_PRIORITY 300 /* behind NAT and every filter: what they drop is not sent */
#define IN_PRIORITY (-140) /* before every filter: what they drop has come all the same */
#define TAKEN_SNAPLEN 64
#define UIDS "uids"
#define OURS "ours"
#define LOGGED "logged"
#define TYPE_UID 24 /* nft's own numbers of data types, so that it can print the sets */
#define TYPE_PORT 13
#define OURS_MS 600000 /* a port of the app's, since it last sent from it */
#define TH_FLAGS 13 /* offset in TCP's header */
#define SYN_ACK_BITS 0x12
#define SYN_BIT 0x02

enum { ORIGINAL = 0, REPLY = 1 }; /* directions of a connection */

struct nft_rules {
	struct apptap_rules base;
	struct apptap_nl nl; /* owned; owns the table */
	struct apptap_nfmsg msg;
	uint32_t bit[3]; /* A0, A1, T */
	uint32_t mark;
	uint16_t group;
	char table[32];
	char tag[APPTAP_RULES_TAG_BYTES + 1];
	uint32_t sets;
	size_t rule, exprs; /* attributes that are open while a rule is built */
};

static struct nft_rules *nft_of(struct apptap_rules *r)
{
	return apptap_container_of(r, struct nft_rules, base);
}

static void begin(struct nft_rules *n, uint16_t message, uint16_t flags, const char *what)
{
	apptap_nfmsg_begin(&n->msg, NFNL_SUBSYS_NFTABLES << 8 | message, flags, NFPROTO_INET, 0,
			   what);
}

/* The kernel does not say what it could not log for want of memory: so they are counted here. */
static void count(struct nft_rules *n)
{
	size_t data, at = apptap_nft_begin(&n->msg, "objref", &data);

	apptap_nfmsg_put_be32(&n->msg, NFTA_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER);
	apptap_nfmsg_put_str(&n->msg, NFTA_OBJREF_IMM_NAME, LOGGED);
	apptap_nft_end(&n->msg, at, data);
}

static void log_as(struct nft_rules *n, enum apptap_rule_class class)
{
	char prefix[APPTAP_RULES_TAG_BYTES + 2];
	size_t data, at;

	count(n);
	at = apptap_nft_begin(&n->msg, "log", &data);

	snprintf(prefix, sizeof(prefix), "%s%c", n->tag, class);
	apptap_nfmsg_put_be16(&n->msg, NFTA_LOG_GROUP, n->group);
	apptap_nfmsg_put_str(&n->msg, NFTA_LOG_PREFIX, prefix);
	/* Who waits for these must hear at once: what has been gathered so far goes with them. */
	if (class == APPTAP_RULE_ASK || class == APPTAP_RULE_GOT_DATAGRAM ||
	    class == APPTAP_RULE_TAKEN)
		apptap_nfmsg_put_be16(&n->msg, NFTA_LOG_QTHRESHOLD, 1);
	if (class == APPTAP_RULE_TAKEN)
		apptap_nfmsg_put_be32(&n->msg, NFTA_LOG_SNAPLEN, TAKEN_SNAPLEN);
	apptap_nft_end(&n->msg, at, data);
}

static void leave(struct nft_rules *n)
{
	apptap_nft_verdict(&n->msg, NFT_RETURN, NULL);
}

/* ---- what several rules begin with ---- */

static void rule(struct nft_rules *n, const char *chain, const char *what)
{
	begin(n, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, what);
	apptap_nfmsg_put_str(&n->msg, NFTA_RULE_TABLE, n->table);
	apptap_nfmsg_put_str(&n->msg, NFTA_RULE_CHAIN, chain);
	n->exprs = apptap_nfmsg_nest(&n->msg, NFTA_RULE_EXPRESSIONS);
}

static void rule_end(struct nft_rules *n)
{
	apptap_nfmsg_unnest(&n->msg, n->exprs);
}

/* meta skuid [!=] @uids: true in neither form where the packet has no socket with an open file. */
static void owner_is(struct nft_rules *n, bool ours)
{
	apptap_nft_meta(&n->msg, NFT_META_SKUID, NFT_REG_1);
	apptap_nft_lookup(&n->msg, UIDS, !ours);
}

/* ct direction @dir ct mark & @bits != 0 */
static void marked(struct nft_rules *n, int dir, uint32_t bits)
{
	apptap_nft_ct(&n->msg, NFT_CT_DIRECTION, false);
	apptap_nft_cmp8(&n->msg, NFT_CMP_EQ, (uint8_t)dir);
	apptap_nft_ct(&n->msg, NFT_CT_MARK, false);
	apptap_nft_and(&n->msg, bits);
	apptap_nft_cmp32(&n->msg, NFT_CMP_NEQ, 0);
}

/* ct direction @dir ct mark set ct mark & ~clear | set */
static void set_mark(struct nft_rules *n, const char *chain, int dir, uint32_t clear, uint32_t set)
{
	uint32_t keep = ~(clear | set);

	rule(n, chain, "a rule that sets the connection's mark");
	apptap_nft_ct(&n->msg, NFT_CT_DIRECTION, false);
	apptap_nft_cmp8(&n->msg, NFT_CMP_EQ, (uint8_t)dir);
	apptap_nft_ct(&n->msg, NFT_CT_MARK, false);
	apptap_nft_bitwise(&n->msg, &keep, &set, sizeof(keep));
	apptap_nft_ct(&n->msg, NFT_CT_MARK, true);
	rule_end(n);
}

static void log_rule(struct nft_rules *n, const char *chain, enum apptap_rule_class class)
{
	rule(n, chain, "a rule that logs to NFLOG");
	log_as(n, class);
	rule_end(n);
}

/* meta l4proto @proto, then what follows */
static void protocol(struct nft_rules *n, uint8_t proto)
{
	apptap_nft_meta(&n->msg, NFT_META_L4PROTO, NFT_REG_1);
	apptap_nft_cmp8(&n->msg, NFT_CMP_EQ, proto);
}

/* For what has ports: the socket table can be asked about no other. */
static void log_ports(struct nft_rules *n, const char *chain, enum apptap_rule_class class)
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

/* ---- the table ---- */

static void out_rules(struct nft_rules *n)
{
	static const char what[] = "the owner match";

	/* meta skuid @uids goto mine */
	rule(n, "out", what);
	owner_is(n, true);
	apptap_nft_verdict(&n->msg, NFT_GOTO, "mine");
	rule_end(n);
	/* ct direction original ct mark & A0 != 0 goto sent; the same for reply and A1 */
	for (int dir = ORIGINAL; dir <= REPLY; dir++) {
		rule(n, "out", "the connection mark match");
		marked(n, dir, n->bit[dir]);
		apptap_nft_verdict(&n->msg, NFT_GOTO, "sent");
		rule_end(n);
	}
	/* ct state invalid,untracked goto stray */
	rule(n, "out", "the connection state match");
	apptap_nft_ct(&n->msg, NFT_CT_STATE, false);
	apptap_nft_and(&n->msg, NF_CT_STATE_INVALID_BIT | NF_CT_STATE_UNTRACKED_BIT);
	apptap_nft_cmp32(&n->msg, NFT_CMP_NEQ, 0);
	apptap_nft_verdict(&n->msg, NFT_GOTO, "stray");
	rule_end(n);
	/* meta l4proto udp update @ours { udp sport timeout ... } */
	rule(n, "mine", "a set that rules add to");
	protocol(n, IPPROTO_UDP);
	apptap_nft_transport(&n->msg, 0, 2, NFT_REG_1);
	apptap_nft_update(&n->msg, OURS, OURS_MS);
	rule_end(n);
	set_mark(n, "mine", ORIGINAL, 0, n->bit[0]);
	set_mark(n, "mine", REPLY, 0, n->bit[1]);
	log_rule(n, "mine", APPTAP_RULE_SENT);
	/* meta skuid != @uids jump taken */
	rule(n, "sent", what);
	owner_is(n, false);
	apptap_nft_verdict(&n->msg, NFT_GOTO, "taken");
	rule_end(n);
	log_rule(n, "sent", APPTAP_RULE_SENT_MARKED);
	log_rule(n, "taken", APPTAP_RULE_TAKEN);
	set_mark(n, "taken", ORIGINAL, n->bit[0], n->bit[2]);
	set_mark(n, "taken", REPLY, n->bit[1], n->bit[2]);
	/* meta skuid != @uids return: the kernel's own answers remain */
	rule(n, "stray", what);
	owner_is(n, false);
	leave(n);
	rule_end(n);
	log_ports(n, "stray", APPTAP_RULE_SENT_ASK);
}

static void in_rules(struct nft_rules *n)
{
	/* ct direction original ct mark & A0 != 0 return: the app sent it, and it was logged then.
	 * Loopback, and multicast that comes back. */
	for (int dir = ORIGINAL; dir <= REPLY; dir++) {
		rule(n, "in", "the connection mark match");
		marked(n, dir, n->bit[dir]);
		leave(n);
		rule_end(n);
	}
	/* meta skuid @uids goto found; meta skuid != @uids goto other */
	rule(n, "in", "the owner match");
	owner_is(n, true);
	apptap_nft_verdict(&n->msg, NFT_GOTO, "found");
	rule_end(n);
	rule(n, "in", "the owner match");
	owner_is(n, false);
	apptap_nft_verdict(&n->msg, NFT_GOTO, "other");
	rule_end(n);
	/* tcp flags & (syn | ack) == syn goto ask: a new connection, whatever went before it */
	rule(n, "in", "the TCP flags match");
	protocol(n, IPPROTO_TCP);
	apptap_nft_transport(&n->msg, TH_FLAGS, 1, NFT_REG_1);
	apptap_nft_bitwise(&n->msg, &(uint8_t){ SYN_ACK_BITS }, &(uint8_t){ 0 }, 1);
	apptap_nft_cmp8(&n->msg, NFT_CMP_EQ, SYN_BIT);
	apptap_nft_verdict(&n->msg, NFT_GOTO, "ask");
	rule_end(n);
	/* ct direction original ct mark & A1 != 0 goto got; the same for reply and A0 */
	for (int dir = ORIGINAL; dir <= REPLY; dir++) {
		rule(n, "in", "the connection mark match");
		marked(n, dir, n->bit[!dir]);
		apptap_nft_verdict(&n->msg, NFT_GOTO, "got");
		rule_end(n);
	}
	/* ct mark & T != 0 goto ask: the app may have its port back */
	rule(n, "in", "the connection mark match");
	apptap_nft_ct(&n->msg, NFT_CT_MARK, false);
	apptap_nft_and(&n->msg, n->bit[2]);
	apptap_nft_cmp32(&n->msg, NFT_CMP_NEQ, 0);
	apptap_nft_verdict(&n->msg, NFT_GOTO, "ask");
	rule_end(n);
	/* meta l4proto udp udp dport @ours goto ask: a connection older than the rules */
	rule(n, "in", "the lookup of a port");
	protocol(n, IPPROTO_UDP);
	apptap_nft_transport(&n->msg, 2, 2, NFT_REG_1);
	apptap_nft_lookup(&n->msg, OURS, false);
	apptap_nft_verdict(&n->msg, NFT_GOTO, "ask");
	rule_end(n);
	/* ct state new,invalid,untracked goto ask */
	rule(n, "in", "the connection state match");
	apptap_nft_ct(&n->msg, NFT_CT_STATE, false);
	apptap_nft_and(&n->msg, NF_CT_STATE_BIT(IP_CT_NEW) | NF_CT_STATE_INVALID_BIT |
					NF_CT_STATE_UNTRACKED_BIT);
	apptap_nft_cmp32(&n->msg, NFT_CMP_NEQ, 0);
	apptap_nft_verdict(&n->msg, NFT_GOTO, "ask");
	rule_end(n);
}

static void in_chains(struct nft_rules *n)
{
	static const uint8_t datagrams[] = { IPPROTO_UDP, IPPROTO_UDPLITE };

	set_mark(n, "found", ORIGINAL, 0, n->bit[1]);
	set_mark(n, "found", REPLY, 0, n->bit[0]);
	log_rule(n, "found", APPTAP_RULE_GOT);
	/* What was the app's end is another's now: ct mark & A1 != 0 ct mark set ... */
	for (int dir = ORIGINAL; dir <= REPLY; dir++) {
		uint32_t keep = ~(n->bit[!dir] | n->bit[2]);

		rule(n, "other", "a rule that sets the connection's mark");
		marked(n, dir, n->bit[!dir]);
		apptap_nft_ct(&n->msg, NFT_CT_MARK, false);
		apptap_nft_bitwise(&n->msg, &keep, &n->bit[2], sizeof(keep));
		apptap_nft_ct(&n->msg, NFT_CT_MARK, true);
		rule_end(n);
	}
	for (size_t i = 0; i < ARRAY_SIZE(datagrams); i++) {
		rule(n, "got", "a rule that logs to NFLOG");
		protocol(n, datagrams[i]);
		log_as(n, APPTAP_RULE_GOT_DATAGRAM);
		leave(n);
		rule_end(n);
	}
	log_rule(n, "got", APPTAP_RULE_GOT_MARKED);
	log_ports(n, "ask", APPTAP_RULE_ASK);
	/* meta l4proto != icmp, != icmpv6: a raw socket may want it */
	rule(n, "ask", "a rule that logs to NFLOG");
	apptap_nft_meta(&n->msg, NFT_META_L4PROTO, NFT_REG_1);
	apptap_nft_cmp8(&n->msg, NFT_CMP_NEQ, IPPROTO_ICMP);
	apptap_nft_cmp8(&n->msg, NFT_CMP_NEQ, IPPROTO_ICMPV6);
	log_as(n, APPTAP_RULE_ASK);
	rule_end(n);
}

static void add_chain(struct nft_rules *n, const char *name, int hook, int32_t priority)
{
	begin(n, NFT_MSG_NEWCHAIN, NLM_F_CREATE, "a chain");
	apptap_nfmsg_put_str(&n->msg, NFTA_CHAIN_TABLE, n->table);
	apptap_nfmsg_put_str(&n->msg, NFTA_CHAIN_NAME, name);
	if (hook >= 0) {
		size_t at = apptap_nfmsg_nest(&n->msg, NFTA_CHAIN_HOOK);

		apptap_nfmsg_put_be32(&n->msg, NFTA_HOOK_HOOKNUM, (uint32_t)hook);
		apptap_nfmsg_put_be32(&n->msg, NFTA_HOOK_PRIORITY, (uint32_t)priority);
		apptap_nfmsg_unnest(&n->msg, at);
		apptap_nfmsg_put_str(&n->msg, NFTA_CHAIN_TYPE, "filter");
	}
}

static void add_set(struct nft_rules *n, const char *name, uint32_t flags, uint32_t type,
		    uint32_t len)
{
	uint8_t byte_order[6] = { 0, 4 };
	uint32_t order = len == 4 ? 1 : 2;

	memcpy(byte_order + 2, &order, sizeof(order));
	begin(n, NFT_MSG_NEWSET, NLM_F_CREATE, "a set");
	apptap_nfmsg_put_str(&n->msg, NFTA_SET_TABLE, n->table);
	apptap_nfmsg_put_str(&n->msg, NFTA_SET_NAME, name);
	apptap_nfmsg_put_be32(&n->msg, NFTA_SET_FLAGS, flags);
	apptap_nfmsg_put_be32(&n->msg, NFTA_SET_KEY_TYPE, type);
	apptap_nfmsg_put_be32(&n->msg, NFTA_SET_KEY_LEN, len);
	apptap_nfmsg_put_be32(&n->msg, NFTA_SET_ID, ++n->sets);
	/* nft prints an element's number in this order: 0 is the key's byte order, 1 the host's, 2
	 * the network's.
	 */
	apptap_nfmsg_put(&n->msg, NFTA_SET_USERDATA, byte_order, sizeof(byte_order));
}

/* A message about elements of @set: put_element() for each, then elements_end(). */
static size_t elements(struct nft_rules *n, uint16_t message, const char *set)
{
	begin(n, message, message == NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0, "a set's elements");
	apptap_nfmsg_put_str(&n->msg, NFTA_SET_ELEM_LIST_TABLE, n->table);
	apptap_nfmsg_put_str(&n->msg, NFTA_SET_ELEM_LIST_SET, set);
	return apptap_nfmsg_nest(&n->msg, NFTA_SET_ELEM_LIST_ELEMENTS);
}

static void put_element(struct nft_rules *n, const void *key, size_t len)
{
	size_t at = apptap_nfmsg_nest(&n->msg, NFTA_LIST_ELEM);

	apptap_nft_value(&n->msg, NFTA_SET_ELEM_KEY, key, len);
	apptap_nfmsg_unnest(&n->msg, at);
}

static void put_uids(struct nft_rules *n, const struct apptap_scope *scope)
{
	size_t at;

	if (!scope->uid_count)
		return;
	at = elements(n, NFT_MSG_NEWSETELEM, UIDS);
	for (size_t i = 0; i < scope->uid_count; i++) {
		uint32_t uid = scope->uids[i].uid;

		put_element(n, &uid, sizeof(uid));
	}
	apptap_nfmsg_unnest(&n->msg, at);
}

static void put_table(struct nft_rules *n, const struct apptap_scope *scope)
{
	static const char *const chains[] = { "mine",  "stray", "sent", "taken",
					      "found", "other", "got",	"ask" };

	begin(n, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL,
	      "a table that ends with its owner (since Linux 5.12)");
	apptap_nfmsg_put_str(&n->msg, NFTA_TABLE_NAME, n->table);
	apptap_nfmsg_put_be32(&n->msg, NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER);
	begin(n, NFT_MSG_NEWOBJ, NLM_F_CREATE, "a counter");
	apptap_nfmsg_put_str(&n->msg, NFTA_OBJ_TABLE, n->table);
	apptap_nfmsg_put_str(&n->msg, NFTA_OBJ_NAME, LOGGED);
	apptap_nfmsg_put_be32(&n->msg, NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER);
	apptap_nfmsg_unnest(&n->msg, apptap_nfmsg_nest(&n->msg, NFTA_OBJ_DATA));
	add_set(n, UIDS, 0, TYPE_UID, 4);
	add_set(n, OURS, NFT_SET_TIMEOUT | NFT_SET_EVAL, TYPE_PORT, 2);
	put_uids(n, scope);
	for (size_t i = 0; i < ARRAY_SIZE(chains); i++)
		add_chain(n, chains[i], -1, 0);
	add_chain(n, "out", NF_INET_LOCAL_OUT, OUT_PRIORITY);
	add_chain(n, "in", NF_INET_LOCAL_IN, IN_PRIORITY);
	out_rules(n);
	in_rules(n);
	in_chains(n);
}

static int transact(struct nft_rules *n, struct apptap_error *err)
{
	apptap_nfmsg_batch_end(&n->msg, NFNL_SUBSYS_NFTABLES);
	return apptap_nfmsg_send(&n->nl, &n->msg, err);
}

static void transaction(struct nft_rules *n)
{
	apptap_nfmsg_init(&n->msg);
	apptap_nfmsg_batch_begin(&n->msg, NFNL_SUBSYS_NFTABLES);
}

static void nft_remove(struct apptap_rules *r)
{
	struct nft_rules *n;

	if (!r)
		return;
	n = nft_of(r);
	apptap_nl_close(&n->nl); /* and the kernel removes the table */
	free(n);
}

static int nft_install(struct apptap_rules **out, const struct apptap_rules_config *cfg,
		       struct apptap_error *err)
{
	struct nft_rules *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return apptap_error_set(err, ENOMEM, "allocating rules");
	n->base.ops = &apptap_rules_nft;
	n->nl = (struct apptap_nl)APPTAP_NL_CLOSED;
	n->group = cfg->group;
	n->mark = cfg->mark;
	apptap_rules_bits(cfg->mark, n->bit);
	snprintf(n->tag, sizeof(n->tag), "%s", cfg->tag);
	snprintf(n->table, sizeof(n->table), "apptap_%s", cfg->tag);
	r = apptap_nl_open(&n->nl, NETLINK_NETFILTER, err);
	if (r == 0) {
		transaction(n);
		put_table(n, cfg->scope);
		r = transact(n, err);
	}
	if (r < 0) {
		nft_remove(&n->base);
		return r;
	}
	*out = &n->base;
	return 0;
}

static int nft_update(struct apptap_rules *r, const struct apptap_scope *scope,
		      struct apptap_error *err)
{
	struct nft_rules *n = nft_of(r);
	size_t at;

	transaction(n);
	at = elements(n, NFT_MSG_DELSETELEM, UIDS); /* without elements: all of them */
	n->msg.len = at;
	((struct nlmsghdr *)(void *)(n->msg.bytes + n->msg.begun))->nlmsg_len =
		(uint32_t)(at - n->msg.begun);
	put_uids(n, scope);
	return transact(n, err);
}

static int nft_own_ports(struct apptap_rules *r, const uint16_t *ports, size_t count,
			 struct apptap_error *err)
{
	struct nft_rules *n = nft_of(r);
	size_t at;

	if (!count)
		return 0;
	transaction(n);
	at = elements(n, NFT_MSG_NEWSETELEM, OURS);
	for (size_t i = 0; i < count; i++) {
		uint8_t key[2];

		apptap_put_be16(key, ports[i]);
		put_element(n, key, sizeof(key));
	}
	apptap_nfmsg_unnest(&n->msg, at);
	return transact(n, err);
}

static int take_counter(const struct nlmsghdr *h, void *arg)
{
	struct apptap_view v = { NLMSG_DATA(h), h->nlmsg_len - NLMSG_HDRLEN }, data, value;
	uint64_t *logged = arg;
	uint16_t type;

	if (!apptap_view_take(&v, sizeof(struct nfgenmsg)))
		return -EBADMSG;
	while (apptap_nfmsg_next(&v, &type, &data)) {
		if (type != NFTA_OBJ_DATA)
			continue;
		while (apptap_nfmsg_next(&data, &type, &value))
			if (type == NFTA_COUNTER_PACKETS && value.left >= 8)
				*logged = (uint64_t)apptap_get_be32(value.p) << 32 |
					  apptap_get_be32(value.p + 4);
	}
	return 0;
}

static int nft_silence(struct apptap_rules *r, uint64_t *logged, struct apptap_error *err)
{
	static const char *const chains[] = { "out", "in" };
	struct nft_rules *n = nft_of(r);
	int code;

	transaction(n);
	for (size_t i = 0; i < ARRAY_SIZE(chains); i++) {
		begin(n, NFT_MSG_DELRULE, 0, "the end of its rules");
		apptap_nfmsg_put_str(&n->msg, NFTA_RULE_TABLE, n->table);
		apptap_nfmsg_put_str(&n->msg, NFTA_RULE_CHAIN, chains[i]);
	}
	code = transact(n, err);
	if (code < 0)
		return code;
	apptap_nfmsg_init(&n->msg);
	begin(n, NFT_MSG_GETOBJ, 0, "a counter's value");
	apptap_nfmsg_put_str(&n->msg, NFTA_OBJ_TABLE, n->table);
	apptap_nfmsg_put_str(&n->msg, NFTA_OBJ_NAME, LOGGED);
	apptap_nfmsg_put_be32(&n->msg, NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER);
	return apptap_nl_ask(&n->nl, (struct nlmsghdr *)(void *)n->msg.bytes, take_counter, logged,
			     err);
}

const struct apptap_rules_ops apptap_rules_nft = {
	.name = "nftables",
	.install = nft_install,
	.update = nft_update,
	.own_ports = nft_own_ports,
	.silence = nft_silence,
	.remove = nft_remove,
};
