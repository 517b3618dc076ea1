/* cgroup_find.c - the cgroup that a user means by a path, a unit of systemd, or a container's id */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "scope/cgroup.h"
#include "scope/nearest.h"
#include "wire/text.h"

#define SHOWN 96
#define FOUND_MAX 4
#define LISTED 6

struct search {
	const char *wanted;
	bool (*matches)(const struct search *s, const char *name);
	void (*offer)(struct search *s, const char *path, const char *name);
	size_t count; /* all that match */
	char found[FOUND_MAX][APPTAP_CGROUP_PATH_SIZE];
	char ids[FOUND_MAX][APPTAP_CONTAINER_ID_DIGITS + 1]; /* of containers */
	struct apptap_nearest near;
	char list[300]; /* some of what there is, for an error */
	size_t listed;
};

static void list_one(struct search *s, const char *text)
{
	size_t len = strlen(s->list);
	char shown[SHOWN];

	apptap_text_clean(shown, sizeof(shown), text);
	if (s->listed++ < LISTED && len + strlen(shown) + 3 < sizeof(s->list))
		snprintf(s->list + len, sizeof(s->list) - len, "%s%s", len ? ", " : "", shown);
}

static int look(const char *path, const char *name, void *arg)
{
	struct search *s = arg;

	if (!s->matches(s, name)) {
		s->offer(s, path, name);
		return APPTAP_CGROUP_DESCEND;
	}
	if (s->count < FOUND_MAX) {
		snprintf(s->found[s->count], sizeof(s->found[0]), "%s", path);
		apptap_cgroup_container(name, s->ids[s->count]);
	}
	s->count++;
	return APPTAP_CGROUP_PASS; /* what is below is part of it */
}

static int found(struct apptap_cgroup_found *out, const char *path, const char *what,
		 const char *name)
{
	char shown[SHOWN];

	memcpy(out->path, path, strlen(path) + 1);
	snprintf(out->what, sizeof(out->what), "%s %s", what,
		 apptap_text_clean(shown, sizeof(shown), name));
	return 0;
}

int apptap_cgroup_add(struct apptap_scope *out, const struct apptap_cgroup_root *root,
		      const struct apptap_cgroup_found *found, struct apptap_error *err)
{
	auto_close int fd = openat(root->fd, found->path[1] ? found->path + 1 : ".",
				   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	uint64_t id = 0;
	int r = fd < 0 ? -errno : apptap_cgroup_id(fd, &id);
	char shown[SHOWN];

	if (r < 0)
		return apptap_error_set(err, -r, "reading the cgroup %s",
					apptap_text_clean(shown, sizeof(shown), found->path));
	return apptap_scope_add_cgroup(out, id, found->path, err, "%s", found->what);
}

static int say_several(const struct search *s, const char *what, struct apptap_error *err)
{
	char shown[SHOWN];
	char list[380] = "";
	size_t len = 0;
	int r;

	for (size_t i = 0; i < MIN(s->count, (size_t)FOUND_MAX); i++) {
		char path[SHOWN];

		apptap_text_clean(path, sizeof(path), s->found[i]);
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", i ? ", " : "",
					path);
		if (len >= sizeof(list))
			break;
	}
	r = apptap_error_say(err, ENOTUNIQ, "%s '%s' is found %zu times: %s%s", what,
			     apptap_text_clean(shown, sizeof(shown), s->wanted), s->count, list,
			     s->count > FOUND_MAX ? " and more" : "");
	apptap_error_hint(err, "name one of them by --cgroup PATH");
	return r;
}

/* ---- units of systemd ---- */

static bool has_unit_type(const char *name)
{
	static const char *const types[] = { ".service", ".scope", ".slice",
					     ".socket",	 ".mount", ".swap" };
	const char *dot = strrchr(name, '.');

	for (size_t i = 0; dot && i < ARRAY_SIZE(types); i++)
		if (strcmp(dot, types[i]) == 0)
			return true;
	return false;
}

static bool is_unit(const struct search *s, const char *name)
{
	return strcmp(name, s->wanted) == 0;
}

static void offer_unit(struct search *s, const char *path, const char *name)
{
	(void)path;
	if (!has_unit_type(name))
		return;
	apptap_nearest_offer(&s->near, name);
	if (strstr(name, ".service"))
		list_one(s, name);
}

static int say_no_unit(struct search *s, struct apptap_error *err)
{
	char near[300], shown[SHOWN];
	int r;

	apptap_nearest_list(&s->near, near, sizeof(near));
	r = apptap_error_say(err, ESRCH, "no unit '%s' runs here%s%s",
			     apptap_text_clean(shown, sizeof(shown), s->wanted),
			     near[0] || s->list[0] ? "; there are " : "", near[0] ? near : s->list);
	apptap_error_hint(err, "start it first; systemctl list-units shows those that run");
	return r;
}

int apptap_cgroup_find_unit(const struct apptap_cgroup_root *root, const char *name,
			    struct apptap_cgroup_found *out, struct apptap_error *err)
{
	auto_free struct search *s = calloc(1, sizeof(*s));
	char full[256];
	int r;

	if (!s)
		return apptap_error_set(err, ENOMEM, "looking for a unit");
	if (!name[0] || strchr(name, '/') ||
	    (size_t)snprintf(full, sizeof(full), "%s%s", name,
			     has_unit_type(name) ? "" : ".service") >= sizeof(full)) {
		apptap_error_say(err, EINVAL, "a unit's name is one word without slashes");
		apptap_error_hint(err, "systemctl list-units shows them; for a path: --cgroup");
		return -EINVAL;
	}
	s->wanted = full;
	s->near.wanted = full;
	s->matches = is_unit;
	s->offer = offer_unit;
	r = apptap_cgroup_walk(root->fd, look, s);
	if (r < 0)
		return apptap_error_set(err, -r, "looking for a unit");
	if (s->count == 0)
		return say_no_unit(s, err);
	if (s->count > 1)
		return say_several(s, "the unit", err);
	return found(out, s->found[0], "unit", full);
}

/* ---- containers ---- */

/* "docker-ID.scope", "libpod-ID.scope", "crio-ID.scope", "cri-containerd-ID.scope" under systemd,
 * "...:cri-containerd:ID" of containerd, "ID" and "libpod-ID" where the engine makes folders itself
 * (cgroupfs). conmon, which watches a container of podman's or CRI-O's, is not the container. */
bool apptap_cgroup_container(const char *name, char id[APPTAP_CONTAINER_ID_DIGITS + 1])
{
	size_t len = strlen(name);
	const char *digits;

	if (len > 6 && strcmp(name + len - 6, ".scope") == 0)
		len -= 6;
	if (len < APPTAP_CONTAINER_ID_DIGITS)
		return false;
	digits = name + len - APPTAP_CONTAINER_ID_DIGITS;
	for (size_t i = 0; i < APPTAP_CONTAINER_ID_DIGITS; i++)
		if (!isxdigit((unsigned char)digits[i]) || isupper((unsigned char)digits[i]))
			return false;
	if (digits > name && digits[-1] != '-' && digits[-1] != ':')
		return false;
	if (digits - name >= 7 && strncmp(digits - 7, "conmon-", 7) == 0)
		return false;
	memcpy(id, digits, APPTAP_CONTAINER_ID_DIGITS);
	id[APPTAP_CONTAINER_ID_DIGITS] = '\0';
	return true;
}

static bool is_wanted_container(const struct search *s, const char *name)
{
	char id[APPTAP_CONTAINER_ID_DIGITS + 1];

	return apptap_cgroup_container(name, id) &&
	       strncasecmp(id, s->wanted, strlen(s->wanted)) == 0;
}

static void offer_container(struct search *s, const char *path, const char *name)
{
	char id[APPTAP_CONTAINER_ID_DIGITS + 1];

	(void)path;
	if (!apptap_cgroup_container(name, id))
		return;
	id[12] = '\0'; /* as docker ps writes it */
	list_one(s, id);
}

static int say_no_container(const struct search *s, bool is_id, struct apptap_error *err)
{
	char shown[SHOWN];
	int r;

	apptap_text_clean(shown, sizeof(shown), s->wanted);
	r = apptap_error_say(err, ESRCH, "no container with the id '%s' has a cgroup here%s%s",
			     shown, s->listed ? "; there are " : ", nor has any other", s->list);
	if (is_id)
		apptap_error_hint(err, "docker ps and podman ps show the ids of those that run");
	else
		apptap_error_hint(err, "a name is no id: docker inspect -f '{{.Id}}' NAME says it");
	return r;
}

static int say_several_containers(const struct search *s, struct apptap_error *err)
{
	char list[200] = "", shown[SHOWN];
	int r;

	for (size_t i = 0; i < MIN(s->count, (size_t)FOUND_MAX); i++) {
		size_t len = strlen(list);

		snprintf(list + len, sizeof(list) - len, "%s%.20s", i ? ", " : "", s->ids[i]);
	}
	r = apptap_error_say(err, ENOTUNIQ, "%zu containers have ids that begin with '%s': %s%s",
			     s->count, apptap_text_clean(shown, sizeof(shown), s->wanted), list,
			     s->count > FOUND_MAX ? " and more" : "");
	apptap_error_hint(err, "write more digits of the id");
	return r;
}

int apptap_cgroup_find_container(const struct apptap_cgroup_root *root, const char *id,
				 struct apptap_cgroup_found *out, struct apptap_error *err)
{
	auto_free struct search *s = calloc(1, sizeof(*s));
	bool is_id = id[0] && strspn(id, "0123456789abcdefABCDEF") == strlen(id) &&
		     strlen(id) <= APPTAP_CONTAINER_ID_DIGITS;
	char shown[13];
	int r;

	if (!s)
		return apptap_error_set(err, ENOMEM, "looking for a container");
	s->wanted = id;
	s->matches = is_wanted_container;
	s->offer = offer_container;
	r = id[0] ? apptap_cgroup_walk(root->fd, look, s) : 0;
	if (r < 0)
		return apptap_error_set(err, -r, "looking for a container");
	if (s->count == 0)
		return say_no_container(s, is_id, err);
	if (s->count > 1)
		return say_several_containers(s, err);
	snprintf(shown, sizeof(shown), "%.12s", s->ids[0]); /* as docker ps writes it */
	return found(out, s->found[0], "container", shown);
}

/* ---- paths ---- */

static bool never(const struct search *s, const char *name)
{
	(void)s;
	(void)name;
	return false;
}

static void offer_path(struct search *s, const char *path, const char *name)
{
	const char *last = strrchr(s->wanted, '/');

	(void)name;
	apptap_nearest_offer(&s->near, path);
	/* The right name in another place. */
	if (last && strcmp(name, last + 1) == 0)
		list_one(s, path);
}

static int say_no_path(const struct apptap_cgroup_root *root, const char *path,
		       struct apptap_error *err)
{
	auto_free struct search *s = calloc(1, sizeof(*s));
	char near[300] = "", shown[SHOWN];
	int r;

	if (s) {
		s->wanted = path;
		s->near.wanted = path;
		s->matches = never;
		s->offer = offer_path;
		apptap_cgroup_walk(root->fd, look, s);
		apptap_nearest_list(&s->near, near, sizeof(near));
		if (s->list[0])
			snprintf(near, sizeof(near), "%s", s->list);
	}
	r = apptap_error_say(err, ESRCH, "there is no cgroup %s%s%s",
			     apptap_text_clean(shown, sizeof(shown), path),
			     near[0] ? "; there are " : "", near);
	apptap_error_hint(err, "systemd-cgls%s%s%s shows them", root->path[0] ? " or find " : "",
			  root->path, root->path[0] ? " -type d" : "");
	return r;
}

/* The path within cgroup2; NULL: it lies in another file system. */
static const char *within(const struct apptap_cgroup_root *root, const char *path)
{
	size_t len = strlen(root->path);

	if (strncmp(path, root->path, len) == 0 && (!path[len] || path[len] == '/'))
		return path + len;
	return strncmp(path, "/sys/fs/cgroup/", 15) == 0 ? NULL : path;
}

int apptap_cgroup_find_path(const struct apptap_cgroup_root *root, const char *path,
			    struct apptap_cgroup_found *out, struct apptap_error *err)
{
	const char *inside = within(root, path);
	char clean[APPTAP_CGROUP_PATH_SIZE], shown[SHOWN];
	auto_close int fd = -1;
	size_t len;
	int r;

	apptap_text_clean(shown, sizeof(shown), path);
	if (!inside) {
		r = apptap_error_say(err, EINVAL,
				     "%s is no cgroup of version 2: those are below %s", shown,
				     root->path);
		apptap_error_hint(err, "of a socket the kernel knows that cgroup alone");
		return r;
	}
	len = (size_t)snprintf(clean, sizeof(clean), "/%s", inside + strspn(inside, "/"));
	while (len > 1 && len < sizeof(clean) && clean[len - 1] == '/')
		clean[--len] = '\0';
	if (!clean[1]) {
		r = apptap_error_say(err, EINVAL, "the root of all cgroups is no application");
		apptap_error_hint(err, "--whole-device captures everything");
		return r;
	}
	fd = len < sizeof(clean) ? openat(root->fd, clean + 1, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
				 : -1;
	if (fd < 0)
		return say_no_path(root, clean, err);
	r = apptap_cgroup_path(root, fd, clean, sizeof(clean)); /* without dots and links */
	if (r < 0 || !clean[1])
		return apptap_error_say(err, EINVAL, "%s leads out of cgroup2", shown);
	return found(out, clean, "cgroup", strrchr(clean, '/') + 1);
}

/* ---- who is in it ---- */

static pid_t first_process(int root_fd, const char *path)
{
	char file[APPTAP_CGROUP_PATH_SIZE + 16];
	char buf[32];
	auto_close int fd = -1;
	ssize_t n;

	snprintf(file, sizeof(file), "%s/cgroup.procs", path[1] ? path + 1 : ".");
	fd = openat(root_fd, file, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);
	if (n <= 0)
		return 0;
	buf[n] = '\0';
	return (pid_t)strtol(buf, NULL, 10);
}

struct some {
	int fd;
	pid_t pid;
};

static int look_for_process(const char *path, const char *name, void *arg)
{
	struct some *s = arg;

	(void)name;
	s->pid = first_process(s->fd, path);
	return s->pid > 0 ? -ECANCELED : APPTAP_CGROUP_DESCEND;
}

pid_t apptap_cgroup_some_process(const struct apptap_cgroup_root *root, const char *path)
{
	struct some s = { .pid = first_process(root->fd, path) };
	auto_close int fd = -1;

	if (s.pid > 0)
		return s.pid;
	fd = openat(root->fd, path[1] ? path + 1 : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	s.fd = fd;
	if (fd >= 0)
		apptap_cgroup_walk(fd, look_for_process, &s);
	return MAX(s.pid, 0);
}
