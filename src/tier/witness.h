/* witness.h - ask whose a datagram's socket is on the CPU where its rule has just logged it */
#ifndef APPTAP_TIER_WITNESS_H
#define APPTAP_TIER_WITNESS_H

#include "base/error.h"
#include "tier/rules.h"
#include "tier/sighting.h"

struct apptap_witness;

/* Listens to a group of NFLOG for each CPU. @tag: what the prefixes of our rules begin with. */
int apptap_witness_open(struct apptap_witness **out, const char *tag, struct apptap_error *err);
void apptap_witness_close(struct apptap_witness *w); /* NULL is fine */

/* The groups that the rules are to log to, by CPU. Return: how many. */
size_t apptap_witness_groups(const struct apptap_witness *w, const uint16_t **groups);

/* The next answer; its pkt_ns is the packet's time in the kernel, where it has one. */
bool apptap_witness_pop(struct apptap_witness *w, struct apptap_sighting *s);

uint64_t apptap_witness_asked(const struct apptap_witness *w);

#endif
