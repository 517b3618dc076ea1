/* haste.h - to run before others while that costs them little */
#ifndef APPTAP_TIER_HASTE_H
#define APPTAP_TIER_HASTE_H

#include <stdbool.h>

/*
 * From now on this thread runs before all ordinary ones; or, if not @on, among them, before most.
 * Return: whether it ran before them until now. Where the kernel refuses, nothing changes.
 */
bool apptap_haste(bool on);

#endif
