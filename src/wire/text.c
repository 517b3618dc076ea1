/* text.c - strings from outside, made fit for a terminal and for JSON */
#include "wire/text.h"

/* Length of the UTF-8 character at @s and its code point; 0: broken (overlong, surrogate, cut). */
static size_t decode(const unsigned char *s, uint32_t *code)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t len;

	if (s[0] < 0x80) {
		*code = s[0];
		return 1;
	}
	len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc0 ? 2 : 0;
	if (!len || s[0] > 0xf4)
		return 0;
	*code = s[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80) /* the closing NUL stops us here too */
			return 0;
		*code = *code << 6 | (s[i] & 0x3f);
	}
	if (*code < least[len] || *code > 0x10ffff || (*code >= 0xd800 && *code <= 0xdfff))
		return 0;
	return len;
}

static bool is_printable(uint32_t code)
{
	if (code < 0x20 || (code >= 0x7f && code <= 0x9f))
		return false;
	if (code == 0x061c || code == 0x200e || code == 0x200f) /* marks of direction */
		return false;
	if (code >= 0x2028 && code <= 0x202e) /* line separators, embeddings, overrides */
		return false;
	if (code >= 0x2066 && code <= 0x2069) /* isolates */
		return false;
	return code != 0xfeff;
}

char *apptap_text_clean(char *dst, size_t size, const char *src)
{
	const unsigned char *s = (const unsigned char *)src;
	size_t at = 0;

	if (!size)
		return dst;
	while (*s) {
		uint32_t code;
		size_t len = decode(s, &code);
		bool good = len && is_printable(code);
		size_t out = good ? len : 1;

		if (at + out >= size)
			break;
		if (good)
			memcpy(dst + at, s, len);
		else
			dst[at] = '?';
		at += out;
		s += len ? len : 1;
	}
	dst[at] = '\0';
	return dst;
}
