/* tag.c - what tells the things that one capture puts into the kernel from any other's */
#include "tier/tag.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#define LOCK_TRIES 1000
#define LOCK_WAIT_US 1000

void apptap_tag_make(char tag[APPTAP_TAG_BYTES + 1])
{
	auto_close int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	uint32_t v = (uint32_t)apptap_clock_ns(CLOCK_MONOTONIC);

	if (fd >= 0 && read(fd, &v, sizeof(v)) < 0)
		v ^= (uint32_t)getpid();
	snprintf(tag, APPTAP_TAG_BYTES + 1, "%08x", v);
}

bool apptap_tag_parse(const char *text, char tag[APPTAP_TAG_BYTES + 1])
{
	if (strspn(text, "0123456789abcdef") != APPTAP_TAG_BYTES)
		return false;
	memcpy(tag, text, APPTAP_TAG_BYTES);
	tag[APPTAP_TAG_BYTES] = '\0';
	return true;
}

int apptap_tag_hold(const char *what, const char *tag)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int len = snprintf(a.sun_path + 1, sizeof(a.sun_path) - 1, "apptap-%.16s-%.16s", what, tag);
	auto_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int kept;

	if (fd < 0 ||
	    bind(fd, (struct sockaddr *)&a,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len)) < 0)
		return -errno;
	kept = fcntl(fd, F_DUPFD_CLOEXEC, APPTAP_TAG_HELD_MIN);
	return kept < 0 ? -errno : kept;
}

int apptap_tag_lock(const char *what)
{
	int fd = -EADDRINUSE;

	for (int i = 0; i < LOCK_TRIES && fd == -EADDRINUSE; i++) {
		fd = apptap_tag_hold(what, "lock");
		if (fd == -EADDRINUSE)
			usleep(LOCK_WAIT_US);
	}
	return fd;
}

void apptap_tag_unlock(int lock)
{
	if (lock >= 0)
		close(lock);
}
