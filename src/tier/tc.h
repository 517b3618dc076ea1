/* tc.h - clsact, the place of tc's filters at an interface, and the filters in it (rtnetlink) */
#ifndef APPTAP_TIER_TC_H
#define APPTAP_TIER_TC_H

#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include "base/nfmsg.h"

#define APPTAP_TC_IN TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)
#define APPTAP_TC_OUT TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)
#define APPTAP_TC_NAME_BYTES 48

struct apptap_tc {
	struct apptap_nl nl; /* owned */
	struct apptap_nfmsg *msg; /* owned: what is being sent */
};

struct apptap_tc_filter {
	int32_t ifindex;
	uint32_t parent; /* APPTAP_TC_IN or APPTAP_TC_OUT */
	uint16_t prio; /* the smallest is first */
	uint16_t proto_be;
	uint32_t handle;
	uint32_t chain; /* 0: where packets begin */
	bool is_bpf;
	char name[APPTAP_TC_NAME_BYTES]; /* of a bpf filter; cut to fit */
};

struct apptap_tc_filters {
	struct apptap_tc_filter *list; /* owned */
	size_t count;
};

int apptap_tc_open(struct apptap_tc *tc, struct apptap_error *err);
void apptap_tc_close(struct apptap_tc *tc);

enum apptap_tc_place { APPTAP_TC_NOTHING, APPTAP_TC_CLSACT, APPTAP_TC_INGRESS_ONLY };

/* What holds filters at an interface. -ENODEV: there is no such interface. */
int apptap_tc_place(struct apptap_tc *tc, int32_t ifindex);

/* The interfaces that have a clsact: an array of the caller's. Return: how many, -errno. */
int apptap_tc_places(struct apptap_tc *tc, int32_t **out, struct apptap_error *err);

/* Adds the filters of one side, in the order in which they see packets. */
int apptap_tc_list(struct apptap_tc *tc, int32_t ifindex, uint32_t parent,
		   struct apptap_tc_filters *to, struct apptap_error *err);

/* What follows is built into one message after apptap_tc_begin(), which apptap_tc_send() hands to
 * the kernel: whatever ends this process, all of it is done or nothing. */
void apptap_tc_begin(struct apptap_tc *tc);
void apptap_tc_add_clsact(struct apptap_tc *tc, int32_t ifindex); /* -EEXIST: it is there */
void apptap_tc_remove_clsact(struct apptap_tc *tc, int32_t ifindex);
void apptap_tc_add(struct apptap_tc *tc, const struct apptap_tc_filter *f, int program);
void apptap_tc_remove(struct apptap_tc *tc, const struct apptap_tc_filter *f);

/* Return: 0, or the first error; what stands behind it in the message is done nevertheless. */
int apptap_tc_send(struct apptap_tc *tc, struct apptap_error *err);

#endif
