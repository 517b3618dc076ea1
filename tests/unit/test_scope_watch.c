/* test_scope_watch.c - the app's processes while a capture runs, and what watching them costs */
#include "people.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "scope/scope_watch.h"

#define SCAN_MS_MAX 5.0

static struct apptap_scope_watch *watch(struct people *f, const char *name)
{
	struct apptap_target target = { .name = name };
	struct apptap_scope_watch *w = NULL;
	pid_t pid;

	assert_int_equal(people_resolve(f, target, &pid), 0);
	assert_int_equal(apptap_scope_watch_new(&w, &target, pid, &f->scope, hear, f, &f->err), 0);
	return w;
}

static void test_watch_pid(void **state)
{
	struct people *f = *state;
	struct apptap_scope_watch *w;
	char number[16];
	pid_t found[4];
	struct pollfd p = { .events = POLLIN };

	people_need_root();
	snprintf(number, sizeof(number), "%d", (int)people_spawn_named(f, APP, "watched"));
	w = watch(f, number);
	p.fd = apptap_scope_watch_fd(w);
	assert_int_equal(apptap_scope_watch_event(w), 0);
	assert_int_equal(apptap_scope_watch_rescan(w, found, 4), 0);
	if (p.fd >= 0)
		assert_int_equal(poll(&p, 1, 0), 0);
	kill(f->children[0], SIGKILL);
	waitid(P_PID, (id_t)f->children[0], &(siginfo_t){ 0 }, WEXITED | WNOWAIT);
	if (p.fd >= 0)
		assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(apptap_scope_watch_event(w), 1);
	assert_int_equal(apptap_scope_watch_event(w), 0); /* told once */
	people_end(f, 0);
	assert_int_equal(apptap_scope_watch_rescan(w, found, 4), 0);
	assert_string_equal(f->said, "");
	apptap_scope_watch_free(w);
	apptap_scope_watch_free(NULL);
}

static void test_watch_name(void **state)
{
	struct people *f = *state;
	struct apptap_scope_watch *w;
	pid_t found[4] = { 0 };
	pid_t pid;

	people_need_root();
	people_spawn_named(f, APP, "watched");
	w = watch(f, "watched");
	assert_int_equal(apptap_scope_watch_fd(w), -1);
	assert_int_equal(apptap_scope_watch_rescan(w, found, 4), 0); /* known at the start */
	pid = people_spawn_named(f, APP, "watched");
	assert_int_equal(apptap_scope_watch_rescan(w, found, 4), 1);
	assert_int_equal(found[0], pid);
	assert_int_equal(apptap_scope_watch_rescan(w, found, 4), 0);
	assert_string_equal(f->said, "");
	people_spawn_named(f, BYSTANDER, "watched");
	people_spawn_named(f, BYSTANDER, "watched");
	assert_int_equal(apptap_scope_watch_rescan(w, found, 4), 0);
	assert_has(f->said, "watched (UID 5002)");
	assert_ptr_equal(strchr(f->said, '\n'), strrchr(f->said, '\n'));
	assert_only(f, APP);
	f->said[0] = '\0';
	people_end(f, 2);
	people_spawn_named(f, BYSTANDER, "watched");
	for (int i = 0; i < 20; i++)
		assert_int_equal(apptap_scope_watch_rescan(w, found, 4), 0);
	assert_string_equal(f->said, "");
	assert_int_equal(apptap_scope_watch_event(w), 0);
	apptap_scope_watch_free(w);
}

/* A process may take the name long after it was first met. */
static void test_watch_renamed(void **state)
{
	struct people *f = *state;
	struct apptap_scope_watch *w;
	pid_t found[4] = { 0 };
	size_t n = 0;
	int ready;
	char byte;
	pid_t pid;

	people_need_root();
	people_spawn_named(f, APP, "watched");
	pid = people_spawn(f, (struct life){ .uid = APP, .comm = "watched", .late = true }, &ready);
	w = watch(f, "watched");
	for (int i = 0; i < 20; i++)
		assert_int_equal(apptap_scope_watch_rescan(w, found, 4), 0);
	kill(pid, SIGUSR1);
	assert_int_equal(read(ready, &byte, 1), 1);
	close(ready);
	for (int i = 0; i < 8 && !n; i++) /* the most that the old ones have to wait */
		n = apptap_scope_watch_rescan(w, found, 4);
	assert_int_equal(n, 1);
	assert_int_equal(found[0], pid);
	apptap_scope_watch_free(w);
}

static double cpu_ms(void)
{
	return (double)apptap_clock_ns(CLOCK_THREAD_CPUTIME_ID) / (double)APPTAP_NSEC_PER_MSEC;
}

static void test_scan_cost(void **state)
{
	struct people *f = *state;
	struct apptap_scope_watch *w;
	double best = 1e9, start, all;

	people_need_root();
	for (int i = 0; i < 300; i++)
		people_spawn_named(f, APP, i ? "idle" : "watched");
	start = cpu_ms();
	assert_int_equal(people_resolve_name(f, "watched"), 0);
	all = cpu_ms() - start;
	start = cpu_ms();
	w = watch(f, "watched");
	print_message("resolving %.2f ms at first, again with a watch %.2f ms\n", all,
		      cpu_ms() - start);
	for (int i = 0; i < 30; i++) {
		start = cpu_ms();
		assert_int_equal(apptap_scope_watch_rescan(w, NULL, 0), 0);
		best = MIN(best, cpu_ms() - start);
	}
	print_message("a rescan %.2f ms of CPU time\n", best);
	assert_true(best < SCAN_MS_MAX);
	apptap_scope_watch_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		people_test(test_watch_pid),
		people_test(test_watch_name),
		people_test(test_watch_renamed),
		people_test(test_scan_cost),
	};

	return cmocka_run_group_tests_name("scope_watch", tests, NULL, NULL);
}
