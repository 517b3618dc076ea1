/* adb_devices.h - what `adb devices -l` lists, and which of them is meant */
#ifndef APPTAP_HOST_ADB_DEVICES_H
#define APPTAP_HOST_ADB_DEVICES_H

#include "base/error.h"

struct apptap_adb_device {
	char serial[128];
	char state[32]; /* "device", "offline", "unauthorized", "no permissions", ... */
	char model[64]; /* may be empty */
};

/* Bytes in, structs out: at most @max of them. Return: how many. */
size_t apptap_adb_devices_parse(const char *text, struct apptap_adb_device *out, size_t max);

/*
 * Of @devices the one to use when nobody named one: @out borrows it. -ENODEV, -ENOTUNIQ or -EACCES
 * with a list of them, or what to do about its state.
 */
int apptap_adb_devices_choose(const struct apptap_adb_device *devices, size_t count,
			      const struct apptap_adb_device **out, struct apptap_error *err);

#endif
