/* lab.h - what the kernel tests share: TAP output, a private network, questions to SOCK_DIAG */
#ifndef APPTAP_TESTS_KERNEL_LAB_H
#define APPTAP_TESTS_KERNEL_LAB_H

#include <arpa/inet.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>

#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

enum { LAB_APP = 5001, LAB_BYSTANDER = 5002 }; /* UIDs; no such users need to exist */

/* --- TAP */

void tap_ok(bool ok, const char *fmt, ...) PRINTF(2, 3);
void tap_skip(const char *name, const char *why);
void tap_diag(const char *fmt, ...) PRINTF(1, 2);
int tap_done(void); /* prints the plan; the exit status of main() */
_Noreturn void tap_skip_all(const char *why);
/* A step that is not the subject of the test failed; says strerror(errno) and ends the test. */
_Noreturn void tap_bail(const char *fmt, ...) PRINTF(1, 2);

/* --- a private network */

/* This process goes into a network namespace of its own, loopback up. Skips all when not root. */
void lab_enter(void);
/* Runs a command, bails out when it fails. */
void lab_run(const char *fmt, ...) PRINTF(1, 2);
/* va (10.9.0.1/24) here, vb (10.9.0.2/24) in a second namespace, which dies with this process. */
void lab_veth(void);
uint64_t lab_now_ns(clockid_t clock);

/* --- sockets: each bails out rather than fail */

union lab_addr {
	struct sockaddr sa;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

union lab_addr lab_addr(const char *text, uint16_t port); /* "127.0.0.1", "::1", "::ffff:1.2.3.4" */
uint16_t lab_port(const union lab_addr *a);
/* A socket that belongs to @uid. */
int lab_socket(uid_t uid, int family, int type, int proto);
int lab_bound(uid_t uid, int type, const char *addr, uint16_t port);
int lab_connected(uid_t uid, int type, const union lab_addr *remote);
int lab_listener(uid_t uid, const char *addr, union lab_addr *bound);
int lab_accept(uid_t uid, int listener);
union lab_addr lab_sockname(int fd);
uint32_t lab_inode(int fd);
/* AF_PACKET, SOCK_DGRAM, all protocols, all interfaces; reads time out after two seconds. */
int lab_tap(void);

/* So many sockets of the app's, one behind the other, send a datagram each and close. */
void lab_send_and_close(const char *to, uint16_t port, int sockets);
/* A SCHED_FIFO thread bound to @cpu. Skips all where that is not allowed. */
void lab_reader(pthread_t *thread, int cpu, void *(*run)(void *arg), void *arg);

/* --- questions to SOCK_DIAG */

struct lab_sock {
	uint32_t uid;
	uint32_t inode;
	uint32_t rqueue; /* bytes that wait to be read */
	uint64_t cookie;
	uint8_t family;
	uint8_t state;
	uint16_t sport, dport; /* host order */
	uint32_t src[4], dst[4]; /* network order */
};

int lab_diag_open(void);

/*
 * Exact lookup, addresses as they are put into idiag_src and idiag_dst; asked as the family of
 * @src. Returns 0 or -errno: what the kernel said.
 */
int lab_exact(int nl, int proto, const union lab_addr *src, const union lab_addr *dst,
	      struct lab_sock *out);

/* The lookup as a tap would do it, for the socket at @local: straight for TCP, swapped for UDP. */
int lab_owner(int nl, int proto, const union lab_addr *local, const union lab_addr *remote,
	      struct lab_sock *out);

/* Dumps @family and says whether the socket with @inode is listed there. */
bool lab_dumped(int nl, int proto, int family, uint32_t inode, struct lab_sock *out);

/* Fills @out from a message of SOCK_DIAG, of any kind. */
struct nlmsghdr;
bool lab_parse(const struct nlmsghdr *h, struct lab_sock *out);

#endif
