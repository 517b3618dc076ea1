/* sink_room.c - a sink that is running out of room: what it wrote, against what it should have */
#include "sink_room.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define CONTENT_MAX (4u << 20)

struct apptap_error err;
uint8_t pattern[128 * 1024];
uint8_t got[CONTENT_MAX];
static uint8_t reference[CONTENT_MAX];

void sink_room_init(void)
{
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 2654435761u >> 21 ^ i >> 8);
}

struct apptap_packet nth_packet(uint32_t i, bool large)
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

struct apptap_sink *open_sink(int fd, enum apptap_format format)
{
	const struct apptap_sink_config cfg = { .format = format };
	struct apptap_sink *s = NULL;

	assert_int_equal(apptap_sink_open(&s, fd, &cfg, &err), 0);
	return s;
}

/* Writes @count packets, a flush behind every @batch of them; what the first failure returned. */
int write_packets(struct apptap_sink *s, uint32_t count, uint32_t batch, bool large)
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

size_t read_whole(int fd, uint8_t *into)
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
size_t make_reference(enum apptap_format format, uint32_t count, bool large)
{
	auto_close int fd = memfd_create("reference", MFD_CLOEXEC);
	struct apptap_sink *s = open_sink(fd, format);

	assert_int_equal(write_packets(s, count, count, large), 0);
	apptap_sink_free(s);
	return read_whole(fd, reference);
}

void check_reference(int fd, size_t len)
{
	assert_int_equal(read_whole(fd, got), len);
	assert_memory_equal(got, reference, len);
}

void limit_size(rlim_t bytes)
{
	struct rlimit limit;

	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* After a failure with @code: the sink refuses, and the file is our reference's whole packets. */
void check_cut(struct apptap_sink *s, int fd, int code, size_t limit, bool pcapng, size_t before,
	       size_t reference_len)
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
