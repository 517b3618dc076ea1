/* where.c - on which machine: what --local, --device and --ssh mean */
#include "where.h"

/* On the device itself there is no other to ask for. */
static bool is_android(void)
{
	return access("/system/bin/getprop", X_OK) == 0;
}

int apptap_where_open(struct apptap_executor **out, const struct apptap_options *o,
		      struct apptap_error *err)
{
	struct apptap_remote_config cfg = { .keep_agent = o->keep_agent };

	if (o->local || (!o->device && !o->ssh && is_android())) {
		*out = apptap_executor_local;
		return 0;
	}
	if (o->ssh)
		return apptap_executor_ssh_new(out, o->ssh, &cfg, err);
	return apptap_executor_adb_new(out, o->device, &cfg, err);
}
