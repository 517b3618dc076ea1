/* test_flow.c - flows of dissected packets, their hash, and addresses as text */
#include "packets.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <cmocka.h>

static const uint64_t key[2] = { 0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL };

static void test_both_ends(void **state)
{
	struct packet p = { 0 };
	struct apptap_dissect d;
	struct apptap_flow ours, theirs;
	struct apptap_addr a = addr_of("10.9.0.1"), b = addr_of("10.9.0.2");

	(void)state;
	add_ipv4(&p, IPPROTO_UDP, "10.9.0.1", "10.9.0.2", 0, 1);
	add_udp(&p, 7000, 53, 0);
	d = dissect(&p, ETH_IPV4);
	memset(&ours, 0xff, sizeof(ours)); /* compared as bytes: nothing of it may stay */
	memset(&theirs, 0xee, sizeof(theirs));
	apptap_dissect_flow(&d, true, &ours);
	apptap_dissect_flow(&d, false, &theirs);
	assert_memory_equal(&ours.laddr, &a, sizeof(a));
	assert_memory_equal(&ours.raddr, &b, sizeof(b));
	assert_int_equal(ours.lport, 7000);
	assert_int_equal(ours.rport, 53);
	assert_int_equal(ours.proto, IPPROTO_UDP);
	assert_int_equal(ours.family, AF_INET);
	assert_int_equal(ours.zero, 0);
	assert_memory_equal(&theirs.laddr, &b, sizeof(b));
	assert_int_equal(theirs.lport, 53);
	assert_int_equal(theirs.zero, 0);
	assert_false(apptap_flow_equal(&ours, &theirs));
	/* The reply, seen by who gets it, is of the same flow. */
	p = (struct packet){ 0 };
	add_ipv4(&p, IPPROTO_UDP, "10.9.0.2", "10.9.0.1", 0, 1);
	add_udp(&p, 53, 7000, 0);
	d = dissect(&p, ETH_IPV4);
	apptap_dissect_flow(&d, false, &theirs);
	assert_true(apptap_flow_equal(&ours, &theirs));
}

static void test_hash_takes_all_of_it(void **state)
{
	struct apptap_flow f = { .laddr = addr_of("fd00::1"),
				 .raddr = addr_of("fd00::2"),
				 .lport = 7000,
				 .rport = 53,
				 .proto = IPPROTO_UDP,
				 .family = AF_INET6 };
	uint32_t hash = apptap_flow_hash(&f, key);
	uint64_t other[2] = { key[0], key[1] ^ 1 };

	(void)state;
	assert_int_equal(apptap_flow_hash(&f, key), hash);
	assert_int_not_equal(apptap_flow_hash(&f, other), hash);
	for (size_t i = 0; i < sizeof(f); i++) {
		struct apptap_flow g = f;

		((uint8_t *)&g)[i] ^= 1;
		assert_int_not_equal(apptap_flow_hash(&g, key), hash);
	}
}

/* Flows that differ little still fill the buckets evenly. */
static void test_hash_spreads(void **state)
{
	struct apptap_flow f = { .proto = IPPROTO_TCP, .family = AF_INET, .rport = 443 };
	uint32_t buckets[256] = { 0 };

	(void)state;
	f.laddr = addr_of("10.9.0.1");
	f.raddr = addr_of("10.9.0.2");
	for (int port = 0; port < 65536; port++) {
		f.lport = (uint16_t)port;
		buckets[apptap_flow_hash(&f, key) & 255]++;
	}
	for (size_t i = 0; i < ARRAY_SIZE(buckets); i++)
		assert_in_range(buckets[i], 256 - 96, 256 + 96); /* six standard deviations */
}

static void test_addresses_as_text(void **state)
{
	static const struct {
		const char *in;
		uint8_t family;
		int port;
		const char *out;
	} all[] = {
		{ "10.0.0.1", AF_INET, 80, "10.0.0.1:80" },
		{ "10.0.0.1", AF_INET6, 0, "10.0.0.1:0" }, /* mapped, as an IPv6 socket has it */
		{ "10.0.0.1", AF_INET, -1, "10.0.0.1" },
		{ "2001:db8::1", AF_INET6, 443, "[2001:db8::1]:443" },
		{ "2001:db8::1", AF_INET6, -1, "2001:db8::1" },
		{ "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", AF_INET6, 65535,
		  "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535" },
	};
	char text[APPTAP_ADDR_STRLEN];
	char small[8];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct apptap_addr a = addr_of(all[i].in);

		assert_ptr_equal(
			apptap_addr_str(&a, all[i].family, all[i].port, text, sizeof(text)), text);
		assert_string_equal(text, all[i].out);
		apptap_addr_str(&a, all[i].family, all[i].port, small, sizeof(small));
		assert_memory_equal(small, all[i].out, sizeof(small) - 1);
		assert_int_equal(small[7], '\0');
	}
}

static void test_kinds_of_addresses(void **state)
{
	static const struct {
		const char *text;
		bool any, loopback, multicast;
	} all[] = {
		{ "0.0.0.0", true, false, false },
		{ "::", true, false, false },
		{ "127.0.0.1", false, true, false },
		{ "127.255.255.254", false, true, false },
		{ "::1", false, true, false },
		{ "128.0.0.1", false, false, false },
		{ "::2", false, false, false },
		{ "224.0.0.1", false, false, true },
		{ "239.1.2.3", false, false, true },
		{ "255.255.255.255", false, false, true },
		{ "255.255.255.254", false, false, false },
		{ "ff02::1", false, false, true },
		{ "fe80::1", false, false, false },
		{ "10.9.0.255", false, false, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct apptap_addr a = addr_of(all[i].text);

		assert_int_equal(apptap_addr_is_any(&a), all[i].any);
		assert_int_equal(apptap_addr_is_loopback(&a), all[i].loopback);
		assert_int_equal(apptap_addr_is_multicast(&a), all[i].multicast);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ends),
		cmocka_unit_test(test_hash_takes_all_of_it),
		cmocka_unit_test(test_hash_spreads),
		cmocka_unit_test(test_addresses_as_text),
		cmocka_unit_test(test_kinds_of_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
