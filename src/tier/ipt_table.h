/* ipt_table.h - the table that iptables-nft makes for the first rule, and leaves behind empty */
#ifndef APPTAP_TIER_IPT_TABLE_H
#define APPTAP_TIER_IPT_TABLE_H

#include "tier/ipt.h"

/* Has nftables a table mangle of this family? */
bool apptap_ipt_table_exists(enum apptap_ipt_family family);

/* Removes it, if there is nothing in it but what iptables-nft makes, and nobody changes it
 * meanwhile. */
void apptap_ipt_table_drop(enum apptap_ipt_family family);

#endif
