/* ipt_table.h - what iptables-nft makes for the first rule, and leaves behind empty */
#ifndef APPTAP_TIER_IPT_TABLE_H
#define APPTAP_TIER_IPT_TABLE_H

#include "tier/ipt.h"

#define APPTAP_IPT_ABSENT_MAX 12

/* For apptap_tag_lock(), from before apptap_ipt_absent() until our rules are there: no end of
 * another capture removes meanwhile what ours rest on. */
#define APPTAP_IPT_LOCK "chains"

/*
 * Adds to @absent a letter for each thing that nftables has not yet, or has for other captures of
 * ours only: the table mangle, or chains.
 */
void apptap_ipt_absent(enum apptap_ipt_family family, char absent[APPTAP_IPT_ABSENT_MAX + 1]);

/* Tells captures that come later, while the descriptor is open. -1: nothing to tell; -errno. */
int apptap_ipt_absent_hold(const char *absent, const char *tag);

/* Removes what was absent, if nobody uses it. */
void apptap_ipt_restore_absent(const char *absent);

#endif
