/* net.h - a network namespace of the test's own, and sockets of any user in it */
#ifndef APPTAP_TESTS_UNIT_NET_H
#define APPTAP_TESTS_UNIT_NET_H

#include "base/base.h"

#define NET_A "10.9.0.1" /* on va */
#define NET_B "10.9.0.2" /* on vb, the other end of the pair */
#define NET_B_MAC "\x02\x00\x00\x00\x00\x02"

/* Group set-up: enters it, loopback up. Without root it stays where it is, and need_own() skips. */
int net_enter(void **state);
int net_leave(void **state);
void net_need_own(void);

/* ip(8) with these arguments; the test fails when it does. */
void net_ip(const char *args);
void net_cable(void); /* va and vb, a veth pair, both here; on return they carry packets */
void net_veth(void); /* the same with addresses */

/* All of these fail the test when they cannot do it. */
int net_socket(uid_t uid, int type, const char *addr, uint16_t port); /* bound; TCP listens */
int net_connected(uid_t uid, int type, const char *addr, uint16_t port);
int net_accept(uid_t uid, int listener);
void net_close_acked(int fd); /* TCP's, once its peer has acknowledged the FIN: FIN_WAIT2 */
void net_send(int fd, const char *addr, uint16_t port); /* a datagram from an unconnected socket */
uint16_t net_port(int fd);
uint64_t net_cookie(int fd);
bool net_readable(int fd, int timeout_ms);

#endif
