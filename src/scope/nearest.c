/* nearest.c - of many names, the few that somebody who wrote @wanted may have meant */
#include "scope/nearest.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#include "wire/text.h"

#define COMPARED_MAX 64 /* longer names are compared by their beginning */
#define PART_MIN 3 /* a shorter part of a name says nothing */

/* Ranks; an edit distance is added to EDITED. */
enum { SAME_LETTERS, BEGINNING, PART, EDITED, TOO_FAR = 1000 };

static unsigned letter_differs(char a, char b)
{
	return tolower((unsigned char)a) != tolower((unsigned char)b);
}

/* Insertions, deletions, replacements, and neighbours that changed places (Damerau). */
static unsigned edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	unsigned row[3][COMPARED_MAX + 1];
	unsigned *before = row[0];
	unsigned *above = row[1];
	unsigned *here = row[2];

	for (size_t j = 0; j <= b_len; j++)
		above[j] = before[j] = (unsigned)j;
	for (size_t i = 1; i <= a_len; i++) {
		unsigned *spare = before;

		here[0] = (unsigned)i;
		for (size_t j = 1; j <= b_len; j++) {
			here[j] = above[j - 1] + letter_differs(a[i - 1], b[j - 1]);
			here[j] = MIN(here[j], above[j] + 1);
			here[j] = MIN(here[j], here[j - 1] + 1);
			if (i > 1 && j > 1 && !letter_differs(a[i - 1], b[j - 2]) &&
			    !letter_differs(a[i - 2], b[j - 1]))
				here[j] = MIN(here[j], before[j - 2] + 1);
		}
		before = above;
		above = here;
		here = spare;
	}
	return above[b_len];
}

static unsigned distance(const char *wanted, const char *name)
{
	size_t wanted_len = strnlen(wanted, COMPARED_MAX);
	size_t name_len = strnlen(name, COMPARED_MAX);
	size_t shorter = MIN(wanted_len, name_len);
	unsigned edits;

	if (!shorter)
		return TOO_FAR;
	if (strcasecmp(wanted, name) == 0)
		return SAME_LETTERS;
	if (shorter >= PART_MIN && strncasecmp(wanted, name, shorter) == 0)
		return BEGINNING;
	if (shorter >= PART_MIN && (strcasestr(wanted, name) || strcasestr(name, wanted)))
		return PART;
	edits = edit_distance(wanted, wanted_len, name, name_len);
	return edits <= MAX(wanted_len / 3, (size_t)1) && edits < shorter ? EDITED + edits
									  : TOO_FAR;
}

void apptap_nearest_offer(struct apptap_nearest *n, const char *name)
{
	unsigned far = distance(n->wanted, name);
	char shown[APPTAP_NEAREST_SIZE];
	size_t at;

	if (far == TOO_FAR)
		return;
	apptap_text_clean(shown, sizeof(shown), name);
	for (at = 0; at < n->count; at++)
		if (strcmp(n->near[at].name, shown) == 0)
			return;
	for (at = 0; at < n->count && n->near[at].distance <= far; at++)
		;
	if (at == APPTAP_NEAREST_MAX)
		return;
	if (n->count < APPTAP_NEAREST_MAX)
		n->count++;
	memmove(&n->near[at + 1], &n->near[at], (n->count - 1 - at) * sizeof(n->near[0]));
	memcpy(n->near[at].name, shown, sizeof(shown));
	n->near[at].distance = far;
}

const char *apptap_nearest_list(const struct apptap_nearest *n, char *buf, size_t size)
{
	size_t len = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < n->count; i++) {
		int more =
			snprintf(buf + len, size - len, "%s'%s'", i ? ", " : "", n->near[i].name);

		if (more < 0 || (size_t)more >= size - len) {
			buf[len] = '\0'; /* whole names or none */
			break;
		}
		len += (size_t)more;
	}
	return buf;
}
