/* test_sink_full.c - a capture file where no more goes: size limit, reader gone, not writable */
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
#include <sys/stat.h>

#include "sink_room.h"

#define PREFIX 100u /* bytes that others wrote in front of us, where a test wants some */

enum start { AT_ZERO, AT_PREFIX, AT_APPEND, STARTS };

static int new_file(enum start start)
{
	auto_close int fd = memfd_create("sink", MFD_CLOEXEC);
	char path[64];

	assert_true(fd >= 0);
	if (start == AT_ZERO)
		return apptap_steal_fd(&fd);
	assert_int_equal(write(fd, pattern, PREFIX), PREFIX);
	if (start == AT_PREFIX)
		return apptap_steal_fd(&fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
}

static void check_limit(enum apptap_format format, enum start start, uint32_t batch, size_t limit,
			bool large, uint32_t count, size_t reference_len)
{
	auto_close int fd = new_file(start);
	size_t before = start == AT_ZERO ? 0 : PREFIX;
	struct apptap_sink *s = open_sink(fd, format);

	limit_size(before + limit);
	assert_int_equal(write_packets(s, count, batch, large), -EFBIG);
	check_cut(s, fd, EFBIG, limit, format == APPTAP_FORMAT_PCAPNG, before, reference_len);
	apptap_sink_free(s);
}

/* Every byte of a few records as the limit: wherever the write stops, the file ends whole. */
static void test_size_limit_small(void **state)
{
	(void)state;
	for (int format = APPTAP_FORMAT_PCAP; format <= APPTAP_FORMAT_PCAPNG; format++) {
		size_t len = make_reference((enum apptap_format)format, 40, false);

		for (int start = 0; start < STARTS; start++)
			for (size_t limit = 120; limit < 700; limit++)
				check_limit((enum apptap_format)format, (enum start)start,
					    limit % 3 ? 40 : 4, limit, false, 40, len);
	}
}

static void test_size_limit_large(void **state)
{
	(void)state;
	for (int format = APPTAP_FORMAT_PCAP; format <= APPTAP_FORMAT_PCAPNG; format++) {
		size_t len = make_reference((enum apptap_format)format, 60, true);

		assert_true(len > 1500000);
		for (size_t limit = 1000; limit < 1500000; limit += 24989)
			check_limit((enum apptap_format)format, AT_ZERO, 60, limit, true, 60, len);
	}
}

static void test_header_does_not_fit(void **state)
{
	(void)state;
	for (int format = APPTAP_FORMAT_PCAP; format <= APPTAP_FORMAT_PCAPNG; format++) {
		const struct apptap_sink_config cfg = { .format = (enum apptap_format)format };
		auto_close int fd = new_file(AT_PREFIX);
		struct apptap_sink *s = NULL;
		int r;

		limit_size(PREFIX + 10);
		r = apptap_sink_open(&s, fd, &cfg, &err);
		limit_size(RLIM_INFINITY);
		assert_int_equal(r, -EFBIG);
		assert_null(s);
		assert_int_equal(read_whole(fd, got), PREFIX);
	}
}

/* Somebody else appends to the file: what is behind our records may be theirs, so nothing is cut.
 */
static void test_shared_file(void **state)
{
	for (int ours_last = 0; ours_last < 2; ours_last++) {
		auto_close int fd = new_file(AT_APPEND);
		struct apptap_sink *s = open_sink(fd, APPTAP_FORMAT_PCAP);
		size_t limit = PREFIX + 24 + 10 * 40 + 10; /* at most 10 packets and their bytes */
		auto_close int other = -1;
		char path[64];

		(void)state;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		other = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
		assert_int_equal(write_packets(s, 2, 1, false), 0);
		assert_int_equal(write(other, pattern, 10), 10);
		limit_size(ours_last ? limit : PREFIX + apptap_sink_bytes(s) + 10);
		assert_int_equal(write_packets(s, 40, 40, false), -EFBIG);
		limit_size(RLIM_INFINITY);
		assert_int_equal(read_whole(fd, got),
				 ours_last ? limit : PREFIX + apptap_sink_bytes(s) + 10);
		assert_int_equal(apptap_sink_records(s) > 2, ours_last);
		assert_int_equal(err.hint[0] != '\0', ours_last); /* it does end in half a packet */
		apptap_sink_free(s);
	}
}

/* The same where the file position is shared: what is behind it is not ours alone. */
static void test_shared_position(void **state)
{
	auto_close int fd = new_file(AT_ZERO);
	struct apptap_sink *s = open_sink(fd, APPTAP_FORMAT_PCAP);

	(void)state;
	assert_int_equal(write_packets(s, 2, 1, false), 0);
	assert_int_equal(write(fd, pattern, 10), 10);
	limit_size(apptap_sink_bytes(s) + 30);
	assert_int_equal(write_packets(s, 40, 40, false), -EFBIG);
	limit_size(RLIM_INFINITY);
	assert_int_equal(read_whole(fd, got), apptap_sink_bytes(s) + 10);
	assert_non_null(strstr(err.hint, "ends in part of a packet"));
	apptap_sink_free(s);
}

static void test_reader_gone(void **state)
{
	struct apptap_packet pkt = nth_packet(1, false);
	struct apptap_sink *s;
	int fd[2];

	(void)state;
	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	s = open_sink(fd[1], APPTAP_FORMAT_PCAPNG);
	assert_int_equal(write_packets(s, 3, 3, false), 0);
	close(fd[0]);
	assert_int_equal(apptap_sink_packet(s, &pkt, &err), 0);
	assert_int_equal(apptap_sink_flush(s, &err), -EPIPE);
	assert_string_equal(err.msg, "the reader closed the stream after 3 whole packets");
	assert_int_equal(apptap_sink_packet(s, &pkt, &err), -EPIPE);
	assert_int_equal(apptap_sink_finish(s, 0, 0, &err), -EPIPE);
	assert_int_equal(apptap_sink_records(s), 3);
	apptap_sink_free(s);
	close(fd[1]);
}

static void test_not_writable(void **state)
{
	const struct apptap_sink_config cfg = { .format = APPTAP_FORMAT_PCAP };
	auto_close int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	auto_close int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	struct apptap_sink *s = NULL;

	(void)state;
	assert_int_equal(apptap_sink_open(&s, null, &cfg, &err), -EBADF);
	assert_int_equal(apptap_sink_open(&s, full, &cfg, &err), -ENOSPC);
	assert_int_equal(apptap_sink_open(&s, -1, &cfg, &err), -EBADF);
	assert_int_equal(apptap_sink_open(&s, -1, &cfg, NULL), -EBADF);
	assert_null(s);
	apptap_sink_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_size_limit_small),    cmocka_unit_test(test_size_limit_large),
		cmocka_unit_test(test_header_does_not_fit), cmocka_unit_test(test_shared_file),
		cmocka_unit_test(test_shared_position),	    cmocka_unit_test(test_reader_gone),
		cmocka_unit_test(test_not_writable),

	};

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	sink_room_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
