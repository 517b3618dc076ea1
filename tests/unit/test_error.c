/* test_error.c - what failed, framed on its way up */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"

static void a_frame_stands_in_front(void **state)
{
	struct apptap_error err = { 0 };

	(void)state;
	assert_int_equal(apptap_error_set(&err, EPERM, "opening %s", "x"), -EPERM);
	assert_int_equal(apptap_error_wrap(&err, -EPERM, "looking at %d", 7), -EPERM);
	assert_string_equal(err.msg, "looking at 7: opening x: Operation not permitted");
	assert_int_equal(apptap_error_wrap(NULL, -EPERM, "nothing"), -EPERM);
}

/* A kernel's answer is a number: it must not become an error without a reason, or none at all. */
static void a_bare_number_is_told_in_words(void **state)
{
	struct apptap_error err = { 0 };

	(void)state;
	assert_int_equal(apptap_error_wrap(&err, -ENOENT, "listing the connections"), -ENOENT);
	assert_string_equal(err.msg, "listing the connections: No such file or directory");
	assert_int_equal(err.code, ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_frame_stands_in_front),
		cmocka_unit_test(a_bare_number_is_told_in_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
