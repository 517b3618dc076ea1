/* executor_adb.c - an Android device by the installed adb */
#include <errno.h>
#include <stdio.h>

#include "host/adb_devices.h"
#include "host/elevate.h"
#include "base/launch.h"

/*
 * How it works. Every command is one `adb shell`, with its arguments quoted for the device's shell
 * and elevated in the way that worked first. adb exits with 0 and says nothing when the link dies:
 * whoever needs to know whether a command was through has it write an end of its own.
 */
#define DEVICES_MAX 32
#define ADB_MS 10000 /* its server may have to be started */
#define SU_MS 10000 /* somebody must find the phone, unlock it, and read */
#define COPY_MS 60000

struct adb {
	char serial[128];
	enum apptap_elevation how;
};

static const enum apptap_elevation ways[] = {
	APPTAP_ELEVATION_NONE,	  APPTAP_ELEVATION_SU_C, APPTAP_ELEVATION_SU_0,
	APPTAP_ELEVATION_SU_ROOT, APPTAP_ELEVATION_SUDO, APPTAP_ELEVATION_UNKNOWN,
};

/* The last of the lines by which adb says that a device is unauthorized. */
static const char not_authorised[] = "check for a confirmation dialog on your device";

/* adb's own complaint, not the command's. */
static bool is_adbs(const struct apptap_ran *ran)
{
	return ran->status == 1 &&
	       (strncmp(ran->said, "error: ", 7) == 0 || strncmp(ran->said, "adb: ", 5) == 0 ||
		strstr(ran->said, not_authorised));
}

static int complain(const struct adb *a, const char *said, struct apptap_error *err)
{
	if (strstr(said, "unauthorized") || strstr(said, not_authorised)) {
		apptap_error_say(err, EACCES, "the device %s has not authorised this computer",
				 a->serial);
		apptap_error_hint(err, "unlock it and accept the question that it shows");
	} else if (strstr(said, "offline")) {
		apptap_error_say(err, ENODEV, "the device %s is offline", a->serial);
		apptap_error_hint(err, "plug it in again, or 'adb reconnect offline'");
	} else if (strstr(said, "PTY args") ||
		   strstr(said, "allocating a pty")) { /* what it says of the option -T */
		apptap_error_say(err, ENOTSUP,
				 "the adbd of the device %s is too old: it does not carry bytes as "
				 "they are, nor how a command ended (no shell_v2)",
				 a->serial);
		apptap_error_hint(err, "AppTap needs Android 8 or later, or run it on the device "
				       "itself: su -c ./apptap");
	} else if (strstr(said, "No space left")) {
		apptap_error_say(err, ENOSPC, "the device %s has no space left: %s", a->serial,
				 said);
		apptap_error_hint(err, "free 2 MB in /data");
	} else if (strstr(said, "not found")) {
		apptap_error_say(err, ENODEV, "no device '%s' is attached", a->serial);
		apptap_error_hint(err, "'adb devices -l' lists what is");
	} else {
		apptap_error_say(err, EIO, "adb fails: %s", said[0] ? said : "it gave no reason");
	}
	return -err->code;
}

static int adb_shell(void *arg, const char *line, int timeout_ms, struct apptap_ran *out,
		     struct apptap_error *err)
{
	const struct adb *a = arg;
	const char *const argv[] = { "adb", "-s", a->serial, "shell", "-T", line, NULL };
	int r = apptap_launch_run(argv, timeout_ms, out, err);

	apptap_ran_clean(out);
	if (r >= 0 && is_adbs(out))
		r = complain(a, out->said, err);
	return r;
}

static int adb_run(void *arg, const char *const *argv, int timeout_ms, struct apptap_ran *out,
		   struct apptap_error *err)
{
	const struct adb *a = arg;
	auto_free char *line = apptap_elevate(a->how, argv);

	if (!line)
		return apptap_error_set(err, ENOMEM, "running a command on the device");
	return adb_shell(arg, line, timeout_ms, out, err);
}

/* adb writes why it could not copy on stdout, before how fast it was. */
static void find_reason(struct apptap_ran *ran)
{
	static const char before[] = "adb: error: ";
	const char *line = ran->out ? strstr(ran->out, before) : NULL;

	if (ran->said[0] || !line)
		return;
	line += strlen(before);
	snprintf(ran->said, sizeof(ran->said), "%.*s", (int)strcspn(line, "\r\n"), line);
}

static int adb_copy(const struct adb *a, const char *verb, const char *from, const char *to,
		    struct apptap_error *err)
{
	const char *const argv[] = { "adb", "-s", a->serial, verb, from, to, NULL };
	struct apptap_ran ran = { 0 };
	int r = apptap_launch_run(argv, COPY_MS, &ran, err);

	find_reason(&ran);
	apptap_ran_clean(&ran);
	if (r >= 0 && ran.status != 0)
		r = complain(a, ran.said, err);
	apptap_ran_free(&ran);
	return r;
}

static int adb_push(void *arg, const char *local, const char *remote, struct apptap_error *err)
{
	return adb_copy(arg, "push", local, remote, err);
}

static int adb_pull(void *arg, const char *remote, const char *local, struct apptap_error *err)
{
	return adb_copy(arg, "pull", remote, local, err);
}

static int adb_is_root(void *arg, struct apptap_error *err)
{
	struct adb *a = arg;
	int r = 0;

	if (a->how == APPTAP_ELEVATION_UNKNOWN)
		r = apptap_elevate_find(&a->how, ways, adb_shell, arg, SU_MS, err);
	return r < 0 ? r : 1;
}

static const char *adb_platform(void *arg)
{
	(void)arg;
	return "android";
}

static int adb_stream(void *arg, const char *const *argv, struct apptap_child *out,
		      struct apptap_error *err)
{
	const struct adb *a = arg;
	auto_free char *line = apptap_elevate(a->how, argv);
	const char *const words[] = { "adb", "-s", a->serial, "shell", "-T", line, NULL };

	if (!line)
		return apptap_error_set(err, ENOMEM, "starting the agent on the device");
	return apptap_launch_stream(words, out, err);
}

static const struct apptap_link_ops adb_ops = {
	.size = sizeof(struct apptap_link_ops),
	.name = "adb",
	.run = adb_run,
	.push = adb_push,
	.pull = adb_pull,
	.is_root = adb_is_root,
	.platform = adb_platform,
	.stream = adb_stream,
	.free = free,
};

/* The device that is meant when none is named. */
static int choose(struct adb *a, struct apptap_error *err)
{
	static const char *const argv[] = { "adb", "devices", "-l", NULL };
	const struct apptap_adb_device *chosen = NULL;
	const char *named = secure_getenv("ANDROID_SERIAL");
	struct apptap_adb_device devices[DEVICES_MAX];
	struct apptap_ran ran = { 0 };
	size_t count;
	int r;

	if (named && named[0] && strlen(named) < sizeof(a->serial)) {
		memcpy(a->serial, named, strlen(named) + 1);
		return 0;
	}
	r = apptap_launch_run(argv, ADB_MS, &ran, err);
	if (r >= 0) {
		count = apptap_adb_devices_parse(ran.out ? ran.out : "", devices, DEVICES_MAX);
		r = apptap_adb_devices_choose(devices, count, &chosen, err);
	}
	if (r >= 0)
		memcpy(a->serial, chosen->serial, sizeof(a->serial));
	apptap_ran_free(&ran);
	return r;
}

int apptap_executor_adb_new(struct apptap_executor **out, const char *serial,
			    const struct apptap_remote_config *cfg, struct apptap_error *err)
{
	auto_free struct adb *a = calloc(1, sizeof(*a));
	int r = 0;

	if (!a)
		return apptap_error_set(err, ENOMEM, "reaching a device");
	if (!serial)
		r = choose(a, err);
	else if (!serial[0] || strlen(serial) >= sizeof(a->serial))
		r = apptap_error_say(err, EINVAL, "this is no serial of a device: '%.64s'", serial);
	else
		memcpy(a->serial, serial, strlen(serial) + 1);
	if (r < 0)
		return r;
	return apptap_executor_remote_new(out, &adb_ops, apptap_steal(&a), cfg, err);
}
