/* tier.c - the table of tiers, and the choice between them */
#include "tier/tier.h"
#include "tier/lasting.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

const struct apptap_tier_ops *const apptap_tiers[] = {
	&apptap_tier_bpf,
	&apptap_tier_nflog,
	&apptap_tier_sockdiag,
	NULL,
};

void apptap_tier_warn(const struct apptap_tier_config *cfg, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (!cfg->warn)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	cfg->warn(cfg->warn_arg, text);
}

const struct apptap_tier_ops *apptap_tier_find(const char *name)
{
	for (size_t i = 0; apptap_tiers[i]; i++)
		if (strcmp(apptap_tiers[i]->name, name) == 0)
			return apptap_tiers[i];
	return NULL;
}

static int check_scope(const struct apptap_tier_ops *ops, const struct apptap_scope *scope,
		       struct apptap_error *err)
{
	if (scope->cgroup_count && !(ops->scopes & APPTAP_TIER_CGROUPS))
		return apptap_error_say(err, ENOTSUP, "it cannot tell cgroups apart");
	if (scope->process_count && !(ops->scopes & APPTAP_TIER_PROCESSES))
		return apptap_error_say(err, ENOTSUP, "it cannot tell processes of one user apart");
	return 0;
}

static int try_tier(struct apptap_tier **out, const struct apptap_tier_ops *ops,
		    const struct apptap_tier_config *cfg, struct apptap_error *err)
{
	int r = check_scope(ops, cfg->scope, err);

	if (r == 0 && !ops->open_proves)
		r = ops->probe(err);
	if (r >= 0)
		r = ops->open(out, cfg, err);
	if (r >= 0 && ops->may_end)
		r = apptap_tier_make_lasting(out, cfg, err);
	return r;
}

/* What is wrong with the question is wrong for every tier. */
static bool is_final(int r)
{
	return r == 0 || r == -ENODEV || r == -E2BIG;
}

/* Processes are exact in the first alone: who gets less is told, and why. */
static void warn_of_less(const struct apptap_tier_config *cfg, const struct apptap_error *why_not)
{
	if (cfg->scope->process_count && why_not->code)
		apptap_tier_warn(cfg,
				 "processes are told apart less exactly, for the tier %s "
				 "does not work here: %s",
				 apptap_tiers[0]->name, why_not->msg);
}

static int open_best(struct apptap_tier **out, const struct apptap_tier_config *cfg,
		     struct apptap_error *err)
{
	struct apptap_error why = { 0 }, why_not_first = { 0 };
	char all[sizeof(err->msg)] = "";
	size_t len = 0;

	for (size_t i = 0; apptap_tiers[i]; i++) {
		int r;

		why = (struct apptap_error){ 0 };
		/* After the last there is no choice: opening it says as much as probing it. */
		if (apptap_tiers[i + 1]) {
			r = try_tier(out, apptap_tiers[i], cfg, &why);
		} else {
			r = check_scope(apptap_tiers[i], cfg->scope, &why);
			if (r == 0)
				r = apptap_tiers[i]->open(out, cfg, &why);
		}
		if (is_final(r)) {
			if (r < 0)
				*err = why;
			else
				warn_of_less(cfg, &why_not_first);
			return r;
		}
		if (i == 0)
			why_not_first = why;
		if (len < sizeof(all))
			len += (size_t)snprintf(all + len, sizeof(all) - len, "%s%s: %.150s",
						len ? "; " : "", apptap_tiers[i]->name, why.msg);
	}
	apptap_error_say(err, ENOTSUP, "no tier works here: %.400s", all);
	if (why.hint[0])
		apptap_error_hint(err, "%s", why.hint);
	return -ENOTSUP;
}

/* The user named a tier that does not work: the last works nearly everywhere, and does the same. */
static int fall_back(struct apptap_tier **out, const struct apptap_tier_ops *wanted,
		     const struct apptap_tier_config *cfg, struct apptap_error *err)
{
	char text[sizeof(err->msg) + 128];
	struct apptap_error why = *err;
	int r;

	*err = (struct apptap_error){ 0 };
	r = try_tier(out, &apptap_tier_sockdiag, cfg, err);
	if (r < 0) {
		*err = why;
		return apptap_error_wrap(err, -ENOTSUP, "tier %s does not work here", wanted->name);
	}
	snprintf(text, sizeof(text), "tier %s does not work here: %s; capturing with sockdiag",
		 wanted->name, why.msg);
	if (cfg->warn)
		cfg->warn(cfg->warn_arg, text);
	return 0;
}

int apptap_tier_open(struct apptap_tier **out, const char *name,
		     const struct apptap_tier_config *cfg, struct apptap_error *err)
{
	struct apptap_error why = { 0 };
	const struct apptap_tier_ops *ops;
	int r;

	if (!name || strcmp(name, "auto") == 0)
		return open_best(out, cfg, err);
	ops = apptap_tier_find(name);
	if (!ops) {
		r = apptap_error_say(err, EINVAL, "there is no tier '%.32s'", name);
		apptap_error_hint(err, "apptap --probe --local lists the tiers");
		return r;
	}
	r = try_tier(out, ops, cfg, &why);
	if (is_final(r)) {
		*err = why;
		return r;
	}
	*err = why;
	if (ops != &apptap_tier_sockdiag)
		return fall_back(out, ops, cfg, err);
	apptap_error_wrap(err, r, "tier %s does not work here", name);
	return -ENOTSUP;
}
