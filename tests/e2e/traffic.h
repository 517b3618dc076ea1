/* traffic.h - what the workloads share: the job they were given, sockets in its port range, result
 */
#ifndef APPTAP_E2E_TRAFFIC_H
#define APPTAP_E2E_TRAFFIC_H

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "ports.h"

/* How a program may reach a server: over IPv4, over IPv6, or over IPv4 by an AF_INET6 socket. */
enum traffic_variant { V4, V6, MAPPED };

struct traffic_job {
	const char *workload;
	uid_t uid;
	uint16_t lo, hi; /* every socket's local port is in this range: it says who the owner is */
	uint16_t port; /* of the far end, where the workload wants one */
	uint16_t peer; /* first port of the other UID's range */
	unsigned count;
	uint64_t size;
	double seconds;
	uid_t other; /* the second UID of workloads that act as both */
};

struct traffic_result {
	uint64_t flows;
	uint64_t bytes;
	uint64_t failed; /* exchanges without the answer that was due */
	double changed[2]; /* wall clock before and after sockets changed hands, where they do */
};

struct traffic_workload {
	const char *name;
	void (*setup)(void); /* before "ready"; may be NULL */
	void (*go)(void); /* after "go" */
	bool raw; /* keep CAP_NET_RAW over the change of UID */
	bool root; /* changes UIDs by itself */
};

extern struct traffic_job job;
extern struct traffic_result result;
extern const struct traffic_workload traffic_tcp[], traffic_udp[], traffic_odd[];

void traffic_die(const char *what) __attribute__((noreturn));
double traffic_now(void);

/* The address of server @nth (several addresses lead to the same far end), in @v's family. */
socklen_t traffic_server(struct sockaddr_storage *out, enum traffic_variant v, unsigned nth,
			 uint16_t port);
/* Any literal address; a v4 one becomes v4-mapped for MAPPED. */
socklen_t traffic_addr(struct sockaddr_storage *out, enum traffic_variant v, const char *text,
		       uint16_t port);
socklen_t traffic_any(struct sockaddr_storage *out, int family, uint16_t port);

/* A socket whose automatic local port will be in the job's range; answers are waited for 2 s. */
int traffic_socket(enum traffic_variant v, int type, int proto);
/* Bound to that port on all addresses; dies if it cannot be. */
int traffic_bound(int family, int type, int proto, uint16_t port);
int traffic_connect(enum traffic_variant v, int type, int proto, unsigned nth, uint16_t port);
/* Sends @out bytes, waits for @in bytes; counts what happened in result. */
bool traffic_exchange(int fd, size_t out, size_t in);
bool traffic_read_all(int fd, uint64_t want);
void traffic_reset_on_close(int fd);

#endif
