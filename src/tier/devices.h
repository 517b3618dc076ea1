/* devices.h - what kind of link an interface is, and its own address */
#ifndef APPTAP_TIER_DEVICES_H
#define APPTAP_TIER_DEVICES_H

#include "base/error.h"

struct apptap_device {
	int32_t ifindex;
	uint16_t arphrd;
	uint8_t halen;
	uint8_t haddr[8];
};

struct apptap_devices;

int apptap_devices_open(struct apptap_devices **out, struct apptap_error *err);
void apptap_devices_close(struct apptap_devices *d); /* NULL is fine */

/* Asked of the kernel once, and remembered; an interface that is gone is ARPHRD_VOID. */
const struct apptap_device *apptap_devices_get(struct apptap_devices *d, int32_t ifindex);

#endif
