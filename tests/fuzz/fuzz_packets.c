/* fuzz_packets.c - records of packets, as an agent would send them, unpacked */
#include "api/convert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct apptap_view v = { data, size };
	struct apptap_unpacker *u;
	struct apptap_packet pkt;
	volatile uint8_t sum = 0;

	if (apptap_unpacker_new(&u, NULL) < 0)
		return 0;
	while (apptap_unpacker_next(u, &v, &pkt, NULL) > 0) {
		for (uint32_t i = 0; i < pkt.len; i++)
			sum ^= pkt.data[i];
		sum ^= (uint8_t)(strlen(pkt.interface) ^ strlen(pkt.command));
	}
	(void)sum; /* what counts is that all of it could be read */
	apptap_unpacker_free(u);
	return 0;
}
