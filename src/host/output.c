/* output.c - the user's capture file, opened with the user's rights */
#include "host/output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>

/* Whether others may make names in the folder @fd, and so put a link where we look for a file. */
static bool is_shared(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (st.st_mode & S_IWOTH);
}

/* @path up to where @name begins, as words for the user. */
static const char *folder_of(const char *path, const char *name, char *buf, size_t size)
{
	size_t len = (size_t)(name - path);

	while (len > 1 && path[len - 1] == '/')
		len--;
	snprintf(buf, size, "%.*s", len ? (int)len : 1, len ? path : ".");
	return buf;
}

static int complain(const struct apptap_output *o, int code, struct apptap_error *err)
{
	char folder[PATH_MAX];

	folder_of(o->path, o->name, folder, sizeof(folder));
	switch (code) {
	case ENOENT:
		if (o->folder_fd >=
		    0) { /* it is there, but takes no files: procfs; or was removed */
			apptap_error_say(err, code, "cannot write '%s': no file can be made there",
					 o->path);
			apptap_error_hint(err, "give -o FILE in another folder");
			break;
		}
		apptap_error_say(err, code, "cannot write '%s': there is no folder '%s'", o->path,
				 folder);
		apptap_error_hint(err, "make the folder first, or give another -o FILE");
		break;
	case ENOTDIR:
		apptap_error_say(err, code, "cannot write '%s': '%s' is not a folder", o->path,
				 folder);
		apptap_error_hint(err, "give -o FILE in a folder of yours");
		break;
	case EACCES:
	case EPERM:
		apptap_error_say(err, code,
				 "cannot write '%s': you may not write there (folder '%s')",
				 o->path, folder);
		apptap_error_hint(err, "give -o FILE in a folder of yours");
		break;
	case ELOOP:
		apptap_error_say(err, code,
				 "cannot write '%s': it goes through a symbolic link in a folder "
				 "that everybody can write to, which is not followed",
				 o->path);
		apptap_error_hint(err, "give the real path, or a folder of yours");
		break;
	case EISDIR:
		apptap_error_say(err, code, "cannot write '%s': it is a folder", o->path);
		apptap_error_hint(err, "name a file in it: -o %s/app.pcap", o->path);
		break;
	default:
		apptap_error_set(err, code, "cannot write '%s'", o->path);
		apptap_error_hint(err, "give another -o FILE");
	}
	return -code;
}

/* Walks to the folder of o->path. Links on the way are followed only where just a few can make
 * them. */
static int open_folder(struct apptap_output *o, struct apptap_error *err)
{
	const char *p = o->path;
	int fd = open(*p == '/' ? "/" : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);

	while (fd >= 0) {
		char part[NAME_MAX + 1];
		size_t len;
		int next;

		p += strspn(p, "/");
		if (p >= o->name)
			break;
		len = strcspn(p, "/");
		if (len > NAME_MAX) {
			close(fd);
			return complain(o, ENAMETOOLONG, err);
		}
		memcpy(part, p, len);
		part[len] = '\0';
		p += len;
		next = openat(fd, part,
			      O_PATH | O_DIRECTORY | O_CLOEXEC | (is_shared(fd) ? O_NOFOLLOW : 0));
		if (next < 0) {
			struct stat st;
			int code = errno;

			/* O_DIRECTORY with O_NOFOLLOW calls a link "not a directory" */
			if (fstatat(fd, part, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			    S_ISLNK(st.st_mode) && is_shared(fd))
				code = ELOOP;
			close(fd);
			return complain(o, code, err);
		}
		close(fd);
		fd = next;
	}
	if (fd < 0)
		return complain(o, errno, err);
	o->folder_fd = fd;
	return 0;
}

/* What is there already: may it be written to? */
static int check_existing(struct apptap_output *o, bool shared, struct apptap_error *err)
{
	struct stat st;

	if (fstat(o->fd, &st) < 0)
		return complain(o, errno, err);
	if (shared && (S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode)) &&
	    (st.st_uid != geteuid() || (S_ISREG(st.st_mode) && st.st_nlink > 1))) {
		apptap_error_say(err, EACCES,
				 "cannot write '%s': it belongs to another user, in a folder that "
				 "everybody can write to",
				 o->path);
		apptap_error_hint(err, "give another name, or a folder of yours");
		return -EACCES;
	}
	o->to_empty = S_ISREG(st.st_mode);
	return 0;
}

static void classify(struct apptap_output *o)
{
	struct stat st;

	if (fstat(o->fd, &st) < 0)
		return;
	o->is_regular = S_ISREG(st.st_mode);
	o->is_pipe = S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode);
}

int apptap_output_adopt(struct apptap_output *o, int fd, const char *name, struct apptap_error *err)
{
	int flags = fcntl(fd, F_GETFL);
	off_t at;

	*o = (struct apptap_output)APPTAP_OUTPUT_CLOSED;
	o->path = name;
	o->name = name;
	if (flags < 0)
		return apptap_error_set(err, errno, "writing to %s", name);
	if ((flags & O_ACCMODE) == O_RDONLY)
		return apptap_error_say(err, EBADF, "%s is open for reading only", name);
	o->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (o->fd < 0)
		return apptap_error_set(err, errno, "writing to %s", name);
	classify(o);
	at = o->is_regular ? lseek(o->fd, 0, flags & O_APPEND ? SEEK_END : SEEK_CUR) : 0;
	if (at > 0) {
		o->written = (uint64_t)at;
		o->whole = o->written;
	}
	return 0;
}

static int refuse_terminal(struct apptap_error *err)
{
	apptap_error_say(err, EINVAL, "a capture is not written to a terminal");
	apptap_error_hint(err, "pipe it on: apptap ... -o - | tshark -r -");
	return -EINVAL;
}

bool apptap_output_is_stdout(const char *path)
{
	static const char *const names[] = { "-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(path, names[i]) == 0)
			return true;
	return false;
}

static int open_file(struct apptap_output *o, struct apptap_error *err)
{
	const int flags = O_WRONLY | O_CLOEXEC | O_NOCTTY;
	bool shared = is_shared(o->folder_fd);

	o->fd = openat(o->folder_fd, o->name, flags | O_CREAT | O_EXCL, 0600);
	o->created = o->fd >= 0;
	if (o->fd < 0 && errno == EEXIST) {
		/* The user's own link to a file not yet there is fine where nobody else makes them.
		 */
		o->fd = openat(o->folder_fd, o->name, flags | (shared ? O_NOFOLLOW : O_CREAT),
			       0600);
		if (o->fd >= 0)
			return check_existing(o, shared, err);
	}
	return o->fd < 0 ? complain(o, errno, err) : 0;
}

static int adopt_stdout(struct apptap_output *o, const char *path, struct apptap_error *err)
{
	int r = apptap_output_adopt(o, STDOUT_FILENO, path, err);

	if (r == -EBADF) {
		apptap_error_say(err, EBADF, "stdout is closed, or open for reading only");
		apptap_error_hint(err, "give -o FILE");
	}
	return r;
}

int apptap_output_open(struct apptap_output *o, const char *path, struct apptap_error *err)
{
	const char *slash = strrchr(path, '/');
	int r;

	*o = (struct apptap_output)APPTAP_OUTPUT_CLOSED;
	o->path = path;
	o->name = slash ? slash + 1 : path;
	/* By its descriptor: opened anew by name, what `>>` had in it would be gone. */
	if (apptap_output_is_stdout(path))
		return isatty(STDOUT_FILENO) ? refuse_terminal(err) : adopt_stdout(o, path, err);
	if (!o->name[0]) {
		apptap_error_say(err, EISDIR, "cannot write '%s': it names a folder", path);
		apptap_error_hint(err, "name a file in it: -o FOLDER/app.pcap");
		return -EISDIR;
	}
	r = open_folder(o, err);
	if (r >= 0)
		r = open_file(o, err);
	if (r >= 0 && isatty(o->fd))
		r = refuse_terminal(err);
	if (r < 0) {
		apptap_output_close(o);
		return r;
	}
	classify(o);
	return 0;
}

void apptap_output_begun(struct apptap_output *o)
{
	o->to_empty = false;
	o->begun = true;
}

int apptap_output_begin(struct apptap_output *o, struct apptap_error *err)
{
	if (o->to_empty && ftruncate(o->fd, 0) < 0)
		return complain(o, errno, err);
	apptap_output_begun(o);
	return 0;
}

ssize_t apptap_output_write(struct apptap_output *o, const void *bytes, size_t len,
			    struct apptap_error *err)
{
	ssize_t n = apptap_output_begin(o, err);

	if (n < 0)
		return n;
	if (o->is_pipe) { /* not made nonblocking: others may hold the same open file */
		struct pollfd p = { .fd = o->fd, .events = POLLOUT };

		if (poll(&p, 1, 0) <= 0)
			return -EAGAIN;
		len = MIN(len, (size_t)PIPE_BUF); /* what a writable pipe takes without blocking */
	}
	n = write(o->fd, bytes, len);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return -EAGAIN;
	if (n < 0) {
		int code = errno;

		apptap_output_cut(o);
		apptap_error_set(err, code, "writing '%s'", o->path);
		if (code == ENOSPC || code == EDQUOT)
			apptap_error_hint(err, "free some space, or write elsewhere; the file is "
					       "valid up to its last whole packet");
		return -code;
	}
	o->written += (uint64_t)n;
	return n;
}

void apptap_output_cut(struct apptap_output *o)
{
	if (o->is_regular && o->written > o->whole && ftruncate(o->fd, (off_t)o->whole) == 0)
		o->written = o->whole;
}

bool apptap_output_is_there(const struct apptap_output *o)
{
	struct stat st;

	return !o->is_regular || o->folder_fd < 0 || fstat(o->fd, &st) < 0 || st.st_nlink > 0;
}

bool apptap_output_is_empty(const struct apptap_output *o)
{
	struct stat st;

	return o->is_regular && fstat(o->fd, &st) == 0 && st.st_size == 0;
}

void apptap_output_remove(struct apptap_output *o)
{
	struct stat ours, named;

	if (!o->created || fstat(o->fd, &ours) < 0 ||
	    fstatat(o->folder_fd, o->name, &named, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	/* Where two captures were given one name, the other one's packets may be in it by now. */
	if (ours.st_size > 0 && !o->begun)
		return;
	if (ours.st_dev == named.st_dev && ours.st_ino == named.st_ino)
		unlinkat(o->folder_fd, o->name, 0);
}

void apptap_output_close(struct apptap_output *o)
{
	if (o->fd >= 0)
		close(o->fd);
	if (o->folder_fd >= 0)
		close(o->folder_fd);
	o->fd = -1;
	o->folder_fd = -1;
}
