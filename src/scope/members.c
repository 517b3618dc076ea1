/* members.c - is a socket the app's by its cgroup or process? Asked from any thread */
#include "scope/members.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>

#include "scope/cgroup.h"
#include "scope/family.h"

/*
 * How it works. The kernel names a socket's cgroup by an id that it never gives twice, and the
 * socket keeps it when the cgroup is removed. So what was found out of an id stays true: it is kept
 * in a table of words, each an id and what it is, which threads read and write without a lock. Two
 * that find out the same thing at once write the same word. A real-time thread asks while the
 * sender of the packet stands still: then its cgroup cannot have been removed yet.
 */

#define SLOTS 4096 /* a power of two */
#define TRIES 8
#define COOKIE_KEY (1ULL << 60)
#define INODE_KEY (1ULL << 61) /* no cgroup's id is as large */
#define SEARCH_NS (2 * APPTAP_NSEC_PER_MSEC)

struct apptap_members {
	struct apptap_scope_cgroup cgroups[APPTAP_SCOPE_CGROUPS_MAX]; /* a copy */
	size_t cgroup_count;
	struct apptap_family *family; /* owned; NULL: the scope has no processes */
	struct apptap_cgroup_root root; /* owned */
	_Atomic pid_t holder; /* that had the inode asked for last: most who ask do so in rows */
	_Atomic uint64_t known[SLOTS]; /* id << 2 | member; 0: free */
};

/* The kernel lets only root of the machine open a cgroup by its id: not one of a container. */
static int try_by_id(const struct apptap_cgroup_root *root, struct apptap_error *err)
{
	uint64_t id;
	int r = apptap_cgroup_id(root->fd, &id);
	auto_close int fd = r < 0 ? r : apptap_cgroup_open_id(root, id);

	return fd < 0 ? apptap_error_set(err, -fd, "opening a cgroup by its id") : 0;
}

int apptap_members_new(struct apptap_members **out, const struct apptap_scope *scope,
		       struct apptap_error *err)
{
	struct apptap_members *m;
	int r;

	*out = NULL;
	if (!scope->cgroup_count && !scope->process_count)
		return 0;
	m = calloc(1, sizeof(*m));
	if (!m)
		return apptap_error_set(err, ENOMEM, "allocating a table of cgroups");
	memcpy(m->cgroups, scope->cgroups, sizeof(m->cgroups));
	m->cgroup_count = scope->cgroup_count;
	m->root.fd = -1;
	r = apptap_family_new(&m->family, scope, err);
	if (r == 0 && scope->cgroup_count)
		r = apptap_cgroup_root_open(&m->root, err);
	if (r == 0 && scope->cgroup_count)
		r = try_by_id(&m->root, err);
	if (r < 0) {
		apptap_members_free(m);
		return r;
	}
	*out = m;
	return 0;
}

void apptap_members_free(struct apptap_members *m)
{
	if (!m)
		return;
	apptap_cgroup_root_close(&m->root);
	apptap_family_free(m->family);
	free(m);
}

static size_t slot_of(uint64_t id, size_t attempt)
{
	return ((size_t)((id * 0x9e3779b97f4a7c15ULL) >> 32) + attempt) & (SLOTS - 1);
}

static bool is_named(const struct apptap_members *m, uint64_t id)
{
	for (size_t i = 0; i < m->cgroup_count; i++)
		if (m->cgroups[i].id == id)
			return true;
	return false;
}

/* By its path, whatever its id: one that was removed and made again. */
static bool is_below(const struct apptap_members *m, const char *path)
{
	for (size_t i = 0; i < m->cgroup_count; i++) {
		const char *ours = m->cgroups[i].path;
		size_t len = strlen(ours);

		if (strncmp(path, ours, len) == 0 && (!path[len] || path[len] == '/'))
			return true;
	}
	return false;
}

static enum apptap_member find_out(const struct apptap_members *m, uint64_t id)
{
	char path[APPTAP_CGROUP_PATH_SIZE];
	auto_close int fd = -1;
	int r;

	if (is_named(m, id))
		return APPTAP_MEMBER_IN;
	fd = apptap_cgroup_open_id(&m->root, id);
	if (fd < 0)
		return APPTAP_MEMBER_UNSURE;
	r = apptap_cgroup_path(&m->root, fd, path, sizeof(path));
	if (r < 0)
		return APPTAP_MEMBER_UNSURE;
	return is_below(m, path) ? APPTAP_MEMBER_IN : APPTAP_MEMBER_OUT;
}

bool apptap_members_process(const struct apptap_members *m, const char *pid)
{
	char file[32], path[APPTAP_CGROUP_PATH_SIZE];
	uint8_t buf[2 * APPTAP_CGROUP_PATH_SIZE];
	auto_close int fd = -1;
	ssize_t n;

	if (!m)
		return false;
	if (m->family && apptap_family_has(m->family, (pid_t)strtol(pid, NULL, 10)))
		return true;
	if (!m->cgroup_count)
		return false;
	snprintf(file, sizeof(file), "/proc/%.10s/cgroup", pid);
	fd = open(file, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, buf, sizeof(buf));
	return n > 0 &&
	       apptap_cgroup_parse_membership((struct apptap_view){ buf, (size_t)n }, path,
					      sizeof(path)) == 0 &&
	       is_below(m, path);
}

/* What is known of @key; 0: nothing, and *slot is where to keep it. */
static uint64_t look_up(struct apptap_members *m, uint64_t key, size_t *slot)
{
	*slot = slot_of(key, 0);
	for (size_t i = 0; i < TRIES; i++) {
		uint64_t word =
			atomic_load_explicit(&m->known[slot_of(key, i)], memory_order_relaxed);

		if (word >> 2 == key)
			return word;
		if (!word) {
			*slot = slot_of(key, i);
			break;
		}
	}
	return 0;
}

enum apptap_member apptap_members_cgroup(struct apptap_members *m, uint64_t id)
{
	enum apptap_member member;
	size_t slot;
	uint64_t word = look_up(m, id, &slot);

	if (word)
		return (enum apptap_member)(word & 3);
	member = find_out(m, id);
	atomic_store_explicit(&m->known[slot], id << 2 | member, memory_order_relaxed);
	return member;
}

bool apptap_members_by_cgroup(const struct apptap_members *m)
{
	return m->cgroup_count > 0;
}

bool apptap_members_by_process(const struct apptap_members *m)
{
	return m->family != NULL;
}

bool apptap_members_is_told(const struct apptap_members *m)
{
	return !m->family || apptap_family_is_told(m->family);
}

enum apptap_member apptap_members_socket(struct apptap_members *m, uint64_t cookie, uint64_t inode)
{
	uint64_t key = COOKIE_KEY | (cookie & (COOKIE_KEY - 1));
	enum apptap_member member;
	size_t slot;
	uint64_t word = look_up(m, key, &slot);
	int r;

	if (word)
		return (enum apptap_member)(word & 3);
	if (!inode)
		return APPTAP_MEMBER_UNSURE;
	r = apptap_family_holds(m->family, inode);
	if (r < 0)
		return APPTAP_MEMBER_UNSURE;
	member = r ? APPTAP_MEMBER_IN : APPTAP_MEMBER_OUT;
	atomic_store_explicit(&m->known[slot], key << 2 | member, memory_order_relaxed);
	return member;
}

struct holders {
	struct apptap_members *m;
	int fd; /* the cgroup's folder */
	char target[32]; /* "socket:[4711]" */
	uint64_t deadline_ns;
};

static bool holds(const struct holders *h, pid_t pid)
{
	char path[32], target[32];
	const struct dirent *e;
	bool found = false;
	DIR *fds;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	fds = opendir(path);
	while (fds && !found && (e = readdir(fds))) {
		ssize_t n = readlinkat(dirfd(fds), e->d_name, target, sizeof(target) - 1);

		if (n > 0) {
			target[n] = '\0';
			found = strcmp(target, h->target) == 0;
		}
	}
	if (fds)
		closedir(fds);
	return found;
}

/* The processes that stand in the file, one a line. */
static int look_into(const struct holders *h, const char *folder)
{
	char path[APPTAP_CGROUP_PATH_SIZE + 16];
	FILE *f;
	int fd, pid, r = 0;

	snprintf(path, sizeof(path), "%s/cgroup.procs", folder);
	fd = openat(h->fd, path, O_RDONLY | O_CLOEXEC);
	f = fd < 0 ? NULL : fdopen(fd, "r");
	if (!f) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	while (r == 0 && fscanf(f, "%d", &pid) == 1) {
		if (holds(h, pid)) {
			atomic_store_explicit(&h->m->holder, pid, memory_order_relaxed);
			r = -EEXIST;
		} else if (apptap_clock_ns(CLOCK_MONOTONIC) > h->deadline_ns) {
			r = -ETIME;
		}
	}
	fclose(f);
	return r;
}

static int look_below(const char *path, const char *name, void *arg)
{
	int r = look_into(arg, path + 1);

	(void)name;
	return r < 0 ? r : APPTAP_CGROUP_DESCEND;
}

static int search_cgroup(struct holders *h, const char *path)
{
	auto_close int fd = openat(h->m->root.fd, path + 1, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return 0;
	h->fd = fd;
	r = look_into(h, ".");
	return r < 0 ? r : apptap_cgroup_walk(fd, look_below, h);
}

static bool last_has_it(const struct holders *h)
{
	pid_t pid = atomic_load_explicit(&h->m->holder, memory_order_relaxed);
	char name[16];

	snprintf(name, sizeof(name), "%d", (int)pid);
	return pid && holds(h, pid) && apptap_members_process(h->m, name);
}

static int search(struct holders *h)
{
	int r = last_has_it(h) ? -EEXIST : 0;

	for (size_t i = 0; r == 0 && i < h->m->cgroup_count; i++)
		r = search_cgroup(h, h->m->cgroups[i].path);
	return r;
}

enum apptap_member apptap_members_inode(struct apptap_members *m, uint64_t inode)
{
	struct holders h = { .m = m, .deadline_ns = apptap_clock_ns(CLOCK_MONOTONIC) + SEARCH_NS };
	uint64_t key = INODE_KEY | inode;
	size_t slot;
	uint64_t word = look_up(m, key, &slot);
	int r;

	if (word)
		return (enum apptap_member)(word & 3);
	snprintf(h.target, sizeof(h.target), "socket:[%llu]", (unsigned long long)inode);
	r = m->family && apptap_family_holds(m->family, inode) > 0 ? -EEXIST : search(&h);
	if (r == -EEXIST) /* that stays true; who does not have it may get it yet */
		atomic_store_explicit(&m->known[slot], key << 2 | APPTAP_MEMBER_IN,
				      memory_order_relaxed);
	return r == -EEXIST ? APPTAP_MEMBER_IN : r ? APPTAP_MEMBER_UNSURE : APPTAP_MEMBER_OUT;
}
