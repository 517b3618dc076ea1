/* fuzz_resolvconf.c - resolv.conf, and whose sockets the kernel lists, by the first byte */
#include "scope/resolver.h"

#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_resolv_conf(struct apptap_view v)
{
	struct apptap_nameserver ns[APPTAP_NAMESERVERS_MAX];
	size_t n = apptap_resolv_parse(v, ns);

	if (n > APPTAP_NAMESERVERS_MAX)
		abort();
	for (size_t i = 0; i < n; i++)
		if (!apptap_addr_is_loopback(&ns[i].addr))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct apptap_nameserver ns = { .family = AF_INET };
	struct apptap_bound b;
	struct apptap_view v = { .p = data, .left = size };
	const uint8_t *kind = apptap_view_take(&v, 1);
	bool good = false;

	if (!kind)
		return 0;
	switch (*kind % 4) {
	case 0:
		fuzz_resolv_conf(v);
		return 0;
	case 1:
		good = apptap_bound_parse_diag(v, &b);
		break;
	case 2:
		good = apptap_bound_parse_proc(v, AF_INET, &b);
		break;
	case 3:
		good = apptap_bound_parse_proc(v, AF_INET6, &b);
		break;
	}
	if (good && b.uid == APPTAP_UID_NONE)
		abort();
	if (good)
		apptap_bound_answers(&b, &ns);
	return 0;
}
