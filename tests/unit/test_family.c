/* test_family.c - a process and its descendants, followed over parents that end; whose a socket is
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "scope/family.h"

/* A child of a child that has ended, with a socket of its own: what it says of itself. */
struct grandchild {
	pid_t pid;
	uint64_t inode;
};

static uint64_t inode_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

static struct grandchild spawn(void)
{
	struct grandchild g = { 0 };
	int ends[2];
	pid_t child;

	assert_int_equal(pipe(ends), 0);
	child = fork();
	if (child == 0) {
		if (fork() == 0) {
			g.pid = getpid();
			g.inode = inode_of(socket(AF_INET, SOCK_DGRAM, 0));
			if (write(ends[1], &g, sizeof(g)) == (ssize_t)sizeof(g))
				pause();
		}
		_exit(0);
	}
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_int_equal(read(ends[0], &g, sizeof(g)), sizeof(g));
	close(ends[0]);
	close(ends[1]);
	return g;
}

static struct apptap_family *follow(pid_t pid, bool tree)
{
	static struct apptap_scope scope;
	struct apptap_family *f;

	scope.process_count = 0;
	assert_int_equal(apptap_scope_add_process(&scope, pid, tree, NULL, "test"), 0);
	assert_int_equal(apptap_family_new(&f, &scope, NULL), 0);
	return f;
}

/* A machine that is busy may not have time for the answer at once. */
static int holds(struct apptap_family *f, uint64_t inode)
{
	int r = apptap_family_holds(f, inode);

	for (int i = 0; r == -ETIME && i < 500; i++) {
		usleep(10000);
		r = apptap_family_holds(f, inode);
	}
	return r;
}

static void test_descendants(void **state)
{
	struct apptap_family *f = follow(getpid(), true);
	struct grandchild g;

	(void)state;
	if (!apptap_family_is_told(f)) {
		apptap_family_free(f);
		print_message("the process connector does not speak here\n");
		skip();
	}
	g = spawn();
	assert_true(apptap_family_has(f, g.pid));
	assert_int_equal(holds(f, g.inode), 1);
	kill(g.pid, SIGKILL);
	apptap_family_free(f);
}

static void test_those_that_run_already(void **state)
{
	struct apptap_family *f;
	int ends[2], own;
	char byte;
	pid_t child;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	child = fork();
	if (child == 0) {
		close(ends[1]);
		_exit(read(ends[0], &byte, 1) < 0);
	}
	own = socket(AF_INET, SOCK_DGRAM, 0);
	f = follow(getpid(), true);
	assert_true(apptap_family_has(f, getpid()));
	assert_true(apptap_family_has(f, child));
	assert_false(apptap_family_has(f, 1));
	assert_int_equal(holds(f, inode_of(own)), 1);
	assert_int_equal(holds(f, 1), 0);
	apptap_family_free(f);
	f = follow(child, false); /* it alone: the socket was made after it was */
	assert_false(apptap_family_has(f, getpid()));
	assert_int_equal(holds(f, inode_of(own)), 0);
	apptap_family_free(f);
	close(ends[1]);
	close(ends[0]);
	close(own);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

static void test_nobody_to_follow(void **state)
{
	static struct apptap_scope scope;
	struct apptap_family *f = (void *)1;
	struct apptap_error err = { 0 };

	(void)state;
	assert_int_equal(apptap_family_new(&f, &scope, &err), 0);
	assert_null(f);
	apptap_family_free(NULL);
	assert_int_equal(apptap_scope_add_process(&scope, 4194303, true, NULL, "gone"), 0);
	assert_true(apptap_family_new(&f, &scope, &err) < 0);
	assert_non_null(strstr(err.msg, "ended"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_descendants),
		cmocka_unit_test(test_those_that_run_already),
		cmocka_unit_test(test_nobody_to_follow),
	};

	return cmocka_run_group_tests_name("family", tests, NULL, NULL);
}
