/* fuzz_btf.c - any bytes as the kernel's description of its types */
#include "tier/btf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size + 1);
	struct apptap_btf *b;

	if (!copy)
		return 0;
	memcpy(copy, data, size);
	if (apptap_btf_parse(&b, copy, size) < 0)
		return 0;
	apptap_btf_field(b, "sock", "sk_cgrp_data.cgroup");
	apptap_btf_field(b, "a", "b");
	apptap_btf_close(b);
	return 0;
}
