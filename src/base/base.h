/* base.h - what every file needs: cleanup attributes, byte order, bounds, time */
#ifndef APPTAP_BASE_BASE_H
#define APPTAP_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define APPTAP_API __attribute__((visibility("default")))
#define APPTAP_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

#define APPTAP_UID_NONE \
	((uid_t)-1) /* no owner known; never a user: (uid_t)-1 is reserved by setuid(2) */

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)                                  \
	({                                         \
		__typeof__(a) min_a_ = (a);        \
		__typeof__(b) min_b_ = (b);        \
		min_a_ < min_b_ ? min_a_ : min_b_; \
	})
#define MAX(a, b)                                  \
	({                                         \
		__typeof__(a) max_a_ = (a);        \
		__typeof__(b) max_b_ = (b);        \
		max_a_ > max_b_ ? max_a_ : max_b_; \
	})

/* The struct that holds @member at @ptr. */
#define apptap_container_of(ptr, type, member) \
	((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Hand over what an auto_* variable owns: its cleanup then sees NULL (or -1 for steal_fd). */
#define apptap_steal(pp)                           \
	({                                         \
		__typeof__(*(pp)) stolen_ = *(pp); \
		*(pp) = NULL;                      \
		stolen_;                           \
	})

static inline int apptap_steal_fd(int *fd)
{
	int stolen = *fd;

	*fd = -1;
	return stolen;
}

static inline void apptap_cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void apptap_cleanup_close(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

/* Up to @size bytes of @fd, until its end. Return: how many, -errno. */
ssize_t apptap_read_full(int fd, void *buf, size_t size);

#define auto_free __attribute__((cleanup(apptap_cleanup_free)))
#define auto_close __attribute__((cleanup(apptap_cleanup_close)))

#define APPTAP_NSEC_PER_SEC 1000000000ULL
#define APPTAP_NSEC_PER_MSEC 1000000ULL
#define APPTAP_NSEC_PER_USEC 1000ULL

static inline uint64_t apptap_clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * APPTAP_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

#endif
