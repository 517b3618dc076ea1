/* frame.h - the stream between host and agent, cut into frames: header, body, handshake */
#ifndef APPTAP_WIRE_FRAME_H
#define APPTAP_WIRE_FRAME_H

#include "base/error.h"
#include "base/view.h"

/*
 * How it works. Both directions are byte streams of frames, all little-endian:
 *
 *	u32 length of the body | u16 type | u16 flags | body
 *
 * Each side's first frame is HELLO. Its body is binary and never changes shape, so that two
 * versions that understand nothing else of each other can still say so. Then the host sends
 * COMMAND frames and the agent EVENT frames (JSON, message.h), CONNECTIONS (conn_record.h), where
 * they were asked for PACKETS (packet_record.h) and, where the output file cannot be handed over,
 * DATA: the bytes of the capture file. A stream is
 * whole only when its DONE event has come and names as many bytes as were received: a transport
 * that is cut off may look just like one that ended.
 */
#define APPTAP_WIRE_VERSION 2
#define APPTAP_FRAME_HEADER_BYTES 8u
#define APPTAP_FRAME_BODY_MAX (1u << 20)

enum apptap_frame_type {
	APPTAP_FRAME_HELLO = 1,
	APPTAP_FRAME_COMMAND = 2,
	APPTAP_FRAME_EVENT = 3,
	APPTAP_FRAME_CONNECTIONS = 4,
	APPTAP_FRAME_DATA = 5,
	APPTAP_FRAME_PACKETS = 6,
};

/* On DATA: the capture file, up to and with this frame, ends with a whole record. */
#define APPTAP_FRAME_WHOLE 1u

/* On CONNECTIONS: news while the capture runs, each as it is now; without, the final list. */
#define APPTAP_FRAME_BEGUN 1u
#define APPTAP_FRAME_ENDED 2u

struct apptap_frame {
	uint16_t type;
	uint16_t flags;
	struct apptap_view body; /* borrowed from the reader until its next call */
};

/* Writes the header of a frame whose body is @len bytes. */
void apptap_frame_header(uint8_t out[APPTAP_FRAME_HEADER_BYTES], uint16_t type, uint16_t flags,
			 uint32_t len);

/* Sends one frame, all of it. -EMSGSIZE when @len is above the limit; SIGPIPE must be ignored. */
int apptap_frame_send(int fd, uint16_t type, uint16_t flags, const void *body, size_t len,
		      struct apptap_error *err);

struct apptap_frame_reader;

int apptap_frame_reader_new(struct apptap_frame_reader **out, struct apptap_error *err);
void apptap_frame_reader_free(struct apptap_frame_reader *r); /* NULL is fine */

/* Where the next bytes of the stream belong, and how many fit (never 0 once next() gave 0). */
void *apptap_frame_reader_space(struct apptap_frame_reader *r, size_t *room);
void apptap_frame_reader_fill(struct apptap_frame_reader *r, size_t len); /* so many came */

/* Return: 1 a frame, 0 more bytes are needed, -EPROTO the stream is damaged (for good). */
int apptap_frame_reader_next(struct apptap_frame_reader *r, struct apptap_frame *out,
			     struct apptap_error *err);

#define APPTAP_HELLO_VERSION_BYTES 32

struct apptap_hello {
	uint16_t wire_version;
	uint32_t pid;
	uint64_t stdin_inode; /* of the agent's stdin when it is a unix socket; else 0 */
	char program[APPTAP_HELLO_VERSION_BYTES]; /* "0.1.0" */
};

#define APPTAP_HELLO_BYTES (4 + 2 + 2 + 4 + 8 + APPTAP_HELLO_VERSION_BYTES)

void apptap_hello_encode(const struct apptap_hello *hello, uint8_t out[APPTAP_HELLO_BYTES]);

/* -EPROTO: no HELLO of ours, -EPROTONOSUPPORT: of another version (still filled). */
int apptap_hello_decode(struct apptap_view body, struct apptap_hello *out,
			struct apptap_error *err);

#endif
