/* test_pcapng.c - the blocks of a pcapng file, byte by byte */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <linux/if_packet.h>

#include "file/pcapng.h"

#define CANARY 0xc5

static uint8_t out[65536];

static int clear(void **state)
{
	(void)state;
	memset(out, CANARY, sizeof(out));
	return 0;
}

static void expect(size_t len, const uint8_t *want, size_t want_len)
{
	assert_int_equal(len, want_len);
	assert_memory_equal(out, want, want_len);
	assert_int_equal(out[want_len], CANARY);
}

static void test_section(void **state)
{
	/* clang-format off */
	static const uint8_t want[] = {
		0x0a, 0x0d, 0x0d, 0x0a, 68, 0, 0, 0,
		0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		1, 0, 5, 0, 'h', 'e', 'l', 'l', 'o', 0, 0, 0,
		3, 0, 9, 0, 'L', 'i', 'n', 'u', 'x', ' ', '4', '.', '9', 0, 0, 0,
		4, 0, 4, 0, 'a', 'p', 'p', ' ',
		0, 0, 0, 0, 68, 0, 0, 0,
	};
	/* clang-format on */
	const struct apptap_pcapng_section sec = { "hello", "Linux 4.9", "app " };

	(void)state;
	expect(apptap_pcapng_section(out, sizeof(out), &sec), want, sizeof(want));
}

static void test_bare_section(void **state)
{
	/* clang-format off */
	static const uint8_t want[] = {
		0x0a, 0x0d, 0x0d, 0x0a, 32, 0, 0, 0,
		0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0, 0, 0, 0, 32, 0, 0, 0,
	};
	/* clang-format on */
	const struct apptap_pcapng_section sec = { 0 };

	(void)state;
	expect(apptap_pcapng_section(out, sizeof(out), &sec), want, sizeof(want));
}

static void test_interface(void **state)
{
	/* clang-format off */
	static const uint8_t want[] = {
		1, 0, 0, 0, 52, 0, 0, 0,
		0x14, 0x01, 0, 0, 0x18, 0x00, 0x04, 0x00,
		2, 0, 5, 0, 'w', 'l', 'a', 'n', '0', 0, 0, 0,
		3, 0, 1, 0, 'd', 0, 0, 0,
		9, 0, 1, 0, 9, 0, 0, 0,
		0, 0, 0, 0, 52, 0, 0, 0,
	};
	/* clang-format on */
	const struct apptap_pcapng_interface i = { "wlan0", "d", 262168, 276 };

	(void)state;
	expect(apptap_pcapng_interface(out, sizeof(out), &i), want, sizeof(want));
}

static void test_packet(void **state)
{
	/* clang-format off */
	static const uint8_t want[] = {
		6, 0, 0, 0, 52, 0, 0, 0,
		3, 0, 0, 0,
		0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
		5, 0, 0, 0, 0x2c, 0x01, 0, 0,
		'a', 'b', 'c', 'd', 'e', 0, 0, 0,
		2, 0, 4, 0, 5, 0, 0, 0,
		0, 0, 0, 0, 52, 0, 0, 0,
	};
	/* clang-format on */
	uint8_t *p;

	(void)state;
	p = apptap_pcapng_packet(out, 3, 0x5566778811223344, 5, 300, NULL);
	assert_int_equal(p - out, APPTAP_PCAPNG_PACKET_BYTES);
	memcpy(p, "abcde", 5);
	p = apptap_pcapng_packet_end(p + 5, 5, 5, NULL);
	expect((size_t)(p - out), want, sizeof(want));
}

static void test_packet_padding(void **state)
{
	(void)state;
	for (uint32_t kept = 0; kept < 9; kept++) {
		uint8_t *p = apptap_pcapng_packet(out, 0, 0, kept, kept, NULL);
		uint32_t len;

		memset(p, 'x', kept);
		p = apptap_pcapng_packet_end(p + kept, kept, 0, NULL);
		len = (uint32_t)(p - out);
		assert_int_equal(len, 28 + (kept + 3) / 4 * 4 + 16);
		assert_int_equal(apptap_get_le32(out + 4), len);
		assert_int_equal(apptap_get_le32(out + len - 4), len);
		for (uint32_t i = 28 + kept; i < len - 16; i++)
			assert_int_equal(out[i], 0);
	}
}

static void test_statistics(void **state)
{
	/* clang-format off */
	static const uint8_t want[] = {
		5, 0, 0, 0, 96, 0, 0, 0,
		7, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0,
		1, 0, 2, 0, 'h', 'i', 0, 0,
		2, 0, 8, 0, 3, 0, 0, 0, 4, 0, 0, 0,
		3, 0, 8, 0, 5, 0, 0, 0, 6, 0, 0, 0,
		4, 0, 8, 0, 8, 0, 0, 0, 9, 0, 0, 0,
		5, 0, 8, 0, 10, 0, 0, 0, 0, 0, 0, 0,
		6, 0, 8, 0, 11, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 96, 0, 0, 0,
	};
	/* clang-format on */
	struct apptap_pcapng_statistics st = {
		.interface = 7,
		.now_ns = 1ULL << 32 | 2,
		.start_ns = 3ULL << 32 | 4,
		.end_ns = 5ULL << 32 | 6,
		.accepted = 11,
		.totals = true,
		.received = 9ULL << 32 | 8,
		.dropped = 10,
		.comment = "hi",
	};

	(void)state;
	expect(apptap_pcapng_statistics(out, sizeof(out), &st), want, sizeof(want));
	clear(NULL);
	st.totals = false;
	st.comment = NULL;
	assert_int_equal(apptap_pcapng_statistics(out, sizeof(out), &st), 96 - 8 - 12 - 12);
	assert_int_equal(apptap_get_le16(out + 20 + 24), 6); /* right behind both times */
}

static void test_flags(void **state)
{
	(void)state;
	assert_int_equal(apptap_pcapng_flags(PACKET_OUTGOING), 2);
	assert_int_equal(apptap_pcapng_flags(PACKET_HOST), 1 | 1 << 2);
	assert_int_equal(apptap_pcapng_flags(PACKET_MULTICAST), 1 | 2 << 2);
	assert_int_equal(apptap_pcapng_flags(PACKET_BROADCAST), 1 | 3 << 2);
	assert_int_equal(apptap_pcapng_flags(PACKET_OTHERHOST), 1 | 4 << 2);
	assert_int_equal(apptap_pcapng_flags(200), 1);
}

/* A block that does not fit is refused whole, and not a byte is written behind the buffer. */
static void test_no_room(void **state)
{
	const struct apptap_pcapng_section sec = { "hello", "Linux 4.9", "app " };
	const struct apptap_pcapng_interface i = { "wlan0", NULL, 100, 276 };
	const struct apptap_pcapng_statistics st = { .totals = true, .comment = "hi" };

	(void)state;
	for (size_t size = 0; size < 68; size++) {
		clear(NULL);
		assert_int_equal(apptap_pcapng_section(out, size, &sec), 0);
		assert_int_equal(out[size], CANARY);
		clear(NULL);
		assert_int_equal(apptap_pcapng_statistics(out, size, &st), 0);
		assert_int_equal(out[size], CANARY);
		if (size >= 44)
			continue;
		clear(NULL);
		assert_int_equal(apptap_pcapng_interface(out, size, &i), 0);
		assert_int_equal(out[size], CANARY);
	}
}

/* Writes @name as an interface's name and compares what the file has for it. */
static void expect_name(const char *name, const char *want)
{
	const struct apptap_pcapng_interface i = { .name = name };
	size_t len = strlen(want);

	assert_int_not_equal(apptap_pcapng_interface(out, sizeof(out), &i), 0);
	assert_int_equal(apptap_get_le16(out + 16), 2);
	assert_int_equal(apptap_get_le16(out + 18), len);
	assert_memory_equal(out + 20, want, len);
}

static void test_hostile_names(void **state)
{
	static const char unended[15] = "fifteen-bytes-x";

	(void)state;
	expect_name("", "");
	expect_name("a b", "a b");
	expect_name("\x1b[2J\r\n\t", "\\x1b[2J\\x0d\\x0a\\x09");
	expect_name("\x7f", "\\x7f");
	expect_name("\xc2\x9b"
		    "2J",
		    "\\xc2\\x9b2J"); /* C1 */
	expect_name("wl\xc3\xa4n", "wl\xc3\xa4n");
	expect_name("\xe2\x82\xac\xf0\x9f\x93\xa1", "\xe2\x82\xac\xf0\x9f\x93\xa1");
	expect_name("\xff\xfe", "\\xff\\xfe");
	expect_name("\xc0\x80", "\\xc0\\x80"); /* overlong */
	expect_name("\xe0\x9f\xbf", "\\xe0\\x9f\\xbf"); /* overlong */
	expect_name("\xf0\x8f\xbf\xbf", "\\xf0\\x8f\\xbf\\xbf"); /* overlong */
	expect_name("\xed\xa0\x80", "\\xed\\xa0\\x80"); /* surrogate */
	expect_name("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"); /* past U+10FFFF */
	expect_name("\xe2\x82", "\\xe2\\x82"); /* cut off */
	expect_name("0123456789abcd\xc3\xa4", "0123456789abcd\\xc3"); /* cut at 15 bytes */
	expect_name(unended, "fifteen-bytes-x");
	expect_name("\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1",
		    "\\x01\\x01\\x01\\x01\\x01\\x01\\x01\\x01\\x01\\x01\\x01\\x01\\x01\\x01\\x01");
}

static void test_long_comment(void **state)
{
	static char text[3 * APPTAP_PCAPNG_TEXT_MAX + 1];
	struct apptap_pcapng_section sec = { .comment = text };
	size_t len;

	(void)state;
	for (size_t i = 0; i + 3 < sizeof(text); i += 3)
		memcpy(text + i, "\xe2\x82\xac", 3);
	len = apptap_pcapng_section(out, sizeof(out), &sec);
	assert_int_equal(apptap_get_le16(out + 26), APPTAP_PCAPNG_TEXT_MAX / 3 * 3);
	assert_int_equal(len, 32 + 4 + (APPTAP_PCAPNG_TEXT_MAX + 3) / 4 * 4);
	memset(text, '\1', sizeof(text) - 1);
	apptap_pcapng_section(out, sizeof(out), &sec);
	assert_int_equal(apptap_get_le16(out + 26), APPTAP_PCAPNG_TEXT_MAX / 4 * 4);

	sec.comment = "two\nlines\tand \x1b";
	apptap_pcapng_section(out, sizeof(out), &sec);
	assert_int_equal(apptap_get_le16(out + 26), 18);
	assert_memory_equal(out + 28, "two\nlines\tand \\x1b", 18);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_section, clear),
		cmocka_unit_test_setup(test_bare_section, clear),
		cmocka_unit_test_setup(test_interface, clear),
		cmocka_unit_test_setup(test_packet, clear),
		cmocka_unit_test_setup(test_packet_padding, clear),
		cmocka_unit_test_setup(test_statistics, clear),
		cmocka_unit_test_setup(test_flags, clear),
		cmocka_unit_test_setup(test_no_room, clear),
		cmocka_unit_test_setup(test_hostile_names, clear),
		cmocka_unit_test_setup(test_long_comment, clear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
