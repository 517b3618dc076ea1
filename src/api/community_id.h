/* community_id.h - the name of a connection that other tools give it too: Community ID v1 */
#ifndef APPTAP_API_COMMUNITY_ID_H
#define APPTAP_API_COMMUNITY_ID_H

#include "base/base.h"

#define APPTAP_COMMUNITY_ID_BYTES 32

struct apptap_community_tuple {
	const uint8_t *from; /* 4 or 16 bytes */
	const uint8_t *to;
	uint8_t address_bytes;
	uint8_t proto; /* IPPROTO_* */
	uint16_t from_port; /* ICMP: its type */
	uint16_t to_port; /* ICMP: its code */
};

/*
 * "1:" and the hash in base64, seed 0: the same from both ends. Specification:
 * github.com/corelight/community-id-spec.
 */
void apptap_community_id_of(const struct apptap_community_tuple *t,
			    char out[APPTAP_COMMUNITY_ID_BYTES]);

#endif
