/* btf.h - where this kernel keeps the fields of its structs (BTF, /sys/kernel/btf/vmlinux) */
#ifndef APPTAP_TIER_BTF_H
#define APPTAP_TIER_BTF_H

#include "base/error.h"
#include "base/view.h"

struct apptap_btf;

/* -ENOENT: this kernel was built without (CONFIG_DEBUG_INFO_BTF). */
int apptap_btf_open(struct apptap_btf **out, struct apptap_error *err);

/* The same from bytes; takes @data. -EINVAL: they are no BTF. */
int apptap_btf_parse(struct apptap_btf **out, uint8_t *data, size_t size);
void apptap_btf_close(struct apptap_btf *b); /* NULL is fine */

/*
 * Finds @field of struct @type, in structs and unions without a name too; "a.b" goes into a.
 * Return: its offset in bits, -ENOENT: there is no such field.
 */
int64_t apptap_btf_field(const struct apptap_btf *b, const char *type, const char *field);

/* The number of struct @name; 0: there is none. Quick where it was asked for last. */
uint32_t apptap_btf_struct(const struct apptap_btf *b, const char *name);

/* The number of the function @name; 0: there is none. */
uint32_t apptap_btf_func(const struct apptap_btf *b, const char *name);

#endif
