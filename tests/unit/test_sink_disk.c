/* test_sink_disk.c - a capture file on a disk that fills up */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>

#include "sink_room.h"

static bool write_text(const char *path, const char *text)
{
	auto_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* A mount namespace of our own; without root, in a user namespace where we are root. */
static bool enter_namespace(void)
{
	char uid_map[32];
	char gid_map[32];

	snprintf(uid_map, sizeof(uid_map), "0 %u 1", geteuid());
	snprintf(gid_map, sizeof(gid_map), "0 %u 1", getegid());
	if (unshare(CLONE_NEWNS) == 0)
		return true;
	return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 &&
	       write_text("/proc/self/setgroups", "deny") &&
	       write_text("/proc/self/uid_map", uid_map) &&
	       write_text("/proc/self/gid_map", gid_map);
}

/* A tmpfs of 64 KiB over /tmp, which only we see and which goes with us. */
static bool mount_small(void)
{
	return enter_namespace() && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("tmpfs", "/tmp", "tmpfs", 0, "size=64k,mode=700") == 0;
}

static void test_full_disk(void **state)
{
	static const char path[] = "/tmp/full.pcap";

	(void)state;
	for (int i = 0; i < 12; i++) {
		enum apptap_format format = (enum apptap_format)(i % 3);
		bool large = i >= 6;
		uint32_t count = large ? 20 : 3000;
		size_t len = make_reference(format, count, large);
		auto_close int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		struct apptap_sink *s = open_sink(fd, format);

		assert_int_equal(write_packets(s, count, i % 2 ? count : 5, large), -ENOSPC);
		check_cut(s, fd, ENOSPC, 64 * 1024, format == APPTAP_FORMAT_PCAPNG, 0, len);
		apptap_sink_free(s);
		assert_int_equal(unlink(path), 0);
	}
	assert_int_equal(umount("/tmp"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full_disk),
	};

	if (!mount_small()) {
		printf("1..0 # SKIP needs root or a user namespace, to mount a small disk\n");
		return 0;
	}
	sink_room_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
