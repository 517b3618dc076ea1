/* test_android.c - packages, UIDs and isolated processes, as Android's own tools write them */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "scope/android_id.h"
#include "scope/isolated.h"
#include "scope/packages.h"

static struct apptap_view view(const char *text)
{
	return (struct apptap_view){ (const uint8_t *)text, strlen(text) };
}

static void packages_list_is_read(void **state)
{
	struct apptap_packages p = { 0 };

	(void)state;
	assert_int_equal(
		apptap_packages_parse_list(
			view("com.example.app 10123 0 /data/user/0/com.example.app default none 0 7\n"
			     "no.uid\n\nbad.uid 12x 0\n 10001 0\nhuge 99999999999 0\n"
			     "com.shared 1000 0 /data x y z @system\nlast 10200"),
			&p),
		3);
	assert_int_equal(apptap_packages_find(&p, "com.example.app")->app_id, 10123);
	assert_int_equal(apptap_packages_find(&p, "com.shared")->app_id, 1000);
	assert_int_equal(apptap_packages_find(&p, "last")->app_id, 10200);
	assert_null(apptap_packages_find(&p, "com.example.ap"));
	apptap_packages_free(&p);
}

static void what_pm_says_is_read(void **state)
{
	struct apptap_packages p = { 0 };

	(void)state;
	assert_int_equal(apptap_packages_parse_pm(view("package:com.a uid:10123\r\n"
						       "package:com.b uid:10124,1010124\n"
						       "package:com.c\nWARNING: linker\n"
						       "package:com.d uid:x\nuid:5\n"),
						  &p),
			 2);
	assert_int_equal(apptap_packages_find(&p, "com.a")->app_id, 10123);
	assert_int_equal(apptap_packages_find(&p, "com.b")->app_id, 10124);
	apptap_packages_free(&p);
}

static void dumpsys_tells_of_the_package_asked_for(void **state)
{
	uint32_t id = 0;

	(void)state;
	assert_true(apptap_packages_parse_dumpsys(
		view("Packages:\n  Package [com.foobar] (1):\n    userId=10001\n"
		     "  Package [com.foo] (2):\n    appId=10002\n    pkg=Package{2 com.foo}\n"),
		"com.foo", &id));
	assert_int_equal(id, 10002);
	assert_true(apptap_packages_parse_dumpsys(
		view("  Package [com.foo] (2):\n    userId=10003\n"), "com.foo", &id));
	assert_int_equal(id, 10003);
	assert_false(apptap_packages_parse_dumpsys(view("Unable to find package: com.foo\n"),
						   "com.foo", &id));
	assert_false(apptap_packages_parse_dumpsys(
		view("  Package [com.foobar] (1):\n    userId=10001\n"), "com.foo", &id));
}

static void uids_have_androids_names(void **state)
{
	static const struct {
		uid_t uid;
		const char *name;
		enum apptap_android_kind kind;
	} cases[] = {
		{ 0, "root", APPTAP_ANDROID_SYSTEM },
		{ 1051, "dns", APPTAP_ANDROID_SYSTEM },
		{ 10123, "u0_a123", APPTAP_ANDROID_APP },
		{ 1010123, "u10_a123", APPTAP_ANDROID_APP },
		{ 20123, "u0_sdk_sandbox_123", APPTAP_ANDROID_SANDBOX },
		{ 90005, "u0_ai5", APPTAP_ANDROID_ISOLATED },
		{ 1099045, "u10_i45", APPTAP_ANDROID_ISOLATED },
		{ 55555, "UID 55555", APPTAP_ANDROID_OTHER },
	};
	char name[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uid_t back = APPTAP_UID_NONE;

		assert_int_equal(apptap_android_kind(cases[i].uid), cases[i].kind);
		assert_string_equal(apptap_android_id_name(cases[i].uid, name, sizeof(name)),
				    cases[i].name);
		if (strncmp(cases[i].name, "UID", 3) == 0)
			continue;
		assert_true(apptap_android_id_parse(cases[i].name, &back));
		assert_int_equal(back, cases[i].uid);
	}
	assert_false(apptap_android_id_parse("u0_a10000", &(uid_t){ 0 }));
	assert_false(apptap_android_id_parse("u0_a1x", &(uid_t){ 0 }));
	assert_false(apptap_android_id_parse("u99999999_a1", &(uid_t){ 0 }));
	assert_false(apptap_android_id_parse("u0", &(uid_t){ 0 }));
	assert_false(apptap_android_id_parse("", &(uid_t){ 0 }));
}

static void isolated_processes_have_their_owner(void **state)
{
	static const char text[] =
		"  *APP* UID 10123 ProcessRecord{4ac2f5b 812:com.example.app/u0a123}\n"
		"    *APP* UID 99045 ProcessRecord{77 1234:com.google.android.webview:"
		"sandboxed_process0:org.chromium.Service0:0/u0a123i45}\n"
		"  Proc # 1: cch  1235:com.example.app_zygote/u10a7i-8999 (x)\n"
		"  system 900:system/1000\n"
		"  bad :com.x/u0a1i1 x:com.x/u0a1i2 5:com.x/u0a10000i1 6:com.x/u0a1i1000\n";
	struct apptap_view v = view(text);
	struct apptap_isolated_owner o;

	(void)state;
	assert_true(apptap_isolated_parse(&v, &o));
	assert_int_equal(o.pid, 1234);
	assert_int_equal(o.uid, 99045);
	assert_int_equal(o.owner, 10123);
	assert_true(apptap_isolated_parse(&v, &o));
	assert_int_equal(o.pid, 1235);
	assert_int_equal(o.uid, 1090001);
	assert_int_equal(o.owner, 1010007);
	assert_false(apptap_isolated_parse(&v, &o));
}

/* A file of tests/data/android, whole: the caller frees it. */
static char *sample(const char *name, struct apptap_view *v)
{
	char path[512];
	char *text = calloc(1, 1 << 16);
	FILE *f;

	snprintf(path, sizeof(path), "%s/android/%s", getenv("APPTAP_TEST_DATA"), name);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_non_null(text);
	v->p = (const uint8_t *)text;
	v->left = fread(text, 1, (1 << 16) - 1, f);
	fclose(f);
	assert_true(v->left > 0);
	return text;
}

static void what_androids_sources_write_is_read(void **state)
{
	static const struct {
		pid_t pid;
		uid_t uid, owner;
	} expected[] = { { 22943, 99045, 10123 }, /* a WebView renderer, of the app that shows it */
			 { 23104, 90001, 10123 }, /* of its zygote */
			 { 23300, 1099007, 1001000 }, /* of an app of the system's */
			 { 22943, 99045, 10123 },
			 { 22943, 99045, 10123 } };
	struct apptap_packages p = { 0 };
	struct apptap_isolated_owner o;
	struct apptap_view v;
	uint32_t id;
	char *text = sample("activity-processes", &v);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		assert_true(apptap_isolated_parse(&v, &o));
		assert_int_equal(o.pid, expected[i].pid);
		assert_int_equal(o.uid, expected[i].uid);
		assert_int_equal(o.owner, expected[i].owner);
	}
	assert_false(apptap_isolated_parse(&v, &o));
	free(text);
	text = sample("packages.list", &v);
	assert_int_equal(apptap_packages_parse_list(v, &p), 3);
	assert_int_equal(apptap_packages_find(&p, "com.example.app")->app_id, 10123);
	apptap_packages_free(&p);
	free(text);
	text = sample("list-packages-U", &v);
	assert_int_equal(apptap_packages_parse_pm(v, &p), 3);
	assert_int_equal(apptap_packages_find(&p, "com.example.app")->app_id, 10123);
	assert_null(apptap_packages_find(&p, "com.android.tethering"));
	apptap_packages_free(&p);
	free(text);
	for (int i = 0; i < 2; i++) {
		text = sample(i ? "package-14" : "package-13", &v);
		assert_true(apptap_packages_parse_dumpsys(v, "com.example.app", &id));
		assert_int_equal(id, 10123);
		free(text);
	}
}

static void a_name_that_only_begins_alike_is_another_app(void **state)
{
	(void)state;
	assert_true(apptap_isolated_is_named("com.foo", "com.foo"));
	assert_true(apptap_isolated_is_named("com.foo:render0", "com.foo"));
	assert_true(apptap_isolated_is_named("com.foo_zygote", "com.foo"));
	assert_false(apptap_isolated_is_named("com.foobar", "com.foo"));
	assert_false(apptap_isolated_is_named("com.foobar:x", "com.foo"));
	assert_false(apptap_isolated_is_named("com.foo.bar", "com.foo"));
	assert_false(apptap_isolated_is_named("com.foo_zygote2", "com.foo"));
	assert_false(apptap_isolated_is_named("com.fo", "com.foo"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packages_list_is_read),
		cmocka_unit_test(what_pm_says_is_read),
		cmocka_unit_test(dumpsys_tells_of_the_package_asked_for),
		cmocka_unit_test(uids_have_androids_names),
		cmocka_unit_test(isolated_processes_have_their_owner),
		cmocka_unit_test(what_androids_sources_write_is_read),
		cmocka_unit_test(a_name_that_only_begins_alike_is_another_app),
	};

	return cmocka_run_group_tests_name("android", tests, NULL, NULL);
}
