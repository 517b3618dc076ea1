/* test_btf.c - where fields are, in a file of our own making; bytes that are no such file */
#include "tier/btf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/btf.h>

/* struct inner { int x; }; typedef struct inner also; struct outer { int a; union { int b; struct
 * inner in; }; unsigned c : 3; } */
struct file {
	struct btf_header h;
	struct {
		struct btf_type t;
		uint32_t bits;
	} number;
	struct {
		struct btf_type t;
		struct btf_member m[1];
	} inner;
	struct {
		struct btf_type t;
		struct btf_member m[2];
	} nameless;
	struct {
		struct btf_type t;
		struct btf_member m[3];
	} outer;
	char strings[48];
};

#define NAMES "\0int\0inner\0x\0outer\0a\0b\0in\0c"
enum { INT = 1, INNER = 5, X = 11, OUTER = 13, A = 19, B = 21, IN = 23, C = 26 };

static struct file make(void)
{
	struct file f = {
		.h = { .magic = BTF_MAGIC, .version = 1, .hdr_len = sizeof(f.h) },
		.number = { .t = { INT, BTF_KIND_INT << 24, { 4 } }, .bits = 32 },
		.inner = { .t = { INNER, BTF_KIND_STRUCT << 24 | 1, { 4 } }, .m = { { X, 1, 0 } } },
		.nameless = { .t = { 0, BTF_KIND_UNION << 24 | 2, { 4 } },
			      .m = { { B, 1, 0 }, { IN, 2, 0 } } },
		.outer = { .t = { OUTER, 1U << 31 | BTF_KIND_STRUCT << 24 | 3, { 12 } },
			   .m = { { A, 1, 0 }, { 0, 3, 32 }, { C, 1, 3U << 24 | 70 } } },
		.strings = NAMES,
	};

	f.h.type_len = (uint32_t)(offsetof(struct file, strings) - sizeof(f.h));
	f.h.str_off = f.h.type_len;
	f.h.str_len = sizeof(f.strings);
	return f;
}

static int parse(struct apptap_btf **b, const void *bytes, size_t size)
{
	uint8_t *copy = malloc(size + 1);

	memcpy(copy, bytes, size);
	return apptap_btf_parse(b, copy, size);
}

static void fields_are_found(void **state)
{
	struct file f = make();
	struct apptap_btf *b;

	(void)state;
	assert_int_equal(parse(&b, &f, sizeof(f)), 0);
	assert_int_equal(apptap_btf_field(b, "inner", "x"), 0);
	assert_int_equal(apptap_btf_field(b, "outer", "a"), 0);
	assert_int_equal(apptap_btf_field(b, "outer", "b"), 32);
	assert_int_equal(apptap_btf_field(b, "outer", "in"), 32);
	assert_int_equal(apptap_btf_field(b, "outer", "in.x"), 32);
	assert_int_equal(apptap_btf_field(b, "outer", "c"), 70);
	assert_int_equal(apptap_btf_field(b, "outer", "x"), -ENOENT);
	assert_int_equal(apptap_btf_field(b, "out", "a"), -ENOENT);
	assert_int_equal(apptap_btf_field(b, "int", "a"), -ENOENT);
	assert_int_equal(apptap_btf_struct(b, "inner"), 2);
	assert_int_equal(apptap_btf_struct(b, "outer"), 4);
	assert_int_equal(apptap_btf_struct(b, "outer"), 4);
	assert_int_equal(apptap_btf_struct(b, "int"), 0);
	assert_int_equal(apptap_btf_func(b, "inner"), 0);
	apptap_btf_close(b);
}

/* Cut anywhere, or with any one byte changed: it is refused, or answers something. */
static void damage_is_survived(void **state)
{
	struct file f = make();
	struct apptap_btf *b;

	(void)state;
	for (size_t size = 0; size < sizeof(f); size++)
		if (parse(&b, &f, size) == 0)
			apptap_btf_close(b);
	for (size_t i = 0; i < sizeof(f) * 8; i++) {
		struct file g = f;

		((uint8_t *)&g)[i / 8] ^= (uint8_t)(1 << i % 8);
		if (parse(&b, &g, sizeof(g)) < 0)
			continue;
		apptap_btf_field(b, "outer", "in.x");
		apptap_btf_close(b);
	}
}

/* These have not moved since 4.14. */
static void this_kernels(void **state)
{
	struct apptap_btf *b;

	(void)state;
	if (apptap_btf_open(&b, NULL) < 0)
		skip();
	assert_int_equal(apptap_btf_field(b, "sock_common", "skc_num"), 14 * 8);
	assert_int_equal(apptap_btf_field(b, "sock_common", "skc_family"), 16 * 8);
	assert_int_equal(apptap_btf_field(b, "sock_common", "skc_state"), 18 * 8);
	assert_true(apptap_btf_func(b, "inet_csk_accept") > 0);
	apptap_btf_close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_are_found),
		cmocka_unit_test(damage_is_survived),
		cmocka_unit_test(this_kernels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
