/* test_frags.c - later fragments find their first one, and nobody else's */
#include "tier/frags.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "packets.h"

#define SEC APPTAP_NSEC_PER_SEC
#define T0 (1700000000 * SEC)

static int setup(void **state)
{
	struct apptap_frags *f;

	if (apptap_frags_new(&f, 64) < 0)
		return -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	apptap_frags_free(*state);
	return 0;
}

static struct apptap_dissect first4(uint16_t id, uint16_t sport)
{
	struct packet p = { 0 };

	add_ipv4(&p, IPPROTO_UDP, "10.9.0.1", "10.9.0.2", FRAG_MORE, id);
	add_udp(&p, sport, 53, 0);
	return dissect(&p, ETH_IPV4);
}

static struct apptap_dissect later4(uint16_t id)
{
	struct packet p = { 0 };

	add_ipv4(&p, IPPROTO_UDP, "10.9.0.1", "10.9.0.2", 185, id);
	add_bytes(&p, NULL, 8);
	return dissect(&p, ETH_IPV4);
}

static bool find(struct apptap_frags *f, struct apptap_dissect d, uint64_t ts_ns, uint16_t sport,
		 uint64_t first_ns)
{
	uint64_t got = 0;

	if (!apptap_frags_later(f, &d, ts_ns, &got)) {
		assert_int_equal(got, 0);
		assert_false(d.flags & APPTAP_DIS_PORTS);
		return false;
	}
	assert_true(d.flags & APPTAP_DIS_PORTS);
	assert_int_equal(d.sport, sport);
	assert_int_equal(d.dport, 53);
	assert_int_equal(got, first_ns);
	return true;
}

static void test_later_has_the_ports_of_its_first(void **state)
{
	struct apptap_dissect d = first4(7, 7000);

	assert_false(find(*state, later4(7), T0, 0, 0));
	apptap_frags_first(*state, &d, T0);
	assert_true(find(*state, later4(7), T0 + 5, 7000, T0));
	assert_true(find(*state, later4(7), T0 - 5, 7000, T0)); /* overtook it */
	assert_true(find(*state, later4(7), T0 + 30 * SEC, 7000, T0));
	assert_false(find(*state, later4(7), T0 + 30 * SEC + 1, 0, 0));
	/* The identification used again. */
	d = first4(7, 7001);
	apptap_frags_first(*state, &d, T0 + 40 * SEC);
	assert_true(find(*state, later4(7), T0 + 40 * SEC, 7001, T0 + 40 * SEC));
}

static void test_another_datagrams(void **state)
{
	struct apptap_dissect d = first4(7, 7000);
	struct apptap_dissect other = later4(7);

	apptap_frags_first(*state, &d, T0);
	assert_false(find(*state, later4(8), T0, 0, 0));
	other.src.b[15]++;
	assert_false(find(*state, other, T0, 0, 0));
	other = later4(7);
	other.dst.b[15]++;
	assert_false(find(*state, other, T0, 0, 0));
	other = later4(7);
	other.proto = IPPROTO_TCP;
	assert_false(find(*state, other, T0, 0, 0));
	other = later4(7);
	other.family = AF_INET6;
	assert_false(find(*state, other, T0, 0, 0));
}

/* IPv6: the identification has 32 bits, and the protocol in a later one need not be the first's. */
static void test_v6(void **state)
{
	struct packet p = { 0 }, q = { 0 };
	struct apptap_dissect d, other;

	add_ipv6(&p, IPPROTO_FRAGMENT, "fd00::1", "fd00::2");
	add_fragment(&p, IPPROTO_DSTOPTS, 0, true, 0x12345678);
	add_extension(&p, IPPROTO_UDP, 0);
	add_udp(&p, 7000, 53, 0);
	d = dissect(&p, ETH_IPV6);
	apptap_frags_first(*state, &d, T0);
	add_ipv6(&q, IPPROTO_FRAGMENT, "fd00::1", "fd00::2");
	add_fragment(&q, IPPROTO_DSTOPTS, 20, false, 0x12345678);
	add_bytes(&q, NULL, 8);
	other = dissect(&q, ETH_IPV6);
	assert_true(find(*state, other, T0, 7000, T0));
	other.frag_id ^= 0x10000;
	assert_false(find(*state, other, T0, 0, 0));
}

static void test_first_without_ports(void **state)
{
	struct packet p = { 0 };
	struct apptap_dissect d;
	struct apptap_dissect later = later4(7);
	uint64_t first_ns = 0;

	add_ipv4(&p, IPPROTO_UDP, "10.9.0.1", "10.9.0.2", FRAG_MORE, 7);
	add_bytes(&p, NULL, 2);
	d = dissect(&p, ETH_IPV4);
	apptap_frags_first(*state, &d, T0);
	assert_true(apptap_frags_later(*state, &later, T0, &first_ns));
	assert_false(later.flags & APPTAP_DIS_PORTS);
	assert_int_equal(first_ns, T0);
}

/* More than there is room for: what is found is right all the same, and the newest is. */
static void test_bounded(void **state)
{
	size_t found = 0;

	for (uint16_t id = 0; id < 10000; id++) {
		struct apptap_dissect d = first4(id, (uint16_t)(id + 1));

		apptap_frags_first(*state, &d, T0 + id);
		assert_true(find(*state, later4(id), T0 + id, (uint16_t)(id + 1), T0 + id));
	}
	for (uint16_t id = 0; id < 10000; id++)
		found += find(*state, later4(id), T0 + 10000, (uint16_t)(id + 1), T0 + id);
	assert_in_range(found, 32, 64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_later_has_the_ports_of_its_first, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_another_datagrams, setup, teardown),
		cmocka_unit_test_setup_teardown(test_v6, setup, teardown),
		cmocka_unit_test_setup_teardown(test_first_without_ports, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bounded, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
