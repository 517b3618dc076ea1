/* test_elevate.c - hostile arguments through real shells; how root is found, by what su says */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/sha256.h"
#include "host/elevate.h"
#include "base/launch.h"
#include "host/quote.h"

static const char *const hostile[] = {
	"com.example.app",
	"",
	" ",
	"two words",
	"it's",
	"'",
	"''\\''",
	"\"double\"",
	"$(touch /tmp/apptap-was-here)",
	"`id`",
	"; reboot",
	"&& true",
	"a|b>c<d",
	"$HOME ${PATH} $1",
	"back\\slash\\",
	"new\nline",
	"tab\tand\rreturn",
	"*",
	"~root",
	"-n",
	"--",
	"#comment",
	"!history",
	"{a,b}",
	"\xc3\xa4\xff\x01",
};

/* What `SHELL -c LINE` writes; the line has printf write its arguments, each in brackets. */
static void run_line(const char *shell, const char *line, struct apptap_ran *ran)
{
	const char *const argv[] = { shell, "-c", line, NULL };
	struct apptap_error err = { 0 };

	assert_int_equal(apptap_launch_run(argv, 5000, ran, &err), 0);
	assert_int_equal(ran->status, 0);
}

static void check_words(const char *shell, const char *line)
{
	struct apptap_ran ran;
	const char *p;

	run_line(shell, line, &ran);
	p = ran.out;
	for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
		size_t len = strlen(hostile[i]);

		assert_int_equal(*p, '[');
		assert_memory_equal(p + 1, hostile[i], len);
		p += len + 1;
		assert_int_equal(*p++, ']');
	}
	assert_int_equal(*p, '\0');
	apptap_ran_free(&ran);
}

static const char *const shells[] = { "/bin/sh", "/bin/bash", "/usr/bin/mksh" };

static void hostile_arguments_stay_data(void **state)
{
	const char *argv[ARRAY_SIZE(hostile) + 3] = { "printf", "[%s]" };
	auto_free char *line = NULL;
	auto_free char *twice = NULL;

	(void)state;
	memcpy(argv + 2, hostile, sizeof(hostile));
	line = apptap_quote(argv);
	/* as su -c passes it: a line within a line */
	twice = apptap_quote((const char *[]){ "sh", "-c", line, NULL });
	for (size_t i = 0; i < ARRAY_SIZE(shells); i++) {
		if (access(shells[i], X_OK) < 0)
			continue;
		check_words(shells[i], line);
		check_words(shells[i], twice);
	}
	assert_int_equal(access("/tmp/apptap-was-here", F_OK), -1);
}

static void each_way_has_its_words(void **state)
{
	static const char *const argv[] = { "cat", "a b", NULL };
	static const struct {
		enum apptap_elevation how;
		const char *line;
	} cases[] = {
		{ APPTAP_ELEVATION_NONE, "exec cat 'a b'" },
		{ APPTAP_ELEVATION_SU_C, "exec su -c 'exec cat '\\''a b'\\'''" },
		{ APPTAP_ELEVATION_SU_0, "exec su 0 cat 'a b'" },
		{ APPTAP_ELEVATION_SU_ROOT, "exec su root cat 'a b'" },
		{ APPTAP_ELEVATION_SUDO, "exec sudo -n -- cat 'a b'" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		auto_free char *line = apptap_elevate(cases[i].how, argv);

		assert_string_equal(line, cases[i].line);
	}
}

/* A device: what it answers to each line that is asked, in order of the ways. */
struct answer {
	const char *asked;
	int status;
	const char *out;
	const char *said;
	int r;
};

static int answer(void *arg, const char *line, int timeout_ms, struct apptap_ran *out,
		  struct apptap_error *err)
{
	(void)timeout_ms;
	*out = (struct apptap_ran){ .status = -1 };
	for (const struct answer *a = arg; a->asked; a++) {
		if (strncmp(line, a->asked, strlen(a->asked)) != 0)
			continue;
		out->status = a->status;
		out->out = a->out ? strdup(a->out) : NULL;
		out->out_len = a->out ? strlen(a->out) : 0;
		snprintf(out->said, sizeof(out->said), "%s", a->said ? a->said : "");
		return a->r ? apptap_error_say(err, -a->r, "timed out") : 0;
	}
	fail_msg("asked for '%s'", line);
	return 0;
}

static const enum apptap_elevation all[] = {
	APPTAP_ELEVATION_NONE,	  APPTAP_ELEVATION_SU_C, APPTAP_ELEVATION_SU_0,
	APPTAP_ELEVATION_SU_ROOT, APPTAP_ELEVATION_SUDO, APPTAP_ELEVATION_UNKNOWN,
};

#define SHELL_USER                              \
	{                                       \
		"exec id", 0, "2000\n", NULL, 0 \
	}
#define NO_SUDO                                                \
	{                                                      \
		"exec sudo", 127, "", "sh: sudo: not found", 0 \
	}

static void the_way_that_works_is_found(void **state)
{
	static const struct answer root[] = { { "exec id", 0, "0\n", NULL, 0 }, { 0 } };
	static const struct answer magisk[] = { SHELL_USER,
						{ "exec su -c", 0, "0\n", NULL, 0 },
						{ 0 } };
	static const struct answer aosp[] = {
		SHELL_USER,
		{ "exec su -c", 1, "", "su: invalid uid/gid '-c'", 0 },
		{ "exec su 0", 0, "0\n", NULL, 0 },
		{ 0 },
	};
	/* the command is ignored, and a shell that reads nothing says nothing */
	static const struct answer silent[] = {
		SHELL_USER,
		{ "exec su -c", 0, "", NULL, 0 },
		{ "exec su 0", 0, "", NULL, 0 },
		{ "exec su root", 0, "0\n", NULL, 0 },
		{ 0 },
	};
	static const struct {
		const struct answer *device;
		enum apptap_elevation how;
	} cases[] = {
		{ root, APPTAP_ELEVATION_NONE },
		{ magisk, APPTAP_ELEVATION_SU_C },
		{ aosp, APPTAP_ELEVATION_SU_0 },
		{ silent, APPTAP_ELEVATION_SU_ROOT },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		enum apptap_elevation how = APPTAP_ELEVATION_UNKNOWN;
		struct apptap_error err = { 0 };
		void *arg = (void *)(uintptr_t)cases[i].device;

		assert_int_equal(apptap_elevate_find(&how, all, answer, arg, 1000, &err), 0);
		assert_int_equal(how, cases[i].how);
	}
}

static void each_refusal_has_its_sentence(void **state)
{
	static const struct answer none[] = {
		SHELL_USER, { "exec su", 127, "", "sh: su: not found", 0 }, NO_SUDO, { 0 }
	};
	static const struct answer denied[] = {
		SHELL_USER,
		{ "exec su -c", 13, "", "Permission denied", 0 },
		{ "exec su", 1, "", "", 0 },
		NO_SUDO,
		{ 0 },
	};
	/* nobody answers: it is asked once, or a second prompt would come up */
	static const struct answer hangs[] = { SHELL_USER,
					       { "exec su -c", 0, NULL, NULL, -ETIMEDOUT },
					       { 0 } };
	static const struct answer password[] = {
		SHELL_USER,
		{ "exec su ", 1, "", "su: must be run from a terminal", 0 },
		{ "exec sudo", 1, "", "sudo: a password is required", 0 },
		{ 0 },
	};
	static const struct {
		const struct answer *device;
		const char *says, *try;
	} cases[] = {
		{ none, "there is no su", "root the device" },
		{ denied, "su refuses: Permission denied", "allow root" },
		{ hangs, "nobody answered within 1 s", "unlock" },
		{ password, "asks for a password", "connect as root" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		enum apptap_elevation how = APPTAP_ELEVATION_UNKNOWN;
		struct apptap_error err = { 0 };
		void *arg = (void *)(uintptr_t)cases[i].device;

		assert_int_equal(apptap_elevate_find(&how, all, answer, arg, 1000, &err), -EPERM);
		assert_non_null(strstr(err.msg, cases[i].says));
		assert_non_null(strstr(err.hint, cases[i].try));
	}
}

static void a_link_that_fails_is_no_refusal(void **state)
{
	static const struct answer gone[] = { { "exec id", 0, NULL, NULL, -ENODEV }, { 0 } };
	enum apptap_elevation how = APPTAP_ELEVATION_UNKNOWN;
	struct apptap_error err = { 0 };

	(void)state;
	assert_int_equal(
		apptap_elevate_find(&how, all, answer, (void *)(uintptr_t)gone, 1000, &err),
		-ENODEV);
}

static void a_command_that_hangs_is_ended(void **state)
{
	static const char *const sleeps[] = { "sleep", "60", NULL };
	static const char *const missing[] = { "apptap-no-such-program", NULL };
	static const char *const talks[] = { "sh", "-c", "echo a; echo b >&2; echo c >&2; exit 7",
					     NULL };
	struct apptap_ran ran;
	struct apptap_error err = { 0 };

	(void)state;
	assert_int_equal(apptap_launch_run(sleeps, 100, &ran, &err), -ETIMEDOUT);
	apptap_ran_free(&ran);
	assert_int_equal(apptap_launch_run(missing, 1000, &ran, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "not installed"));
	assert_int_equal(apptap_launch_run(talks, 5000, &ran, &err), 0);
	assert_int_equal(ran.status, 7);
	assert_string_equal(ran.out, "a\n");
	assert_string_equal(ran.said, "c");
	apptap_ran_free(&ran);
}

static void the_sum_is_sha256(void **state)
{
	char hex[APPTAP_SHA256_HEX], million[1000];

	(void)state;
	apptap_sha256_hex("", 0, hex);
	assert_string_equal(hex,
			    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	apptap_sha256_hex("abc", 3, hex);
	assert_string_equal(hex,
			    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	apptap_sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, hex);
	assert_string_equal(hex,
			    "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
	memset(million, 'a', sizeof(million));
	apptap_sha256_hex(million, sizeof(million), hex);
	assert_string_equal(hex,
			    "41edece42d63e8d9bf515a9ba6932e1c20cbc9f5a5d134645adb5db1b9737ea3");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hostile_arguments_stay_data),
		cmocka_unit_test(each_way_has_its_words),
		cmocka_unit_test(the_way_that_works_is_found),
		cmocka_unit_test(each_refusal_has_its_sentence),
		cmocka_unit_test(a_link_that_fails_is_no_refusal),
		cmocka_unit_test(a_command_that_hangs_is_ended),
		cmocka_unit_test(the_sum_is_sha256),
	};

	return cmocka_run_group_tests_name("elevate", tests, NULL, NULL);
}
