/* bpf_reader.h - what becomes of the records: packets kept, held until it is known whose, left out
 */
#ifndef APPTAP_TIER_BPF_READER_H
#define APPTAP_TIER_BPF_READER_H

#include "tier/bpf_ring.h"
#include "tier/links.h"
#include "tier/tier.h"

struct apptap_bpf_reader;

/* @scope, @settings and @links are borrowed and outlive it. */
int apptap_bpf_reader_new(struct apptap_bpf_reader **out, const struct apptap_scope *scope,
			  struct apptap_bpf_settings *settings, const struct apptap_links *links,
			  struct apptap_error *err);
void apptap_bpf_reader_free(struct apptap_bpf_reader *s); /* NULL is fine */

/* What follows hands its packets to @c, and its failures to @err. */
void apptap_bpf_reader_begin(struct apptap_bpf_reader *s, struct apptap_consumer *c,
			     struct apptap_error *err);
int apptap_bpf_reader_take(struct apptap_bpf_reader *s, const struct apptap_bpf_item *item);

/* Hands over what waits, from the front, as far as it is known; ends with a flush. All records up
 * to
 * @now_ns (CLOCK_MONOTONIC) have been taken; UINT64_MAX: nothing more will come. */
int apptap_bpf_reader_pump(struct apptap_bpf_reader *s, uint64_t now_ns);

bool apptap_bpf_reader_holds(const struct apptap_bpf_reader *s); /* packets wait */
bool apptap_bpf_reader_is_asking(const struct apptap_bpf_reader *s); /* it has limits to lift */
void apptap_bpf_reader_counters(const struct apptap_bpf_reader *s,
				struct apptap_tier_counters *out);

#endif
