/* cgroup.c - cgroups of version 2: where they are mounted, their ids and paths, and a walk */
#include "scope/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#define MOUNTS_BYTES (1U << 20)
#define WALK_DEPTH 32
#define WALK_FOLDERS 65536

#ifndef SYS_fsopen
#define SYS_fsopen 430 /* one number on every architecture but alpha, like the next */
#define SYS_fsconfig 431
#define SYS_fsmount 432
#endif
#ifndef CGROUP2_SUPER_MAGIC
#define CGROUP2_SUPER_MAGIC 0x63677270
#endif
/* The kernel's own handle of a kernfs node (fid_type FILEID_KERNFS; FILEID_INO32_GEN before 5.5):
 * eight bytes either way, and on a little-endian machine the very id that it reports of sockets. */
#define HANDLE_TYPE 0xfe
#define HANDLE_BYTES 8

struct handle {
	struct file_handle h;
	uint64_t id;
};

static bool is_word(const struct apptap_view *v, const char *text)
{
	return v->left == strlen(text) && memcmp(v->p, text, v->left) == 0;
}

/* mountinfo writes blanks, line breaks and backslashes as \ooo. */
static int copy_path(const struct apptap_view *v, char *out, size_t size)
{
	size_t at = 0;

	for (size_t i = 0; i < v->left; i++) {
		uint8_t c = v->p[i];

		if (c == '\\' && i + 3 < v->left && v->p[i + 1] <= '3') {
			c = (uint8_t)((v->p[i + 1] & 7) << 6 | (v->p[i + 2] & 7) << 3 |
				      (v->p[i + 3] & 7));
			i += 3;
		}
		if (at + 1 >= size || !c)
			return -ENAMETOOLONG;
		out[at++] = (char)c;
	}
	out[at] = '\0';
	return 0;
}

/* "36 25 0:31 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw" (proc(5)) */
int apptap_cgroup_parse_mounts(struct apptap_view v, char *path, size_t size)
{
	struct apptap_view line;
	int found = -ENOENT;

	while (apptap_view_until(&v, '\n', &line)) {
		struct apptap_view word, root, point;
		bool whole;

		for (int i = 0; i < 3 && apptap_view_until(&line, ' ', &word); i++)
			;
		if (!apptap_view_until(&line, ' ', &root) || !apptap_view_until(&line, ' ', &point))
			continue;
		while (apptap_view_until(&line, ' ', &word) && !is_word(&word, "-"))
			;
		if (!apptap_view_until(&line, ' ', &word) || !is_word(&word, "cgroup2"))
			continue;
		whole = is_word(&root, "/");
		if (found < 0 || whole)
			found = copy_path(&point, path, size);
		if (found == 0 && whole)
			return 0;
	}
	return found;
}

int apptap_cgroup_parse_membership(struct apptap_view v, char *path, size_t size)
{
	struct apptap_view line;

	while (apptap_view_until(&v, '\n', &line)) {
		if (line.left < 4 || memcmp(line.p, "0::/", 4) != 0)
			continue;
		if (line.left - 3 >= size)
			return -ENAMETOOLONG;
		memcpy(path, line.p + 3, line.left - 3);
		path[line.left - 3] = '\0';
		return 0;
	}
	return -ENOENT;
}

/* Whether the hierarchy is mounted by anybody: only then do processes have a line of it. */
static bool is_mounted_elsewhere(void)
{
	auto_close int fd = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
	char path[APPTAP_CGROUP_PATH_SIZE];
	uint8_t buf[2 * APPTAP_CGROUP_PATH_SIZE];
	ssize_t n = fd < 0 ? -1 : apptap_read_full(fd, buf, sizeof(buf));

	return n > 0 && apptap_cgroup_parse_membership((struct apptap_view){ buf, (size_t)n }, path,
						       sizeof(path)) == 0;
}

/* `ip netns exec` mounts a /sys of its own, without what is mounted below the other. A mount that
 * is put nowhere shows the same cgroups, to nobody but us, and goes with its descriptor (5.2). */
static int open_unplaced(struct apptap_cgroup_root *root)
{
	auto_close int fs = -1;
	auto_close int mount = -1;

	if (!is_mounted_elsewhere())
		return -ENOENT;
	fs = (int)syscall(SYS_fsopen, "cgroup2", FSOPEN_CLOEXEC);
	if (fs < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	mount = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC,
			     MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	/* Opened anew, for what fsmount(2) returns is no descriptor for open_by_handle_at(2). */
	root->fd = mount < 0 ? -1 : openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	root->path[0] = '\0';
	return root->fd < 0 ? -errno : 0;
}

int apptap_cgroup_root_open(struct apptap_cgroup_root *root, struct apptap_error *err)
{
	auto_free uint8_t *buf = malloc(MOUNTS_BYTES);
	auto_close int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	struct statfs fs;
	ssize_t n;
	int r;

	if (!buf || fd < 0)
		return apptap_error_set(err, buf ? errno : ENOMEM, "reading where cgroup2 is");
	n = apptap_read_full(fd, buf, MOUNTS_BYTES);
	if (n < 0)
		return apptap_error_set(err, (int)-n, "reading where cgroup2 is");
	r = apptap_cgroup_parse_mounts((struct apptap_view){ buf, (size_t)n }, root->path,
				       sizeof(root->path));
	if (r == -ENOENT && open_unplaced(root) == 0)
		return 0;
	if (r < 0) {
		apptap_error_say(err, -r, "cgroups of version 2 are not mounted here");
		apptap_error_hint(
			err, "mount -t cgroup2 none /sys/fs/cgroup/unified, or name the app by "
			     "--user, --uid or its PID");
		return r;
	}
	root->fd = open(root->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root->fd >= 0 && fstatfs(root->fd, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC)
		return 0;
	r = apptap_error_set(err, root->fd < 0 ? errno : ENOENT, "opening cgroup2 at %s",
			     root->path);
	apptap_cgroup_root_close(root);
	return r;
}

void apptap_cgroup_root_close(struct apptap_cgroup_root *root)
{
	if (root->fd >= 0)
		close(root->fd);
	root->fd = -1;
}

int apptap_cgroup_id(int fd, uint64_t *id)
{
	struct handle h = { .h.handle_bytes = HANDLE_BYTES };
	struct statfs fs;
	int mount;

	if (fstatfs(fd, &fs) < 0)
		return -errno;
	if (fs.f_type != CGROUP2_SUPER_MAGIC)
		return -ENOTTY;
	if (name_to_handle_at(fd, "", &h.h, &mount, AT_EMPTY_PATH) < 0)
		return -errno;
	if (h.h.handle_bytes != HANDLE_BYTES)
		return -EPROTO;
	memcpy(id, h.h.f_handle, sizeof(*id));
	return 0;
}

int apptap_cgroup_open_id(const struct apptap_cgroup_root *root, uint64_t id)
{
	struct handle h = { .h.handle_bytes = HANDLE_BYTES, .h.handle_type = HANDLE_TYPE };
	int fd;

	memcpy(h.h.f_handle, &id, sizeof(id));
	fd = open_by_handle_at(root->fd, &h.h, O_PATH | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int apptap_cgroup_path(const struct apptap_cgroup_root *root, int fd, char *path, size_t size)
{
	char link[32], full[PATH_MAX];
	size_t skip = strlen(root->path);
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, full, sizeof(full) - 1);
	if (n < 0)
		return -errno;
	full[n] = '\0';
	if (strncmp(full, root->path, skip) != 0 || (full[skip] && full[skip] != '/'))
		return -ENOENT;
	if (strlen(full + skip) >= size)
		return -ENAMETOOLONG;
	snprintf(path, size, "%s", full[skip] ? full + skip : "/");
	return 0;
}

/* One folder that is being read, and how long its path is. */
struct open_folder {
	DIR *dir; /* owned */
	size_t len;
};

struct walk {
	struct open_folder folders[WALK_DEPTH];
	size_t depth; /* how many of them are open */
	char path[APPTAP_CGROUP_PATH_SIZE];
};

/* Takes @fd. Where there is no more depth, or it is gone meanwhile, it is passed over. */
static void enter_folder(struct walk *w, int fd, size_t len)
{
	DIR *dir = fd >= 0 && w->depth < WALK_DEPTH ? fdopendir(fd) : NULL;

	if (dir)
		w->folders[w->depth++] = (struct open_folder){ dir, len };
	else if (fd >= 0)
		close(fd);
}

static const char *next_folder(DIR *dir)
{
	const struct dirent *e;

	while ((e = readdir(dir)))
		if (e->d_type == DT_DIR && strcmp(e->d_name, ".") != 0 &&
		    strcmp(e->d_name, "..") != 0)
			return e->d_name;
	return NULL;
}

int apptap_cgroup_walk(int root_fd, apptap_cgroup_each each, void *arg)
{
	auto_free struct walk *w = calloc(1, sizeof(*w));
	size_t left = WALK_FOLDERS;
	int r = 0;

	if (!w)
		return -ENOMEM;
	enter_folder(w, openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), 0);
	while (w->depth && r >= 0 && left) {
		const struct open_folder *f = &w->folders[w->depth - 1];
		const char *name = next_folder(f->dir);
		size_t room = sizeof(w->path) - f->len;
		size_t n;

		if (!name) {
			closedir(f->dir);
			w->depth--;
			continue;
		}
		left--;
		n = (size_t)snprintf(w->path + f->len, room, "/%s", name);
		if (n >= room)
			continue;
		r = each(w->path, name, arg);
		if (r == APPTAP_CGROUP_DESCEND)
			enter_folder(w,
				     openat(dirfd(f->dir), name,
					    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
				     f->len + n);
	}
	while (w->depth)
		closedir(w->folders[--w->depth].dir);
	return MIN(r, 0);
}
