/* test_sighting.c - the queue between two threads: in order, in time, nothing lost or seen twice */
#include "tier/sighting.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define CAPACITY 8
#define MANY 200000

static int setup(void **state)
{
	struct apptap_sighting_queue *q;

	if (apptap_sighting_queue_new(&q, CAPACITY) < 0)
		return -1;
	*state = q;
	return 0;
}

static int teardown(void **state)
{
	apptap_sighting_queue_free(*state);
	return 0;
}

static bool push(struct apptap_sighting_queue *q, uint64_t n)
{
	struct apptap_sighting s = { .pkt_ns = n, .cookie = n, .uid = 5001 };

	return apptap_sighting_queue_push(q, &s);
}

static void assert_pop(struct apptap_sighting_queue *q, uint64_t n)
{
	struct apptap_sighting s;

	assert_true(apptap_sighting_queue_pop(q, UINT64_MAX, &s));
	assert_int_equal(s.cookie, n);
	assert_int_equal(s.pkt_ns, n);
	assert_int_equal(s.uid, 5001);
}

static void test_first_in_first_out(void **state)
{
	struct apptap_sighting s;

	for (uint64_t round = 0; round < 100; round++) {
		assert_false(apptap_sighting_queue_pop(*state, UINT64_MAX, &s));
		for (uint64_t i = 0; i < CAPACITY; i++)
			assert_true(push(*state, round * 10 + i));
		assert_false(push(*state, 999)); /* full: nothing is overwritten */
		for (uint64_t i = 0; i < CAPACITY - round % 2; i++)
			assert_pop(*state, round * 10 + i);
		if (round % 2)
			assert_pop(*state, round * 10 + CAPACITY - 1);
	}
}

static void test_not_before_its_time(void **state)
{
	struct apptap_sighting s;

	push(*state, 100);
	push(*state, 90); /* waits behind the first */
	assert_false(apptap_sighting_queue_pop(*state, 99, &s));
	assert_true(apptap_sighting_queue_pop(*state, 100, &s));
	assert_true(apptap_sighting_queue_pop(*state, 90, &s));
	assert_false(apptap_sighting_queue_pop(*state, UINT64_MAX, &s));
}

struct shown {
	uint64_t seen[64];
	size_t count;
};

static void show(const struct apptap_sighting *s, void *arg)
{
	struct shown *shown = arg;

	assert_true(shown->count < ARRAY_SIZE(shown->seen));
	shown->seen[shown->count++] = s->cookie;
}

static void test_each_is_shown_once(void **state)
{
	struct shown shown = { .count = 0 };

	for (uint64_t i = 0; i < 5; i++)
		push(*state, i);
	apptap_sighting_queue_scan(*state, show, &shown);
	apptap_sighting_queue_scan(*state, show, &shown);
	assert_int_equal(shown.count, 5);
	push(*state, 5);
	apptap_sighting_queue_scan(*state, show, &shown);
	assert_int_equal(shown.count, 6);
	for (uint64_t i = 0; i < 6; i++) {
		assert_int_equal(shown.seen[i], i);
		assert_pop(*state, i); /* and is still there */
	}
	/* Popped before they were shown: those that are left are. */
	shown.count = 0;
	for (uint64_t i = 10; i < 16; i++)
		push(*state, i);
	for (uint64_t i = 10; i < 14; i++)
		assert_pop(*state, i);
	apptap_sighting_queue_scan(*state, show, &shown);
	assert_int_equal(shown.count, 2);
	assert_int_equal(shown.seen[0], 14);
	assert_int_equal(shown.seen[1], 15);
	/* Also after a whole round of the ring. */
	assert_pop(*state, 14);
	assert_pop(*state, 15);
	for (uint64_t i = 20; i < 41; i++) {
		push(*state, i);
		assert_pop(*state, i);
	}
	push(*state, 50);
	shown.count = 0;
	apptap_sighting_queue_scan(*state, show, &shown);
	assert_int_equal(shown.count, 1);
	assert_int_equal(shown.seen[0], 50);
}

static void *write_many(void *arg)
{
	for (uint64_t i = 1; i <= MANY;)
		if (push(arg, i))
			i++;
		else
			sched_yield();
	return NULL;
}

static void test_two_threads(void **state)
{
	pthread_t writer;
	struct apptap_sighting s;
	uint64_t next = 1;

	assert_int_equal(pthread_create(&writer, NULL, write_many, *state), 0);
	while (next <= MANY) {
		if (!apptap_sighting_queue_pop(*state, UINT64_MAX, &s)) {
			sched_yield();
			continue;
		}
		if (s.cookie != next || s.pkt_ns != next || s.uid != 5001)
			break;
		next++;
	}
	/* Even if it was wrong, the writer comes to its end. */
	while (next <= MANY && s.cookie < MANY)
		if (!apptap_sighting_queue_pop(*state, UINT64_MAX, &s))
			sched_yield();
	pthread_join(writer, NULL);
	assert_int_equal(next, MANY + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_first_in_first_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_before_its_time, setup, teardown),
		cmocka_unit_test_setup_teardown(test_each_is_shown_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_threads, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
