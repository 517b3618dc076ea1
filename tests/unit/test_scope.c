/* test_scope.c - who the app is, asked of real processes with hostile names */
#include "people.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static void test_add(void **state)
{
	struct people *f = *state;

	assert_int_equal(apptap_scope_add(&f->scope, 7, &f->err, "process %d (%s)", 1, "a\033[31m"),
			 0);
	assert_string_equal(f->scope.uids[0].why, "process 1 (a?[31m)");
	assert_int_equal(apptap_scope_add(&f->scope, 7, &f->err, "again"), 0);
	assert_int_equal(f->scope.uid_count, 1);
	assert_true(apptap_scope_has(&f->scope, 7));
	assert_false(apptap_scope_has(&f->scope, 8));
	assert_int_equal(apptap_scope_add(&f->scope, (uid_t)-1, &f->err, "none"), -EINVAL);
	assert_false(apptap_scope_has(&f->scope, (uid_t)-1));
	for (uid_t uid = 100; f->scope.uid_count < APPTAP_SCOPE_UIDS_MAX; uid++)
		assert_int_equal(apptap_scope_add(&f->scope, uid, &f->err, "%0300d", 1), 0);
	assert_int_equal(apptap_scope_add(&f->scope, 7, &f->err, "again"), 0);
	assert_int_equal(apptap_scope_add(&f->scope, 8, &f->err, "full"), -ENOSPC);
}

static void test_target_kinds(void **state)
{
	static const uid_t uids[] = { 5001, 5002, 5001 };
	static const uid_t half[] = { 5001, (uid_t)-1 };
	static const uid_t root[] = { 0 };
	struct people *f = *state;

	assert_int_equal(people_resolve(f, (struct apptap_target){ 0 }, NULL), -EINVAL);
	assert_true(f->err.hint[0] != '\0');
	assert_int_equal(people_resolve(f, (struct apptap_target){ .name = "" }, NULL), -EINVAL);
	assert_int_equal(
		people_resolve(f, (struct apptap_target){ .name = "a", .user = "b" }, NULL),
		-EINVAL);
	assert_int_equal(people_resolve(f, (struct apptap_target){ .whole_device = true }, NULL),
			 0);
	assert_true(f->scope.whole_device);
	assert_int_equal(f->scope.uid_count, 0);
	assert_int_equal(
		people_resolve(f, (struct apptap_target){ .uids = uids, .uid_count = 3 }, NULL), 0);
	assert_false(f->scope.whole_device);
	assert_int_equal(f->scope.uid_count, 2);
	assert_string_equal(f->said, "");
	assert_int_equal(
		people_resolve(f, (struct apptap_target){ .uids = half, .uid_count = 2 }, NULL),
		-EINVAL);
	assert_int_equal(f->scope.uid_count, 0); /* half a scope is none */
	assert_int_equal(
		people_resolve(f, (struct apptap_target){ .uids = root, .uid_count = 1 }, NULL), 0);
	assert_has(f->said, "UID 0 owns what the system itself sends");
	assert_int_equal(people_resolve(f, (struct apptap_target){ .user = "root" }, NULL), 0);
	assert_only(f, 0);
	assert_string_equal(f->scope.uids[0].why, "user root");
	assert_int_equal(people_resolve(f, (struct apptap_target){ .user = "rooot" }, NULL),
			 -ESRCH);
	assert_string_equal(f->err.msg, "no user is named 'rooot'; there are 'root'");
	assert_int_equal(f->scope.uid_count, 0);
	assert_int_equal(people_resolve(f, (struct apptap_target){ .user = "5001" }, NULL), -ESRCH);
	assert_string_equal(f->err.hint, "for a UID: --uid 5001");
	assert_int_equal(people_resolve(f, (struct apptap_target){ .user = "\033[2J" }, NULL),
			 -ESRCH);
	assert_clean(f->err.msg);
	assert_int_equal(apptap_scope_resolve(&f->scope,
					      &(struct apptap_target){ .name = "a b c d" }, NULL,
					      NULL, NULL, NULL),
			 -ESRCH);
}

static void test_pid(void **state)
{
	struct people *f = *state;
	char number[16];
	pid_t watched = -1;
	pid_t pid;

	people_need_root();
	pid = people_spawn_named(f, APP, "x\033]0;y\a");
	snprintf(number, sizeof(number), "%d", (int)pid);
	assert_int_equal(people_resolve(f, (struct apptap_target){ .name = number }, &watched), 0);
	assert_only(f, APP);
	assert_int_equal(watched, pid);
	assert_has(f->scope.uids[0].why, "(x?]0;y?)");
	kill(pid, SIGKILL);
	waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT);
	assert_int_equal(people_resolve(f, (struct apptap_target){ .name = number }, &watched),
			 -ESRCH);
	assert_has(f->err.msg, "has ended");
	assert_int_equal(watched, 0);
	people_end(f, 0);
	assert_int_equal(people_resolve(f, (struct apptap_target){ .name = number }, &watched),
			 -ESRCH);
	assert_has(f->err.msg, "no process has the PID");
	assert_true(f->err.hint[0] != '\0');
	assert_int_equal(people_resolve(f, (struct apptap_target){ .name = "99999999999" }, NULL),
			 -ESRCH);
	assert_int_equal(people_resolve(f, (struct apptap_target){ .name = "0" }, NULL), -ESRCH);
}

static void test_name_one_user(void **state)
{
	struct people *f = *state;
	char number[16];
	pid_t first;

	people_need_root();
	first = people_spawn_named(f, APP, "tapped (a) b");
	assert_int_equal(people_resolve_name(f, "tapped (a) b"), 0);
	assert_only(f, APP);
	snprintf(number, sizeof(number), "%d", (int)first);
	assert_has(f->scope.uids[0].why, number);
	assert_has(f->scope.uids[0].why, "(tapped (a) b)");
	for (int i = 0; i < 4; i++)
		people_spawn_named(f, APP, "tapped (a) b");
	assert_int_equal(people_resolve_name(f, "tapped (a) b"), 0);
	assert_only(f, APP);
	assert_has(f->scope.uids[0].why, "processes ");
	assert_has(f->scope.uids[0].why, " and 2 more (tapped (a) b)");
	/* parts and other spellings are not the name */
	assert_int_equal(people_resolve_name(f, "tapped (a)"), -ESRCH);
	assert_has(f->err.msg, "no process is named 'tapped (a)'; running are 'tapped (a) b'");
	assert_true(f->err.hint[0] != '\0');
	assert_int_equal(people_resolve_name(f, "Tapped (a) b"), -ESRCH);
}

static void test_name_several_users(void **state)
{
	struct people *f = *state;
	char line[64];
	pid_t a, b;

	people_need_root();
	a = people_spawn_named(f, APP, "tapped-\033[1m\n");
	b = people_spawn_named(f, BYSTANDER, "tapped-\033[1m\n");
	people_spawn_named(f, BYSTANDER, "tapped-\033[1m\n");
	assert_int_equal(people_resolve_name(f, "tapped-\033[1m\n"), -ENOTUNIQ);
	assert_int_equal(f->scope.uid_count, 0);
	assert_clean(f->err.msg);
	snprintf(line, sizeof(line), "PID %d tapped-?[1m? (UID 5001)", (int)a);
	assert_has(f->err.msg, line);
	snprintf(line, sizeof(line), "PID %d tapped-?[1m? (UID 5002)", (int)b);
	assert_has(f->err.msg, line);
	assert_has(f->err.msg, "and 1 more");
	assert_has(f->err.hint, "--uid");
	people_end(f, 0);
	assert_int_equal(people_resolve_name(f, "tapped-\033[1m\n"), 0);
	assert_only(f, BYSTANDER);
}

/* A name that reads like a line of its status file gives nobody another UID. */
static void test_name_forges_nothing(void **state)
{
	static const char forged[] = "q\nUid:\t0\t0\t0\t0";
	struct people *f = *state;
	char number[16];
	pid_t pid;

	people_need_root();
	pid = people_spawn_named(f, APP, forged);
	snprintf(number, sizeof(number), "%d", (int)pid);
	assert_int_equal(people_resolve(f, (struct apptap_target){ .name = number }, NULL), 0);
	assert_only(f, APP);
	assert_clean(f->scope.uids[0].why);
	assert_int_equal(people_resolve_name(f, forged), 0);
	assert_only(f, APP);
}

static void test_name_cut_short(void **state)
{
	struct people *f = *state;

	people_need_root();
	people_spawn_named(f, APP, "a-script-with-a-long-name.py");
	assert_int_equal(people_resolve_name(f, "a-script-with-a-long-name.py"), 0);
	assert_int_equal(people_resolve_name(f, "a-script-with-a"), 0);
	assert_int_equal(people_resolve_name(f, "a-script-with"), -ESRCH);
}

/* Not even when a process of another user makes the name ambiguous. */
static void test_own_chain_never_matches(void **state)
{
	struct people *f = *state;
	char comm[16] = "";

	assert_int_equal(prctl(PR_GET_NAME, comm), 0);
	prctl(PR_SET_NAME, "tapped-self");
	assert_int_equal(people_resolve_name(f, "tapped-self"), -ESRCH);
	assert_has(f->err.msg, "but those that apptap itself runs under");
	people_need_root();
	people_spawn_named(f, APP, "tapped-self");
	assert_int_equal(people_resolve_name(f, "tapped-self"), 0);
	assert_only(f, APP);
	prctl(PR_SET_NAME, comm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		people_test(test_add),
		people_test(test_target_kinds),
		people_test(test_pid),
		people_test(test_name_one_user),
		people_test(test_name_several_users),
		people_test(test_name_forges_nothing),
		people_test(test_name_cut_short),
		people_test(test_own_chain_never_matches),
	};

	return cmocka_run_group_tests_name("scope", tests, NULL, NULL);
}
