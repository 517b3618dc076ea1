/* rules.c - the choice between the ways to have rules in the kernel */
#include "tier/rules.h"

#include <errno.h>
#include <stdio.h>

static const struct apptap_rules_ops *const backends[] = { &apptap_rules_nft, &apptap_rules_ipt };

int apptap_rules_install(struct apptap_rules **out, const struct apptap_rules_config *cfg,
			 struct apptap_error *err)
{
	const char *only = secure_getenv("APPTAP_RULES"); /* for tests: the name of one */
	char all[sizeof(err->msg)] = "";
	size_t len = 0;
	int r = -EOPNOTSUPP;

	for (size_t i = 0; i < ARRAY_SIZE(backends); i++) {
		struct apptap_error why = { 0 };

		if (only && strcmp(only, backends[i]->name) != 0)
			continue;
		r = backends[i]->install(out, cfg, &why);
		if (r == 0)
			return 0;
		if (len < sizeof(all))
			len += (size_t)snprintf(all + len, sizeof(all) - len, "%s%s: %.200s",
						len ? "; " : "", backends[i]->name, why.msg);
		if (r == -EPERM || r == -EACCES)
			break; /* the next would hear the same */
	}
	return apptap_error_say(err, -r, "%s", len ? all : "there is no way here to set rules");
}
