/* nflog_packet.c - what NFLOG delivers in the shape that all tiers deliver */
#include "tier/nflog_packet.h"

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>

static uint8_t packet_type(const struct apptap_nflog_packet *p)
{
	if (!p->indev)
		return PACKET_OUTGOING;
	if (p->protocol == ETH_P_IP && p->len >= 20) {
		if (p->data[16] >> 4 == 14)
			return PACKET_MULTICAST;
		return apptap_get_be32(p->data + 16) == INADDR_BROADCAST ? PACKET_BROADCAST
									 : PACKET_HOST;
	}
	if (p->protocol == ETH_P_IPV6 && p->len >= 40 && p->data[24] == 0xff)
		return PACKET_MULTICAST;
	return PACKET_HOST;
}

/* The length that the packet's own header tells, for one that was cut. */
static uint32_t length_of(const struct apptap_nflog_packet *p)
{
	uint32_t said = 0;

	if (p->protocol == ETH_P_IP && p->len >= 20)
		said = apptap_get_be16(p->data + 2);
	else if (p->protocol == ETH_P_IPV6 && p->len >= 40 && apptap_get_be16(p->data + 4))
		said = 40U + apptap_get_be16(p->data + 4);
	return MAX(said, p->len);
}

void apptap_nflog_to_packet(const struct apptap_nflog_packet *p, struct apptap_devices *devices,
			    uint32_t snaplen, struct apptap_packet *out)
{
	const struct apptap_device *d;

	memset(out, 0, sizeof(*out));
	out->data = p->data;
	out->len = MIN(p->len, snaplen);
	out->wire_len = length_of(p);
	out->ifindex = p->indev ? p->indev : p->outdev;
	out->protocol = p->protocol;
	/* Rules of both families at once say it by the packet. */
	if (p->len && (out->protocol != ETH_P_IP && out->protocol != ETH_P_IPV6))
		out->protocol = p->data[0] >> 4 == 6 ? ETH_P_IPV6 : ETH_P_IP;
	out->pkttype = packet_type(p);
	d = apptap_devices_get(devices, out->ifindex);
	out->arphrd = p->arphrd ? p->arphrd : d->arphrd;
	if (!p->indev) {
		out->halen = d->halen;
		memcpy(out->haddr, d->haddr, sizeof(out->haddr));
	} else {
		out->halen = p->halen;
		memcpy(out->haddr, p->haddr, sizeof(out->haddr));
	}
	out->uid = APPTAP_UID_NONE;
}
