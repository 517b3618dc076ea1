/* fuzz_frame.c - any bytes, in chunks of any size, through the frame reader */
#include <stdio.h>

#include "wire/conn_record.h"
#include "wire/frame.h"
#include "wire/text.h"

static void take(const struct apptap_frame *frame)
{
	struct apptap_view v = frame->body;
	struct apptap_conn_record record;
	struct apptap_hello hello;
	struct apptap_error err;

	if (v.left > APPTAP_FRAME_BODY_MAX)
		abort();
	apptap_hello_decode(v, &hello, &err);
	while (apptap_conn_record_take(&v, &record)) {
		uint8_t again[APPTAP_CONN_RECORD_BYTES];

		apptap_conn_record_encode(&record, again);
		again[39] = (v.p - APPTAP_CONN_RECORD_BYTES)[39]; /* the reserved byte */
		again[111] = (v.p - APPTAP_CONN_RECORD_BYTES)[111]; /* the name's end */
		if (memcmp(again, v.p - APPTAP_CONN_RECORD_BYTES, sizeof(again)) != 0)
			abort();
	}
}

static void clean(const uint8_t *data, size_t size)
{
	char in[256], out[64];
	size_t len = MIN(size, sizeof(in) - 1);

	memcpy(in, data, len);
	in[len] = '\0';
	apptap_text_clean(out, sizeof(out), in);
	for (const char *p = out; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct apptap_frame_reader *r;
	struct apptap_frame frame;
	struct apptap_error err;
	size_t chunk;

	if (!size || apptap_frame_reader_new(&r, &err) < 0)
		return 0;
	clean(data, size);
	chunk = 1 + data[0];
	for (size_t at = 1; at < size;) {
		size_t room, len;
		void *space = apptap_frame_reader_space(r, &room);

		len = MIN(chunk, size - at);
		len = MIN(len, room);
		if (!len)
			abort(); /* a reader that wants more must have room for it */
		memcpy(space, data + at, len);
		apptap_frame_reader_fill(r, len);
		at += len;
		while (apptap_frame_reader_next(r, &frame, &err) > 0)
			take(&frame);
	}
	apptap_frame_reader_free(r);
	return 0;
}
