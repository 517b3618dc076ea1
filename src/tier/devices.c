/* devices.c - what kind of link an interface is, and its own address */
#include "tier/devices.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define DEVICES_MAX 64

struct apptap_devices {
	int inet; /* owned: a socket for ioctl */
	struct apptap_device devices[DEVICES_MAX];
};

int apptap_devices_open(struct apptap_devices **out, struct apptap_error *err)
{
	struct apptap_devices *d = calloc(1, sizeof(*d));

	if (!d)
		return apptap_error_set(err, ENOMEM, "allocating the list of interfaces");
	d->inet = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (d->inet < 0) {
		int code = errno;

		free(d);
		return apptap_error_set(err, code, "opening a socket");
	}
	*out = d;
	return 0;
}

void apptap_devices_close(struct apptap_devices *d)
{
	if (!d)
		return;
	close(d->inet);
	free(d);
}

static void ask(const struct apptap_devices *d, struct apptap_device *device)
{
	struct ifreq req = { .ifr_ifindex = device->ifindex };

	device->arphrd = ARPHRD_VOID;
	device->halen = 0;
	if (ioctl(d->inet, SIOCGIFNAME, &req) < 0 || ioctl(d->inet, SIOCGIFHWADDR, &req) < 0)
		return;
	device->arphrd = req.ifr_hwaddr.sa_family;
	if (device->arphrd != ARPHRD_ETHER && device->arphrd != ARPHRD_LOOPBACK)
		return;
	device->halen = ETH_ALEN;
	memcpy(device->haddr, req.ifr_hwaddr.sa_data, ETH_ALEN);
}

const struct apptap_device *apptap_devices_get(struct apptap_devices *d, int32_t ifindex)
{
	struct apptap_device *device = &d->devices[(uint32_t)ifindex % DEVICES_MAX];

	if (device->ifindex != ifindex) {
		device->ifindex = ifindex;
		ask(d, device);
	}
	return device;
}
