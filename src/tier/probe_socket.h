/* probe_socket.h - sockets of a user that nobody is, for packets that prove a tier */
#ifndef APPTAP_TIER_PROBE_SOCKET_H
#define APPTAP_TIER_PROBE_SOCKET_H

#include "base/base.h"

/* A UDP socket over IPv4, owned by @uid; the caller closes it. -1: errno says why. */
int apptap_probe_socket(uid_t uid);

/* Whether this process may make sockets of that user. */
bool apptap_probe_can_be(uid_t uid);

#endif
