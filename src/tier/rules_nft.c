/*
 * rules_nft.c - rules of nftables, in a table that the kernel removes when its owner ends
 *
 * How it works. A table with the owner flag (5.12) belongs to a netlink socket: nobody else can
 * edit it, `nft flush ruleset` passes over it, and it goes when the socket does, also by SIGKILL.
 * What its rules say is in nft_table.c.
 */
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>

#include "tier/nft_table.h"

struct nft_rules {
	struct apptap_rules base;
	struct apptap_nl nl; /* owned; owns the table */
	struct apptap_nft_table table;
	uid_t prover;
};

static struct nft_rules *nft_of(struct apptap_rules *r)
{
	return apptap_container_of(r, struct nft_rules, base);
}

static int transact(struct nft_rules *n, struct apptap_error *err)
{
	apptap_nfmsg_batch_end(&n->table.msg, NFNL_SUBSYS_NFTABLES);
	return apptap_nfmsg_send(&n->nl, &n->table.msg, err);
}

static void transaction(struct nft_rules *n)
{
	apptap_nfmsg_init(&n->table.msg);
	apptap_nfmsg_batch_begin(&n->table.msg, NFNL_SUBSYS_NFTABLES);
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
	n->table.group = cfg->group;
	apptap_rules_bits(cfg->mark, n->table.bit);
	n->prover = cfg->prover;
	snprintf(n->table.tag, sizeof(n->table.tag), "%s", cfg->tag);
	snprintf(n->table.name, sizeof(n->table.name), "apptap_%s", cfg->tag);
	r = apptap_nl_open(&n->nl, NETLINK_NETFILTER, err);
	if (r == 0) {
		transaction(n);
		apptap_nft_table_put(&n->table, cfg);
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
	at = apptap_nft_table_elements(&n->table, NFT_MSG_DELSETELEM,
				       APPTAP_NFT_UIDS); /* without elements: all of them */
	n->table.msg.len = at;
	((struct nlmsghdr *)(void *)(n->table.msg.bytes + n->table.msg.begun))->nlmsg_len =
		(uint32_t)(at - n->table.msg.begun);
	apptap_nft_table_uids(&n->table, scope, n->prover);
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
	at = apptap_nft_table_elements(&n->table, NFT_MSG_NEWSETELEM, APPTAP_NFT_OURS);
	for (size_t i = 0; i < count; i++) {
		uint8_t key[2];

		apptap_put_be16(key, ports[i]);
		apptap_nft_table_element(&n->table, key, sizeof(key));
	}
	apptap_nfmsg_unnest(&n->table.msg, at);
	return transact(n, err);
}

static int nft_doubt(struct apptap_rules *r, bool all, struct apptap_error *err)
{
	struct nft_rules *n = nft_of(r);

	transaction(n);
	apptap_nft_table_doubt(&n->table, all);
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

static int take_nothing(const struct nlmsghdr *h, void *arg)
{
	(void)h;
	(void)arg;
	return 0;
}

static int nft_check(struct apptap_rules *r, struct apptap_error *err)
{
	struct nft_rules *n = nft_of(r);

	apptap_nfmsg_init(&n->table.msg);
	apptap_nft_table_begin(&n->table, NFT_MSG_GETTABLE, 0, "a question about our table");
	apptap_nfmsg_put_str(&n->table.msg, NFTA_TABLE_NAME, n->table.name);
	if (apptap_nl_ask(&n->nl, (struct nlmsghdr *)(void *)n->table.msg.bytes, take_nothing, NULL,
			  NULL) != -ENOENT)
		return 0;
	return apptap_error_say(err, ESTALE, "somebody has removed our table from nftables");
}

static int nft_silence(struct apptap_rules *r, uint64_t *logged, struct apptap_error *err)
{
	static const char *const chains[] = { "out", "in" };
	struct nft_rules *n = nft_of(r);
	int code;

	transaction(n);
	for (size_t i = 0; i < ARRAY_SIZE(chains); i++)
		apptap_nft_table_empty(&n->table, chains[i]);
	code = transact(n, err);
	if (code < 0)
		return code;
	apptap_nfmsg_init(&n->table.msg);
	apptap_nft_table_begin(&n->table, NFT_MSG_GETOBJ, 0, "a counter's value");
	apptap_nfmsg_put_str(&n->table.msg, NFTA_OBJ_TABLE, n->table.name);
	apptap_nfmsg_put_str(&n->table.msg, NFTA_OBJ_NAME, APPTAP_NFT_LOGGED);
	apptap_nfmsg_put_be32(&n->table.msg, NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER);
	return apptap_nl_ask(&n->nl, (struct nlmsghdr *)(void *)n->table.msg.bytes, take_counter,
			     logged, err);
}

const struct apptap_rules_ops apptap_rules_nft = {
	.name = "nftables",
	.install = nft_install,
	.update = nft_update,
	.own_ports = nft_own_ports,
	.doubt = nft_doubt,
	.check = nft_check,
	.silence = nft_silence,
	.remove = nft_remove,
};
