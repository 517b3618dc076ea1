/* owners_room.c - evidence to order: what the kernel said, and when; what owners.c makes of it */
#include "owners_room.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define BEGAN_NS 1700000000000000000ULL /* a CLOCK_REALTIME like any other */
#define ANSWER_US 10 /* how long the kernel takes to answer a trigger */

static uint64_t ns(uint64_t us)
{
	return us == END ? UINT64_MAX : BEGAN_NS + us * APPTAP_NSEC_PER_USEC;
}

int room_setup(void **state)
{
	struct room *r = calloc(1, sizeof(*r));

	if (!r || apptap_scope_add(&r->scope, APP, NULL, "app") < 0 ||
	    apptap_scope_add(&r->scope, APP_TOO, NULL, "app too") < 0 ||
	    apptap_deaths_new(&r->deaths) < 0 ||
	    apptap_owners_new(&r->owners, 1024, &r->scope, r->deaths) < 0)
		return -1;
	*state = r;
	return 0;
}

int room_teardown(void **state)
{
	struct room *r = *state;

	apptap_owners_free(r->owners);
	apptap_deaths_free(r->deaths);
	free(r);
	return 0;
}

void room_shrink(struct room *r, size_t max)
{
	apptap_owners_free(r->owners);
	r->owners = NULL;
	assert_int_equal(apptap_owners_new(&r->owners, max, &r->scope, r->deaths), 0);
}

static struct apptap_flow make_flow(uint8_t proto, uint8_t family, const char *local,
				    uint16_t lport, const char *remote, uint16_t rport)
{
	struct apptap_flow f = { .proto = proto, .family = family, .lport = lport, .rport = rport };
	uint8_t b[16];

	assert_int_equal(inet_pton(family, local, b), 1);
	apptap_addr_set(&f.laddr, family, b);
	assert_int_equal(inet_pton(family, remote, b), 1);
	apptap_addr_set(&f.raddr, family, b);
	return f;
}

struct apptap_flow flow_of(uint8_t proto, uint16_t lport, uint16_t rport)
{
	return make_flow(proto, AF_INET, "10.9.0.1", lport, "10.9.0.2", rport);
}

struct apptap_flow flow6_of(uint8_t proto, uint16_t lport, uint16_t rport)
{
	return make_flow(proto, AF_INET6, "fd00::1", lport, "fd00::2", rport);
}

struct apptap_sighting sighting_of(const struct word *w)
{
	return (struct apptap_sighting){
		.flow = w->flow,
		.sight = w->sight,
		.uid = w->uid,
		.cookie = w->cookie,
		.pkt_ns = w->pkt == NO_PACKET ? 0 : ns(w->pkt),
		.asked_ns = ns(w->asked),
		.wildcard = w->wildcard,
		.outgoing = w->outgoing,
		.is_syn = w->isn != NULL,
		.isn = w->isn ? *w->isn : 0,
	};
}

void say(struct room *r, struct word w)
{
	struct apptap_sighting s = sighting_of(&w);

	apptap_owners_see(r->owners, &s);
}

void say_owned(struct room *r, struct apptap_flow f, uint64_t cookie, uid_t uid, uint64_t pkt,
	       uint64_t asked)
{
	say(r, (struct word){ .flow = f,
			      .sight = APPTAP_SIGHT_OWNED,
			      .uid = uid,
			      .cookie = cookie,
			      .pkt = pkt,
			      .asked = asked });
}

void say_none(struct room *r, struct apptap_flow f, uint64_t asked)
{
	say(r, (struct word){ .flow = f,
			      .sight = APPTAP_SIGHT_NONE,
			      .uid = APPTAP_UID_NONE,
			      .pkt = NO_PACKET,
			      .asked = asked });
}

void say_pending(struct room *r, struct apptap_flow f, uid_t uid, uint64_t pkt, uint64_t asked)
{
	say(r, (struct word){ .flow = f,
			      .sight = APPTAP_SIGHT_PENDING,
			      .uid = uid,
			      .pkt = pkt,
			      .asked = asked });
}

void say_orphan(struct room *r, struct apptap_flow f, uint64_t cookie, uint64_t asked)
{
	say(r, (struct word){ .flow = f,
			      .sight = APPTAP_SIGHT_ORPHAN,
			      .uid = APPTAP_UID_NONE,
			      .cookie = cookie,
			      .pkt = NO_PACKET,
			      .asked = asked });
}

void say_syn(struct room *r, struct apptap_flow f, uint64_t cookie, uid_t uid, uint32_t isn,
	     uint64_t pkt)
{
	say(r, (struct word){ .flow = f,
			      .sight = APPTAP_SIGHT_OWNED,
			      .uid = uid,
			      .cookie = cookie,
			      .pkt = pkt,
			      .asked = pkt + ANSWER_US,
			      .isn = &isn });
}

void pass_syn(struct room *r, struct apptap_flow f, uint32_t isn, uint64_t at)
{
	apptap_owners_syn(r->owners, &f, ns(at), isn);
}

void die(struct room *r, struct apptap_flow f, uint64_t cookie, uint64_t at)
{
	apptap_deaths_add(r->deaths, &f, cookie, ns(at));
}

enum apptap_verdict judge(struct room *r, struct apptap_flow f, bool outgoing, uint64_t ts,
			  uint64_t now, uid_t *uid)
{
	struct apptap_owner owner;
	enum apptap_verdict v =
		apptap_owners_judge(r->owners, &f, outgoing, ns(ts), ns(now), &owner);

	*uid = owner.uid;
	return v;
}

static const char *const verdicts[] = {
	[APPTAP_VERDICT_KNOWN] = "KNOWN",     [APPTAP_VERDICT_NOBODY] = "NOBODY",
	[APPTAP_VERDICT_ASK] = "ASK",	      [APPTAP_VERDICT_WAIT] = "WAIT",
	[APPTAP_VERDICT_UNKNOWN] = "UNKNOWN",
};

void assert_owner_(struct room *r, struct apptap_flow f, bool outgoing, uint64_t ts, uint64_t now,
		   uid_t uid, const char *file, int line)
{
	uid_t got;
	enum apptap_verdict v = judge(r, f, outgoing, ts, now, &got);

	if (v == APPTAP_VERDICT_KNOWN && got == uid)
		return;
	print_error("the packet of %u at %llu us is %s %d\n", uid, (unsigned long long)ts,
		    verdicts[v], (int)got);
	_fail(file, line);
}

void assert_verdict_(struct room *r, struct apptap_flow f, bool outgoing, uint64_t ts, uint64_t now,
		     enum apptap_verdict want, const char *file, int line)
{
	uid_t got;
	enum apptap_verdict v = judge(r, f, outgoing, ts, now, &got);

	if (v != want)
		print_error("the packet at %llu us is %s %d, not %s\n", (unsigned long long)ts,
			    verdicts[v], (int)got, verdicts[want]);
	_assert_int_equal(v, want, file, line);
	/* Whoever looks only at the UID must not be misled either. */
	if (v != APPTAP_VERDICT_KNOWN)
		_assert_int_equal(got, APPTAP_UID_NONE, file, line);
}

void assert_no_leak_(struct room *r, struct apptap_flow f, bool outgoing, uint64_t ts, uint64_t now,
		     const char *file, int line)
{
	uid_t got;
	enum apptap_verdict v = judge(r, f, outgoing, ts, now, &got);

	if (v != APPTAP_VERDICT_KNOWN || !apptap_scope_has(&r->scope, got))
		return;
	print_error("LEAK: the stranger's packet at %llu us is taken for %d's\n",
		    (unsigned long long)ts, (int)got);
	_fail(file, line);
}
