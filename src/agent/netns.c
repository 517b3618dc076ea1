/* netns.c - the network namespace that a capture is in: the target's, before anything is opened */
#include "agent/netns.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "scope/nearest.h"
#include "scope/process.h"
#include "wire/text.h"

#define NAMED "/run/netns/" /* where ip-netns(8) keeps them */
#define SHOWN 96

static int say_none(const char *named, struct apptap_error *err)
{
	struct apptap_nearest near = { .wanted = named };
	char list[300], shown[SHOWN];
	const struct dirent *e;
	DIR *d = opendir(NAMED);
	int r;

	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.')
			apptap_nearest_offer(&near, e->d_name);
	if (d)
		closedir(d);
	apptap_nearest_list(&near, list, sizeof(list));
	r = apptap_error_say(err, ESRCH, "there is no network namespace '%s'%s%s",
			     apptap_text_clean(shown, sizeof(shown), named),
			     list[0] ? "; there are " : "", list);
	apptap_error_hint(err, "a path, a PID, or a name that `ip netns` lists");
	return r;
}

/* Never waits on what it opens: a FIFO or a device may stand there. */
static int enter_path(const char *path, const char *named, struct apptap_error *err)
{
	auto_close int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	char shown[SHOWN];
	struct statfs fs = { 0 };
	int r;

	if (fd < 0 && (errno == ENOENT || errno == ESRCH))
		return say_none(named, err);
	apptap_text_clean(shown, sizeof(shown), named);
	if (fd < 0)
		return apptap_error_set(err, errno, "opening the network namespace '%s'", shown);
	if (fstatfs(fd, &fs) == 0 && fs.f_type == NSFS_MAGIC && setns(fd, CLONE_NEWNET) == 0)
		return 0;
	r = fs.f_type == NSFS_MAGIC ? errno : EINVAL;
	if (r == EINVAL) {
		apptap_error_say(err, EINVAL, "'%s' is no network namespace", shown);
		apptap_error_hint(err, "a path, a PID, or a name that `ip netns` lists");
		return -EINVAL;
	}
	return apptap_error_set(err, r, "entering the network namespace '%s'", shown);
}

int apptap_netns_enter(const char *named, struct apptap_error *err)
{
	char path[512];

	if (apptap_proc_is_pid(named))
		snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)apptap_proc_parse_pid(named));
	else if ((size_t)snprintf(path, sizeof(path), "%s%s", strchr(named, '/') ? "" : NAMED,
				  named) >= sizeof(path))
		return say_none(named, err);
	return enter_path(path, named, err);
}

int apptap_netns_enter_process(pid_t pid, struct apptap_error *err)
{
	char path[64], name[16];
	struct stat ours, its;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	snprintf(name, sizeof(name), "%d", (int)pid);
	if (stat("/proc/self/ns/net", &ours) < 0 || stat(path, &its) < 0)
		return 0;
	if (ours.st_dev == its.st_dev && ours.st_ino == its.st_ino)
		return 0;
	r = enter_path(path, name, err);
	return r == -ESRCH ? 0 : r < 0 ? r : 1;
}
