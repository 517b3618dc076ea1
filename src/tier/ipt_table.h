/* ipt_table.h - what iptables-nft makes for the first rule, and leaves behind empty */
#ifndef APPTAP_TIER_IPT_TABLE_H
#define APPTAP_TIER_IPT_TABLE_H

#include "tier/ipt.h"

#define APPTAP_IPT_ABSENT_MAX 8

/* Adds to @absent a letter for each thing that nftables has not yet: the table mangle, or chains.
 */
void apptap_ipt_absent(enum apptap_ipt_family family, char absent[APPTAP_IPT_ABSENT_MAX + 1]);

/* Removes what was absent, if it is as iptables-nft makes it. -errno: somebody changed it
 * meanwhile. */
int apptap_ipt_restore_absent(const char *absent);

#endif
