/* nearest.h - of many names, the few that somebody who wrote @wanted may have meant */
#ifndef APPTAP_SCOPE_NEAREST_H
#define APPTAP_SCOPE_NEAREST_H

#include "base/base.h"

#define APPTAP_NEAREST_MAX 4
#define APPTAP_NEAREST_SIZE 64

struct apptap_nearest {
	const char *wanted; /* borrowed */
	size_t count;
	struct {
		char name[APPTAP_NEAREST_SIZE]; /* fit for display */
		unsigned distance;
	} near[APPTAP_NEAREST_MAX]; /* nearest first, no name twice */
};

/* Keeps @name if it is near enough. */
void apptap_nearest_offer(struct apptap_nearest *n, const char *name);

/* "'firefox', 'firewalld'"; empty when nothing is near. Returns @buf. */
const char *apptap_nearest_list(const struct apptap_nearest *n, char *buf, size_t size);

#endif
