/* sink_room.h - a sink that is running out of room: what it wrote, against what it should have */
#ifndef APPTAP_TESTS_SINK_ROOM_H
#define APPTAP_TESTS_SINK_ROOM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/resource.h>

#include "base/view.h"
#include "file/sink.h"

extern struct apptap_error err;
extern uint8_t pattern[128 * 1024]; /* packet bytes; no two places look alike */
extern uint8_t got[4u << 20]; /* a file read back */

void sink_room_init(void);
struct apptap_packet nth_packet(uint32_t i, bool large);
struct apptap_sink *open_sink(int fd, enum apptap_format format);

/* Writes @count packets, a flush behind every @batch of them; what the first failure returned. */
int write_packets(struct apptap_sink *s, uint32_t count, uint32_t batch, bool large);

size_t read_whole(int fd, uint8_t *into);

/* Keeps for check_cut the file as it would be without a limit, and returns its length. */
size_t make_reference(enum apptap_format format, uint32_t count, bool large);

/* The file is that one, of @len bytes. */
void check_reference(int fd, size_t len);

void limit_size(rlim_t bytes);

/* After a failure with @code: the sink refuses, and the file is our reference's whole packets. */
void check_cut(struct apptap_sink *s, int fd, int code, size_t limit, bool pcapng, size_t before,
	       size_t reference_len);

#endif
