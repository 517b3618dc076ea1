/* bpf_absent.c - the bpf tier's place in a build that left it out */
#include <errno.h>

#include "tier/tier.h"

static int absent(struct apptap_error *err)
{
	apptap_error_say(err, ENOTSUP, "this build has no eBPF programs in it");
	apptap_error_hint(err, "build it where clang, bpftool and libbpf are installed");
	return -ENOTSUP;
}

static int absent_open(struct apptap_tier **t, const struct apptap_tier_config *cfg,
		       struct apptap_error *err)
{
	(void)t;
	(void)cfg;
	return absent(err);
}

const struct apptap_tier_ops apptap_tier_bpf = {
	.name = "bpf",
	.gist = "programs in the kernel decide whose a packet is, and copy the app's (eBPF)",
	/* As where it is there: otherwise that would be the reason that is given. */
	.scopes = APPTAP_TIER_CGROUPS | APPTAP_TIER_PROCESSES,
	.probe = absent,
	.open = absent_open,
};
