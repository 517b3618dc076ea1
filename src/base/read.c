/* read.c - the bytes of a descriptor, however many reads they take */
#include "base/base.h"

#include <errno.h>

ssize_t apptap_read_full(int fd, void *buf, size_t size)
{
	size_t at = 0;

	while (at < size) {
		ssize_t n = read(fd, (uint8_t *)buf + at, size - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		at += (size_t)n;
	}
	return (ssize_t)at;
}
