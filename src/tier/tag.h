/* tag.h - what tells the things that one capture puts into the kernel from any other's */
#ifndef APPTAP_TIER_TAG_H
#define APPTAP_TIER_TAG_H

#include "base/base.h"

#define APPTAP_TAG_BYTES 8 /* hexadecimal digits */

/* Of descriptors that hold names: above those under which a new program gets them. */
#define APPTAP_TAG_HELD_MIN 10

void apptap_tag_make(char tag[APPTAP_TAG_BYTES + 1]);

/* Whether eight such digits are at @text, and copies them. */
bool apptap_tag_parse(const char *text, char tag[APPTAP_TAG_BYTES + 1]);

/*
 * Holds a name as long as the descriptor is open, in whichever process of this network namespace:
 * who finds the name free knows that nobody looks after what bears it. @what: "chains"; @tag: may
 * be empty. -EADDRINUSE: somebody does.
 */
int apptap_tag_hold(const char *what, const char *tag);

/*
 * Only one capture of this network namespace at a time. Waits for its holder, but not for ever:
 * then it goes on without. Return: what apptap_tag_unlock() wants.
 */
int apptap_tag_lock(const char *what);
void apptap_tag_unlock(int lock);

#endif
