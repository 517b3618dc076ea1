/* test_sink.c - a capture file byte by byte, on pipes that take little, and on a disk that is full
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/view.h"
#include "file/sink.h"

#define FILE_MAX (16u << 20)

static struct apptap_error err;
static uint8_t pattern[1 << 20]; /* packet bytes; no two places look alike */

struct content { /* a file read back; owned */
	uint8_t *p;
	size_t len;
};

static struct content read_back(int fd)
{
	struct content c = { malloc(FILE_MAX), 0 };
	ssize_t n = pread(fd, c.p, FILE_MAX, 0);

	assert_true(n >= 0);
	c.len = (size_t)n;
	return c;
}

static int new_file(void)
{
	int fd = memfd_create("sink", MFD_CLOEXEC); /* a regular file of tmpfs */

	assert_true(fd >= 0);
	return fd;
}

static struct apptap_sink *open_sink(int fd, enum apptap_format format, uint32_t snaplen)
{
	const struct apptap_sink_config cfg = { .format = format, .snaplen = snaplen };
	struct apptap_sink *s = NULL;

	assert_int_equal(apptap_sink_open(&s, fd, &cfg, &err), 0);
	return s;
}

static struct apptap_packet packet(size_t at, uint32_t len)
{
	return (struct apptap_packet){
		.data = pattern + at,
		.len = len,
		.wire_len = len,
		.ts_ns = 1700000001987654321ULL,
		.ifindex = 2,
		.protocol = 0x0800,
		.arphrd = 1,
		.pkttype = PACKET_OUTGOING,
		.halen = 6,
		.haddr = { 2, 0, 0, 0, 0xab, 0xcd },
		.uid = 5001,
	};
}

static void test_pcap_bytes(void **state)
{
	/* clang-format off */
	static const uint8_t want[] = {
		0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0xfc, 0x05, 0, 0, 0x14, 0x01, 0, 0, /* snaplen 1508 + 24, linktype 276 */
		0x01, 0xf1, 0x53, 0x65, 0x06, 0x12, 0x0f, 0x00, /* .987654 */
		24, 0, 0, 0, 24, 0, 0, 0,
		0x08, 0x00, 0, 0, 0, 0, 0, 2, 0, 1, 4, 6, 2, 0, 0, 0, 0xab, 0xcd, 0, 0,
		'w', 'x', 'y', 'z',
	};
	/* clang-format on */
	uint8_t nano[sizeof(want)];
	struct apptap_packet pkt = packet(0, 4);

	(void)state;
	memcpy(nano, want, sizeof(want));
	nano[0] = 0x4d;
	nano[1] = 0x3c;
	apptap_put_le32(nano + 28, 987654321);
	pkt.data = (const uint8_t *)"wxyz";
	for (int i = 0; i < 2; i++) {
		auto_close int fd = new_file();
		struct apptap_sink *s =
			open_sink(fd, i ? APPTAP_FORMAT_PCAP_NANO : APPTAP_FORMAT_PCAP, 1508);
		struct content c = read_back(fd);

		assert_int_equal(c.len, 24); /* the header is there from the start */
		free(c.p);
		assert_int_equal(apptap_sink_packet(s, &pkt, &err), 0);
		assert_int_equal(apptap_sink_records(s), 0);
		assert_int_equal(apptap_sink_finish(s, 1, 0, &err), 0);
		assert_int_equal(apptap_sink_records(s), 1);
		assert_int_equal(apptap_sink_bytes(s), sizeof(want));
		apptap_sink_free(s);
		c = read_back(fd);
		assert_int_equal(c.len, sizeof(want));
		assert_memory_equal(c.p, i ? nano : want, sizeof(want));
		free(c.p);
	}
}

static void test_vlan(void **state)
{
	/* clang-format off */
	static const uint8_t want[] = {
		28, 0, 0, 0, 0xdc, 0x05, 0, 0,
		0x88, 0xa8, 0, 0, 0xff, 0xff, 0xff, 0xfe, 0x03, 0x04, 3, 8,
		1, 2, 3, 4, 5, 6, 7, 8,
		0x60, 0x7b, 0x86, 0xdd,
		'w', 'x', 'y', 'z',
	};
	/* clang-format on */
	auto_close int fd = new_file();
	struct apptap_sink *s = open_sink(fd, APPTAP_FORMAT_PCAP, 0);
	const struct apptap_packet pkt = {
		.data = (const uint8_t *)"wxyz",
		.len = 4,
		.wire_len = 1476, /* 1500 with SLL2 and tag */
		.ifindex = -2,
		.protocol = 0x86dd,
		.arphrd = 0x0304,
		.pkttype = PACKET_OTHERHOST,
		.halen = 8,
		.haddr = { 1, 2, 3, 4, 5, 6, 7, 8 },
		.vlan_tpid = 0x88a8,
		.vlan_tci = 0x607b,
	};
	struct content c;

	(void)state;
	assert_int_equal(apptap_sink_packet(s, &pkt, &err), 0);
	assert_int_equal(apptap_sink_flush(s, &err), 0);
	apptap_sink_free(s);
	c = read_back(fd);
	assert_int_equal(c.len, 24 + 8 + sizeof(want));
	assert_memory_equal(c.p + 24 + 8, want, sizeof(want));
	free(c.p);
}

/* What the file says of a packet's length, for a snaplen, the bytes at hand and those on the wire.
 */
static void check_lengths(uint32_t snaplen, uint32_t len, uint32_t wire_len, uint32_t kept,
			  uint32_t wire)
{
	auto_close int fd = new_file();
	struct apptap_sink *s = open_sink(fd, APPTAP_FORMAT_PCAP, snaplen);
	struct apptap_packet pkt = packet(77, len);
	struct content c;

	pkt.wire_len = wire_len;
	assert_int_equal(apptap_sink_packet(s, &pkt, &err), 0);
	assert_int_equal(apptap_sink_flush(s, &err), 0);
	apptap_sink_free(s);
	c = read_back(fd);
	assert_int_equal(apptap_get_le32(c.p + 32), kept + 20);
	assert_int_equal(apptap_get_le32(c.p + 36), wire);
	assert_int_equal(c.len, 24 + 16 + 20 + kept);
	assert_memory_equal(c.p + 60, pattern + 77, kept);
	free(c.p);
}

static void test_lengths(void **state)
{
	(void)state;
	check_lengths(96, 96, 1500, 96, 1520);
	check_lengths(96, 200, 1500, 96, 1520); /* more than was asked for */
	check_lengths(96, 60, 60, 60, 80);
	check_lengths(0, 0, 0, 0, 20);
	check_lengths(0, 65535, 65535, 65535, 65555);
	check_lengths(0, 500000, 500000, 262120, 500020); /* readers refuse larger records */
	check_lengths(UINT32_MAX, 500000, 500000, 262120, 500020);
	check_lengths(0, 100, 40, 100, 120); /* never shorter than what is there */
	check_lengths(0, 100, UINT32_MAX, 100, UINT32_MAX);
}

static const char *name_of(void *arg, int32_t ifindex)
{
	static char name[16];

	++*(int *)arg;
	snprintf(name, sizeof(name), "if%d", ifindex);
	return ifindex == 13 ? NULL : name;
}

/* The next block of @v, which must be of @type; NULL: none left. */
static const uint8_t *take_block(struct apptap_view *v, uint32_t type)
{
	const uint8_t *b = apptap_view_peek(v, 12);

	if (!b)
		return NULL;
	assert_int_equal(apptap_get_le32(b), type);
	return apptap_view_take(v, apptap_get_le32(b + 4));
}

/* Statistics of three interfaces, the totals on the first alone. */
static void check_statistics(struct apptap_view *v)
{
	for (uint32_t i = 0; i < 3; i++) {
		static const uint64_t accepted[] = { 3, 1, 1 };
		const uint8_t *b = take_block(v, 5);
		uint32_t len = apptap_get_le32(b + 4);

		assert_int_equal(apptap_get_le32(b + 8), i);
		assert_int_equal(apptap_get_le64(b + len - 16), accepted[i]);
		if (i > 0) { /* just its times and its count */
			assert_int_equal(len, 20 + 3 * 12 + 4 + 4);
			continue;
		}
		assert_int_equal(apptap_get_le64(b + len - 28), 9); /* dropped */
		assert_int_equal(apptap_get_le64(b + len - 40), 100); /* received */
		assert_int_equal(apptap_get_le16(b + 20), 1); /* and a comment on them */
	}
}

static void test_pcapng_file(void **state)
{
	auto_close int fd = new_file();
	int asked = 0;
	const struct apptap_sink_config cfg = {
		.format = APPTAP_FORMAT_PCAPNG,
		.snaplen = 1000,
		.comment = "app x, UID 5001",
		.app = "apptap 0.1.0",
		.ifname = name_of,
		.ifname_arg = &asked,
	};
	static const int32_t on[] = { 7, 7, 13, 7, 0 };
	static const uint32_t interface[] = { 0, 0, 1, 0, 2 };
	struct apptap_packet pkt = packet(5, 6);
	struct apptap_sink *s;
	struct apptap_view v;
	struct content c;
	const uint8_t *b;

	(void)state;
	assert_int_equal(apptap_sink_open(&s, fd, &cfg, &err), 0);
	for (size_t i = 0; i < ARRAY_SIZE(on); i++) {
		pkt.ifindex = on[i];
		assert_int_equal(apptap_sink_packet(s, &pkt, &err), 0);
	}
	assert_int_equal(apptap_sink_finish(s, 100, 9, &err), 0);
	assert_int_equal(asked, 3);
	assert_int_equal(apptap_sink_records(s), 5);
	c = read_back(fd);
	assert_int_equal(apptap_sink_bytes(s), c.len);
	apptap_sink_free(s);
	v = (struct apptap_view){ c.p, c.len };
	b = take_block(&v, 0x0a0d0d0a);
	assert_memory_equal(b + 28, "app x, UID 5001", 15);
	for (size_t i = 0; i < ARRAY_SIZE(on); i++) {
		if (i == 0 || i == 2 || i == 4) {
			b = take_block(&v, 1);
			assert_int_equal(apptap_get_le16(b + 8), 276);
			assert_int_equal(apptap_get_le32(b + 12), 1024);
			assert_memory_equal(b + 20, i == 0 ? "if7" : i == 2 ? "int" : "if0", 3);
		}
		b = take_block(&v, 6);
		assert_int_equal(apptap_get_le32(b + 8), interface[i]);
		assert_int_equal((uint64_t)apptap_get_le32(b + 12) << 32 | apptap_get_le32(b + 16),
				 pkt.ts_ns);
		assert_int_equal(apptap_get_be32(b + 28 + 4), on[i]);
		assert_memory_equal(b + 48, pattern + 5, 6);
		assert_int_equal(apptap_get_le32(b + 60), 2); /* outbound */
	}
	check_statistics(&v);
	assert_int_equal(v.left, 0);
	free(c.p);
}

static void test_pcapng_empty(void **state)
{
	auto_close int fd = new_file();
	struct apptap_sink *s = open_sink(fd, APPTAP_FORMAT_PCAPNG, 0);
	struct apptap_view v;
	struct content c;

	(void)state;
	assert_int_equal(apptap_sink_finish(s, 0, 0, &err), 0);
	apptap_sink_free(s);
	c = read_back(fd);
	v = (struct apptap_view){ c.p, c.len };
	assert_non_null(take_block(&v, 0x0a0d0d0a));
	assert_non_null(take_block(&v, 1)); /* libpcap reads no file without */
	assert_non_null(take_block(&v, 5));
	assert_int_equal(v.left, 0);
	free(c.p);
}

/* More interfaces than have room: all of them twice, the known ones found again. */
static void test_many_interfaces(void **state)
{
	auto_close int fd = new_file();
	struct apptap_sink *s = open_sink(fd, APPTAP_FORMAT_PCAPNG, 0);
	uint32_t blocks = 0;
	uint32_t packets = 0;
	uint64_t accepted = 0;
	struct apptap_view v;
	struct content c;

	(void)state;
	for (uint32_t i = 0; i < 10000; i++) {
		struct apptap_packet pkt = packet(i, 1);

		pkt.ifindex = (int32_t)(i % 5000 * 40503u);
		assert_int_equal(apptap_sink_packet(s, &pkt, &err), 0);
	}
	assert_int_equal(apptap_sink_finish(s, 0, 0, &err), 0);
	apptap_sink_free(s);
	c = read_back(fd);
	v = (struct apptap_view){ c.p, c.len };
	take_block(&v, 0x0a0d0d0a);
	while (v.left > 0) {
		uint32_t type = apptap_get_le32(v.p);
		const uint8_t *b = take_block(&v, type);

		if (type == 1 && ++blocks == 4096)
			assert_memory_equal(b + 20, "every interface seen later", 26);
		if (type == 6)
			assert_int_equal(apptap_get_le32(b + 8), MIN(packets++ % 5000, 4095u));
		if (type == 5)
			accepted += apptap_get_le64(b + apptap_get_le32(b + 4) - 16);
	}
	assert_int_equal(blocks, 4096);
	assert_int_equal(packets, 10000);
	assert_int_equal(accepted, 10000);
	free(c.p);
}

/* Lengths that fill stage, vectors and batch in turn; the copied, the borrowed, and those between.
 */
static uint32_t nth_len(uint32_t i)
{
	static const uint32_t lens[] = { 40, 1024, 0, 1025, 1, 1448, 1023, 64000, 3, 9000 };

	return i < 8000 ? i % 5 : i < 11000 ? 1030 + i % 7 : lens[i % ARRAY_SIZE(lens)];
}

static uint32_t nth_at(uint32_t i)
{
	return i * 7919u % (sizeof(pattern) - 64000);
}

#define MIX 11500u

static void write_mix(struct apptap_sink *s)
{
	for (uint32_t i = 0; i < MIX; i++) {
		struct apptap_packet pkt = packet(nth_at(i), nth_len(i));

		assert_int_equal(apptap_sink_packet(s, &pkt, &err), 0);
	}
	assert_int_equal(apptap_sink_flush(s, &err), 0);
	assert_int_equal(apptap_sink_records(s), MIX);
}

/* Every record of write_mix, in order, with its own bytes. */
static void check_mix(struct content c, enum apptap_format format)
{
	struct apptap_view v = { c.p, c.len };
	uint32_t i = 0;

	if (format != APPTAP_FORMAT_PCAPNG)
		apptap_view_take(&v, 24);
	while (v.left > 0) {
		uint32_t type = format == APPTAP_FORMAT_PCAPNG ? apptap_get_le32(v.p) : 0;
		const uint8_t *b = type ? take_block(&v, type) : apptap_view_take(&v, 16);
		uint32_t len = nth_len(i) + 20;

		if (type && type != 6)
			continue;
		assert_non_null(b);
		assert_int_equal(apptap_get_le32(b + (type ? 20 : 8)), len);
		b = type ? b + 28 : apptap_view_take(&v, len);
		assert_non_null(b);
		assert_memory_equal(b + 20, pattern + nth_at(i), nth_len(i));
		i++;
	}
	assert_int_equal(i, MIX);
}

static void test_mix(void **state)
{
	(void)state;
	for (int format = APPTAP_FORMAT_PCAP; format <= APPTAP_FORMAT_PCAPNG; format++) {
		auto_close int fd = new_file();
		struct apptap_sink *s = open_sink(fd, (enum apptap_format)format, 0);
		struct content c;

		write_mix(s);
		c = read_back(fd);
		assert_int_equal(apptap_sink_bytes(s), c.len);
		apptap_sink_free(s);
		check_mix(c, (enum apptap_format)format);
		free(c.p);
	}
}

/* Packets wait only so long, even when nobody flushes: their bytes are borrowed. */
static void test_flushes_by_itself(void **state)
{
	auto_close int fd = new_file();
	struct apptap_sink *s = open_sink(fd, APPTAP_FORMAT_PCAP, 0);
	struct apptap_packet pkt = packet(0, 64000);

	(void)state;
	for (int i = 0; i < 20; i++)
		assert_int_equal(apptap_sink_packet(s, &pkt, &err), 0);
	assert_in_range(apptap_sink_records(s), 16, 20);
	apptap_sink_free(s);
}

struct reader { /* takes a pipe's bytes in odd mouthfuls, disturbing the writer all the while */
	int fd;
	pthread_t writer;
	struct content got;
};

static void *read_pipe(void *arg)
{
	struct reader *r = arg;
	ssize_t n;

	for (unsigned int i = 0; i < 200; i++)
		pthread_kill(r->writer, SIGUSR1); /* while its pipe is full */
	do {
		n = read(r->fd, r->got.p + r->got.len, 1 + r->got.len % 5003);
		r->got.len += n > 0 ? (size_t)n : 0;
		if (r->got.len % 64 == 0)
			pthread_kill(r->writer, SIGUSR1);
	} while (n > 0);
	return NULL;
}

static void do_nothing(int sig)
{
	(void)sig;
}

static void test_pipe(void **state)
{
	struct sigaction sa = { .sa_handler = do_nothing }; /* no SA_RESTART */

	(void)state;
	sigaction(SIGUSR1, &sa, NULL);
	for (int i = 0; i < 4; i++) {
		enum apptap_format format = i < 2 ? APPTAP_FORMAT_PCAP : APPTAP_FORMAT_PCAPNG;
		struct reader r = { .writer = pthread_self(), .got = { malloc(FILE_MAX), 0 } };
		struct apptap_sink *s;
		pthread_t thread;
		int fd[2];

		assert_int_equal(pipe2(fd, i % 2 ? O_NONBLOCK : 0), 0);
		fcntl(fd[1], F_SETPIPE_SZ, 4096);
		fcntl(fd[0], F_SETFL, 0);
		r.fd = fd[0];
		pthread_create(&thread, NULL, read_pipe, &r);
		s = open_sink(fd[1], format, 0);
		write_mix(s);
		close(fd[1]);
		pthread_join(thread, NULL);
		assert_int_equal(apptap_sink_bytes(s), r.got.len);
		apptap_sink_free(s);
		close(fd[0]);
		check_mix(r.got, format);
		free(r.got.p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pcap_bytes),   cmocka_unit_test(test_vlan),
		cmocka_unit_test(test_lengths),	     cmocka_unit_test(test_pcapng_file),
		cmocka_unit_test(test_pcapng_empty), cmocka_unit_test(test_many_interfaces),
		cmocka_unit_test(test_mix),	     cmocka_unit_test(test_flushes_by_itself),
		cmocka_unit_test(test_pipe),
	};

	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 2654435761u >> 21 ^ i >> 8);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
