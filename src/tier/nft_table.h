/* nft_table.h - what the rules of nftables say, as messages of one transaction */
#ifndef APPTAP_TIER_NFT_TABLE_H
#define APPTAP_TIER_NFT_TABLE_H

#include "base/nfmsg.h"
#include "tier/rules.h"

#define APPTAP_NFT_OURS "ours" /* a set: UDP ports of the app's */
#define APPTAP_NFT_PACED "paced" /* a set: ports that witnesses have been shown packets of */
#define APPTAP_NFT_UIDS "uids"
#define APPTAP_NFT_LOGGED "logged" /* a counter */

struct apptap_nft_table {
	struct apptap_nfmsg msg;
	uint32_t bit[APPTAP_BITS];
	uint16_t group;
	char name[32];
	char tag[APPTAP_RULES_TAG_BYTES + 1];
	uint32_t sets;
	size_t exprs; /* the attribute that is open while a rule is built */
};

/* Begins a message to nftables. */
void apptap_nft_table_begin(struct apptap_nft_table *n, uint16_t message, uint16_t flags,
			    const char *what);

/* The table with all that is in it. */
void apptap_nft_table_put(struct apptap_nft_table *n, const struct apptap_rules_config *cfg);

/*
 * Begins a message about elements of @set: _element() for each, then apptap_nfmsg_unnest() with
 * what this returned.
 */
size_t apptap_nft_table_elements(struct apptap_nft_table *n, uint16_t message, const char *set);
void apptap_nft_table_element(struct apptap_nft_table *n, const void *key, size_t len);
void apptap_nft_table_uids(struct apptap_nft_table *n, const struct apptap_scope *scope,
			   uid_t prover);

/* Removes the rules of @chain. */
void apptap_nft_table_empty(struct apptap_nft_table *n, const char *chain);

/* What comes in for any port of UDP is asked about, or no more. */
void apptap_nft_table_doubt(struct apptap_nft_table *n, bool all);

#endif
