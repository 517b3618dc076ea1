/* rules.h - rules in the kernel that mark the app's connections and log its packets */
#ifndef APPTAP_TIER_RULES_H
#define APPTAP_TIER_RULES_H

#include "base/error.h"
#include "scope/scope.h"
#include "tier/tag.h"

/*
 * A connection's mark says which of its ends the app is, by a bit for each: so loopback, where both
 * ends are here, is told apart too.
 */
enum apptap_rule_bit {
	APPTAP_BIT_A0, /* the end that sent the first packet */
	APPTAP_BIT_A1, /* the other */
	APPTAP_BIT_TAKEN, /* was the app's once */
	APPTAP_BIT_PENDING, /* from outside, and nobody has accepted it yet */
	APPTAP_BIT_GIVEN, /* opened by one user, given to another: netfilter knows the first */
	APPTAP_BITS,
};

/* What a rule knew of a packet that it logged, as the last letter of the log's prefix. */
enum apptap_rule_class {
	APPTAP_RULE_SENT = 'o', /* a socket of the app's sent it: certain */
	APPTAP_RULE_SENT_MARKED = 'm', /* nobody's socket did, on a connection of the app's */
	APPTAP_RULE_SENT_ASK = 'r', /* nobody's socket did, nor is there a connection to ask */
	APPTAP_RULE_GOT = 'i', /* the kernel has found the app's socket already: certain */
	APPTAP_RULE_GOT_MARKED = 't', /* to the app's end of a connection, which cannot change */
	APPTAP_RULE_GOT_DATAGRAM = 'u', /* to the app's end, whose port may have changed hands */
	APPTAP_RULE_ASK = 'q', /* a first packet from outside: whose port it is must be asked */
	APPTAP_RULE_TAKEN = 'x', /* another owner sends on what was the app's; headers only */
	APPTAP_RULE_PENDING = 'p', /* of a connection from outside that nobody has accepted yet */
	APPTAP_RULE_ACCEPTED = 'd', /* another owner sends on such a one: it is his; headers only */
	APPTAP_RULE_WITNESS = 'w', /* to a witness's group, beside another; headers only */
	APPTAP_RULE_GIVEN = 'g', /* on a connection of which the socket table says whose it is */
};

/* Who waits for it must hear at once: what has been gathered so far goes with it. */
static inline bool apptap_rules_at_once(enum apptap_rule_class class)
{
	return class == APPTAP_RULE_ASK || class == APPTAP_RULE_GOT_DATAGRAM ||
	       class == APPTAP_RULE_TAKEN || class == APPTAP_RULE_ACCEPTED ||
	       class == APPTAP_RULE_WITNESS;
}

/* Of packets that go and of those that come. */
static inline bool apptap_rules_both_ways(enum apptap_rule_class class)
{
	return class == APPTAP_RULE_PENDING || class == APPTAP_RULE_GIVEN;
}

#define APPTAP_RULES_NOTICE_BYTES 64
#define APPTAP_WITNESSES_MAX 256
#define APPTAP_WITNESSED_A_SECOND 20000 /* questions of the witnesses at most */
#define APPTAP_WITNESSED_A_PORT 200 /* a second */
#define APPTAP_DOUBTS_A_SECOND \
	8000 /* asked about while everything is; iptables knows up to 10,000 */

/* Logged for what it tells, not for the file. */
static inline bool apptap_rules_is_notice(enum apptap_rule_class class)
{
	return class == APPTAP_RULE_TAKEN || class == APPTAP_RULE_ACCEPTED;
}

#define APPTAP_RULES_TAG_BYTES APPTAP_TAG_BYTES /* in front of the letter */

struct apptap_rules_config {
	const struct apptap_scope *scope; /* borrowed for the call */
	uint16_t group; /* NFLOG's */
	const uint16_t *witnesses; /* groups too, one a CPU; borrowed for the call */
	size_t witness_count; /* 0: there are none */
	uint32_t mark; /* APPTAP_BITS bits, free in every mark that is in use */
	uid_t prover; /* of packets of our own, over loopback: they count as the app's;
		       * APPTAP_UID_NONE: there are none */
	bool trial; /* for a probe: one family shows what the other would, and nothing is healed */
	char tag[APPTAP_RULES_TAG_BYTES +
		 1]; /* begins each prefix: tells our packets from others' */
};

struct apptap_rules;

struct apptap_rules_ops {
	const char *name; /* "nftables" */
	bool slow; /* a change takes milliseconds, for it runs a program */
	bool clears; /* its end is that of the marks, too */
	/* On return every packet of the scope is marked and logged. All or nothing. */
	int (*install)(struct apptap_rules **out, const struct apptap_rules_config *cfg,
		       struct apptap_error *err);
	/* The scope has changed. */
	int (*update)(struct apptap_rules *r, const struct apptap_scope *scope,
		      struct apptap_error *err);
	/*
	 * UDP ports that the app has bound already: what comes to them is asked about, though on a
	 * connection that is older than the rules. Those it sends from are found by the rules.
	 */
	int (*own_ports)(struct apptap_rules *r, const uint16_t *ports, size_t count,
			 struct apptap_error *err);
	/*
	 * While others take the app's ports: what comes in for any port of UDP is asked about, up
	 * to some thousands a second.
	 */
	int (*doubt)(struct apptap_rules *r, bool all, struct apptap_error *err);
	/* Are they there still? To be called now and then. -ESTALE: somebody has removed them. */
	int (*check)(struct apptap_rules *r, struct apptap_error *err);
	/*
	 * Logs nothing more, or only for a moment. @logged: packets that were logged until then, of
	 * which some may not have been delivered.
	 */
	int (*silence)(struct apptap_rules *r, uint64_t *logged, struct apptap_error *err);
	void (*remove)(struct apptap_rules *r); /* NULL is fine */
};

struct apptap_rules {
	const struct apptap_rules_ops *ops;
};

extern const struct apptap_rules_ops apptap_rules_nft;
extern const struct apptap_rules_ops apptap_rules_ipt;

/* By the first of them that works here. @err: what each says that does not. */
int apptap_rules_install(struct apptap_rules **out, const struct apptap_rules_config *cfg,
			 struct apptap_error *err);

/* The bits of @mark, lowest first. */
static inline void apptap_rules_bits(uint32_t mark, uint32_t bits[APPTAP_BITS])
{
	for (int i = 0; i < APPTAP_BITS; i++) {
		bits[i] = mark & -mark;
		mark &= mark - 1;
	}
}

#endif
