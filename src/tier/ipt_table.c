/* ipt_table.c - what iptables-nft makes for the first rule, and leaves behind empty */
#include "tier/ipt_table.h"

#include <errno.h>
#include <stdio.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "base/nfmsg.h"

#define TABLE "mangle"

static uint8_t family_of(enum apptap_ipt_family family)
{
	return family == APPTAP_IPT_V6 ? NFPROTO_IPV6 : NFPROTO_IPV4;
}

static int take_generation(const struct nlmsghdr *h, void *arg)
{
	struct apptap_view v = { NLMSG_DATA(h), h->nlmsg_len - NLMSG_HDRLEN }, value;
	uint16_t type;

	if (!apptap_view_take(&v, sizeof(struct nfgenmsg)))
		return -EBADMSG;
	while (apptap_nfmsg_next(&v, &type, &value))
		if (type == NFTA_GEN_ID && value.left >= 4)
			*(uint32_t *)arg = apptap_get_be32(value.p);
	return 0;
}

static int take_nothing(const struct nlmsghdr *h, void *arg)
{
	(void)h;
	(void)arg;
	return 0;
}

/* The base chains that our rules need, and the letters for the table and for them. */
static const char *const hooks[] = { "INPUT", "OUTPUT", "POSTROUTING" };
static const char letters[2][5] = { "4iop", "6IOP" };

static int ask(struct apptap_nl *nl, struct apptap_nfmsg *m, uint16_t message, uint8_t family,
	       apptap_nl_each each, void *arg)
{
	apptap_nfmsg_init(m);
	apptap_nfmsg_begin(m, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | message), 0, family, 0, TABLE);
	if (message == NFT_MSG_GETTABLE)
		apptap_nfmsg_put_str(m, NFTA_TABLE_NAME, TABLE);
	if (message == NFT_MSG_GETCHAIN) {
		apptap_nfmsg_put_str(m, NFTA_CHAIN_TABLE, TABLE);
		apptap_nfmsg_put_str(m, NFTA_CHAIN_NAME, arg);
	}
	return apptap_nl_ask(nl, (struct nlmsghdr *)(void *)m->bytes, each, arg, NULL);
}

void apptap_ipt_absent(enum apptap_ipt_family family, char absent[APPTAP_IPT_ABSENT_MAX + 1])
{
	auto_free struct apptap_nfmsg *m = malloc(sizeof(*m));
	struct apptap_nl nl = APPTAP_NL_CLOSED;
	char *p = absent + strlen(absent);

	if (!m || apptap_nl_open(&nl, NETLINK_NETFILTER, NULL) < 0)
		return; /* then nothing is of our making */
	if (ask(&nl, m, NFT_MSG_GETTABLE, family_of(family), take_nothing, NULL) < 0)
		*p++ = letters[family][0];
	else
		for (size_t i = 0; i < ARRAY_SIZE(hooks); i++)
			if (ask(&nl, m, NFT_MSG_GETCHAIN, family_of(family), take_nothing,
				(void *)hooks[i]) < 0)
				*p++ = letters[family][i + 1];
	*p = '\0';
	apptap_nl_close(&nl);
}

/* What the legacy program says is about other tables than those of nftables. */
static bool is_of_nftables(const char *saved)
{
	const char *program = strstr(saved, "(nf_tables)");

	return program && program < strchrnul(saved, '\n');
}

/* Nothing but ":CHAIN ACCEPT": no rule, no chain of a user's, no policy. */
static bool is_pristine(const char *saved)
{
	for (const char *l = saved; l && *l; l = strchr(l, '\n') ? strchr(l, '\n') + 1 : NULL) {
		const char *policy = strchr(l, ' ');

		if (l[0] == '-' ||
		    (l[0] == ':' && (!policy || strncmp(policy, " ACCEPT ", 8) != 0)))
			return false;
	}
	return true;
}

static bool is_pristine_chain(const char *saved, const char *name)
{
	char policy[32], rule[32];

	snprintf(policy, sizeof(policy), "\n:%s ACCEPT ", name);
	snprintf(rule, sizeof(rule), "\n-A %s ", name);
	return strstr(saved, policy) && !strstr(saved, rule);
}

static void put_end(struct apptap_nfmsg *m, uint8_t family, const char *chain)
{
	if (!chain) {
		apptap_nfmsg_begin(m, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE, 0, family, 0,
				   "the end of an empty table");
		apptap_nfmsg_put_str(m, NFTA_TABLE_NAME, TABLE);
		return;
	}
	apptap_nfmsg_begin(m, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELCHAIN, 0, family, 0,
			   "the end of an empty chain");
	apptap_nfmsg_put_str(m, NFTA_CHAIN_TABLE, TABLE);
	apptap_nfmsg_put_str(m, NFTA_CHAIN_NAME, chain);
}

static void put_ends(struct apptap_nfmsg *m, enum apptap_ipt_family family, const char *saved,
		     const char *absent)
{
	if (strchr(absent, letters[family][0]) && is_pristine(saved))
		put_end(m, family_of(family), NULL);
	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++)
		if (strchr(absent, letters[family][i + 1]) && is_pristine_chain(saved, hooks[i]))
			put_end(m, family_of(family), hooks[i]);
}

int apptap_ipt_restore_absent(const char *absent)
{
	auto_free struct apptap_nfmsg *m = malloc(sizeof(*m));
	char *saved[APPTAP_IPT_FAMILIES] = { NULL, NULL };
	struct apptap_nl nl = APPTAP_NL_CLOSED;
	uint32_t generation = 0;
	bool any = false;
	int r = 0;

	if (!m || !*absent || apptap_nl_open(&nl, NETLINK_NETFILTER, NULL) < 0)
		return 0;
	if (ask(&nl, m, NFT_MSG_GETGEN, 0, take_generation, &generation) == 0 && generation)
		apptap_ipt_save(saved);
	apptap_nfmsg_init(m);
	apptap_nfmsg_batch_begin(m, NFNL_SUBSYS_NFTABLES);
	/* Refused if anybody has changed anything since. */
	apptap_nfmsg_put_be32(m, NFNL_BATCH_GENID, generation);
	for (int i = 0; i < APPTAP_IPT_FAMILIES; i++) {
		if (!saved[i] || !is_of_nftables(saved[i]))
			continue;
		put_ends(m, (enum apptap_ipt_family)i, saved[i], absent);
		any = true;
	}
	apptap_nfmsg_batch_end(m, NFNL_SUBSYS_NFTABLES);
	if (any)
		r = apptap_nfmsg_send(&nl, m, NULL);
	apptap_ipt_free(saved);
	apptap_nl_close(&nl);
	return r;
}
