/* frame.c - the stream between host and agent, cut into frames: header, body, handshake */
#include "wire/frame.h"

#include <errno.h>
#include <poll.h>
#include <sys/uio.h>

#include "wire/text.h"

/* One frame of the largest size, and room behind it so that reads stay large. */
#define READER_BYTES (APPTAP_FRAME_HEADER_BYTES + APPTAP_FRAME_BODY_MAX + (64u << 10))

struct apptap_frame_reader {
	size_t start; /* first byte not yet taken */
	size_t end;
	bool damaged;
	uint8_t buf[READER_BYTES]; /* pages are only touched as far as frames reach */
};

static const char hello_magic[4] = { 'A', 'T', 'A', 'P' };

void apptap_frame_header(uint8_t out[APPTAP_FRAME_HEADER_BYTES], uint16_t type, uint16_t flags,
			 uint32_t len)
{
	apptap_put_le32(out, len);
	apptap_put_le16(out + 4, type);
	apptap_put_le16(out + 6, flags);
}

/* Sends what @iov holds; waits where the descriptor is nonblocking. */
static int send_all(int fd, struct iovec *iov, size_t count, struct apptap_error *err)
{
	while (count) {
		ssize_t n = writev(fd, iov, (int)count);

		if (n < 0 && errno == EAGAIN) {
			struct pollfd p = { .fd = fd, .events = POLLOUT };

			poll(&p, 1, -1);
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return apptap_error_set(err, errno, "sending to the other side");
		while (count && (size_t)n >= iov->iov_len) {
			n -= (ssize_t)iov->iov_len;
			iov++;
			count--;
		}
		if (count) {
			iov->iov_base = (uint8_t *)iov->iov_base + n;
			iov->iov_len -= (size_t)n;
		}
	}
	return 0;
}

int apptap_frame_send(int fd, uint16_t type, uint16_t flags, const void *body, size_t len,
		      struct apptap_error *err)
{
	uint8_t header[APPTAP_FRAME_HEADER_BYTES];
	struct iovec iov[2] = {
		{ .iov_base = header, .iov_len = sizeof(header) },
		{ .iov_base = (void *)(uintptr_t)body, .iov_len = len },
	};

	if (len > APPTAP_FRAME_BODY_MAX)
		return apptap_error_set(err, EMSGSIZE, "sending a frame of %zu bytes", len);
	apptap_frame_header(header, type, flags, (uint32_t)len);
	return send_all(fd, iov, len ? 2 : 1, err);
}

int apptap_frame_reader_new(struct apptap_frame_reader **out, struct apptap_error *err)
{
	struct apptap_frame_reader *r = malloc(sizeof(*r));

	if (!r)
		return apptap_error_set(err, ENOMEM, "allocating a frame reader");
	r->start = 0;
	r->end = 0;
	r->damaged = false;
	*out = r;
	return 0;
}

void apptap_frame_reader_free(struct apptap_frame_reader *r)
{
	free(r);
}

void *apptap_frame_reader_space(struct apptap_frame_reader *r, size_t *room)
{
	if (r->start == r->end) {
		r->start = 0;
		r->end = 0;
	} else if (r->start && sizeof(r->buf) - r->end < (64u << 10)) {
		memmove(r->buf, r->buf + r->start, r->end - r->start);
		r->end -= r->start;
		r->start = 0;
	}
	*room = sizeof(r->buf) - r->end;
	return r->buf + r->end;
}

void apptap_frame_reader_fill(struct apptap_frame_reader *r, size_t len)
{
	r->end += MIN(len, sizeof(r->buf) - r->end);
}

int apptap_frame_reader_next(struct apptap_frame_reader *r, struct apptap_frame *out,
			     struct apptap_error *err)
{
	struct apptap_view v = { r->buf + r->start, r->end - r->start };
	const uint8_t *header = apptap_view_take(&v, APPTAP_FRAME_HEADER_BYTES);
	uint32_t len;

	if (r->damaged)
		return apptap_error_say(err, EPROTO, "the stream is damaged");
	if (!header)
		return 0;
	len = apptap_get_le32(header);
	if (len > APPTAP_FRAME_BODY_MAX) {
		r->damaged = true;
		return apptap_error_say(err, EPROTO, "the stream is damaged: a frame of %u bytes",
					len);
	}
	out->body.p = apptap_view_take(&v, len);
	if (!out->body.p)
		return 0;
	out->body.left = len;
	out->type = apptap_get_le16(header + 4);
	out->flags = apptap_get_le16(header + 6);
	r->start += APPTAP_FRAME_HEADER_BYTES + len;
	return 1;
}

void apptap_hello_encode(const struct apptap_hello *hello, uint8_t out[APPTAP_HELLO_BYTES])
{
	memset(out, 0, APPTAP_HELLO_BYTES);
	memcpy(out, hello_magic, 4);
	apptap_put_le16(out + 4, hello->wire_version);
	apptap_put_le32(out + 8, hello->pid);
	apptap_put_le64(out + 12, hello->stdin_inode);
	memcpy(out + 20, hello->program, strnlen(hello->program, sizeof(hello->program) - 1));
}

int apptap_hello_decode(struct apptap_view body, struct apptap_hello *out, struct apptap_error *err)
{
	const uint8_t *p = apptap_view_take(&body, APPTAP_HELLO_BYTES);
	char program[APPTAP_HELLO_VERSION_BYTES];

	if (!p || memcmp(p, hello_magic, 4) != 0)
		return apptap_error_say(err, EPROTO, "the other side is not AppTap");
	out->wire_version = apptap_get_le16(p + 4);
	out->pid = apptap_get_le32(p + 8);
	out->stdin_inode = apptap_get_le64(p + 12);
	memcpy(program, p + 20, sizeof(program));
	program[sizeof(program) - 1] = '\0';
	apptap_text_clean(out->program, sizeof(out->program), program);
	if (out->wire_version == APPTAP_WIRE_VERSION)
		return 0;
	return apptap_error_say(err, EPROTONOSUPPORT,
				"the other side (AppTap %s) speaks protocol %u, this one %u",
				out->program, out->wire_version, APPTAP_WIRE_VERSION);
}
