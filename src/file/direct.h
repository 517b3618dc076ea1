/* direct.h - large writes to a disk that go past the page cache */
#ifndef APPTAP_FILE_DIRECT_H
#define APPTAP_FILE_DIRECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define APPTAP_DIRECT_MIN ((size_t)512 * 1024) /* less is not worth it */
#define APPTAP_DIRECT_BEST ((size_t)4 << 20) /* a disk is busy with several parts of it at once */
#define APPTAP_DIRECT_MAX ((size_t)5 << 20) /* at a time, with up to a page in front */

struct apptap_direct;

/*
 * For the regular file behind @fd, which stays the caller's. NULL: it does not know such writes
 * (tmpfs, most network file systems, Linux before 6.1), or there is no memory.
 */
struct apptap_direct *apptap_direct_open(int fd);
void apptap_direct_close(struct apptap_direct *d); /* NULL is fine */

/* Whether the next @bytes should go this way: false while the page cache takes them quicker. */
bool apptap_direct_wants(const struct apptap_direct *d, size_t bytes);

/*
 * Writes all of it at the file's position, as writev() would; when it returns the kernel has it.
 * Return: 0, or -errno; @written: how much went out in either case.
 */
int apptap_direct_write(struct apptap_direct *d, const struct iovec *v, int count,
			uint64_t *written);

/*
 * What went which way, since when (CLOCK_MONOTONIC), and how old it was by then: when writing
 * cannot keep up, the quicker way is found.
 */
void apptap_direct_note(struct apptap_direct *d, bool was_direct, uint64_t bytes, uint64_t since_ns,
			uint64_t age_ns);

#endif
