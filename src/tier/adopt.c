/*
 * adopt.c - sockets of the app that the rules do not know as such, and ports that it has bound
 *
 * How it works. The rules go by who opened a socket. A connection that is older than the rules, or
 * a socket that another user has opened and given to the app (fchown), is found in the socket table
 * only; its connection gets a mark that has all its packets logged and asked about. It goes with
 * the first that the app is seen to send. A bound port of datagrams has no connection yet: what
 * comes to it is asked about too. Looking costs time on a machine with many sockets, so there it is
 * done more rarely.
 */
#include "tier/adopt.h"

#include <errno.h>
#include <netinet/in.h>

#include "base/nfmsg.h"
#include "tier/haste.h"
#include "tier/marks.h"

#define LOOK_NS (100 * APPTAP_NSEC_PER_MSEC)
#define COST_SHARE 100 /* looking takes at most one part in so many */
#define TELL_SHARE 20 /* and telling the rules */
#define KNOWN 4096 /* sockets that need no mark again */
#define PORTS_MAX ((size_t)1000) /* at a time; beyond that: from the first packet sent */
#define PORT_NS (300 * APPTAP_NSEC_PER_SEC) /* the rules forget it after twice that */

struct apptap_adopt {
	const struct apptap_scope *scope; /* borrowed, like the next three */
	struct apptap_diag *diag;
	struct apptap_claims *claims;
	struct apptap_rules *rules;
	struct apptap_nl nl; /* owned */
	uint32_t given;
	uint64_t next_ns; /* CLOCK_MONOTONIC */
	uint64_t known[KNOWN]; /* cookies, by their low bits */
	uint64_t met[KNOWN]; /* the same: looked at once, and not known then */
	bool looked;
	bool again; /* somebody was met whom the rules may only just be showing to us */
	uint64_t told_ns[65536]; /* when the rules were told of the port */
	uint16_t ports[PORTS_MAX]; /* to tell them of now */
	size_t count;
	struct apptap_nfmsg msg;
};

int apptap_adopt_new(struct apptap_adopt **out, const struct apptap_scope *scope,
		     struct apptap_diag *diag, struct apptap_claims *claims,
		     struct apptap_rules *rules, uint32_t given, struct apptap_error *err)
{
	struct apptap_adopt *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return apptap_error_set(err, ENOMEM, "allocating the list of the app's sockets");
	a->scope = scope;
	a->diag = diag;
	a->claims = claims;
	a->rules = rules;
	a->given = given;
	r = apptap_nl_open(&a->nl, NETLINK_NETFILTER, err);
	if (r < 0) {
		free(a);
		return r;
	}
	*out = a;
	return 0;
}

void apptap_adopt_free(struct apptap_adopt *a)
{
	if (!a)
		return;
	apptap_nl_close(&a->nl);
	free(a);
}

static void take_port(struct apptap_adopt *a, uint16_t port, uint64_t now_ns)
{
	if (a->count == PORTS_MAX || (a->told_ns[port] && now_ns - a->told_ns[port] < PORT_NS))
		return;
	a->told_ns[port] = now_ns;
	a->ports[a->count++] = port;
}

static int take_socket(const struct apptap_sighting *found, void *arg)
{
	struct apptap_adopt *a = arg;
	uint64_t *known = &a->known[found->cookie % KNOWN];
	uint64_t *met = &a->met[found->cookie % KNOWN];

	if (found->uid == APPTAP_UID_NONE || !apptap_scope_has(a->scope, found->uid))
		return 0;
	if (found->flow.proto == IPPROTO_UDP) {
		bool young = a->looked && *met != found->cookie;

		apptap_claims_bound(a->claims, found);
		if (a->rules->ops->slow && young)
			*met = found->cookie; /* it may be gone when the rules know of it */
		else
			take_port(a, found->flow.lport, apptap_clock_ns(CLOCK_MONOTONIC));
	}
	if (!found->flow.rport || *known == found->cookie)
		return 0;
	if (apptap_claims_knows(a->claims, &found->flow, found->cookie)) {
		*known = found->cookie;
		return 0;
	}
	/* What the rules have shown of a young one may still be on its way to us. */
	if (a->looked && *met != found->cookie) {
		*met = found->cookie;
		a->again = true;
		return 0;
	}
	*known = found->cookie;
	apptap_marks_put(&a->nl, &a->msg, &found->flow, a->given, a->given);
	return 0;
}

int apptap_adopt_tend(struct apptap_adopt *a, struct apptap_error *err)
{
	uint64_t start_ns = apptap_clock_ns(CLOCK_MONOTONIC), cost_ns, tell_ns;
	bool haste;
	int r;

	if (start_ns < a->next_ns)
		return 0;
	a->count = 0;
	a->again = false;
	haste = apptap_haste(false); /* there may be many sockets */
	cost_ns = apptap_clock_ns(CLOCK_THREAD_CPUTIME_ID);
	r = apptap_diag_dump(a->diag, IPPROTO_UDP, take_socket, a, err);
	if (r == 0)
		r = apptap_diag_dump(a->diag, IPPROTO_TCP, take_socket, a, err);
	apptap_haste(haste);
	a->looked = true;
	cost_ns = apptap_clock_ns(CLOCK_THREAD_CPUTIME_ID) - cost_ns;
	tell_ns = apptap_clock_ns(CLOCK_MONOTONIC);
	if (r == 0)
		r = a->rules->ops->own_ports(a->rules, a->ports, a->count, err);
	tell_ns = apptap_clock_ns(CLOCK_MONOTONIC) - tell_ns;
	a->next_ns = start_ns + LOOK_NS;
	if (!a->again)
		a->next_ns =
			MAX(a->next_ns, start_ns + cost_ns * COST_SHARE + tell_ns * TELL_SHARE);
	return r;
}

int apptap_adopt_rescope(struct apptap_adopt *a, struct apptap_error *err)
{
	a->next_ns = 0;
	a->looked = false;
	return apptap_adopt_tend(a, err);
}
