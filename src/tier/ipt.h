/* ipt.h - iptables and ip6tables: changes in one go, and an end to what is ours */
#ifndef APPTAP_TIER_IPT_H
#define APPTAP_TIER_IPT_H

#include "base/error.h"

#define APPTAP_IPT_PREFIX "APPTAP_" /* begins the name of every chain of ours */
#define APPTAP_IPT_HELD "chains" /* apptap_tag_hold(): somebody looks after them */

enum apptap_ipt_family { APPTAP_IPT_V4, APPTAP_IPT_V6, APPTAP_IPT_FAMILIES };

/* Is the program there, and has the kernel the family? 0, or -errno with @err saying what lacks. */
int apptap_ipt_check(enum apptap_ipt_family family, struct apptap_error *err);

/*
 * Gives the texts (of the table mangle; NULL: none) to iptables-restore --noflush and to
 * ip6tables-restore: all of a text is done, or nothing of it. @held: a descriptor that these
 * programs keep open as long as they can change anything; -1: none.
 */
int apptap_ipt_restore(const char *const text[APPTAP_IPT_FAMILIES], int held,
		       struct apptap_error *err);

/* What iptables-save -t mangle and ip6tables-save say; NULL: nothing. Strings of the caller's. */
void apptap_ipt_save(char *out[APPTAP_IPT_FAMILIES]);
void apptap_ipt_free(char *saved[APPTAP_IPT_FAMILIES]);

/* Was that about nftables? What the legacy program says is about other tables. */
bool apptap_ipt_is_nftables(const char *saved);

/*
 * Writes into @out what removes the chains whose name begins with APPTAP_IPT_PREFIX @tag, and all
 * that leads to them, from what iptables-save said. Return: how many chains there are, -ENOSPC.
 */
int apptap_ipt_removal(const char *saved, const char *tag, char *out, size_t size);

/* Removes those of both families. Return: how many there were; -errno. */
int apptap_ipt_remove(const char *tag, struct apptap_error *err);

/* The bits of a mark that the rules in @saved speak of. */
uint32_t apptap_ipt_marks(const char *saved);

/* Those of iptables' own tables, in a kernel that has some in use: nftables does not list them. */
uint32_t apptap_ipt_legacy_marks(enum apptap_ipt_family family);

/* Removes, of what apptap_ipt_save() said, the chains of captures that nobody looks after any more.
 * Return: chains; -errno. */
int apptap_ipt_heal(char *const saved[APPTAP_IPT_FAMILIES], struct apptap_error *err);

#endif
