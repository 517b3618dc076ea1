/* members.h - is a socket the app's by its cgroup or process? Asked from any thread */
#ifndef APPTAP_SCOPE_MEMBERS_H
#define APPTAP_SCOPE_MEMBERS_H

#include "scope/scope.h"

struct apptap_members;

enum apptap_member {
	APPTAP_MEMBER_BY_UID, /* nothing but its UID says whose it is */
	APPTAP_MEMBER_IN, /* the app's, whatever its UID */
	APPTAP_MEMBER_OUT, /* not the app's, unless its UID says so */
	APPTAP_MEMBER_UNSURE, /* its cgroup was removed before anybody asked */
};

/* @scope's cgroups and processes are copied. NULL in *@out: it has neither. */
int apptap_members_new(struct apptap_members **out, const struct apptap_scope *scope,
		       struct apptap_error *err);
void apptap_members_free(struct apptap_members *m); /* NULL is fine */

/*
 * Whether cgroup @id is one of the scope's or below one. Found out once an id, in some 10 us, while
 * the cgroup is there; remembered after that. A cgroup that takes the path of one of the scope's
 * (a service that was started again) counts as that one.
 */
enum apptap_member apptap_members_cgroup(struct apptap_members *m, uint64_t id);

/*
 * Whether one of the scope's processes, or of their descendants where they count, holds the socket
 * open. Found out when @cookie is first asked for, in some 20 us a process; that is remembered: a
 * socket that is passed on later stays whose it was. @inode 0: it is not open, or not yet.
 */
enum apptap_member apptap_members_socket(struct apptap_members *m, uint64_t cookie, uint64_t inode);

bool apptap_members_by_cgroup(const struct apptap_members *m);
bool apptap_members_by_process(const struct apptap_members *m);
bool apptap_members_is_told(const struct apptap_members *m); /* family.h */

/*
 * The same of a socket of which only the inode is known: does a process in one of the cgroups,
 * or one of the processes, hold it? Reads their descriptors, for some milliseconds at most; UNSURE
 * if that was not enough.
 */
enum apptap_member apptap_members_inode(struct apptap_members *m, uint64_t inode);

/* Whether the process is in one of them now: its next socket will be the app's. @m may be NULL. */
bool apptap_members_process(const struct apptap_members *m, const char *pid);

/* Whether @uid and @member make a socket the app's. */
static inline bool apptap_scope_owns(const struct apptap_scope *s, uid_t uid,
				     enum apptap_member member)
{
	return member == APPTAP_MEMBER_IN || apptap_scope_has(s, uid);
}

#endif
