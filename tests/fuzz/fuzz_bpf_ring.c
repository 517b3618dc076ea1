/* fuzz_bpf_ring.c - any bytes as the ring that programs in the kernel write */
#include "tier/bpf_ring.h"

#define BYTES 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t memory[2 * BYTES] __attribute__((aligned(8)));
	uint64_t consumer = 0, producer = MIN(size, (size_t)BYTES) & ~(size_t)7;
	struct apptap_bpf_ring *ring;
	struct apptap_bpf_item item;
	volatile uint8_t sum = 0;
	uint64_t last_ns = 0;

	memset(memory, 0, sizeof(memory));
	memcpy(memory, data, MIN(size, (size_t)BYTES));
	memcpy(memory + BYTES, memory, BYTES);
	if (apptap_bpf_ring_over(&ring, &consumer, &producer, memory, BYTES) < 0)
		return 0;
	apptap_bpf_ring_look(ring);
	while (apptap_bpf_ring_take(ring, UINT64_MAX, &item)) {
		if (item.rec.mono_ns < last_ns || item.rec.halen > sizeof(item.rec.haddr))
			abort();
		last_ns = item.rec.mono_ns;
		for (uint32_t i = 0; i < item.rec.len; i++)
			sum += item.data[i];
	}
	apptap_bpf_ring_release(ring);
	if (consumer > producer)
		abort();
	apptap_bpf_ring_close(ring);
	(void)sum;
	return 0;
}
