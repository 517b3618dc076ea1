/* nflog_probe.h - does the nflog tier work here? Proven by packets of our own */
#ifndef APPTAP_TIER_NFLOG_PROBE_H
#define APPTAP_TIER_NFLOG_PROBE_H

#include "base/error.h"

/* 0: it does. Else @err names the piece that is missing. Leaves nothing behind. */
int apptap_nflog_probe(struct apptap_error *err);

/* What that found, "root=yes conntrack=yes ...", in the order in which one rests on the other. */
const char *apptap_nflog_features(void);

#endif
