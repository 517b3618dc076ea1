/* test_sink_full.c - a capture file where no more goes: full disk, size limit, reader gone */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/view.h"
#include "file/sink.h"

#define CONTENT_MAX (4u << 20)
#define PREFIX 100u /* bytes that others wrote in front of us, where a test wants some */

enum start { AT_ZERO, AT_PREFIX, AT_APPEND, STARTS };

static struct apptap_error err;
static uint8_t pattern[128 * 1024];
static uint8_t got[CONTENT_MAX];
static uint8_t reference[CONTENT_MAX];

static struct apptap_packet nth_packet(uint32_t i, bool large)
{
	uint32_t len = large ? i * 7919u % 70000 : i * 31 % 61;

	return (struct apptap_packet){
		.data = pattern + i % 1000,
		.len = len,
		.wire_len = len,
		.ts_ns = 1700000000000000000ULL + i,
		.ifindex = (int32_t)(i % 3 + 1),
		.protocol = 0x0800,
		.arphrd = 1,
	};
}

static struct apptap_sink *open_sink(int fd, enum apptap_format format)
{
	const struct apptap_sink_config cfg = { .format = format };
	struct apptap_sink *s = NULL;

	assert_int_equal(apptap_sink_open(&s, fd, &cfg, &err), 0);
	return s;
}

/* Writes @count packets, a flush behind every @batch of them; what the first failure returned. */
static int write_packets(struct apptap_sink *s, uint32_t count, uint32_t batch, bool large)
{
	for (uint32_t i = 0; i < count; i++) {
		struct apptap_packet pkt = nth_packet(i, large);
		int r = apptap_sink_packet(s, &pkt, &err);

		if (r == 0 && (i + 1) % batch == 0)
			r = apptap_sink_flush(s, &err);
		if (r < 0)
			return r;
	}
	return apptap_sink_flush(s, &err);
}

static size_t read_whole(int fd, uint8_t *into)
{
	auto_close int again = -1;
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDONLY | O_CLOEXEC);
	n = pread(again, into, CONTENT_MAX, 0);
	assert_true(n >= 0 && n < (ssize_t)CONTENT_MAX);
	return (size_t)n;
}

/* The end of the last whole packet (or of the file header) within @limit; @packets: how many. */
static size_t whole_within(const uint8_t *file, size_t len, size_t limit, bool pcapng,
			   uint64_t *packets)
{
	size_t at = pcapng ? apptap_get_le32(file + 4) : 24;
	size_t safe = at;

	*packets = 0;
	while (at < len) {
		bool packet = !pcapng || apptap_get_le32(file + at) == 6;

		at += pcapng ? apptap_get_le32(file + at + 4) : 16 + apptap_get_le32(file + at + 8);
		assert_true(at <= len); /* the last one is whole */
		if (at > limit)
			break;
		if (!packet)
			continue;
		safe = at;
		++*packets;
	}
	return safe;
}

/* The file as it would be without a limit. */
static size_t make_reference(enum apptap_format format, uint32_t count, bool large)
{
	auto_close int fd = memfd_create("reference", MFD_CLOEXEC);
	struct apptap_sink *s = open_sink(fd, format);

	assert_int_equal(write_packets(s, count, count, large), 0);
	apptap_sink_free(s);
	return read_whole(fd, reference);
}

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

static void limit_size(rlim_t bytes)
{
	struct rlimit limit;

	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* After a failure with @code: the sink refuses, and the file is our reference's whole packets. */
static void check_cut(struct apptap_sink *s, int fd, int code, size_t limit, bool pcapng,
		      size_t before, size_t reference_len)
{
	struct apptap_packet pkt = nth_packet(0, false);
	uint64_t packets;
	size_t safe = whole_within(reference, reference_len, limit, pcapng, &packets);
	size_t len;

	assert_int_equal(err.code, code);
	assert_non_null(strstr(err.msg, " whole packets: "));
	assert_non_null(strstr(err.hint, "the file is valid"));
	limit_size(RLIM_INFINITY); /* there is room again: the sink still refuses */
	memset(&err, 0, sizeof(err));
	assert_int_equal(apptap_sink_packet(s, &pkt, &err), -code);
	assert_int_equal(err.code, code);
	assert_int_equal(apptap_sink_packet(s, &pkt, NULL), -code);
	assert_int_equal(apptap_sink_flush(s, &err), -code);
	assert_int_equal(apptap_sink_finish(s, 1, 2, &err), -code);
	assert_int_equal(apptap_sink_records(s), packets);
	assert_int_equal(apptap_sink_bytes(s), safe);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), before + safe);
	len = read_whole(fd, got);
	assert_int_equal(len, before + safe);
	assert_memory_equal(got, pattern, before);
	assert_memory_equal(got + before, reference, safe);
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

/* A tmpfs of 64 KiB over /tmp, which only we see and which goes with us; false: not allowed here.
 */
static bool mount_small(void)
{
	return unshare(CLONE_NEWNS) == 0 &&
	       mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("tmpfs", "/tmp", "tmpfs", 0, "size=64k,mode=700") == 0;
}

static void test_full_disk(void **state)
{
	static const char path[] = "/tmp/full.pcap";

	(void)state;
	if (!mount_small()) {
		print_message("needs root, to mount a small disk\n");
		skip();
	}
	for (int i = 0; i < 12; i++) {
		enum apptap_format format = (enum apptap_format)(i % 3);
		bool large = i >= 6;
		uint32_t count = large ? 20 : 3000;
		size_t len = make_reference(format, count, large);
		auto_close int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		struct apptap_sink *s = open_sink(fd, format);

		assert_int_equal(write_packets(s, count, i % 2 ? count : 5, large), -ENOSPC);
		check_cut(s, fd, ENOSPC, 64 * 1024, format == APPTAP_FORMAT_PCAPNG, 0, len);
		apptap_sink_free(s);
		assert_int_equal(unlink(path), 0);
	}
	assert_int_equal(umount("/tmp"), 0);
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
		cmocka_unit_test(test_reader_gone),	    cmocka_unit_test(test_not_writable),
		cmocka_unit_test(test_full_disk),
	};

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 2654435761u >> 21 ^ i >> 8);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
