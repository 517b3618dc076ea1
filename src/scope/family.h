/* family.h - processes and, where wanted, their descendants, followed; which sockets they hold */
#ifndef APPTAP_SCOPE_FAMILY_H
#define APPTAP_SCOPE_FAMILY_H

#include "scope/scope.h"

struct apptap_family;

/*
 * The process connector speaks in the first network namespace only. To be called while we may still
 * be there; what it opens is taken by apptap_family_new().
 */
void apptap_family_prepare(void);

/*
 * Follows the processes of @scope from now on: by the kernel's word of every fork (the process
 * connector, which needs CAP_NET_ADMIN), else by looking at /proc again and again. NULL in *@out:
 * the scope has none. All calls may come from any thread.
 */
int apptap_family_new(struct apptap_family **out, const struct apptap_scope *scope,
		      struct apptap_error *err);
void apptap_family_free(struct apptap_family *f); /* NULL is fine */

/*
 * Does one of them hold the socket of that inode open? 1, 0, or -ETIME: there are too many
 * descriptors to look through now.
 */
int apptap_family_holds(struct apptap_family *f, uint64_t inode);

bool apptap_family_has(struct apptap_family *f, pid_t pid);

/* Whether forks are told by the kernel: else a child that is gone quickly is missed. */
bool apptap_family_is_told(const struct apptap_family *f);

#endif
