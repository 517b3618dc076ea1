/* test_cgroup.c - where cgroup2 is mounted, and whom a path, a unit or a container's id means */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "scope/cgroup.h"

#define ID_A "4f1c2a3b4c5d4f1c2a3b4c5d4f1c2a3b4c5d4f1c2a3b4c5d4f1c2a3b4c5d0000"
#define ID_B "4f1c2a3b4c5e4f1c2a3b4c5d4f1c2a3b4c5d4f1c2a3b4c5d4f1c2a3b4c5d0000"
#define ID_C "beef2a3b4c5e4f1c2a3b4c5d4f1c2a3b4c5d4f1c2a3b4c5d4f1c2a3b4c5d0000"
#define ID_D "d00f2a3b4c5e4f1c2a3b4c5d4f1c2a3b4c5d4f1c2a3b4c5d4f1c2a3b4c5d0000"
#define ID_E "e00f2a3b4c5e4f1c2a3b4c5d4f1c2a3b4c5d4f1c2a3b4c5d4f1c2a3b4c5d0000"
#define ID_F "f00f2a3b4c5e4f1c2a3b4c5d4f1c2a3b4c5d4f1c2a3b4c5d4f1c2a3b4c5d0000"
#define POD "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12.slice"

/* As systemd, docker, podman, CRI-O and containerd make them. */
static const char *const folders[] = {
	"system.slice/nginx.service",
	"system.slice/system-serial\\x2dgetty.slice/serial-getty@ttyS0.service",
	"system.slice/docker-" ID_A ".scope",
	"system.slice/docker-" ID_B ".scope/init.scope",
	"machine.slice/libpod-" ID_C ".scope/container",
	"machine.slice/libpod-conmon-" ID_C ".scope",
	"libpod_parent/libpod-" ID_D,
	POD "/cri-containerd-" ID_E ".scope",
	POD "/crio-" ID_F ".scope",
	POD "/crio-conmon-" ID_F ".scope",
	"user.slice/user-1000.slice/user@1000.service/app.slice/pipewire.service",
	"user.slice/user-1001.slice/user@1001.service/app.slice/pipewire.service",
	"user.slice/user-1000.slice/session-3.scope",
	"odd.slice/bad\033[1m\n.service",
};

struct tree {
	struct apptap_cgroup_root root;
	struct apptap_cgroup_found found;
	struct apptap_error err;
};

static void make(const char *root, const char *path)
{
	char full[1024];

	snprintf(full, sizeof(full), "%s/%s", root, path);
	for (char *p = full + strlen(root) + 1; *p; p++)
		if (*p == '/') {
			*p = '\0';
			mkdir(full, 0755);
			*p = '/';
		}
	assert_int_equal(mkdir(full, 0755), 0);
}

static int setup(void **state)
{
	struct tree *t = calloc(1, sizeof(*t));

	if (!t)
		return -1;
	strcpy(t->root.path, "/tmp/apptap-cgroup-XXXXXX");
	assert_non_null(mkdtemp(t->root.path));
	for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
		make(t->root.path, folders[i]);
	t->root.fd = open(t->root.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(t->root.fd >= 0);
	*state = t;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return rmdir(path);
}

static int teardown(void **state)
{
	struct tree *t = *state;
	int r = nftw(t->root.path, remove_one, 16, FTW_DEPTH | FTW_PHYS);

	apptap_cgroup_root_close(&t->root);
	free(t);
	return r;
}

static int mounts(const char *text, char *path)
{
	return apptap_cgroup_parse_mounts(
		(struct apptap_view){ (const uint8_t *)text, strlen(text) }, path, 64);
}

static void test_where_it_is_mounted(void **state)
{
	char path[64];

	(void)state;
	assert_int_equal(
		mounts("24 1 0:22 / /sys rw - sysfs sysfs rw\n"
		       "25 24 0:23 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n",
		       path),
		0);
	assert_string_equal(path, "/sys/fs/cgroup");
	/* v1 beside it, as systemd's hybrid; optional fields of any number */
	assert_int_equal(
		mounts("30 24 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
		       "31 24 0:31 / /sys/fs/cgroup/unified rw shared:1 master:2 - cgroup2 none rw",
		       path),
		0);
	assert_string_equal(path, "/sys/fs/cgroup/unified");
	/* a part of it is mounted first: a container's */
	assert_int_equal(mounts("1 2 0:3 /docker/x /mnt/part rw - cgroup2 none rw\n"
				"1 2 0:3 / /mnt/whole\\040folder rw - cgroup2 none rw\n",
				path),
			 0);
	assert_string_equal(path, "/mnt/whole folder");
	assert_int_equal(mounts("1 2 0:3 /docker/x /mnt/part rw - cgroup2 none rw\n", path), 0);
	assert_string_equal(path, "/mnt/part");
	assert_int_equal(mounts("", path), -ENOENT);
	assert_int_equal(mounts("1 2 0:3 / /x rw - cgroup cgroup2 rw\n\n- cgroup2\n", path),
			 -ENOENT);
	assert_int_equal(
		mounts("1 2 0:3 / /x012345678901234567890123456789012345678901234567890123456789"
		       "567890 rw - cgroup2 none rw\n",
		       path),
		-ENAMETOOLONG);
}

static int membership(const char *text, char *path)
{
	return apptap_cgroup_parse_membership(
		(struct apptap_view){ (const uint8_t *)text, strlen(text) }, path, 64);
}

static void test_which_a_process_is_in(void **state)
{
	char path[64];

	(void)state;
	assert_int_equal(membership("4:memory:/a\n0::/b/c.service\n", path), 0);
	assert_string_equal(path, "/b/c.service");
	assert_int_equal(membership("0::/", path), 0);
	assert_string_equal(path, "/");
	assert_int_equal(membership("4:memory:/a\n", path), -ENOENT);
	assert_int_equal(membership("0::x\n", path), -ENOENT);
}

static void assert_unit(struct tree *t, const char *name, const char *path)
{
	assert_int_equal(apptap_cgroup_find_unit(&t->root, name, &t->found, &t->err), 0);
	assert_string_equal(t->found.path, path);
}

static void test_unit(void **state)
{
	struct tree *t = *state;

	assert_unit(t, "nginx", "/system.slice/nginx.service");
	assert_string_equal(t->found.what, "unit nginx.service");
	assert_unit(t, "nginx.service", "/system.slice/nginx.service");
	assert_unit(t, "session-3.scope", "/user.slice/user-1000.slice/session-3.scope");
	assert_unit(t, "user.slice", "/user.slice");
	assert_unit(t, "serial-getty@ttyS0",
		    "/system.slice/system-serial\\x2dgetty.slice/serial-getty@ttyS0.service");
}

static void assert_no_unit(struct tree *t, const char *name, int code, const char *said)
{
	memset(&t->err, 0, sizeof(t->err));
	assert_int_equal(apptap_cgroup_find_unit(&t->root, name, &t->found, &t->err), code);
	if (!strstr(t->err.msg, said))
		fail_msg("\"%s\" does not say \"%s\"", t->err.msg, said);
	for (const char *p = t->err.msg; *p; p++)
		assert_true((unsigned char)*p >= ' ');
}

static void test_no_such_unit(void **state)
{
	struct tree *t = *state;

	assert_no_unit(t, "ngnix", -ESRCH, "'nginx.service'");
	assert_no_unit(t, "nothing-like-it", -ESRCH, "there are");
	assert_no_unit(t, "pipewire", -ENOTUNIQ, "user@1000.service");
	assert_no_unit(t, "../nginx", -EINVAL, "one word");
	assert_no_unit(t, "", -EINVAL, "one word");
	assert_no_unit(t, "bad\033[1mx", -ESRCH, "'bad?[1mx.service'");
	assert_non_null(strstr(t->err.msg, "bad?[1m?.service"));
}

static void assert_container(struct tree *t, const char *id, const char *path)
{
	assert_int_equal(apptap_cgroup_find_container(&t->root, id, &t->found, &t->err), 0);
	assert_string_equal(t->found.path, path);
}

static void test_container(void **state)
{
	struct tree *t = *state;

	assert_container(t, ID_A, "/system.slice/docker-" ID_A ".scope");
	assert_string_equal(t->found.what, "container 4f1c2a3b4c5d");
	assert_container(t, "4F1C2a3b4c5e", "/system.slice/docker-" ID_B ".scope");
	assert_container(t, "beef", "/machine.slice/libpod-" ID_C ".scope");
	assert_container(t, "d", "/libpod_parent/libpod-" ID_D);
	assert_container(t, "e00f", "/" POD "/cri-containerd-" ID_E ".scope");
	assert_container(t, "f00f", "/" POD "/crio-" ID_F ".scope");
}

static void test_no_such_container(void **state)
{
	struct tree *t = *state;

	assert_int_equal(apptap_cgroup_find_container(&t->root, "4f1c", &t->found, &t->err),
			 -ENOTUNIQ);
	assert_non_null(strstr(t->err.msg, "4f1c2a3b4c5e"));
	assert_int_equal(apptap_cgroup_find_container(&t->root, "0123", &t->found, &t->err),
			 -ESRCH);
	assert_non_null(strstr(t->err.msg, "beef2a3b4c5e"));
	assert_int_equal(apptap_cgroup_find_container(&t->root, "web", &t->found, &t->err), -ESRCH);
	assert_non_null(strstr(t->err.hint, "inspect"));
	assert_int_equal(apptap_cgroup_find_container(&t->root, "", &t->found, &t->err), -ESRCH);
	assert_int_equal(apptap_cgroup_find_container(&t->root, ID_A "0", &t->found, &t->err),
			 -ESRCH);
}

static void test_what_a_container_is_called(void **state)
{
	static const char *const others[] = { "",
					      "docker-" ID_A "x.scope",
					      "x" ID_A,
					      ID_A ".service",
					      "docker-4F1C2A3B4C5D" ID_A + 12,
					      "crio-conmon-" ID_A,
					      "docker.scope" };
	char id[APPTAP_CONTAINER_ID_DIGITS + 1];

	(void)state;
	assert_true(apptap_cgroup_container(ID_A, id));
	assert_string_equal(id, ID_A);
	assert_true(apptap_cgroup_container("kubelet.slice:cri-containerd:" ID_B, id));
	assert_string_equal(id, ID_B);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_false(apptap_cgroup_container(others[i], id));
}

static void assert_no_path(struct tree *t, const char *path, int code, const char *said)
{
	memset(&t->err, 0, sizeof(t->err));
	assert_int_equal(apptap_cgroup_find_path(&t->root, path, &t->found, &t->err), code);
	if (!strstr(t->err.msg, said))
		fail_msg("\"%s\" does not say \"%s\"", t->err.msg, said);
}

static void assert_path(struct tree *t, const char *path)
{
	assert_int_equal(apptap_cgroup_find_path(&t->root, path, &t->found, &t->err), 0);
	assert_string_equal(t->found.path, "/system.slice/nginx.service");
}

static void test_path(void **state)
{
	struct tree *t = *state;
	char full[300];

	assert_path(t, "/system.slice/nginx.service");
	assert_path(t, "system.slice/nginx.service/");
	assert_path(t, "/machine.slice/..//system.slice/./nginx.service");
	snprintf(full, sizeof(full), "%s/system.slice/nginx.service", t->root.path);
	assert_path(t, full);
	assert_no_path(t, "/", -EINVAL, "root");
	assert_no_path(t, t->root.path, -EINVAL, "root");
	assert_no_path(t, "", -EINVAL, "root");
	assert_no_path(t, "/system.slice/..", -EINVAL, "out of");
	assert_no_path(t, "/../../etc", -EINVAL, "out of");
	assert_no_path(t, "/../", -EINVAL, "out of");
	assert_no_path(t, "/sys/fs/cgroup/memory/x", -EINVAL, "version 2");
	assert_no_path(t, "/nginx.service", -ESRCH, "/system.slice/nginx.service");
	assert_no_path(t, "/system.slice/ngnix.service", -ESRCH, "/system.slice/nginx.service");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_where_it_is_mounted),
		cmocka_unit_test(test_which_a_process_is_in),
		cmocka_unit_test_setup_teardown(test_unit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_such_unit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_container, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_such_container, setup, teardown),
		cmocka_unit_test(test_what_a_container_is_called),
		cmocka_unit_test_setup_teardown(test_path, setup, teardown),
	};

	return cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
}
