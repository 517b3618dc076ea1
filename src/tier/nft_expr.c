/* nft_expr.c - expressions of nftables' rules, as netlink attributes */
#include "tier/nft_expr.h"

#include <linux/netfilter/nf_tables.h>

size_t apptap_nft_begin(struct apptap_nfmsg *m, const char *name, size_t *data)
{
	size_t at = apptap_nfmsg_nest(m, NFTA_LIST_ELEM);

	apptap_nfmsg_put_str(m, NFTA_EXPR_NAME, name);
	*data = apptap_nfmsg_nest(m, NFTA_EXPR_DATA);
	return at;
}

void apptap_nft_end(struct apptap_nfmsg *m, size_t at, size_t data)
{
	apptap_nfmsg_unnest(m, data);
	apptap_nfmsg_unnest(m, at);
}

void apptap_nft_value(struct apptap_nfmsg *m, uint16_t attr, const void *value, size_t len)
{
	size_t at = apptap_nfmsg_nest(m, attr);

	apptap_nfmsg_put(m, NFTA_DATA_VALUE, value, len);
	apptap_nfmsg_unnest(m, at);
}

void apptap_nft_meta(struct apptap_nfmsg *m, uint32_t key, uint32_t reg)
{
	size_t data, at = apptap_nft_begin(m, "meta", &data);

	apptap_nfmsg_put_be32(m, NFTA_META_DREG, reg);
	apptap_nfmsg_put_be32(m, NFTA_META_KEY, key);
	apptap_nft_end(m, at, data);
}

void apptap_nft_ct(struct apptap_nfmsg *m, uint32_t key, bool set)
{
	size_t data, at = apptap_nft_begin(m, "ct", &data);

	apptap_nfmsg_put_be32(m, set ? NFTA_CT_SREG : NFTA_CT_DREG, NFT_REG_1);
	apptap_nfmsg_put_be32(m, NFTA_CT_KEY, key);
	apptap_nft_end(m, at, data);
}

void apptap_nft_transport(struct apptap_nfmsg *m, uint32_t offset, uint32_t len, uint32_t reg)
{
	size_t data, at = apptap_nft_begin(m, "payload", &data);

	apptap_nfmsg_put_be32(m, NFTA_PAYLOAD_DREG, reg);
	apptap_nfmsg_put_be32(m, NFTA_PAYLOAD_BASE, NFT_PAYLOAD_TRANSPORT_HEADER);
	apptap_nfmsg_put_be32(m, NFTA_PAYLOAD_OFFSET, offset);
	apptap_nfmsg_put_be32(m, NFTA_PAYLOAD_LEN, len);
	apptap_nft_end(m, at, data);
}

/* register = (register & mask) ^ flip */
void apptap_nft_bitwise(struct apptap_nfmsg *m, const void *mask, const void *flip, size_t len)
{
	size_t data, at = apptap_nft_begin(m, "bitwise", &data);

	apptap_nfmsg_put_be32(m, NFTA_BITWISE_SREG, NFT_REG_1);
	apptap_nfmsg_put_be32(m, NFTA_BITWISE_DREG, NFT_REG_1);
	apptap_nfmsg_put_be32(m, NFTA_BITWISE_LEN, (uint32_t)len);
	apptap_nft_value(m, NFTA_BITWISE_MASK, mask, len);
	apptap_nft_value(m, NFTA_BITWISE_XOR, flip, len);
	apptap_nft_end(m, at, data);
}

void apptap_nft_and(struct apptap_nfmsg *m, uint32_t mask)
{
	uint32_t zero = 0;

	apptap_nft_bitwise(m, &mask, &zero, sizeof(mask));
}

void apptap_nft_cmp(struct apptap_nfmsg *m, uint32_t op, const void *value, size_t len)
{
	size_t data, at = apptap_nft_begin(m, "cmp", &data);

	apptap_nfmsg_put_be32(m, NFTA_CMP_SREG, NFT_REG_1);
	apptap_nfmsg_put_be32(m, NFTA_CMP_OP, op);
	apptap_nft_value(m, NFTA_CMP_DATA, value, len);
	apptap_nft_end(m, at, data);
}

void apptap_nft_cmp8(struct apptap_nfmsg *m, uint32_t op, uint8_t value)
{
	apptap_nft_cmp(m, op, &value, sizeof(value));
}

void apptap_nft_cmp32(struct apptap_nfmsg *m, uint32_t op, uint32_t value)
{
	apptap_nft_cmp(m, op, &value, sizeof(value));
}

void apptap_nft_lookup(struct apptap_nfmsg *m, const char *set, bool inverse)
{
	size_t data, at = apptap_nft_begin(m, "lookup", &data);

	apptap_nfmsg_put_str(m, NFTA_LOOKUP_SET, set);
	apptap_nfmsg_put_be32(m, NFTA_LOOKUP_SREG, NFT_REG_1);
	if (inverse)
		apptap_nfmsg_put_be32(m, NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
	apptap_nft_end(m, at, data);
}

void apptap_nft_verdict(struct apptap_nfmsg *m, int32_t code, const char *chain)
{
	size_t data, at = apptap_nft_begin(m, "immediate", &data), value, v;

	apptap_nfmsg_put_be32(m, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	value = apptap_nfmsg_nest(m, NFTA_IMMEDIATE_DATA);
	v = apptap_nfmsg_nest(m, NFTA_DATA_VERDICT);
	apptap_nfmsg_put_be32(m, NFTA_VERDICT_CODE, (uint32_t)code);
	if (chain)
		apptap_nfmsg_put_str(m, NFTA_VERDICT_CHAIN, chain);
	apptap_nfmsg_unnest(m, v);
	apptap_nfmsg_unnest(m, value);
	apptap_nft_end(m, at, data);
}

static void put_limit(struct apptap_nfmsg *m, uint64_t a_second, uint32_t burst, uint32_t flags)
{
	size_t data = apptap_nfmsg_nest(m, NFTA_EXPR_DATA);
	uint8_t rate[8], unit[8] = { [7] = 1 };

	apptap_put_be32(rate, (uint32_t)(a_second >> 32));
	apptap_put_be32(rate + 4, (uint32_t)a_second);
	apptap_nfmsg_put(m, NFTA_LIMIT_RATE, rate, sizeof(rate));
	apptap_nfmsg_put(m, NFTA_LIMIT_UNIT, unit, sizeof(unit));
	apptap_nfmsg_put_be32(m, NFTA_LIMIT_BURST, burst);
	apptap_nfmsg_put_be32(m, NFTA_LIMIT_FLAGS, flags);
	apptap_nfmsg_unnest(m, data);
}

static void put_named_limit(struct apptap_nfmsg *m, uint16_t attr, uint64_t a_second,
			    uint32_t burst, uint32_t flags)
{
	size_t at = apptap_nfmsg_nest(m, attr);

	apptap_nfmsg_put_str(m, NFTA_EXPR_NAME, "limit");
	put_limit(m, a_second, burst, flags);
	apptap_nfmsg_unnest(m, at);
}

/* What the two below have in common: ends with apptap_nft_end(). */
static size_t begin_update(struct apptap_nfmsg *m, const char *set, uint64_t timeout_ms,
			   size_t *data)
{
	size_t at = apptap_nft_begin(m, "dynset", data);
	uint8_t timeout[8];

	apptap_put_be32(timeout, (uint32_t)(timeout_ms >> 32));
	apptap_put_be32(timeout + 4, (uint32_t)timeout_ms);
	apptap_nfmsg_put_str(m, NFTA_DYNSET_SET_NAME, set);
	apptap_nfmsg_put_be32(m, NFTA_DYNSET_OP, NFT_DYNSET_OP_UPDATE);
	apptap_nfmsg_put_be32(m, NFTA_DYNSET_SREG_KEY, NFT_REG_1);
	apptap_nfmsg_put(m, NFTA_DYNSET_TIMEOUT, timeout, sizeof(timeout));
	return at;
}

void apptap_nft_update(struct apptap_nfmsg *m, const char *set, uint64_t timeout_ms)
{
	size_t data, at = begin_update(m, set, timeout_ms, &data);

	apptap_nft_end(m, at, data);
}

void apptap_nft_pace(struct apptap_nfmsg *m, const char *set, uint64_t timeout_ms,
		     uint64_t a_second, uint32_t burst)
{
	size_t data, at = begin_update(m, set, timeout_ms, &data);

	put_named_limit(m, NFTA_DYNSET_EXPR, a_second, burst, 0);
	apptap_nft_end(m, at, data);
}

void apptap_nft_limit(struct apptap_nfmsg *m, uint64_t a_second, uint32_t burst)
{
	put_named_limit(m, NFTA_LIST_ELEM, a_second, burst, 0);
}

void apptap_nft_limit_over(struct apptap_nfmsg *m, uint64_t a_second, uint32_t burst)
{
	put_named_limit(m, NFTA_LIST_ELEM, a_second, burst, NFT_LIMIT_F_INV);
}
