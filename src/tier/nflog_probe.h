/* nflog_probe.h - does the nflog tier work here? Proven by packets of our own */
#ifndef APPTAP_TIER_NFLOG_PROBE_H
#define APPTAP_TIER_NFLOG_PROBE_H

#include "tier/nflog_read.h"
#include "tier/rules.h"

/* 0: it does. Else @err names the piece that is missing. Leaves nothing behind. */
int apptap_nflog_probe(struct apptap_error *err);

/* What that found, "root=yes conntrack=yes ...", in the order in which one rests on the other. */
const char *apptap_nflog_features(void);

/*
 * Who sends a packet of our own, to prove the rules with this tag: another for each, so that no
 * capture takes another's for the app's. APPTAP_UID_NONE: we cannot be him.
 */
uid_t apptap_nflog_prover(const char *tag);

/*
 * The same proof by rules that are to stay, made by @cfg with that prover. What else comes
 * meanwhile is read and thrown away. @delivered: all that came.
 */
int apptap_nflog_prove(struct apptap_nflog_reader *reader, const struct apptap_rules_config *cfg,
		       uint64_t *delivered, struct apptap_error *err);

/* Adds to @err what to try. Return: @r. */
int apptap_nflog_explain(struct apptap_error *err, int r);

#endif
