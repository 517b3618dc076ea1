/* privilege.c - what the agent may still do once its sockets are open */
#include "base/privilege.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* Newer than some headers that we are built against. */
#define CAP_NUMBER_MAX 63

static const int kept[] = {
	CAP_NET_RAW, /* sockets opened for an interface that comes later */
	CAP_NET_ADMIN, /* owners of other users' sockets; buffers above the limit */
	CAP_SYS_PTRACE, /* whose socket: /proc/PID/fd, pidfd_getfd(2) */
	CAP_DAC_READ_SEARCH, /* the same, past hidepid and folder modes */
	CAP_SYS_NICE,
};

static bool is_kept(int cap)
{
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		if (kept[i] == cap)
			return true;
	return false;
}

int apptap_privilege_drop(struct apptap_error *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) < 0)
		return apptap_error_set(err, errno, "reading the agent's capabilities");
	/* The bounding set first: shrinking it needs CAP_SETPCAP, which goes below. */
	for (int cap = 0; cap <= CAP_NUMBER_MAX; cap++)
		if (!is_kept(cap) && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
			prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); /* best effort: no exec follows */
	for (int cap = 0; cap <= CAP_NUMBER_MAX; cap++) {
		uint32_t bit = 1u << (cap & 31);

		if (is_kept(cap))
			continue;
		data[cap >> 5].effective &= ~bit;
		data[cap >> 5].permitted &= ~bit;
		data[cap >> 5].inheritable &= ~bit;
	}
	if (syscall(SYS_capset, &header, data) < 0)
		return apptap_error_set(err, errno, "dropping the agent's capabilities");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return apptap_error_set(err, errno, "setting no_new_privs");
	return 0;
}
