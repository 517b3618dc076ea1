/* agents.c - the agent's program for another machine, as a file of this one */
#include "host/agents.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* APPTAP_AGENTS_DIR: where the installation puts them (meson.build) */
#define RELATIVE_DIR "../" APPTAP_AGENTS_RELATIVE /* the same from the program's folder */

const char *apptap_agents_abi(const char *machine)
{
	static const struct {
		const char *machine, *abi;
	} known[] = {
		{ "aarch64", "arm64-v8a" },
		{ "armv8l", "armeabi-v7a" },
		{ "armv7l", "armeabi-v7a" },
		{ "armv8b", NULL },
		{ "x86_64", "x86_64" },
		{ "i686", "x86" },
		{ "i586", "x86" },
		{ "i386", "x86" },
		{ "arm64-v8a", "arm64-v8a" },
		{ "armeabi-v7a", "armeabi-v7a" },
		{ "x86", "x86" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (strcmp(machine, known[i].machine) == 0)
			return known[i].abi;
	return NULL;
}

static int look(struct apptap_agent_file *out, const char *dir, const char *abi)
{
	struct stat st;
	int n = snprintf(out->path, sizeof(out->path), "%s/apptap-%s", dir, abi);

	if (n < 0 || (size_t)n >= sizeof(out->path))
		return -ENAMETOOLONG;
	return stat(out->path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 ? 0 : -ENOENT;
}

/* From this program's folder: "agents" is in a build folder, the other in an installation that was
 * moved. */
static int look_beside(struct apptap_agent_file *out, const char *abi)
{
	static const char *const names[] = { "agents", RELATIVE_DIR };
	char program[PATH_MAX - 128], dir[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
	char *slash;
	int r = -ENOENT;

	if (n < 0)
		return -errno;
	program[n] = '\0';
	slash = strrchr(program, '/');
	if (!slash)
		return -ENOENT;
	*slash = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(names) && r < 0; i++) {
		snprintf(dir, sizeof(dir), "%s/%s", program, names[i]);
		r = look(out, dir, abi);
	}
	return r;
}

static int sum(struct apptap_agent_file *out, struct apptap_error *err)
{
	auto_close int fd = open(out->path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *bytes;

	if (fd < 0 || fstat(fd, &st) < 0)
		return apptap_error_set(err, errno, "reading '%s'", out->path);
	bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED)
		return apptap_error_set(err, errno, "reading '%s'", out->path);
	apptap_sha256_hex(bytes, (size_t)st.st_size, out->sum);
	munmap(bytes, (size_t)st.st_size);
	snprintf(out->name, sizeof(out->name), "apptap-%.16s", out->sum);
	return 0;
}

int apptap_agents_find(struct apptap_agent_file *out, const char *dir, const char *machine,
		       struct apptap_error *err)
{
	const char *abi = apptap_agents_abi(machine);
	const char *named = dir ? dir : secure_getenv("APPTAP_AGENTS");
	int r;

	if (!abi)
		return apptap_error_say(err, ENOTSUP,
					"there is no AppTap for processors of type "
					"'%s'",
					machine);
	if (named) {
		r = look(out, named, abi);
	} else {
		r = look_beside(out, abi);
		if (r < 0)
			r = look(out, APPTAP_AGENTS_DIR, abi);
	}
	if (r < 0) {
		apptap_error_say(err, ENOENT,
				 "the agent for '%s' is not there: no file "
				 "'apptap-%s' in '%s'",
				 machine, abi, named ? named : APPTAP_AGENTS_DIR);
		apptap_error_hint(err, "build it: ./dev agents");
		return -ENOENT;
	}
	return sum(out, err);
}
