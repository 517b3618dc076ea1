/* cgroup.h - cgroups of version 2: where they are mounted, their ids, and finding one by its name
 */
#ifndef APPTAP_SCOPE_CGROUP_H
#define APPTAP_SCOPE_CGROUP_H

#include "scope/scope.h"
#include "base/view.h"

#define APPTAP_CGROUP_PATH_SIZE 4096
#define APPTAP_CONTAINER_ID_DIGITS 64

/* The folder that cgroup2 is mounted on. */
struct apptap_cgroup_root {
	int fd; /* owned; -1: closed */
	char path[256]; /* "": a mount of our own, at no place */
};

#define APPTAP_CGROUP_ROOT_CLOSED \
	{                         \
		.fd = -1          \
	}

/*
 * Where the bytes of a /proc/self/mountinfo say that cgroup2 is mounted: the mount of the whole
 * hierarchy before one of a part. -ENOENT: nowhere. -ENAMETOOLONG.
 */
int apptap_cgroup_parse_mounts(struct apptap_view v, char *path, size_t size);

/* Which cgroup of version 2 the bytes of a /proc/PID/cgroup name; -ENOENT: none. */
int apptap_cgroup_parse_membership(struct apptap_view v, char *path, size_t size);

/* -ENOENT: cgroup2 is not mounted, or not in the kernel; @err says what follows from it. Needs
 * CAP_SYS_ADMIN where it is mounted for other processes alone (mount_namespaces(7)). */
int apptap_cgroup_root_open(struct apptap_cgroup_root *root, struct apptap_error *err);
void apptap_cgroup_root_close(struct apptap_cgroup_root *root);

/* The id by which the kernel names the cgroup of the folder @fd; -errno: it is none. */
int apptap_cgroup_id(int fd, uint64_t *id);

/* An O_PATH descriptor on the cgroup of that id; -ESTALE: there is none any more. */
int apptap_cgroup_open_id(const struct apptap_cgroup_root *root, uint64_t id);

/* Its path from the root ("/" is the root's own). */
int apptap_cgroup_path(const struct apptap_cgroup_root *root, int fd, char *path, size_t size);

/*
 * One folder of a walk: its path from the root, and its name. APPTAP_CGROUP_DESCEND to go on below
 * it, APPTAP_CGROUP_PASS not to; negative ends the walk and is returned.
 */
enum { APPTAP_CGROUP_DESCEND, APPTAP_CGROUP_PASS };
typedef int (*apptap_cgroup_each)(const char *path, const char *name, void *arg);

/* Every folder below @root_fd, breadth being the kernel's order; bounded in depth and number. */
int apptap_cgroup_walk(int root_fd, apptap_cgroup_each each, void *arg);

/* Whether a folder's name is that of a running container, in the manner of docker, podman, CRI-O or
 * containerd, under systemd or not; @id gets its 64 digits. */
bool apptap_cgroup_container(const char *name, char id[APPTAP_CONTAINER_ID_DIGITS + 1]);

/* A folder that was found, and what it is: "unit nginx.service", "container 4f1c2a3b4c5d". */
struct apptap_cgroup_found {
	char path[APPTAP_CGROUP_PATH_SIZE]; /* from the root */
	char what[128];
};

/*
 * What the user means; the folders below @root are looked through. @path: from the root, or from
 * that of the machine. @name: of a unit; without a type it is a service. @id: or the beginning of
 * it. -ESRCH: there is none (@err lists the nearest), -ENOTUNIQ: several (@err lists them).
 */
int apptap_cgroup_find_path(const struct apptap_cgroup_root *root, const char *path,
			    struct apptap_cgroup_found *out, struct apptap_error *err);
int apptap_cgroup_find_unit(const struct apptap_cgroup_root *root, const char *name,
			    struct apptap_cgroup_found *out, struct apptap_error *err);
int apptap_cgroup_find_container(const struct apptap_cgroup_root *root, const char *id,
				 struct apptap_cgroup_found *out, struct apptap_error *err);

/* Makes it a part of @out. */
int apptap_cgroup_add(struct apptap_scope *out, const struct apptap_cgroup_root *root,
		      const struct apptap_cgroup_found *found, struct apptap_error *err);

/* Some process in the cgroup or below it; 0: there is none. */
pid_t apptap_cgroup_some_process(const struct apptap_cgroup_root *root, const char *path);

#endif
