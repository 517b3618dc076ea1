/* fuzz_cgroup.c - any bytes as mountinfo, as /proc/PID/cgroup, and as the name of a cgroup */
#include "scope/cgroup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[64]; /* so that too long a path is met */
	char id[APPTAP_CONTAINER_ID_DIGITS + 1];
	struct apptap_view v = { data, size };
	char *name = malloc(size + 1);

	if (!name)
		abort();
	memcpy(name, data, size);
	name[size] = '\0';
	if (apptap_cgroup_parse_mounts(v, path, sizeof(path)) == 0 && strlen(path) >= sizeof(path))
		abort();
	if (apptap_cgroup_parse_membership(v, path, sizeof(path)) == 0 && path[0] != '/')
		abort();
	if (apptap_cgroup_container(name, id) && strlen(id) != APPTAP_CONTAINER_ID_DIGITS)
		abort();
	free(name);
	return 0;
}
