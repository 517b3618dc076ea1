/* clsact_end.h - the end of filters that are ours, and of a clsact that was made for them */
#ifndef APPTAP_TIER_CLSACT_END_H
#define APPTAP_TIER_CLSACT_END_H

#include "tier/tag.h"
#include "tier/tc.h"

#define APPTAP_CLSACT_HELD "filters" /* apptap_tag_hold(): somebody looks after them */
#define APPTAP_CLSACT_LOCK "clsact" /* apptap_tag_lock(): of all changes */

/*
 * A filter's name tells whose it is, by its tag, and whether its clsact was made for it or for one
 * like it. Two changes by captures of ours never mix: this is held while one lasts.
 */
void apptap_clsact_name(char name[APPTAP_TC_NAME_BYTES], const char *tag, uint32_t parent,
			bool made);

/* false: it is none of ours. */
bool apptap_clsact_parse(const struct apptap_tc_filter *f, char tag[APPTAP_TAG_BYTES + 1],
			 bool *made);

enum apptap_clsact_whose { APPTAP_CLSACT_AS_NAMED, APPTAP_CLSACT_OURS, APPTAP_CLSACT_THEIRS };

/* Removes what bears @tag from one interface; the clsact too, if it was made for that and nothing
 * else is in it. To be called with the lock. Return: filters; -errno. */
int apptap_clsact_remove_at(struct apptap_tc *tc, int32_t ifindex, const char *tag,
			    enum apptap_clsact_whose whose, struct apptap_error *err);

/* From all interfaces. Return: filters; -errno. */
int apptap_clsact_remove(const char *tag, struct apptap_error *err);

/* Removes what captures have left that nobody looks after any more. Return: filters; -errno. */
int apptap_clsact_heal(struct apptap_error *err);

#endif
