/* sll2.h - the link-layer header of every record: LINKTYPE_LINUX_SLL2, and a VLAN tag behind it */
#ifndef APPTAP_FILE_SLL2_H
#define APPTAP_FILE_SLL2_H

#include "base/view.h"
#include "tier/tier.h"

#define APPTAP_SLL2_BYTES 20
#define APPTAP_SLL2_VLAN_BYTES 4 /* TCI and the EtherType that the tag pushed back */
#define APPTAP_SLL2_MAX (APPTAP_SLL2_BYTES + APPTAP_SLL2_VLAN_BYTES)

static inline uint32_t apptap_sll2_bytes(const struct apptap_packet *pkt)
{
	return pkt->vlan_tpid ? APPTAP_SLL2_MAX : APPTAP_SLL2_BYTES;
}

/*
 * Writes what goes in front of the packet's own bytes, and returns the end of it. The kernel took
 * the tag out of the frame: it goes back as the first payload, behind a protocol of its TPID, which
 * is how a tagged frame looks in the cooked formats
 * (www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2).
 */
static inline uint8_t *apptap_sll2_put(uint8_t *p, const struct apptap_packet *pkt)
{
	apptap_put_be16(p, pkt->vlan_tpid ? pkt->vlan_tpid : pkt->protocol);
	apptap_put_be16(p + 2, 0);
	apptap_put_be32(p + 4, (uint32_t)pkt->ifindex);
	apptap_put_be16(p + 8, pkt->arphrd);
	p[10] = pkt->pkttype;
	p[11] = pkt->halen; /* may exceed the 8 bytes kept, so says the format */
	memcpy(p + 12, pkt->haddr, sizeof(pkt->haddr));
	if (!pkt->vlan_tpid)
		return p + APPTAP_SLL2_BYTES;
	apptap_put_be16(p + 20, pkt->vlan_tci);
	apptap_put_be16(p + 22, pkt->protocol);
	return p + APPTAP_SLL2_MAX;
}

#endif
