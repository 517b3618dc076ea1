/* room.h - has conntrack room for the connections of this machine? */
#ifndef APPTAP_TIER_ROOM_H
#define APPTAP_TIER_ROOM_H

#include "base/error.h"

/*
 * Rules that speak of connections have the kernel track all of them, and drop new ones, anybody's,
 * when its table is full. -EBUSY: it may be before long.
 */
int apptap_room_check(struct apptap_error *err);

#endif
