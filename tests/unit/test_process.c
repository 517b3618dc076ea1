/* test_process.c - what /proc says of a process, and which names are near */
#include "people.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "scope/nearest.h"
#include "scope/process.h"

static void test_parse_status(void **state)
{
	struct apptap_proc_status st;

	(void)state;
	assert_int_equal(
		apptap_proc_parse_status(view("Name:\ta\\nUid:\\\\n 0\nState:\tS (sleeping)\n"
					      "Tgid:\t12\nPPid:\t7\nUid:\t1\t2\t3\t4\n"
					      "VmSize:\t 1 kB\nThreads:\t1\n"),
					 &st),
		0);
	assert_string_equal(st.name, "a\nUid:\\n 0");
	assert_int_equal(st.tgid, 12);
	assert_int_equal(st.ppid, 7);
	assert_int_equal(st.uid, 4);
	assert_true(st.alive);
	assert_int_equal(
		apptap_proc_parse_status(view("Name:\tz\nUid:\t1\t1\t1\t1\nThreads:\t1\n"), &st),
		0);
	assert_false(st.alive);
	assert_int_equal(
		apptap_proc_parse_status(view("Name:\tz\nUid:\t1\t1\t1\t1\nThreads:\t2\n"), &st),
		0);
	assert_true(st.alive);
	assert_int_equal(apptap_proc_parse_status(view("Name:\tx\nUid:\t1\t1\t1\n"), &st),
			 -EBADMSG);
	assert_int_equal(
		apptap_proc_parse_status(view("Name:\tx\nUid:\t1\t1\t1\t4294967295\n"), &st),
		-EBADMSG);
	assert_int_equal(
		apptap_proc_parse_status(view("Name:\tx\nUid:\t1\t1\t1\t4294967296\n"), &st),
		-EBADMSG);
	assert_int_equal(apptap_proc_parse_status(view("Uid:\t1\t1\t1\t1\n"), &st), -EBADMSG);
	assert_int_equal(apptap_proc_parse_status(view(""), &st), -EBADMSG);
}

static void test_parse_names(void **state)
{
	static const char cmdline[] = "/usr/lib/firefox/firefox\0-P\0/x/y";
	char name[16];

	(void)state;
	apptap_proc_parse_cmdline(
		(struct apptap_view){ .p = (const uint8_t *)cmdline, .left = sizeof(cmdline) },
		name, sizeof(name));
	assert_string_equal(name, "firefox");
	apptap_proc_parse_cmdline(view("0123456789abcdefgh"), name, sizeof(name));
	assert_string_equal(name, "0123456789abcde");
	apptap_proc_parse_cmdline(view(""), name, sizeof(name));
	assert_string_equal(name, "");
	apptap_proc_parse_cmdline(view("bin/"), name, sizeof(name));
	assert_string_equal(name, "");
	apptap_proc_parse_exe(view("/usr/bin/curl (deleted)"), name, sizeof(name));
	assert_string_equal(name, "curl");
	apptap_proc_parse_exe(view("/"), name, sizeof(name));
	assert_string_equal(name, "");
	assert_true(apptap_proc_is_pid("0012"));
	assert_false(apptap_proc_is_pid("12a"));
	assert_false(apptap_proc_is_pid(""));
	assert_int_equal(apptap_proc_parse_pid("0012"), 12);
	assert_int_equal(apptap_proc_parse_pid("2147483648"), 0);
	assert_int_equal(apptap_proc_parse_pid("99999999999999999999"), 0);
}

static void test_is_named(void **state)
{
	struct apptap_process p = { .comm = "systemd-resolve", .argv0 = "systemd-resolved" };

	(void)state;
	assert_true(apptap_process_is_named(&p, "systemd-resolve"));
	assert_true(apptap_process_is_named(&p, "systemd-resolved"));
	assert_false(apptap_process_is_named(&p, "systemd-resolvectl"));
	assert_false(apptap_process_is_named(&p, "systemd"));
	assert_false(apptap_process_is_named(&p, ""));
	/* a script: only the cut name is its own */
	p = (struct apptap_process){ .comm = "my-long-script-",
				     .argv0 = "python3",
				     .exe = "python3" };
	assert_true(apptap_process_is_named(&p, "my-long-script-name"));
	assert_true(apptap_process_is_named(&p, "python3"));
	assert_false(apptap_process_is_named(&p, "my-long-script"));
	p = (struct apptap_process){ .comm = "short" };
	assert_false(apptap_process_is_named(&p, "shorter-than-fifteen"));
	assert_false(apptap_process_is_named(&p, "Short"));
}

static void test_nearest(void **state)
{
	struct apptap_nearest n = { .wanted = "firefx" };
	char buf[200];

	(void)state;
	apptap_nearest_offer(&n, "bash");
	apptap_nearest_offer(&n, "");
	assert_string_equal(apptap_nearest_list(&n, buf, sizeof(buf)), "");
	apptap_nearest_offer(&n, "firefly");
	apptap_nearest_offer(&n, "firefox");
	apptap_nearest_offer(&n, "firefox");
	apptap_nearest_offer(&n, "fir\033efx");
	apptap_nearest_offer(&n, "FireFX");
	assert_string_equal(apptap_nearest_list(&n, buf, sizeof(buf)),
			    "'FireFX', 'firefox', 'fir?efx', 'firefly'");
	apptap_nearest_offer(&n, "firefx-bin");
	assert_string_equal(apptap_nearest_list(&n, buf, sizeof(buf)),
			    "'FireFX', 'firefx-bin', 'firefox', 'fir?efx'");
	assert_string_equal(apptap_nearest_list(&n, buf, 12), "'FireFX'");
}

/* What a socket gets is the filesystem UID; it follows the effective one, not the real one. */
static void test_fsuid(void **state)
{
	struct apptap_proc_status st;
	struct people *f = *state;
	int dir;
	pid_t pid;

	people_need_root();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (setresuid(APP, BYSTANDER, 0) < 0)
			_exit(1);
		raise(SIGSTOP);
		_exit(0);
	}
	f->children[f->count++] = pid;
	assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
	dir = apptap_process_open(pid);
	assert_int_equal(apptap_process_status(dir, &st), 0);
	close(dir);
	assert_int_equal(st.uid, BYSTANDER);
	assert_int_equal(st.ppid, getpid());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		people_test(test_parse_status), people_test(test_parse_names),
		people_test(test_is_named),	people_test(test_nearest),
		people_test(test_fsuid),
	};

	return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
