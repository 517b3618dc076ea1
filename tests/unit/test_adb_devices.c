/* test_adb_devices.c - what `adb devices -l` lists, and which of them is meant */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "host/adb_devices.h"

static struct apptap_adb_device devices[8];
static struct apptap_error err;

static int choose(const char *text, const char **serial)
{
	const struct apptap_adb_device *d = NULL;
	size_t count = apptap_adb_devices_parse(text, devices, 8);
	int r;

	memset(&err, 0, sizeof(err));
	r = apptap_adb_devices_choose(devices, count, &d, &err);
	if (serial)
		*serial = d ? d->serial : NULL;
	return r;
}

static void the_only_ready_device_is_meant(void **state)
{
	const char *serial;

	(void)state;
	assert_int_equal(choose("* daemon not running; starting now at tcp:5037\n"
				"* daemon started successfully\n"
				"List of devices attached\n"
				"127.0.0.1:5600         device product:sim model:Sim_Phone "
				"device:sim transport_id:1\n\n",
				&serial),
			 0);
	assert_string_equal(serial, "127.0.0.1:5600");
	assert_string_equal(devices[0].model, "Sim_Phone");
	assert_int_equal(choose("List of devices attached\nA\tdevice\nB\toffline\n", &serial), 0);
	assert_string_equal(serial, "A");
}

static void what_cannot_be_chosen_is_explained(void **state)
{
	static const struct {
		const char *text;
		int r;
		const char *says, *try;
	} cases[] = {
		{ "List of devices attached\n\n", -ENODEV, "no device is attached", "--local" },
		{ "", -ENODEV, "no device is attached", "USB debugging" },
		{ "List of devices attached\nA device model:Pixel\nB device\n", -ENOTUNIQ,
		  "several devices are attached: A (Pixel), B", "--device" },
		{ "List of devices attached\nA offline\nB unauthorized\n", -ENOTUNIQ,
		  "A (offline), B (unauthorized)", "--device" },
		{ "List of devices attached\nA unauthorized transport_id:2\n", -EACCES,
		  "not authorised this computer", "accept" },
		{ "List of devices attached\nA offline\n", -ENODEV, "offline", "plug" },
		{ "List of devices attached\nA no permissions (user in plugdev group); see x\n",
		  -ENODEV, "no permissions", "adb devices" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(choose(cases[i].text, NULL), cases[i].r);
		assert_non_null(strstr(err.msg, cases[i].says));
		assert_non_null(strstr(err.hint, cases[i].try));
	}
}

static void a_hostile_list_does_no_harm(void **state)
{
	char text[4096] = "List of devices attached\n";
	size_t len = strlen(text);

	(void)state;
	memset(text + len, 'x', 400);
	snprintf(text + len + 400, sizeof(text) - len - 400,
		 " device\n\x1b[31mS device model:\x1b[0m\n");
	assert_int_equal(apptap_adb_devices_parse(text, devices, 8), 1);
	assert_string_equal(devices[0].serial, "?[31mS");
	assert_int_equal(apptap_adb_devices_parse("List of devices attached\nA device\nB device\n",
						  devices, 1),
			 1);
	assert_int_equal(
		apptap_adb_devices_parse("List of devices attached\n device\n", devices, 8), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_only_ready_device_is_meant),
		cmocka_unit_test(what_cannot_be_chosen_is_explained),
		cmocka_unit_test(a_hostile_list_does_no_harm),
	};

	return cmocka_run_group_tests_name("adb_devices", tests, NULL, NULL);
}
