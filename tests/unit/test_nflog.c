/* test_nflog.c - messages of NFLOG, made by hand, through the parser; netfilter's encoder */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>

#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>

#include "base/nfmsg.h"
#include "tier/nflog_read.h"
#include "tier/rules.h"

static struct apptap_nfmsg msg;

/* A packet of 20 bytes as the kernel sends it, and what tells it apart. */
static struct apptap_view make(const char *prefix, const void *hwaddr, size_t hwaddr_len)
{
	static const uint8_t header[4] = { 0x86, 0xdd, 1, 0 };
	static const uint8_t time[16] = { [7] = 2, [15] = 5 };
	const struct nlmsghdr *h = (const void *)msg.bytes;

	apptap_nfmsg_init(&msg);
	apptap_nfmsg_begin(&msg, NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET, 0, 2, 31, "");
	apptap_nfmsg_put(&msg, NFULA_PACKET_HDR, header, sizeof(header));
	apptap_nfmsg_put_str(&msg, NFULA_PREFIX, prefix);
	apptap_nfmsg_put_be32(&msg, NFULA_IFINDEX_INDEV, 7);
	apptap_nfmsg_put_be16(&msg, NFULA_HWTYPE, 1);
	apptap_nfmsg_put(&msg, NFULA_HWADDR, hwaddr, hwaddr_len);
	apptap_nfmsg_put(&msg, NFULA_TIMESTAMP, time, sizeof(time));
	apptap_nfmsg_put_be32(&msg, NFULA_SEQ, 99);
	apptap_nfmsg_put_be32(&msg, NFULA_UID, 5001);
	apptap_nfmsg_put(&msg, NFULA_PAYLOAD, "12345678901234567890", 20);
	return (struct apptap_view){ NLMSG_DATA(h), h->nlmsg_len - NLMSG_HDRLEN };
}

static void test_a_whole_packet(void **state)
{
	static const uint8_t addr[12] = { 0, 6, 0, 0, 2, 4, 6, 8, 10, 12 };
	struct apptap_nflog_packet p;

	(void)state;
	assert_true(apptap_nflog_parse(make("12345678o", addr, sizeof(addr)), &p));
	assert_int_equal(p.group, 31);
	assert_int_equal(p.protocol, 0x86dd);
	assert_int_equal(p.hook, 1);
	assert_int_equal(p.indev, 7);
	assert_int_equal(p.outdev, 0);
	assert_int_equal(p.arphrd, 1);
	assert_int_equal(p.halen, 6);
	assert_int_equal(p.haddr[5], 12);
	assert_true(p.rx_ns == 2000005000ULL);
	assert_true(p.has_seq && p.seq == 99);
	assert_true(p.has_uid && p.uid == 5001);
	assert_int_equal(p.prefix_len, APPTAP_RULES_TAG_BYTES + 1);
	assert_memory_equal(p.prefix, "12345678o", 9);
	assert_int_equal(p.len, 20);
	assert_memory_equal(p.data, "12345678901234567890", 20);
}

static void test_an_address_longer_than_there_is_room_for(void **state)
{
	static const uint8_t addr[12] = { 0xff, 0xff, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8 };
	struct apptap_nflog_packet p;

	(void)state;
	assert_true(apptap_nflog_parse(make("x", addr, sizeof(addr)), &p));
	assert_int_equal(p.halen, 8);
	assert_true(apptap_nflog_parse(make("x", addr, 5), &p)); /* cut short: no address */
	assert_int_equal(p.halen, 0);
}

static void test_cut_anywhere(void **state)
{
	static const uint8_t addr[12] = { 0, 6 };
	struct apptap_view whole = make("12345678o", addr, sizeof(addr));
	struct apptap_nflog_packet p;

	(void)state;
	for (size_t len = 0; len < whole.left; len++) {
		uint8_t *copy = malloc(len ? len : 1); /* so that a sanitizer sees its end */

		memcpy(copy, whole.p, len);
		assert_false(apptap_nflog_parse((struct apptap_view){ copy, len }, &p));
		free(copy);
	}
	assert_true(apptap_nflog_parse(whole, &p));
}

static void test_an_attribute_that_lies(void **state)
{
	uint8_t bytes[] = { 0, 0, 0, 31, 0xff, 0xff, NFULA_PAYLOAD, 0, 1, 2, 3, 4 };
	struct apptap_nflog_packet p;

	(void)state;
	assert_false(apptap_nflog_parse((struct apptap_view){ bytes, sizeof(bytes) }, &p));
	bytes[4] = 3; /* shorter than its own header: must not go round for ever */
	bytes[5] = 0;
	assert_false(apptap_nflog_parse((struct apptap_view){ bytes, sizeof(bytes) }, &p));
}

static void test_too_much_for_one_request(void **state)
{
	static uint8_t much[APPTAP_NFMSG_BYTES];
	struct apptap_nl nl = APPTAP_NL_CLOSED;
	struct apptap_error err = { 0 };

	(void)state;
	apptap_nfmsg_init(&msg);
	apptap_nfmsg_begin(&msg, 0, 0, 0, 0, "much");
	apptap_nfmsg_put(&msg, 1, much, sizeof(much));
	assert_int_equal(apptap_nfmsg_send(&nl, &msg, &err), -EMSGSIZE);
	apptap_nfmsg_init(&msg);
	for (int i = 0; i < APPTAP_NFMSG_MAX + 1; i++)
		apptap_nfmsg_begin(&msg, 0, 0, 0, 0, "many");
	assert_int_equal(apptap_nfmsg_send(&nl, &msg, &err), -EMSGSIZE);
}

static void test_bits_of_a_mark(void **state)
{
	uint32_t bits[APPTAP_BITS];

	(void)state;
	apptap_rules_bits(0x3e000000, bits);
	assert_int_equal(bits[APPTAP_BIT_A0], 0x02000000);
	assert_int_equal(bits[APPTAP_BIT_A1], 0x04000000);
	assert_int_equal(bits[APPTAP_BIT_GIVEN], 0x20000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_whole_packet),
		cmocka_unit_test(test_an_address_longer_than_there_is_room_for),
		cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_an_attribute_that_lies),
		cmocka_unit_test(test_too_much_for_one_request),
		cmocka_unit_test(test_bits_of_a_mark),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
