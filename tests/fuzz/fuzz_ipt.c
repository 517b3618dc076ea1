/* fuzz_ipt.c - what iptables-save says */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tier/ipt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char out[512];
	char *text = malloc(size + 1);

	if (!text)
		return 0;
	if (size)
		memcpy(text, data, size);
	text[size] = '\0';
	apptap_ipt_removal(text, "01234567", out, sizeof(out));
	apptap_ipt_removal(text, "", out, sizeof(out));
	apptap_ipt_marks(text);
	free(text);
	return 0;
}
