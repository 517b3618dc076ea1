/* nflog_packet.h - what NFLOG delivers in the shape that all tiers deliver */
#ifndef APPTAP_TIER_NFLOG_PACKET_H
#define APPTAP_TIER_NFLOG_PACKET_H

#include "tier/devices.h"
#include "tier/nflog_read.h"
#include "tier/tier.h"

/* Fills all of @out but its time and owner. */
void apptap_nflog_to_packet(const struct apptap_nflog_packet *p, struct apptap_devices *devices,
			    uint32_t snaplen, struct apptap_packet *out);

#endif
