/* nft_expr.h - expressions of nftables' rules, as netlink attributes */
#ifndef APPTAP_TIER_NFT_EXPR_H
#define APPTAP_TIER_NFT_EXPR_H

#include "base/nfmsg.h"

/* Any expression: its data goes between the two. */
size_t apptap_nft_begin(struct apptap_nfmsg *m, const char *name, size_t *data);
void apptap_nft_end(struct apptap_nfmsg *m, size_t at, size_t data);

/* A value nested in @attr. */
void apptap_nft_value(struct apptap_nfmsg *m, uint16_t attr, const void *value, size_t len);

/* Load into a register. */
void apptap_nft_meta(struct apptap_nfmsg *m, uint32_t key, uint32_t reg);
void apptap_nft_ct(struct apptap_nfmsg *m, uint32_t key, bool set);
void apptap_nft_transport(struct apptap_nfmsg *m, uint32_t offset, uint32_t len, uint32_t reg);

/* Work on register 1: (register & mask) ^ flip. */
void apptap_nft_bitwise(struct apptap_nfmsg *m, const void *mask, const void *flip, size_t len);
void apptap_nft_and(struct apptap_nfmsg *m, uint32_t mask);

/* Go on only if register 1 compares so; numbers are in the host's order. */
void apptap_nft_cmp(struct apptap_nfmsg *m, uint32_t op, const void *value, size_t len);
void apptap_nft_cmp8(struct apptap_nfmsg *m, uint32_t op, uint8_t value);
void apptap_nft_cmp32(struct apptap_nfmsg *m, uint32_t op, uint32_t value);

/* Go on only if register 1 is, or with @inverse is not, in @set. */
void apptap_nft_lookup(struct apptap_nfmsg *m, const char *set, bool inverse);

/* NFT_RETURN and kin; @chain for a jump. */
void apptap_nft_verdict(struct apptap_nfmsg *m, int32_t code, const char *chain);

/* Adds register 1 to @set, or renews it there. */
void apptap_nft_update(struct apptap_nfmsg *m, const char *set, uint64_t timeout_ms);

/* The same, and go on for so many packets a second of each element only. */
void apptap_nft_pace(struct apptap_nfmsg *m, const char *set, uint64_t timeout_ms,
		     uint64_t a_second, uint32_t burst);

/* Go on for so many packets a second only, or for those over it. */
void apptap_nft_limit(struct apptap_nfmsg *m, uint64_t a_second, uint32_t burst);
void apptap_nft_limit_over(struct apptap_nfmsg *m, uint64_t a_second, uint32_t burst);

#endif
