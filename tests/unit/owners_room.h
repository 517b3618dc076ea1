/* owners_room.h - evidence to order: what the kernel said, and when; and what owners.c makes of it
 */
#ifndef APPTAP_TESTS_UNIT_OWNERS_ROOM_H
#define APPTAP_TESTS_UNIT_OWNERS_ROOM_H

#include "tier/owners.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define APP 5001
#define APP_TOO 5011 /* in scope as well */
#define STRANGER 5002
#define END UINT64_MAX /* as now: the capture ends */
#define NO_PACKET UINT64_MAX /* a question that no packet raised */

/* All times here are microseconds since the test began. */
#define MS(n) ((n)*1000ULL)
#define SEC(n) ((n)*1000000ULL)

struct room {
	struct apptap_scope scope;
	struct apptap_deaths *deaths;
	struct apptap_owners *owners;
};

int room_setup(void **state);
int room_teardown(void **state);
/* The same with a table of @max flows. */
void room_shrink(struct room *r, size_t max);

/* Our port @lport, the peer's @rport; 10.9.0.1 and 10.9.0.2, or fd00::1 and fd00::2. */
struct apptap_flow flow_of(uint8_t proto, uint16_t lport, uint16_t rport);
struct apptap_flow flow6_of(uint8_t proto, uint16_t lport, uint16_t rport);

/* What the kernel says of a flow, and the moments of the packet that raised it and of the answer.
 */
struct word {
	struct apptap_flow flow;
	enum apptap_sight sight;
	uid_t uid;
	uint64_t cookie;
	uint64_t pkt, asked;
	bool wildcard;
	bool outgoing; /* the packet went out */
	const uint32_t *isn; /* of the SYN that raised it; NULL: it was none */
};

struct apptap_sighting sighting_of(const struct word *w);
void say(struct room *r, struct word w);
/* Shorter: @uid owned it, by @cookie, in answer to a packet (or NO_PACKET). */
void say_owned(struct room *r, struct apptap_flow f, uint64_t cookie, uid_t uid, uint64_t pkt,
	       uint64_t asked);
void say_none(struct room *r, struct apptap_flow f, uint64_t asked);
void say_pending(struct room *r, struct apptap_flow f, uid_t uid, uint64_t pkt, uint64_t asked);
void say_orphan(struct room *r, struct apptap_flow f, uint64_t cookie, uint64_t asked);
/* A TCP SYN's answer, and the SYN itself. */
void say_syn(struct room *r, struct apptap_flow f, uint64_t cookie, uid_t uid, uint32_t isn,
	     uint64_t pkt);
void pass_syn(struct room *r, struct apptap_flow f, uint32_t isn, uint64_t at);
/* A destroy event is read. */
void die(struct room *r, struct apptap_flow f, uint64_t cookie, uint64_t at);

enum apptap_verdict judge(struct room *r, struct apptap_flow f, bool outgoing, uint64_t ts,
			  uint64_t now, uid_t *uid);

/* A packet that went out (or came in) at @ts, judged at @now. */
void assert_owner_(struct room *r, struct apptap_flow f, bool outgoing, uint64_t ts, uint64_t now,
		   uid_t uid, const char *file, int line);
void assert_verdict_(struct room *r, struct apptap_flow f, bool outgoing, uint64_t ts, uint64_t now,
		     enum apptap_verdict want, const char *file, int line);
/* Whatever it is taken for, it is not the app's: it was a stranger's. */
void assert_no_leak_(struct room *r, struct apptap_flow f, bool outgoing, uint64_t ts, uint64_t now,
		     const char *file, int line);

#define assert_sent_by(r, f, ts, now, uid) \
	assert_owner_(r, f, true, ts, now, uid, __FILE__, __LINE__)
#define assert_got_by(r, f, ts, now, uid) \
	assert_owner_(r, f, false, ts, now, uid, __FILE__, __LINE__)
#define assert_sent(r, f, ts, now, verdict) \
	assert_verdict_(r, f, true, ts, now, APPTAP_VERDICT_##verdict, __FILE__, __LINE__)
#define assert_got(r, f, ts, now, verdict) \
	assert_verdict_(r, f, false, ts, now, APPTAP_VERDICT_##verdict, __FILE__, __LINE__)
#define assert_sent_no_leak(r, f, ts, now) assert_no_leak_(r, f, true, ts, now, __FILE__, __LINE__)
#define assert_got_no_leak(r, f, ts, now) assert_no_leak_(r, f, false, ts, now, __FILE__, __LINE__)

#define room_test(t) cmocka_unit_test_setup_teardown(t, room_setup, room_teardown)

#endif
