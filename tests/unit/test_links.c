/* test_links.c - interfaces and addresses come, go and change their names */
#include "tier/links.h"

#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "net.h"
#include "packets.h"

struct room {
	struct apptap_links *links;
	char gone[256]; /* names, each followed by a blank */
};

static int setup(void **state)
{
	struct room *r = calloc(1, sizeof(*r));
	struct apptap_error err;

	if (!r || apptap_links_open(&r->links, &err) < 0)
		return -1;
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct room *r = *state;

	apptap_links_close(r->links);
	apptap_links_close(NULL);
	free(r);
	return 0;
}

static void gone(void *arg, const char *name)
{
	struct room *r = arg;
	size_t len = strlen(r->gone);

	snprintf(r->gone + len, sizeof(r->gone) - len, "%s ", name);
}

/* What ip(8) has done is in our queue when it ends. */
static int read_changes(struct room *r)
{
	r->gone[0] = '\0';
	return apptap_links_read(r->links, gone, r);
}

static bool has(const struct room *r, const char *addr)
{
	struct apptap_addr a = addr_of(addr);

	return apptap_links_has_addr(r->links, &a);
}

static void test_what_is_there(void **state)
{
	struct room *r = *state;

	net_need_own();
	assert_int_equal(read_changes(r), 0);
	assert_string_equal(apptap_links_name(r->links, APPTAP_LOOPBACK_IFINDEX), "lo");
	assert_int_equal(apptap_links_index(r->links, "lo"), APPTAP_LOOPBACK_IFINDEX);
	assert_int_equal(apptap_links_index(r->links, "l"), -1);
	assert_int_equal(apptap_links_index(r->links, "nosuch0"), -1);
	assert_null(apptap_links_name(r->links, 4711));
	assert_true(has(r, "127.0.0.1"));
	assert_true(has(r, "127.8.9.10"));
	assert_true(has(r, "::1"));
	assert_false(has(r, "10.9.0.1"));
	assert_false(has(r, "0.0.0.0"));
	assert_false(has(r, "::"));
}

static void test_come_and_go(void **state)
{
	struct room *r = *state;
	int32_t va;

	net_need_own();
	net_veth();
	assert_true(net_readable(apptap_links_fd(r->links), 0));
	assert_int_equal(read_changes(r), 1);
	assert_false(net_readable(apptap_links_fd(r->links), 0));
	assert_string_equal(r->gone, "");
	va = apptap_links_index(r->links, "va");
	assert_int_equal(va, if_nametoindex("va"));
	assert_true(has(r, NET_A));
	assert_true(has(r, NET_B));
	net_ip("link set va down");
	read_changes(r);
	assert_string_equal(r->gone, "va ");
	net_ip("link set va up");
	read_changes(r);
	assert_string_equal(r->gone, "");
	net_ip("link del va");
	assert_int_equal(read_changes(r), 1);
	assert_non_null(strstr(r->gone, "va "));
	assert_non_null(strstr(r->gone, "vb "));
	assert_int_equal(apptap_links_index(r->links, "va"), -1);
	/* Its last packets are still to be named. */
	assert_string_equal(apptap_links_name(r->links, va), "va");
}

static void test_renamed_and_back_again(void **state)
{
	struct room *r = *state;
	int32_t old;

	net_need_own();
	net_ip("link add d0 type veth peer name peer0");
	assert_int_equal(read_changes(r), 1);
	old = apptap_links_index(r->links, "d0");
	net_ip("link set d0 name d0123456789abcd"); /* as long as a name may be */
	assert_int_equal(read_changes(r), 1);
	assert_int_equal(apptap_links_index(r->links, "d0"), -1);
	assert_int_equal(apptap_links_index(r->links, "d0123456789abcd"), old);
	net_ip("link del d0123456789abcd");
	net_ip("link add d0 type veth peer name peer0");
	assert_int_equal(read_changes(r), 1);
	assert_int_equal(apptap_links_index(r->links, "d0"), if_nametoindex("d0"));
	net_ip("link del d0");
	assert_int_equal(read_changes(r), 1);
	assert_non_null(strstr(r->gone, "d0 "));
}

static void test_addresses(void **state)
{
	struct room *r = *state;

	net_need_own();
	net_ip("link add d0 type veth peer name peer0");
	net_ip("addr add 192.0.2.1 peer 192.0.2.2 dev d0");
	net_ip("addr add 2001:db8::1/64 dev d0");
	read_changes(r);
	assert_true(has(r, "192.0.2.1"));
	assert_false(has(r, "192.0.2.2")); /* the other end's */
	assert_true(has(r, "2001:db8::1"));
	assert_false(has(r, "2001:db8::2"));
	net_ip("addr add 192.0.2.9/24 dev d0");
	assert_false(has(r, "192.0.2.9")); /* not before it was read */
	assert_int_equal(read_changes(r), 0); /* an address is no interface */
	assert_true(has(r, "192.0.2.9"));
	net_ip("link del d0");
	read_changes(r);
}

/* Packets of an address that has just gone may still be in the ring. */
static void test_an_address_goes(void **state)
{
	struct room *r = *state;
	uint64_t now_ns = apptap_clock_ns(CLOCK_MONOTONIC);

	net_need_own();
	net_ip("link add d0 type veth peer name peer0");
	net_ip("addr add 192.0.2.1/24 dev d0");
	net_ip("addr add 192.0.2.2/24 dev d0");
	net_ip("addr add 192.0.2.3/24 dev d0");
	read_changes(r);
	net_ip("addr del 192.0.2.3/24 dev d0");
	net_ip("addr del 192.0.2.2/24 dev d0");
	read_changes(r);
	apptap_links_forget(r->links, now_ns + 4 * APPTAP_NSEC_PER_SEC);
	assert_true(has(r, "192.0.2.2"));
	net_ip("addr add 192.0.2.3/24 dev d0");
	read_changes(r);
	apptap_links_forget(r->links, now_ns + 60 * APPTAP_NSEC_PER_SEC);
	assert_true(has(r, "192.0.2.1"));
	assert_false(has(r, "192.0.2.2"));
	assert_true(has(r, "192.0.2.3")); /* it came back */
	net_ip("link del d0");
	read_changes(r);
}

/* More at once than the first room for them. */
static void test_many(void **state)
{
	struct room *r = *state;
	char command[64], name[IF_NAMESIZE];

	net_need_own();
	for (int i = 0; i < 20; i++) {
		snprintf(command, sizeof(command), "link add many%d type veth peer name peer%d", i,
			 i);
		net_ip(command);
		snprintf(command, sizeof(command), "addr add 192.0.2.%d/32 dev many%d", i + 1, i);
		net_ip(command);
	}
	assert_int_equal(read_changes(r), 1);
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "many%d", i);
		assert_int_equal(apptap_links_index(r->links, name), if_nametoindex(name));
		snprintf(command, sizeof(command), "192.0.2.%d", i + 1);
		assert_true(has(r, command));
		snprintf(command, sizeof(command), "link del many%d", i);
		net_ip(command);
	}
	assert_int_equal(read_changes(r), 1);
	assert_int_equal(apptap_links_index(r->links, "many19"), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_is_there, setup, teardown),
		cmocka_unit_test_setup_teardown(test_come_and_go, setup, teardown),
		cmocka_unit_test_setup_teardown(test_renamed_and_back_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_addresses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_address_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
	};

	return cmocka_run_group_tests(tests, net_enter, net_leave);
}
