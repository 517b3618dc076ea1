/* interfaces.c - the interfaces that a capture was told to look at, by their names */
#include "tier/interfaces.h"

#include <errno.h>

int apptap_interfaces_copy(char ***names, size_t *count, const struct apptap_links *l,
			   const struct apptap_tier_config *cfg, struct apptap_error *err)
{
	int r = apptap_links_check(l, cfg->interfaces, cfg->interface_count, err);

	*count = 0;
	if (r < 0)
		return r;
	if (cfg->interface_count > APPTAP_INTERFACES_MAX)
		return apptap_error_say(err, E2BIG, "more than %d interfaces named",
					APPTAP_INTERFACES_MAX);
	*names = calloc(cfg->interface_count + 1, sizeof(**names));
	for (size_t i = 0; *names && i < cfg->interface_count; i++) {
		(*names)[i] = strdup(cfg->interfaces[i]);
		if (!(*names)[i])
			break;
		++*count;
	}
	if (!*names || *count < cfg->interface_count)
		return apptap_error_set(err, ENOMEM, "copying interface names");
	return 0;
}

void apptap_interfaces_free(char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

bool apptap_interfaces_have(char *const *names, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

void apptap_interfaces_gone(const struct apptap_tier_config *cfg, char *const *names, size_t count,
			    const char *name)
{
	if (apptap_interfaces_have(names, count, name))
		apptap_tier_warn(cfg,
				 "interface %s went away; the capture goes on, and follows it if "
				 "it comes back",
				 name);
}
