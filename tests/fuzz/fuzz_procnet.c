/* fuzz_procnet.c - any bytes as lines of /proc/net, of either family */
#include <sys/socket.h>

#include "tier/procnet.h"

static void take(struct apptap_view line, int family)
{
	static const uint8_t v4_prefix[12] = { [10] = 0xff, [11] = 0xff };
	struct apptap_procnet_line l;
	uint8_t *copy = malloc(line.left);

	if (!copy)
		abort();
	/* On its own, to the byte: whoever reads beyond the line is seen. */
	memcpy(copy, line.p, line.left);
	memset(&l, 0xff, sizeof(l));
	if (apptap_procnet_parse((struct apptap_view){ copy, line.left }, family, &l)) {
		if (l.inode > 999999999999999999ULL)
			abort();
		if (family == AF_INET && memcmp(&l.raddr, v4_prefix, sizeof(v4_prefix)) != 0)
			abort();
	}
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct apptap_view v = { data, size };

	while (v.left) {
		const uint8_t *end = memchr(v.p, '\n', v.left);
		size_t len = end ? (size_t)(end + 1 - v.p) : v.left;
		struct apptap_view line = { v.p, len };

		take(line, AF_INET);
		take(line, AF_INET6);
		apptap_view_take(&v, len);
	}
	return 0;
}
