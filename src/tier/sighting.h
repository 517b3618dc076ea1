/* sighting.h - what the kernel said of a flow's socket at one moment, and a queue of such words */
#ifndef APPTAP_TIER_SIGHTING_H
#define APPTAP_TIER_SIGHTING_H

#include "flow/flow.h"
#include "scope/members.h"

enum apptap_sight {
	APPTAP_SIGHT_NONE, /* no socket has this flow */
	APPTAP_SIGHT_OWNED, /* uid owns it */
	APPTAP_SIGHT_PENDING, /* uid's listener has it, nobody has accepted it yet */
	APPTAP_SIGHT_ORPHAN, /* there is one, but the kernel has forgotten whose it was */
};

struct apptap_sighting {
	struct apptap_flow flow;
	uint64_t pkt_ns; /* CLOCK_REALTIME of the packet that raised the question; 0: none did */
	uint64_t asked_ns; /* CLOCK_REALTIME after the answer */
	uint32_t isn; /* the TCP sequence number of that packet, if is_syn */
	uint64_t cookie; /* the socket's, unique until reboot; an inode from /proc/net; 0: none */
	uid_t uid; /* APPTAP_UID_NONE unless OWNED or PENDING */
	enum apptap_sight sight;
	enum apptap_member member; /* what the socket's cgroup says; of OWNED and PENDING */
	bool is_syn;
	bool outgoing; /* that packet was sent by the socket, not to it */
	bool group; /* of a multicast or broadcast address: uid is one of the scope's if any is */
	bool several; /* of one user's raw sockets: any of them may be the flow's */
	bool queued; /* of a datagram socket: something lies in its queue */
	bool wildcard; /* of a datagram socket: it is not connected, any peer's flow is its */
};

/*
 * From one writer thread to one reader thread, without a lock: a writer that runs with real-time
 * priority must never wait for a reader that it has just preempted.
 */
struct apptap_sighting_queue;

int apptap_sighting_queue_new(struct apptap_sighting_queue **out, size_t capacity); /* power of 2 */
bool apptap_sighting_queue_push(struct apptap_sighting_queue *q, const struct apptap_sighting *s);
/* The next one, if its packet passed by @until_ns. */
bool apptap_sighting_queue_pop(struct apptap_sighting_queue *q, uint64_t until_ns,
			       struct apptap_sighting *s);

/* Shows each one once, as soon as it is there, and leaves it in the queue; the reader's call. */
void apptap_sighting_queue_scan(struct apptap_sighting_queue *q,
				void (*each)(const struct apptap_sighting *s, void *arg),
				void *arg);
void apptap_sighting_queue_free(struct apptap_sighting_queue *q);

#endif
