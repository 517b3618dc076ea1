/* output.c - where the agent's file goes: a descriptor of the host's, or back over the wire */
#include "agent/output.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "wire/frame.h"

#define CHUNK_BYTES (256u << 10)

int apptap_agent_output_open(struct apptap_agent_output *o, int file_fd, int wire_fd,
			     struct apptap_error *err)
{
	o->sent = 0;
	o->fd = file_fd;
	if (file_fd >= 0)
		return 0;
	o->wire_fd = wire_fd;
	o->buf = malloc(CHUNK_BYTES);
	if (!o->buf)
		return apptap_error_set(err, ENOMEM, "allocating a stream buffer");
	o->fd = memfd_create("apptap-stream", MFD_CLOEXEC);
	if (o->fd < 0)
		return apptap_error_set(err, errno, "making a buffer in memory for the stream");
	return 0;
}

int apptap_agent_output_flush(struct apptap_agent_output *o, struct apptap_error *err)
{
	uint64_t first = o->sent & ~4095ull;
	struct stat st;

	if (o->wire_fd < 0)
		return 0;
	if (fstat(o->fd, &st) < 0)
		return apptap_error_set(err, errno, "reading the stream's buffer");
	while (o->sent < (uint64_t)st.st_size) {
		size_t len = (size_t)MIN((uint64_t)st.st_size - o->sent, (uint64_t)CHUNK_BYTES);
		ssize_t n = pread(o->fd, o->buf, len, (off_t)o->sent);
		bool whole;
		int r;

		if (n <= 0)
			return apptap_error_set(err, n < 0 ? errno : EIO,
						"reading the stream's buffer");
		whole = o->sent + (uint64_t)n == (uint64_t)st.st_size;
		r = apptap_frame_send(o->wire_fd, APPTAP_FRAME_DATA, whole ? APPTAP_FRAME_WHOLE : 0,
				      o->buf, (size_t)n, err);
		if (r < 0)
			return r;
		o->sent += (uint64_t)n;
	}
	if (o->sent > first) /* best effort: costs memory, not truth */
		fallocate(o->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)first,
			  (off_t)((o->sent & ~4095ull) - first));
	return 0;
}

void apptap_agent_output_close(struct apptap_agent_output *o)
{
	if (o->fd >= 0)
		close(o->fd);
	free(o->buf);
	*o = (struct apptap_agent_output)APPTAP_AGENT_OUTPUT_CLOSED;
}
