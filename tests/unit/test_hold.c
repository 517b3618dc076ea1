/* test_hold.c - packets wait in order, as copies, and not without bounds */
#include "tier/hold.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define ROOM 65536

static int setup(void **state)
{
	struct apptap_hold *h;

	if (apptap_hold_new(&h, ROOM) < 0)
		return -1;
	*state = h;
	return 0;
}

static int teardown(void **state)
{
	apptap_hold_free(*state); /* with whatever still waits */
	return 0;
}

static bool push(struct apptap_hold *h, const void *bytes, uint32_t len, bool known)
{
	struct apptap_packet pkt = { .data = bytes, .len = len, .wire_len = len + 1, .ts_ns = 5 };
	struct apptap_dissect d = { .sport = 7000 };

	return apptap_hold_push(h, &pkt, &d, 4, known);
}

static void test_first_in_first_out(void **state)
{
	char bytes[4] = "aaa";

	assert_null(apptap_hold_first(*state));
	for (int c = 'a'; c <= 'e'; c++) {
		memset(bytes, c, 3);
		assert_true(push(*state, bytes, 3, c == 'c'));
	}
	memset(bytes, 'z', 3); /* what was pushed is a copy */
	for (int c = 'a'; c <= 'e'; c++) {
		const struct apptap_held *p = apptap_hold_first(*state);

		assert_int_equal(apptap_hold_count(*state), 'e' - c + 1);
		assert_int_equal(p->pkt.data[0], c);
		assert_int_equal(p->pkt.data[2], c);
		assert_int_equal(p->pkt.len, 3);
		assert_int_equal(p->pkt.wire_len, 4);
		assert_int_equal(p->dissect.sport, 7000);
		assert_int_equal(p->first_ns, 4);
		assert_int_equal(p->known, c == 'c');
		assert_false(p->handed_over);
		apptap_hold_pop(*state);
	}
	assert_null(apptap_hold_first(*state));
	assert_int_equal(apptap_hold_count(*state), 0);
	assert_true(push(*state, "", 0, false)); /* empty, and used again */
	assert_non_null(apptap_hold_first(*state));
}

static size_t fill(struct apptap_hold *h, bool known)
{
	static const uint8_t bytes[1000];
	size_t n = 0;

	while (push(h, bytes, sizeof(bytes), known))
		n++;
	return n;
}

/* Those who may pass the others by leave half of the room to those who must wait. */
static void test_bounded(void **state)
{
	size_t known, waiting;

	known = fill(*state, true);
	assert_in_range(known, ROOM / 2 / 2000, ROOM / 2 / 1000);
	waiting = fill(*state, false);
	assert_in_range(waiting, ROOM / 2 / 2000, ROOM / 2 / 1000 + 1);
	assert_int_equal(apptap_hold_count(*state), known + waiting);
	assert_false(push(*state, "x", 1, true));
	/* A place that is left is a place to take. */
	apptap_hold_pop(*state);
	assert_int_equal(fill(*state, false), 1);
	while (apptap_hold_count(*state))
		apptap_hold_pop(*state);
	assert_int_equal(fill(*state, false), known + waiting);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_first_in_first_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bounded, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
