/* probe_socket.c - sockets of a user that nobody is, for packets that prove a tier */
#include "tier/probe_socket.h"

#include <sys/fsuid.h>
#include <sys/socket.h>

/* A socket's owner is the file-system user at its making. */
int apptap_probe_socket(uid_t uid)
{
	int was = setfsuid(uid);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	setfsuid((uid_t)was);
	return fd;
}

bool apptap_probe_can_be(uid_t uid)
{
	int was = setfsuid(uid);
	bool done = setfsuid((uid_t)-1) == (int)uid;

	setfsuid((uid_t)was);
	return done;
}
