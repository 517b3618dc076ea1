/* ipt_table.c - the table that iptables-nft makes for the first rule, and leaves behind empty */
#include "tier/ipt_table.h"

#include <errno.h>
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

static int ask(struct apptap_nl *nl, struct apptap_nfmsg *m, uint16_t message, uint8_t family,
	       const char *table, apptap_nl_each each, void *arg)
{
	apptap_nfmsg_init(m);
	apptap_nfmsg_begin(m, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | message), 0, family, 0, TABLE);
	if (table)
		apptap_nfmsg_put_str(m, NFTA_TABLE_NAME, table);
	return apptap_nl_ask(nl, (struct nlmsghdr *)(void *)m->bytes, each, arg, NULL);
}

bool apptap_ipt_table_exists(enum apptap_ipt_family family)
{
	auto_free struct apptap_nfmsg *m = malloc(sizeof(*m));
	struct apptap_nl nl = APPTAP_NL_CLOSED;
	bool found;

	if (!m || apptap_nl_open(&nl, NETLINK_NETFILTER, NULL) < 0)
		return true; /* then it is none of our making */
	found = ask(&nl, m, NFT_MSG_GETTABLE, family_of(family), TABLE, take_nothing, NULL) == 0;
	apptap_nl_close(&nl);
	return found;
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

void apptap_ipt_table_drop(enum apptap_ipt_family family)
{
	auto_free struct apptap_nfmsg *m = malloc(sizeof(*m));
	auto_free char *saved = NULL;
	struct apptap_nl nl = APPTAP_NL_CLOSED;
	uint32_t generation = 0;

	if (!m || apptap_nl_open(&nl, NETLINK_NETFILTER, NULL) < 0)
		return;
	if (ask(&nl, m, NFT_MSG_GETGEN, 0, NULL, take_generation, &generation) == 0 && generation &&
	    apptap_ipt_save(family, &saved, NULL) == 0 && is_pristine(saved)) {
		apptap_nfmsg_init(m);
		apptap_nfmsg_batch_begin(m, NFNL_SUBSYS_NFTABLES);
		/* Refused if anybody has changed anything since. */
		apptap_nfmsg_put_be32(m, NFNL_BATCH_GENID, generation);
		apptap_nfmsg_begin(m, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE, 0,
				   family_of(family), 0, "the end of an empty table");
		apptap_nfmsg_put_str(m, NFTA_TABLE_NAME, TABLE);
		apptap_nfmsg_batch_end(m, NFNL_SUBSYS_NFTABLES);
		apptap_nfmsg_send(&nl, m, NULL);
	}
	apptap_nl_close(&nl);
}
