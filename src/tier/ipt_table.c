/*
 * ipt_table.c - what iptables-nft makes for the first rule, and leaves behind empty
 *
 * How it works. What was not there before the first capture goes with the last. So a capture tells
 * what was absent by the name of a socket, which its guardian holds to the very end, and who comes
 * meanwhile takes that over. The end asks the kernel what of it is there and empty; the kernel
 * removes it only if nothing has changed since.
 */
#include "tier/ipt_table.h"

#include <errno.h>
#include <stdio.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "base/nfmsg.h"
#include "tier/tag.h"

#define TABLE "mangle"
#define ABSENT_HELD "made" /* begins the name for apptap_tag_hold(); the letters follow */
#define NUMBERS 8 /* attributes: more than any that we want */
#define TRIES 100 /* each fails only when somebody has changed a rule within a millisecond */

/* The chains that iptables-nft makes there, and the letters for the table and for them. */
static const char *const hooks[] = { "INPUT", "OUTPUT", "POSTROUTING", "FORWARD", "PREROUTING" };
static const char letters[APPTAP_IPT_FAMILIES][7] = { "4iopfr", "6IOPFR" };

static uint8_t family_of(enum apptap_ipt_family family)
{
	return family == APPTAP_IPT_V6 ? NFPROTO_IPV6 : NFPROTO_IPV4;
}

/* Attributes that are numbers, each by its type. */
static int take_numbers(const struct nlmsghdr *h, void *arg)
{
	struct apptap_view v = { NLMSG_DATA(h), h->nlmsg_len - NLMSG_HDRLEN }, value;
	uint32_t *numbers = arg;
	uint16_t type;

	if (!apptap_view_take(&v, sizeof(struct nfgenmsg)))
		return -EBADMSG;
	while (apptap_nfmsg_next(&v, &type, &value))
		if (type < NUMBERS && value.left == 4)
			numbers[type] = apptap_get_be32(value.p);
	return 0;
}

/* @chain: for NFT_MSG_GETCHAIN. false: there is none. */
static bool find(struct apptap_nl *nl, uint16_t message, uint8_t family, const char *chain,
		 uint32_t numbers[NUMBERS])
{
	auto_free struct apptap_nfmsg *m = malloc(sizeof(*m));

	memset(numbers, 0, NUMBERS * sizeof(numbers[0]));
	if (!m)
		return false;
	apptap_nfmsg_init(m);
	apptap_nfmsg_begin(m, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | message), 0, family, 0, TABLE);
	if (message == NFT_MSG_GETTABLE)
		apptap_nfmsg_put_str(m, NFTA_TABLE_NAME, TABLE);
	if (message == NFT_MSG_GETCHAIN) {
		apptap_nfmsg_put_str(m, NFTA_CHAIN_TABLE, TABLE);
		apptap_nfmsg_put_str(m, NFTA_CHAIN_NAME, chain);
	}
	return apptap_nl_ask(nl, (struct nlmsghdr *)(void *)m->bytes, take_numbers, numbers,
			     NULL) == 0;
}

/* ---- what was absent ---- */

static void add(char *absent, char letter)
{
	size_t len = strlen(absent);

	if (strchr(absent, letter))
		return;
	absent[len] = letter;
	absent[len + 1] = '\0';
}

/* What other captures have found absent in @family; those that end now are among them. */
static void inherit(enum apptap_ipt_family family, char *absent)
{
	static const char name[] = "@apptap-" ABSENT_HELD;
	FILE *f = fopen("/proc/net/unix", "re");
	auto_free char *line = NULL;
	size_t size = 0;

	while (f && getline(&line, &size, f) > 0) {
		const char *p = strstr(line, name);

		for (p = p ? p + strlen(name) : ""; *p && *p != '-'; p++)
			if (strchr(letters[family], *p))
				add(absent, *p);
	}
	if (f)
		fclose(f);
}

void apptap_ipt_absent(enum apptap_ipt_family family, char absent[APPTAP_IPT_ABSENT_MAX + 1])
{
	struct apptap_nl nl = APPTAP_NL_CLOSED;
	uint32_t numbers[NUMBERS];

	inherit(family, absent);
	if (apptap_nl_open(&nl, NETLINK_NETFILTER, NULL) < 0)
		return; /* then nothing is of our making */
	if (!find(&nl, NFT_MSG_GETTABLE, family_of(family), NULL, numbers))
		add(absent, letters[family][0]);
	else
		for (size_t i = 0; i < ARRAY_SIZE(hooks); i++)
			if (!find(&nl, NFT_MSG_GETCHAIN, family_of(family), hooks[i], numbers))
				add(absent, letters[family][i + 1]);
	apptap_nl_close(&nl);
}

int apptap_ipt_absent_hold(const char *absent, const char *tag)
{
	char what[sizeof(ABSENT_HELD) + APPTAP_IPT_ABSENT_MAX];

	snprintf(what, sizeof(what), ABSENT_HELD "%s", absent);
	return *absent ? apptap_tag_hold(what, tag) : -1;
}

/* ---- its end ---- */

/* NLM_F_NONREC: not with what is in it. */
static void put_end(struct apptap_nfmsg *m, uint8_t family, const char *chain)
{
	if (!chain) {
		apptap_nfmsg_begin(m, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE, NLM_F_NONREC,
				   family, 0, "the end of an empty table");
		apptap_nfmsg_put_str(m, NFTA_TABLE_NAME, TABLE);
		return;
	}
	apptap_nfmsg_begin(m, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELCHAIN, NLM_F_NONREC, family, 0,
			   "the end of an empty chain");
	apptap_nfmsg_put_str(m, NFTA_CHAIN_TABLE, TABLE);
	apptap_nfmsg_put_str(m, NFTA_CHAIN_NAME, chain);
}

/* Chains without a rule and with the policy that they are made with; the table, if it had nothing
 * else. Return: how many there are. */
static uint32_t put_ends(struct apptap_nl *nl, struct apptap_nfmsg *m,
			 enum apptap_ipt_family family, const char *absent)
{
	bool table = strchr(absent, letters[family][0]);
	uint32_t numbers[NUMBERS], count = 0;

	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++) {
		if (!table && !strchr(absent, letters[family][i + 1]))
			continue;
		if (!find(nl, NFT_MSG_GETCHAIN, family_of(family), hooks[i], numbers) ||
		    numbers[NFTA_CHAIN_POLICY] != NF_ACCEPT || numbers[NFTA_CHAIN_USE])
			continue;
		put_end(m, family_of(family), hooks[i]);
		count++;
	}
	if (table && find(nl, NFT_MSG_GETTABLE, family_of(family), NULL, numbers) &&
	    numbers[NFTA_TABLE_USE] == count) {
		put_end(m, family_of(family), NULL);
		count++;
	}
	return count;
}

/* -ERESTART: somebody has changed something since we looked. */
static int try_to_restore(struct apptap_nl *nl, struct apptap_nfmsg *m, const char *absent)
{
	uint32_t numbers[NUMBERS], count = 0;

	if (!find(nl, NFT_MSG_GETGEN, 0, NULL, numbers))
		return -EOPNOTSUPP;
	apptap_nfmsg_init(m);
	apptap_nfmsg_batch_begin(m, NFNL_SUBSYS_NFTABLES);
	apptap_nfmsg_put_be32(m, NFNL_BATCH_GENID, numbers[NFTA_GEN_ID]);
	for (int i = 0; i < APPTAP_IPT_FAMILIES; i++)
		count += put_ends(nl, m, (enum apptap_ipt_family)i, absent);
	apptap_nfmsg_batch_end(m, NFNL_SUBSYS_NFTABLES);
	return count ? apptap_nfmsg_send(nl, m, NULL) : 0;
}

void apptap_ipt_restore_absent(const char *absent)
{
	auto_free struct apptap_nfmsg *m = malloc(sizeof(*m));
	struct apptap_nl nl = APPTAP_NL_CLOSED;
	int lock;

	if (!m || !*absent || apptap_nl_open(&nl, NETLINK_NETFILTER, NULL) < 0)
		return;
	lock = apptap_tag_lock(APPTAP_IPT_LOCK);
	for (int i = 0; i < TRIES && try_to_restore(&nl, m, absent) == -ERESTART; i++)
		;
	apptap_tag_unlock(lock);
	apptap_nl_close(&nl);
}
