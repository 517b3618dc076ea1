/* fuzz_android.c - what adb and Android's own tools write, by the first byte */
#include "host/adb_devices.h"
#include "scope/android_id.h"
#include "scope/isolated.h"
#include "scope/packages.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_isolated(struct apptap_view v)
{
	struct apptap_isolated_owner o;

	while (apptap_isolated_parse(&v, &o))
		if (o.pid <= 0 || apptap_android_kind(o.uid) != APPTAP_ANDROID_ISOLATED ||
		    (apptap_android_kind(o.owner) != APPTAP_ANDROID_APP &&
		     apptap_android_kind(o.owner) != APPTAP_ANDROID_SYSTEM))
			abort();
}

static void fuzz_text(char *text)
{
	struct apptap_adb_device devices[4];
	const struct apptap_adb_device *chosen;
	size_t count = apptap_adb_devices_parse(text, devices, 4);
	uid_t uid;

	apptap_adb_devices_choose(devices, count, &chosen, NULL);
	apptap_android_id_parse(text, &uid);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct apptap_view v = { .p = data, .left = size };
	const uint8_t *kind = apptap_view_take(&v, 1);
	struct apptap_packages p = { 0 };
	char text[512] = "";
	uint32_t id;

	if (!kind)
		return 0;
	switch (*kind % 5) {
	case 0:
		apptap_packages_parse_list(v, &p);
		break;
	case 1:
		apptap_packages_parse_pm(v, &p);
		break;
	case 2:
		apptap_packages_parse_dumpsys(v, "com.foo", &id);
		break;
	case 3:
		fuzz_isolated(v);
		break;
	case 4:
		if (v.left)
			memcpy(text, v.p, MIN(v.left, sizeof(text) - 1));
		fuzz_text(text);
		break;
	}
	for (size_t i = 0; i < p.count; i++)
		if (p.at[i].app_id >= APPTAP_ANDROID_USER)
			abort();
	apptap_packages_free(&p);
	return 0;
}
