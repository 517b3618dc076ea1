/* sha256.h - the SHA-256 of bytes (FIPS 180-4): names what is pushed, and proves that it arrived */
#ifndef APPTAP_BASE_SHA256_H
#define APPTAP_BASE_SHA256_H

#include "base/base.h"

#define APPTAP_SHA256_HEX 65 /* with its NUL */

void apptap_sha256_hex(const void *bytes, size_t len, char out[APPTAP_SHA256_HEX]);

#endif
