/* test_bpf_ring.c - records of the ring, in order of time; room given back; bytes that are none */
#include "tier/bpf_ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <linux/bpf.h>

#define BYTES 4096

/* A ring as the kernel lays it out: its memory twice in a row. */
struct room {
	uint64_t consumer, producer;
	uint8_t data[2 * BYTES] __attribute__((aligned(8)));
	struct apptap_bpf_ring *ring;
};

static int set_up(void **state)
{
	struct room *r = calloc(1, sizeof(*r));

	assert_int_equal(apptap_bpf_ring_over(&r->ring, &r->consumer, &r->producer, r->data, BYTES),
			 0);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct room *r = *state;

	apptap_bpf_ring_close(r->ring);
	free(r);
	return 0;
}

static void put(struct room *r, uint64_t pos, const void *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		/* clang-tidy 14 takes an array of words for bytes that nobody wrote */
		uint8_t byte = ((const uint8_t *)p)[i]; // NOLINT(clang-analyzer-core.*)

		r->data[(pos + i) % BYTES] = byte;
		r->data[BYTES + (pos + i) % BYTES] = byte;
	}
}

/* A packet of one byte, stamped @mono_ns, in a record of @room bytes behind its head. */
static void write_record(struct room *r, uint64_t mono_ns, uint8_t byte, size_t room, uint32_t bits)
{
	struct apptap_bpf_record rec = { .mono_ns = mono_ns, .len = 1, .kind = APPTAP_BPF_OURS };
	uint32_t head[2] = { (uint32_t)(sizeof(rec) + room) | bits, 0 };

	put(r, r->producer, head, sizeof(head));
	put(r, r->producer + sizeof(head), &rec, sizeof(rec));
	put(r, r->producer + sizeof(head) + sizeof(rec), &byte, 1);
	r->producer += (sizeof(head) + sizeof(rec) + room + 7) & ~(uint64_t)7;
}

static void assert_next(struct room *r, uint64_t until_ns, uint8_t byte)
{
	struct apptap_bpf_item item;

	assert_true(apptap_bpf_ring_take(r->ring, until_ns, &item));
	assert_int_equal(item.rec.len, 1);
	assert_int_equal(item.data[0], byte);
}

static void assert_none(struct room *r, uint64_t until_ns)
{
	struct apptap_bpf_item item;

	assert_false(apptap_bpf_ring_take(r->ring, until_ns, &item));
}

static void in_order_of_time(void **state)
{
	struct room *r = *state;

	write_record(r, 30, 'c', 8, 0);
	write_record(r, 10, 'a', 8, 0);
	write_record(r, 20, 'b', 8, 0);
	assert_int_equal(apptap_bpf_ring_look(r->ring), 3);
	assert_next(r, 100, 'a');
	assert_next(r, 100, 'b');
	assert_next(r, 100, 'c');
	assert_none(r, 100);
	apptap_bpf_ring_release(r->ring);
	assert_int_equal(r->consumer, r->producer);
}

/* What is too young waits for an older one that another CPU may still write; its room stays. */
static void the_young_wait(void **state)
{
	struct room *r = *state;
	uint64_t second;

	write_record(r, 10, 'a', 8, 0);
	second = r->producer;
	write_record(r, 50, 'c', 8, 0);
	apptap_bpf_ring_look(r->ring);
	assert_next(r, 40, 'a');
	assert_none(r, 40);
	apptap_bpf_ring_release(r->ring);
	assert_int_equal(r->consumer, second);
	write_record(r, 45, 'b', 8, 0);
	assert_int_equal(apptap_bpf_ring_look(r->ring), 2);
	assert_next(r, 100, 'b');
	apptap_bpf_ring_release(r->ring);
	assert_int_equal(r->consumer, second);
	assert_next(r, 100, 'c');
	apptap_bpf_ring_release(r->ring);
	assert_int_equal(r->consumer, r->producer);
}

static void busy_ends_the_look(void **state)
{
	struct room *r = *state;

	write_record(r, 10, 'a', 8, 0);
	write_record(r, 20, 'b', 8, BPF_RINGBUF_BUSY_BIT);
	write_record(r, 30, 'c', 8, 0);
	assert_int_equal(apptap_bpf_ring_look(r->ring), 1);
	assert_true(apptap_bpf_ring_pending(r->ring));
	assert_next(r, 100, 'a');
	assert_none(r, 100);
}

static void discarded_is_left_out(void **state)
{
	struct room *r = *state;

	write_record(r, 10, 'x', 8, BPF_RINGBUF_DISCARD_BIT);
	write_record(r, 20, 'b', 8, 0);
	assert_int_equal(apptap_bpf_ring_look(r->ring), 1);
	assert_false(apptap_bpf_ring_pending(r->ring));
	assert_next(r, 100, 'b');
	apptap_bpf_ring_release(r->ring);
	assert_int_equal(r->consumer, r->producer);
}

static void round_and_round(void **state)
{
	struct room *r = *state;

	for (unsigned i = 0; i < 1000; i++) {
		write_record(r, i, (uint8_t)i, 40, 0);
		assert_int_equal(apptap_bpf_ring_look(r->ring), 1);
		assert_next(r, i, (uint8_t)i);
		apptap_bpf_ring_release(r->ring);
	}
	assert_int_equal(apptap_bpf_ring_damaged(r->ring), 0);
}

/* A length beyond what the kernel has written: nothing is read there, and it is counted. */
static void too_long_is_damage(void **state)
{
	struct room *r = *state;
	const uint32_t head[2] = { 5000, 0 };

	put(r, 0, head, sizeof(head));
	r->producer = 128;
	assert_int_equal(apptap_bpf_ring_look(r->ring), 0);
	assert_int_equal(apptap_bpf_ring_damaged(r->ring), 1);
	assert_false(apptap_bpf_ring_pending(r->ring));
}

static void parse_checks_lengths(void **state)
{
	struct {
		struct apptap_bpf_record rec;
		uint8_t data[4];
	} b = { .rec = { .len = 4, .kind = APPTAP_BPF_OURS, .halen = 6 } };
	struct apptap_view v = { (uint8_t *)&b, sizeof(b.rec) + 4 };
	struct apptap_bpf_item item;

	(void)state;
	assert_true(apptap_bpf_parse(v, &item));
	b.rec.len = 5;
	assert_false(apptap_bpf_parse(v, &item));
	b.rec.len = UINT32_MAX;
	assert_false(apptap_bpf_parse(v, &item));
	b.rec.len = 4;
	b.rec.halen = 9;
	assert_false(apptap_bpf_parse(v, &item));
	b.rec.halen = 6;
	b.rec.kind = 0;
	assert_false(apptap_bpf_parse(v, &item));
	b.rec.kind = APPTAP_BPF_SETTLED + 1;
	assert_false(apptap_bpf_parse(v, &item));
	b.rec.kind = APPTAP_BPF_SETTLED;
	for (v.left = 0; v.left < sizeof(b.rec); v.left++)
		assert_false(apptap_bpf_parse(v, &item));
}

#define ring_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ring_test(in_order_of_time),
		ring_test(the_young_wait),
		ring_test(busy_ends_the_look),
		ring_test(discarded_is_left_out),
		ring_test(round_and_round),
		ring_test(too_long_is_damage),
		cmocka_unit_test(parse_checks_lengths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
