/* test_direct.c - large writes past the page cache: the same bytes, and what they do to it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>

#include "file/direct.h"
#include "sink_room.h"

#define PIECE (900u * 1024 + 100)

static uint8_t bytes[3 * PIECE];

/* On a disk: where the tests are built. It has no name. */
static int disk_file(void)
{
	return open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

/* Pages of the file that are in the page cache. */
static size_t pages_cached(int fd, size_t len)
{
	size_t pages = (len + 4095) / 4096, n = 0;
	uint8_t in[sizeof(bytes) / 4096 + 1];
	void *map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);

	assert_true(map != MAP_FAILED && pages <= sizeof(in));
	assert_int_equal(mincore(map, len, in), 0);
	munmap(map, len);
	for (size_t i = 0; i < pages; i++)
		n += in[i] & 1;
	return n;
}

static void check_piece(struct apptap_direct *d, int fd, size_t from, size_t len)
{
	struct iovec v[3] = { { bytes + from, 1 },
			      { bytes + from + 1, 4096 },
			      { bytes + from + 4097, len - 4097 } };
	uint64_t written;

	assert_true(apptap_direct_wants(d, len));
	assert_int_equal(apptap_direct_write(d, v, 3, &written), 0);
	assert_int_equal(written, len);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), from + len);
}

static void test_passes_by_the_page_cache(void **state)
{
	static const size_t odd[] = { 0, 1, 4095, 4096, 24 };

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = pattern[i % 65521];
	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		auto_close int fd = disk_file();
		struct apptap_direct *d = apptap_direct_open(fd);
		size_t len = 0;

		assert_int_equal(write(fd, bytes, odd[i]), odd[i]);
		for (len = odd[i]; len < odd[i] + 2 * PIECE; len += PIECE)
			check_piece(d, fd, len, PIECE);
		assert_in_range(pages_cached(fd, len), 1, 8); /* heads and tails */
		assert_int_equal(pread(fd, got, sizeof(got), 0), len);
		assert_memory_equal(got, bytes, len);
		apptap_direct_close(d);
	}
}

/* What is too little or too much, and a file system that has no such writes. */
static void test_is_not_for_all(void **state)
{
	auto_close int fd = disk_file(), memory = memfd_create("direct", MFD_CLOEXEC);
	struct apptap_direct *d = apptap_direct_open(fd);

	(void)state;
	assert_false(apptap_direct_wants(d, APPTAP_DIRECT_MIN - 1));
	assert_false(apptap_direct_wants(d, APPTAP_DIRECT_MAX));
	apptap_direct_close(d);
	assert_null(apptap_direct_open(memory));
}

/* A disk that cannot keep up; then one on which the page cache takes longer. */
static void test_the_quicker_way(void **state)
{
	const uint64_t ms = APPTAP_NSEC_PER_MSEC;
	auto_close int fd = disk_file();
	struct apptap_direct *d = apptap_direct_open(fd);
	uint64_t now_ns = apptap_clock_ns(CLOCK_MONOTONIC);

	(void)state;
	apptap_direct_note(d, true, 32u << 20, now_ns - 60 * ms, 10 * ms);
	assert_true(apptap_direct_wants(d, PIECE)); /* busy, but what is written is fresh */
	apptap_direct_note(d, true, 32u << 20, now_ns - 60 * ms, 50 * ms);
	assert_false(apptap_direct_wants(d, PIECE));
	apptap_direct_note(d, false, 32u << 20, apptap_clock_ns(CLOCK_MONOTONIC), 50 * ms);
	assert_false(apptap_direct_wants(d, PIECE)); /* quick: it stays */
	now_ns = apptap_clock_ns(CLOCK_MONOTONIC);
	while (apptap_clock_ns(CLOCK_MONOTONIC) < now_ns + 60 * ms)
		;
	apptap_direct_note(d, false, 1000, now_ns, 50 * ms);
	assert_true(apptap_direct_wants(d, PIECE));
	apptap_direct_close(d);
}

/* The same capture as one that is written to memory. */
static void test_a_capture(void **state)
{
	(void)state;
	for (int format = APPTAP_FORMAT_PCAP; format <= APPTAP_FORMAT_PCAPNG; format++) {
		size_t len = make_reference((enum apptap_format)format, 100, true), cached;
		auto_close int fd = disk_file();
		struct apptap_sink *s = open_sink(fd, (enum apptap_format)format);

		assert_in_range(len, 3u << 20, sizeof(got) - 1);
		assert_int_equal(write_packets(s, 100, 100, true), 0);
		cached = pages_cached(fd, MIN(len, sizeof(bytes)));
		assert_in_range(cached, 1, 20);
		apptap_sink_free(s);
		check_reference(fd, len);
	}
}

/* Where no more goes, it ends with a whole packet. */
static void test_a_size_limit(void **state)
{
	size_t len = make_reference(APPTAP_FORMAT_PCAPNG, 100, true);

	(void)state;
	for (size_t limit = 300000; limit < len; limit += 234567) {
		auto_close int fd = disk_file();
		struct apptap_sink *s = open_sink(fd, APPTAP_FORMAT_PCAPNG);

		limit_size(limit);
		assert_int_equal(write_packets(s, 100, 100, true), -EFBIG);
		check_cut(s, fd, EFBIG, limit, true, 0, len);
		apptap_sink_free(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_passes_by_the_page_cache),
		cmocka_unit_test(test_is_not_for_all),
		cmocka_unit_test(test_the_quicker_way),
		cmocka_unit_test(test_a_capture),
		cmocka_unit_test(test_a_size_limit),
	};
	auto_close int fd = disk_file();
	struct apptap_direct *d = fd >= 0 ? apptap_direct_open(fd) : NULL;

	if (!d) {
		printf("1..0 # SKIP the file system here has no writes past the page cache\n");
		return 0;
	}
	apptap_direct_close(d);
	signal(SIGXFSZ, SIG_IGN);
	sink_room_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
