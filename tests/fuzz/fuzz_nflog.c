/* fuzz_nflog.c - any bytes as a message of NFLOG */
#include "tier/nflog_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct apptap_nflog_packet p;
	volatile uint8_t sum = 0;

	if (!apptap_nflog_parse((struct apptap_view){ data, size }, &p))
		return 0;
	if (p.halen > sizeof(p.haddr) || p.prefix_len > APPTAP_NFLOG_PREFIX_MAX)
		abort();
	for (size_t i = 0; i < p.prefix_len; i++)
		sum += (uint8_t)p.prefix[i];
	for (size_t i = 0; i < p.len; i++)
		sum += p.data[i];
	(void)sum;
	return 0;
}
