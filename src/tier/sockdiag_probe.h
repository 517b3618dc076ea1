/* sockdiag_probe.h - does the sockdiag tier work here? Proven by a packet of our own */
#ifndef APPTAP_TIER_SOCKDIAG_PROBE_H
#define APPTAP_TIER_SOCKDIAG_PROBE_H

#include "base/error.h"

int apptap_sockdiag_probe(struct apptap_error *err);

#endif
