/* test_resolver.c - the local stub resolver: its files, and real ones in a network namespace */
#include "people.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "scope/resolver.h"

static void test_parse_resolv_conf(void **state)
{
	struct apptap_nameserver ns[APPTAP_NAMESERVERS_MAX];
	char many[4096] = "";
	char text[APPTAP_ADDR_STRLEN];

	(void)state;
	assert_int_equal(apptap_resolv_parse(view("# nameserver 127.0.0.9\nnameserver 127.0.0.53\n"
						  "nameserver 8.8.8.8\noptions edns0\n"),
					     ns),
			 1);
	assert_string_equal(apptap_addr_str(&ns[0].addr, ns[0].family, 53, text, sizeof(text)),
			    "127.0.0.53:53");
	assert_int_equal(
		apptap_resolv_parse(view("nameserver\t ::1%lo # here\nnameserver 127.1;x\n"
					 "nameserver 127.0.0.1\r\nnameserver ::ffff:127.0.0.2\n"
					 "nameserver 0.0.0.0"),
				    ns),
		3);
	assert_string_equal(apptap_addr_str(&ns[0].addr, ns[0].family, 53, text, sizeof(text)),
			    "[::1]:53");
	assert_string_equal(apptap_addr_str(&ns[1].addr, ns[1].family, 53, text, sizeof(text)),
			    "127.0.0.1:53");
	assert_int_equal(ns[2].family, AF_INET);
	assert_int_equal(apptap_resolv_parse(view("nameserver 8.8.8.8\n"), ns), 0);
	/* resolv.conf(5): without a nameserver, this machine's own is asked */
	assert_int_equal(apptap_resolv_parse(view(""), ns), 1);
	assert_int_equal(apptap_resolv_parse(view("nameserverx 127.0.0.9\nnameserver\nnameserver \n"
						  "nameserver 127.0.0.1.2\n\xff\xfe"),
					     ns),
			 1);
	assert_string_equal(apptap_addr_str(&ns[0].addr, ns[0].family, 53, text, sizeof(text)),
			    "127.0.0.1:53");
	for (int i = 1; i <= 40; i++)
		snprintf(many + strlen(many), sizeof(many) - strlen(many),
			 "nameserver 127.0.0.%d\n", i);
	assert_int_equal(apptap_resolv_parse(view(many), ns), APPTAP_NAMESERVERS_MAX);
}

static void test_parse_proc_net_udp(void **state)
{
	static const char v4[] =
		"  123: 3500007F:0035 00000000:0000 07 00000000:00000000 00:00000000 "
		"00000000  5003        0 9999 2 0000000000000000 0\n";
	static const char v6[] = "   12: 00000000000000000000000001000000:0035 "
				 "00000000000000000000000000000000:0000 07 00000000:00000000 "
				 "00:00000000 00000000     0        0 77 2 0000000000000000 0\n";
	static const char connected[] = "  1: 3500007F:0035 0100007F:0009 01 00000000:00000000 "
					"00:00000000 00000000  5003        0 9 2 0 0\n";
	static const char nobody[] = "  1: 3500007F:0035 00000000:0000 07 00000000:00000000 "
				     "00:00000000 00000000  0        0 0 2 0 0\n";
	struct apptap_bound b;
	char text[APPTAP_ADDR_STRLEN];

	(void)state;
	assert_true(apptap_bound_parse_proc(view(v4), AF_INET, &b));
	assert_string_equal(apptap_addr_str(&b.addr, b.family, b.port, text, sizeof(text)),
			    "127.0.0.53:53");
	assert_int_equal(b.uid, 5003);
	assert_true(apptap_bound_parse_proc(view(v6), AF_INET6, &b));
	assert_string_equal(apptap_addr_str(&b.addr, b.family, b.port, text, sizeof(text)),
			    "[::1]:53");
	assert_int_equal(b.uid, 0);
	assert_false(apptap_bound_parse_proc(view(v4), AF_INET6, &b));
	assert_false(apptap_bound_parse_proc(view(connected), AF_INET, &b));
	assert_false(apptap_bound_parse_proc(view(nobody), AF_INET, &b));
	assert_false(apptap_bound_parse_proc(view("  sl  local_address rem_address   st\n"),
					     AF_INET, &b));
}

/* Into a network namespace of its own: port 53 free for all, lo up. */
static void enter_netns(struct people *f)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd;

	people_need_root();
	f->netns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(f->netns >= 0);
	if (unshare(CLONE_NEWNET) < 0) {
		print_message("SKIP: a network namespace cannot be made: %s\n", strerror(errno));
		skip();
	}
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
	close(fd);
	fd = open("/proc/sys/net/ipv4/ip_unprivileged_port_start", O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "0", 1), 1);
	close(fd);
}

static void add_resolver(struct people *f, const char *resolv_conf)
{
	char path[128];
	FILE *file;

	if (!f->dir[0]) {
		snprintf(f->dir, sizeof(f->dir), "/tmp/test_scope.XXXXXX");
		assert_non_null(mkdtemp(f->dir));
	}
	snprintf(path, sizeof(path), "%s/resolv.conf", f->dir);
	file = fopen(path, "we");
	assert_non_null(file);
	fputs(resolv_conf, file);
	fclose(file);
	f->said[0] = '\0';
	memset(&f->scope, 0, sizeof(f->scope));
	assert_int_equal(apptap_scope_add(&f->scope, APP, NULL, "test"), 0);
	apptap_resolver_add(&f->scope, path, hear, f);
}

static void test_resolver_found(void **state)
{
	struct people *f = *state;

	enter_netns(f);
	add_resolver(f, "nameserver 127.0.0.53\n"); /* nobody is there */
	assert_only(f, APP);
	assert_string_equal(f->said, "");
	people_spawn(f, (struct life){ .uid = RESOLVER, .comm = "stub", .bind_ip = "127.0.0.53" },
		     NULL);
	add_resolver(f, "nameserver 127.0.0.53\n");
	assert_int_equal(f->scope.uid_count, 2);
	assert_int_equal(f->scope.uids[1].uid, RESOLVER);
	assert_string_equal(f->scope.uids[1].why, "stub resolver 127.0.0.53:53 (UID 5003)");
	assert_has(f->said, "127.0.0.53:53 (UID 5003)");
	assert_has(f->said, "--no-dns");
	add_resolver(f, "nameserver 127.0.0.54\n"); /* another address */
	assert_only(f, APP);
	add_resolver(f, "nameserver 192.0.2.1\n"); /* nothing local */
	assert_only(f, APP);
	assert_string_equal(f->said, "");
}

static void test_resolver_choice(void **state)
{
	struct people *f = *state;

	enter_netns(f);
	people_spawn(f, (struct life){ .uid = RESOLVER, .bind_ip = "::", .comm = "six" }, NULL);
	add_resolver(f, "nameserver 127.0.0.53\n"); /* dual-stack: it answers IPv4 */
	assert_int_equal(f->scope.uids[1].uid, RESOLVER);
	people_end(f, 0);
	people_spawn(
		f, (struct life){ .uid = RESOLVER, .bind_ip = "::", .v6only = true, .comm = "six" },
		NULL);
	add_resolver(f, "nameserver 127.0.0.53\n");
	assert_only(f, APP);
	add_resolver(f, "nameserver ::1\n");
	assert_int_equal(f->scope.uids[1].uid, RESOLVER);
	assert_string_equal(f->scope.uids[1].why, "stub resolver [::1]:53 (UID 5003)");
	/* the socket that is bound to the address itself goes before the wildcard's */
	people_spawn(f, (struct life){ .uid = BYSTANDER, .bind_ip = "::1", .comm = "one" }, NULL);
	add_resolver(f, "nameserver ::1\n");
	assert_int_equal(f->scope.uid_count, 2);
	assert_int_equal(f->scope.uids[1].uid, BYSTANDER);
	/* a client that asks from port 53 is no server */
	people_spawn(
		f,
		(struct life){
			.uid = BYSTANDER, .bind_ip = "127.0.0.7", .connected = true, .comm = "c" },
		NULL);
	add_resolver(f, "nameserver 127.0.0.7\n");
	assert_only(f, APP);
}

static void test_resolver_not_added(void **state)
{
	struct people *f = *state;
	char fifo[128];

	enter_netns(f);
	people_spawn(f, (struct life){ .uid = 0, .comm = "stub", .bind_ip = "127.0.0.53" }, NULL);
	people_spawn(f, (struct life){ .uid = 0, .comm = "stub", .bind_ip = "127.0.0.54" }, NULL);
	people_spawn(f, (struct life){ .uid = APP, .comm = "stub", .bind_ip = "127.0.0.1" }, NULL);
	add_resolver(f, "nameserver 127.0.0.53\nnameserver 127.0.0.54\n");
	assert_only(f, APP);
	assert_has(f->said, "runs as root");
	assert_ptr_equal(strchr(f->said, '\n'), strrchr(f->said, '\n')); /* one sentence */
	add_resolver(f, "nameserver 127.0.0.1\n");
	assert_only(f, APP);
	assert_string_equal(f->said, "");
	snprintf(fifo, sizeof(fifo), "%s/resolv.conf", f->dir);
	assert_int_equal(unlink(fifo), 0);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	memset(&f->scope, 0, sizeof(f->scope));
	apptap_resolver_add(&f->scope, fifo, hear, f); /* neither waits, nor takes it for empty */
	assert_int_equal(f->scope.uid_count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		people_test(test_parse_resolv_conf),  people_test(test_parse_proc_net_udp),
		people_test(test_resolver_found),     people_test(test_resolver_choice),
		people_test(test_resolver_not_added),
	};

	return cmocka_run_group_tests_name("resolver", tests, NULL, NULL);
}
