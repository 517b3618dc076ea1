/* tier.c - the table of tiers, and the choice between them */
#include "tier/tier.h"

#include <errno.h>
#include <stdio.h>

const struct apptap_tier_ops *const apptap_tiers[] = {
	&apptap_tier_nflog,
	&apptap_tier_sockdiag,
	NULL,
};

const struct apptap_tier_ops *apptap_tier_find(const char *name)
{
	for (size_t i = 0; apptap_tiers[i]; i++)
		if (strcmp(apptap_tiers[i]->name, name) == 0)
			return apptap_tiers[i];
	return NULL;
}

static int choose_best(const struct apptap_tier_ops **out, struct apptap_error *err)
{
	struct apptap_error why = { 0 };
	char all[sizeof(err->msg)] = "";
	size_t len = 0;

	for (size_t i = 0; apptap_tiers[i]; i++) {
		/* After the last there is no choice: opening it says as much as probing it. */
		if (!apptap_tiers[i + 1] || apptap_tiers[i]->probe(&why) == 0) {
			*out = apptap_tiers[i];
			return 0;
		}
		len += (size_t)snprintf(all + len, sizeof(all) - len, "%s%s: %.150s",
					len ? "; " : "", apptap_tiers[i]->name, why.msg);
		if (len >= sizeof(all))
			break;
	}
	apptap_error_say(err, ENOTSUP, "no tier works here: %.400s", all);
	if (why.hint[0])
		apptap_error_hint(err, "%s", why.hint);
	return -ENOTSUP;
}

int apptap_tier_choose(const char *name, const struct apptap_tier_ops **out,
		       struct apptap_error *err)
{
	const struct apptap_tier_ops *ops;
	int r;

	if (!name || strcmp(name, "auto") == 0)
		return choose_best(out, err);
	ops = apptap_tier_find(name);
	if (!ops) {
		r = apptap_error_say(err, EINVAL, "there is no tier '%.32s'", name);
		apptap_error_hint(err, "apptap --probe --local lists the tiers");
		return r;
	}
	r = ops->probe(err);
	if (r < 0) {
		apptap_error_wrap(err, r, "tier %s does not work here", name);
		return -ENOTSUP;
	}
	*out = ops;
	return 0;
}
