/* view.h - a window on bytes somebody else owns; every parser reads through one */
#ifndef APPTAP_BASE_VIEW_H
#define APPTAP_BASE_VIEW_H

#include "base/base.h"

struct apptap_view {
	const uint8_t *p;
	size_t left;
};

/* The next @len bytes, and the view moves past them. NULL: fewer are left, nothing moved. */
static inline const void *apptap_view_take(struct apptap_view *v, size_t len)
{
	const uint8_t *p = v->p;

	if (v->left < len)
		return NULL;
	v->p += len;
	v->left -= len;
	return p;
}

/* The next @len bytes, the view stays. NULL: fewer are left. */
static inline const void *apptap_view_peek(const struct apptap_view *v, size_t len)
{
	return v->left < len ? NULL : v->p;
}

/* What stands before the next @end, or else all that is left; the view moves past both. false:
 * nothing is left. */
static inline bool apptap_view_until(struct apptap_view *v, char end, struct apptap_view *out)
{
	const uint8_t *found;

	if (!v->left)
		return false;
	found = memchr(v->p, end, v->left);
	out->p = v->p;
	out->left = found ? (size_t)(found - v->p) : v->left;
	apptap_view_take(v, out->left + (found != NULL));
	return true;
}

static inline uint16_t apptap_get_be16(const void *p)
{
	const uint8_t *b = p;

	return (uint16_t)(b[0] << 8 | b[1]);
}

static inline uint32_t apptap_get_be32(const void *p)
{
	const uint8_t *b = p;

	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static inline uint16_t apptap_get_le16(const void *p)
{
	const uint8_t *b = p;

	return (uint16_t)(b[1] << 8 | b[0]);
}

static inline uint32_t apptap_get_le32(const void *p)
{
	const uint8_t *b = p;

	return (uint32_t)b[3] << 24 | (uint32_t)b[2] << 16 | (uint32_t)b[1] << 8 | b[0];
}

static inline uint64_t apptap_get_le64(const void *p)
{
	return (uint64_t)apptap_get_le32((const uint8_t *)p + 4) << 32 | apptap_get_le32(p);
}

static inline void apptap_put_le16(void *p, uint16_t v)
{
	uint8_t *b = p;

	b[0] = (uint8_t)v;
	b[1] = (uint8_t)(v >> 8);
}

static inline void apptap_put_le32(void *p, uint32_t v)
{
	apptap_put_le16(p, (uint16_t)v);
	apptap_put_le16((uint8_t *)p + 2, (uint16_t)(v >> 16));
}

static inline void apptap_put_le64(void *p, uint64_t v)
{
	apptap_put_le32(p, (uint32_t)v);
	apptap_put_le32((uint8_t *)p + 4, (uint32_t)(v >> 32));
}

static inline void apptap_put_be16(void *p, uint16_t v)
{
	uint8_t *b = p;

	b[0] = (uint8_t)(v >> 8);
	b[1] = (uint8_t)v;
}

static inline void apptap_put_be32(void *p, uint32_t v)
{
	apptap_put_be16(p, (uint16_t)(v >> 16));
	apptap_put_be16((uint8_t *)p + 2, (uint16_t)v);
}

#endif
