/* fuzz_proc_status.c - what /proc says of a process, by the first byte: status, or its names */
#include "scope/process.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct apptap_process p = { .pid = 1 };
	struct apptap_proc_status st;
	struct apptap_view v = { .p = data, .left = size };
	const uint8_t *kind = apptap_view_take(&v, 1);

	if (!kind)
		return 0;
	if (*kind & 1) {
		if (apptap_proc_parse_status(v, &st) == 0 && st.uid == APPTAP_UID_NONE)
			abort();
		if (strnlen(st.name, sizeof(st.name)) == sizeof(st.name))
			abort();
		return 0;
	}
	apptap_proc_parse_cmdline(v, p.argv0, sizeof(p.argv0));
	apptap_proc_parse_exe(v, p.exe, sizeof(p.exe));
	if (strchr(p.argv0, '/') || strchr(p.exe, '/'))
		abort();
	apptap_process_is_named(&p, "fuzzed");
	return 0;
}
