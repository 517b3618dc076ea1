/* installed.h - the package while a capture runs: installed anew, it has another UID */
#ifndef APPTAP_SCOPE_INSTALLED_H
#define APPTAP_SCOPE_INSTALLED_H

#include "scope/scope.h"

struct apptap_installed;

/*
 * Watches the package that @target names, whose UIDs are in @scope, which is borrowed and changed
 * by the rescans. @out is NULL where @target is none.
 */
int apptap_installed_new(struct apptap_installed **out, const struct apptap_target *target,
			 struct apptap_scope *scope, apptap_warn_fn warn, void *warn_arg,
			 struct apptap_error *err);

/* To be called as often as one likes: a stat(), as a rule. true: the scope has changed. */
bool apptap_installed_rescan(struct apptap_installed *w);

void apptap_installed_free(struct apptap_installed *w); /* NULL is fine */

#endif
