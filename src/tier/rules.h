/* rules.h - rules in the kernel that mark the app's connections and log its packets */
#ifndef APPTAP_TIER_RULES_H
#define APPTAP_TIER_RULES_H

#include "base/error.h"
#include "scope/scope.h"

/*
 * What a rule knew of a packet that it logged, as the last letter of the log's prefix.
 *
 * A connection's mark says which of its ends the app is: one bit for the end that sent the first
 * packet, one for the other, and one for "was the app's once". So loopback, where both ends are
 * here, is told apart too.
 */
enum apptap_rule_class {
	APPTAP_RULE_SENT = 'o', /* a socket of the app's sent it: certain */
	APPTAP_RULE_SENT_MARKED = 'm', /* nobody's socket did, on a connection of the app's */
	APPTAP_RULE_SENT_ASK = 'r', /* nobody's socket did, nor is there a connection to ask */
	APPTAP_RULE_GOT = 'i', /* the kernel has found the app's socket already: certain */
	APPTAP_RULE_GOT_MARKED = 't', /* to the app's end of a connection, which cannot change */
	APPTAP_RULE_GOT_DATAGRAM = 'u', /* to the app's end, whose port may have changed hands */
	APPTAP_RULE_ASK = 'q', /* a first packet from outside: whose port it is must be asked */
	APPTAP_RULE_TAKEN = 'x', /* another owner sends on what was the app's; headers only */
};

#define APPTAP_RULES_TAG_BYTES 8 /* in front of the letter */

struct apptap_rules_config {
	const struct apptap_scope *scope; /* borrowed for the call */
	uint16_t group; /* NFLOG's */
	uint32_t mark; /* three bits, free in every mark that is in use */
	char tag[APPTAP_RULES_TAG_BYTES +
		 1]; /* begins each prefix: tells our packets from others' */
};

struct apptap_rules;

struct apptap_rules_ops {
	const char *name; /* "nftables" */
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
	 * Logs nothing more. @logged: packets that were logged until then, of which some may not
	 * have been delivered.
	 */
	int (*silence)(struct apptap_rules *r, uint64_t *logged, struct apptap_error *err);
	void (*remove)(struct apptap_rules *r); /* NULL is fine */
};

struct apptap_rules {
	const struct apptap_rules_ops *ops;
};

extern const struct apptap_rules_ops apptap_rules_nft;

/* The three bits of @mark, lowest first. */
static inline void apptap_rules_bits(uint32_t mark, uint32_t bits[3])
{
	for (int i = 0; i < 3; i++) {
		bits[i] = mark & -mark;
		mark &= mark - 1;
	}
}

#endif
