/*
 * direct.c - large writes to a disk that go past the page cache
 *
 * How it works. What goes through the page cache is copied, page by page, into memory that has to
 * be found first; O_DIRECT hands the disk our own. It wants whole blocks at whole blocks' places:
 * so up to a page in front and behind are written as ever, and in no page do the two ways meet. All
 * of it is written when the call returns, so nothing waits here that a killed program would lose.
 *
 * A disk that is slower than what comes would have us wait where the page cache would not: when
 * writing takes most of the time, and what is written gets old, the other way is tried, and the
 * quicker one kept for a while.
 */
#include "file/direct.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"

#ifndef STATX_DIOALIGN
#define STATX_DIOALIGN 0
#endif

#define WINDOW_BYTES (32u << 20) /* what is measured, */
#define WINDOW_NS (25 * APPTAP_NSEC_PER_MSEC) /* or for how long */
#define OLD_NS (30 * APPTAP_NSEC_PER_MSEC) /* a ring of ours holds 128 ms at 1 GB/s */
#define AGAIN_NS (10 * APPTAP_NSEC_PER_SEC) /* a disk that was slow may have been busy */

enum way { CACHED, DIRECT, WAYS };

struct apptap_direct {
	int fd; /* owned: O_DIRECT, a file description of its own */
	int cached; /* borrowed */
	uint8_t *buffer; /* owned: APPTAP_DIRECT_MAX, at a page's begin */
	size_t align;
	bool refused; /* the file system has changed its mind */
	enum way way;
	uint64_t speed[WAYS]; /* bytes a second, as last measured; 0: never */
	uint64_t again_ns; /* CLOCK_MONOTONIC: when to try DIRECT again */
	struct {
		uint64_t since_ns, writing_ns, bytes;
	} window;
};

/* Return: what places in the file have to be a multiple of; 0: it cannot be done. */
static size_t alignment(int fd)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

#if STATX_DIOALIGN
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN | STATX_TYPE, &st) < 0 ||
	    !S_ISREG(st.stx_mode) || !(st.stx_mask & STATX_DIOALIGN) || !st.stx_dio_offset_align ||
	    st.stx_dio_mem_align > page)
		return 0;
	page = MAX(page, (size_t)st.stx_dio_offset_align);
	return page <= APPTAP_DIRECT_MAX / 16 && !(page & (page - 1)) ? page : 0;
#else
	(void)fd;
	return page * 0;
#endif
}

struct apptap_direct *apptap_direct_open(int fd)
{
	size_t align = alignment(fd);
	struct apptap_direct *d;
	char path[32];

	if (!align)
		return NULL;
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->cached = fd;
	d->align = align;
	d->way = DIRECT;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	d->fd = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);
	d->buffer = mmap(NULL, APPTAP_DIRECT_MAX, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); /* takes up nothing until used */
	if (d->buffer == MAP_FAILED)
		d->buffer = NULL;
	if (d->fd >= 0 && d->buffer)
		return d;
	apptap_direct_close(d);
	return NULL;
}

void apptap_direct_close(struct apptap_direct *d)
{
	if (!d)
		return;
	if (d->fd >= 0)
		close(d->fd);
	if (d->buffer)
		munmap(d->buffer, APPTAP_DIRECT_MAX);
	free(d);
}

bool apptap_direct_wants(const struct apptap_direct *d, size_t bytes)
{
	return d->way == DIRECT && !d->refused && bytes >= APPTAP_DIRECT_MIN &&
	       bytes <= APPTAP_DIRECT_MAX - d->align;
}

static int write_cached(struct apptap_direct *d, const uint8_t *p, size_t len, uint64_t *written)
{
	while (len > 0) {
		ssize_t n = write(d->cached, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		*written += (uint64_t)n;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* As far as it goes: what is left is tried the other way, and that says what is wrong. */
static size_t write_blocks(struct apptap_direct *d, const uint8_t *p, size_t len, off_t at)
{
	ssize_t n;

	do
		n = pwrite(d->fd, p, len, at);
	while (n < 0 && errno == EINTR);
	if (n <= 0 || (size_t)n % d->align) {
		d->refused = true;
		n = MAX(n, (ssize_t)0);
	}
	return lseek(d->cached, at + (off_t)n, SEEK_SET) < 0 ? 0 : (size_t)n;
}

static size_t gather(uint8_t *to, const struct iovec *v, int count)
{
	uint8_t *p = to;

	for (int i = 0; i < count; i++) {
		memcpy(p, v[i].iov_base, v[i].iov_len);
		p += v[i].iov_len;
	}
	return (size_t)(p - to);
}

int apptap_direct_write(struct apptap_direct *d, const struct iovec *v, int count,
			uint64_t *written)
{
	off_t at = lseek(d->cached, 0, SEEK_CUR);
	size_t skew, len, head, done;
	uint8_t *p;
	int r;

	*written = 0;
	if (at < 0)
		return -errno;
	skew = (size_t)at & (d->align - 1);
	p = d->buffer + skew; /* so that what is aligned in the file is so in memory */
	len = gather(p, v, count);
	head = skew ? MIN(d->align - skew, len) : 0;
	r = write_cached(d, p, head, written);
	if (r < 0)
		return r;
	p += head;
	len -= head;
	done = write_blocks(d, p, len & ~(d->align - 1), at + (off_t)head);
	*written += done;
	return write_cached(d, p + done, len - done, written);
}

/* Did it keep us from reading on, and would the other way be quicker? */
static void choose(struct apptap_direct *d, uint64_t now_ns, uint64_t passed_ns, uint64_t age_ns)
{
	bool slow = age_ns > OLD_NS && d->window.writing_ns > passed_ns - passed_ns / 8;

	if (d->way == DIRECT && slow &&
	    (!d->speed[CACHED] || d->speed[CACHED] > d->speed[DIRECT])) {
		d->way = CACHED;
		d->again_ns = now_ns + AGAIN_NS;
	} else if (d->way == CACHED &&
		   ((slow && d->speed[CACHED] < d->speed[DIRECT]) || now_ns >= d->again_ns)) {
		d->way = DIRECT;
	}
}

void apptap_direct_note(struct apptap_direct *d, bool was_direct, uint64_t bytes, uint64_t since_ns,
			uint64_t age_ns)
{
	uint64_t now_ns = apptap_clock_ns(CLOCK_MONOTONIC), passed_ns;

	if (!d->window.since_ns)
		d->window.since_ns = since_ns;
	d->window.writing_ns += now_ns - since_ns;
	d->window.bytes += bytes;
	passed_ns = now_ns - d->window.since_ns;
	if (d->window.bytes < WINDOW_BYTES && passed_ns < WINDOW_NS)
		return;
	d->speed[was_direct ? DIRECT : CACHED] =
		d->window.bytes * 1000 / (d->window.writing_ns / APPTAP_NSEC_PER_USEC + 1) * 1000;
	choose(d, now_ns, passed_ns, age_ns);
	d->window.since_ns = now_ns;
	d->window.writing_ns = d->window.bytes = 0;
}
