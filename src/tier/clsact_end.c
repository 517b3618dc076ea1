/* clsact_end.c - the end of filters that are ours, and of a clsact that was made for them */
#include "tier/clsact_end.h"

#include <errno.h>
#include <stdio.h>

#define PREFIX "apptap-"
#define MADE "-clsact"

void apptap_clsact_name(char name[APPTAP_TC_NAME_BYTES], const char *tag, uint32_t parent,
			bool made)
{
	snprintf(name, APPTAP_TC_NAME_BYTES, PREFIX "%.8s-%s%s", tag,
		 parent == APPTAP_TC_OUT ? "out" : "in", made ? MADE : "");
}

bool apptap_clsact_parse(const struct apptap_tc_filter *f, char tag[APPTAP_TAG_BYTES + 1],
			 bool *made)
{
	const char *rest = f->name + strlen(PREFIX);

	if (!f->is_bpf || strncmp(f->name, PREFIX, strlen(PREFIX)) != 0 ||
	    !apptap_tag_parse(rest, tag) || rest[APPTAP_TAG_BYTES] != '-')
		return false;
	*made = strstr(rest, MADE) != NULL;
	return true;
}

static int list_both(struct apptap_tc *tc, int32_t ifindex, struct apptap_tc_filters *all,
		     struct apptap_error *err)
{
	int r = apptap_tc_list(tc, ifindex, APPTAP_TC_OUT, all, err);

	return r < 0 ? r : apptap_tc_list(tc, ifindex, APPTAP_TC_IN, all, err);
}

/* Nobody is in it: it goes, if it was made for one of ours. What others put there since we have
 * looked would go with it: so nothing stands between the two. */
static int remove_clsact(struct apptap_tc *tc, int32_t ifindex, struct apptap_error *err)
{
	struct apptap_tc_filters all = { 0 };
	int r = list_both(tc, ifindex, &all, err);

	free(all.list);
	if (r < 0 || all.count)
		return r;
	apptap_tc_begin(tc);
	apptap_tc_remove_clsact(tc, ifindex);
	return apptap_tc_send(tc, err);
}

int apptap_clsact_remove_at(struct apptap_tc *tc, int32_t ifindex, const char *tag,
			    enum apptap_clsact_whose whose, struct apptap_error *err)
{
	struct apptap_tc_filters all = { 0 };
	bool ours = whose == APPTAP_CLSACT_OURS;
	int count = 0, r = list_both(tc, ifindex, &all, err);
	auto_free struct apptap_tc_filter *list = all.list;

	apptap_tc_begin(tc);
	for (size_t i = 0; r == 0 && i < all.count; i++) {
		char found[APPTAP_TAG_BYTES + 1];
		bool made;

		if (!apptap_clsact_parse(&list[i], found, &made) || strcmp(found, tag) != 0)
			continue;
		apptap_tc_remove(tc, &list[i]);
		ours |= made && whose == APPTAP_CLSACT_AS_NAMED;
		count++;
	}
	if (r == 0 && count)
		r = apptap_tc_send(tc, err);
	if (r == 0 && ours)
		r = remove_clsact(tc, ifindex, err);
	return r < 0 ? r : count;
}

/* Calls for every interface that has a clsact, with the lock. */
static int sweep(int (*at)(struct apptap_tc *tc, int32_t ifindex, const char *tag,
			   struct apptap_error *err),
		 const char *tag, struct apptap_error *err)
{
	auto_free int32_t *places = NULL;
	struct apptap_tc tc;
	int total = 0, failed = 0, count, lock, r;

	r = apptap_tc_open(&tc, err);
	if (r < 0)
		return r;
	lock = apptap_tag_lock(APPTAP_CLSACT_LOCK);
	count = apptap_tc_places(&tc, &places, err);
	for (int i = 0; i < count; i++) {
		r = at(&tc, places[i], tag, err);
		failed = r < 0 ? r : failed;
		total += MAX(r, 0);
	}
	apptap_tc_close(&tc);
	apptap_tag_unlock(lock);
	return count < 0 ? count : failed ? failed : total;
}

static int remove_known(struct apptap_tc *tc, int32_t ifindex, const char *tag,
			struct apptap_error *err)
{
	return apptap_clsact_remove_at(tc, ifindex, tag, APPTAP_CLSACT_AS_NAMED, err);
}

int apptap_clsact_remove(const char *tag, struct apptap_error *err)
{
	return sweep(remove_known, tag, err);
}

static int remove_orphans(struct apptap_tc *tc, int32_t ifindex, const char *tag,
			  struct apptap_error *err)
{
	struct apptap_tc_filters all = { 0 };
	int total = 0, r = list_both(tc, ifindex, &all, err);
	auto_free struct apptap_tc_filter *list = all.list;

	(void)tag;
	for (size_t i = 0; r >= 0 && i < all.count; i++) {
		char whose[APPTAP_TAG_BYTES + 1];
		auto_close int held = -1;
		bool made;

		if (!apptap_clsact_parse(&list[i], whose, &made))
			continue;
		held = apptap_tag_hold(APPTAP_CLSACT_HELD, whose);
		if (held < 0)
			continue; /* somebody looks after it */
		r = apptap_clsact_remove_at(tc, ifindex, whose, APPTAP_CLSACT_AS_NAMED, err);
		total += MAX(r, 0);
	}
	return r < 0 ? r : total;
}

int apptap_clsact_heal(struct apptap_error *err)
{
	return sweep(remove_orphans, NULL, err);
}
