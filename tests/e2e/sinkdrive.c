/* sinkdrive.c - writes the capture file that its stdin describes; test_file_formats.py reads it
 * back */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#include "file/sink.h"

/*
 * sinkdrive pcap|nano|pcapng FILE, a line each on stdin ("-" is an empty byte string):
 *	name IFINDEX HEX	an interface's name
 *	open SNAPLEN COMMENT_HEX APP_HEX
 *	whose UID PID COMM_HEX	of the packets from here on; once before open: they get comments
 *	packet TS_NS IFINDEX PROTOCOL ARPHRD PKTTYPE HALEN HADDR_HEX TPID TCI WIRE_LEN DATA_HEX
 *	flush
 *	finish RECEIVED DROPPED
 * Ends by printing "records N bytes N".
 */

#define NAMES 64
#define DATA_MAX 262144u

struct name {
	int32_t ifindex;
	char text[64];
};

struct drive {
	int fd;
	enum apptap_format format;
	struct apptap_sink *sink;
	bool has_whose;
	uint32_t uid;
	int pid;
	char comm[16 + 1];
	struct name names[NAMES];
	uint32_t name_count;
};

static uint8_t data[DATA_MAX + 1];
static char line[2 * DATA_MAX + 4096];
static char hex[sizeof(line)];

/* Decodes @text to @out, NUL behind it, and returns the length. */
static size_t unhex(const char *text, void *out, size_t max)
{
	uint8_t *p = out;
	size_t len = 0;
	unsigned int byte;

	for (; len < max && sscanf(text, "%2x", &byte) == 1; text += 2)
		p[len++] = (uint8_t)byte;
	p[len] = '\0';
	return len;
}

static const char *name_of(void *arg, int32_t ifindex)
{
	const struct drive *d = arg;

	for (uint32_t i = 0; i < d->name_count; i++)
		if (d->names[i].ifindex == ifindex)
			return d->names[i].text;
	return NULL;
}

static int open_file(struct drive *d, struct apptap_error *err)
{
	struct apptap_sink_config cfg = {
		.format = d->format, .ifname = name_of, .ifname_arg = d, .whose = d->has_whose
	};
	char comment_hex[4096];
	char app_hex[512];
	char comment[2048];
	char app[256];

	if (sscanf(line, "open %" SCNu32 " %4095s %511s", &cfg.snaplen, comment_hex, app_hex) != 3)
		return apptap_error_say(err, EINVAL, "open: %s", line);
	if (unhex(comment_hex, comment, sizeof(comment) - 1) > 0)
		cfg.comment = comment;
	if (unhex(app_hex, app, sizeof(app) - 1) > 0)
		cfg.app = app;
	return apptap_sink_open(&d->sink, d->fd, &cfg, err);
}

static int put_packet(struct drive *d, struct apptap_error *err)
{
	struct apptap_packet pkt = { .data = data, .uid = d->uid, .pid = d->pid };
	uint8_t haddr[sizeof(pkt.haddr) + 1] = { 0 };
	char haddr_hex[32];

	if (sscanf(line,
		   "packet %" SCNu64 " %" SCNd32 " %" SCNu16 " %" SCNu16 " %" SCNu8 " %" SCNu8
		   " %31s %" SCNu16 " %" SCNu16 " %" SCNu32 " %s",
		   &pkt.ts_ns, &pkt.ifindex, &pkt.protocol, &pkt.arphrd, &pkt.pkttype, &pkt.halen,
		   haddr_hex, &pkt.vlan_tpid, &pkt.vlan_tci, &pkt.wire_len, hex) != 11)
		return apptap_error_say(err, EINVAL, "packet: %s", line);
	unhex(haddr_hex, haddr, sizeof(pkt.haddr));
	memcpy(pkt.haddr, haddr, sizeof(pkt.haddr));
	memcpy(pkt.comm, d->comm, sizeof(pkt.comm));
	pkt.len = (uint32_t)unhex(hex, data, DATA_MAX);
	/* One data buffer for all: what is large and borrowed must go before it changes. */
	return apptap_sink_packet(d->sink, &pkt, err) < 0 ? -err->code
							  : apptap_sink_flush(d->sink, err);
}

static int obey(struct drive *d, struct apptap_error *err)
{
	uint64_t received;
	uint64_t dropped;
	struct name *n = &d->names[d->name_count];

	if (strncmp(line, "open ", 5) == 0)
		return open_file(d, err);
	if (strncmp(line, "packet ", 7) == 0)
		return put_packet(d, err);
	if (strncmp(line, "flush", 5) == 0)
		return apptap_sink_flush(d->sink, err);
	if (sscanf(line, "finish %" SCNu64 " %" SCNu64, &received, &dropped) == 2)
		return apptap_sink_finish(d->sink, received, dropped, err);
	if (sscanf(line, "whose %" SCNu32 " %d %s", &d->uid, &d->pid, hex) == 3) {
		d->has_whose = true;
		memset(d->comm, 0, sizeof(d->comm));
		unhex(hex, d->comm, sizeof(d->comm) - 1);
		return 0;
	}
	if (d->name_count < NAMES && sscanf(line, "name %" SCNd32 " %s", &n->ifindex, hex) == 2) {
		unhex(hex, n->text, sizeof(n->text) - 1);
		d->name_count++;
		return 0;
	}
	return apptap_error_say(err, EINVAL, "not understood: %s", line);
}

int main(int argc, char **argv)
{
	struct apptap_error err = { 0 };
	struct drive d = { .fd = -1 };

	if (argc != 3)
		return 2;
	d.format = strcmp(argv[1], "pcapng") == 0 ? APPTAP_FORMAT_PCAPNG
		   : strcmp(argv[1], "nano") == 0 ? APPTAP_FORMAT_PCAP_NANO
						  : APPTAP_FORMAT_PCAP;
	d.fd = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (d.fd < 0) {
		perror(argv[2]);
		return 1;
	}
	while (fgets(line, sizeof(line), stdin)) {
		if (obey(&d, &err) < 0) {
			fprintf(stderr, "sinkdrive: %s\n", err.msg);
			return 1;
		}
	}
	printf("records %" PRIu64 " bytes %" PRIu64 "\n", apptap_sink_records(d.sink),
	       apptap_sink_bytes(d.sink));
	apptap_sink_free(d.sink);
	close(d.fd);
	return 0;
}
