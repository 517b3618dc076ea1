/* text.h - strings from outside, made fit for a terminal and for JSON */
#ifndef APPTAP_WIRE_TEXT_H
#define APPTAP_WIRE_TEXT_H

#include "base/base.h"

/*
 * Copies @src, cut to @size, as valid UTF-8 in which every control character, every character that
 * turns the direction of writing, and every broken byte is a '?'. Line breaks count as control.
 * Returns @dst. Process and package names are chosen by others: nothing of theirs is printed raw.
 */
char *apptap_text_clean(char *dst, size_t size, const char *src);

#endif
