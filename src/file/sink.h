/* sink.h - an open capture file: pcap or pcapng, LINKTYPE_LINUX_SLL2, written record by whole
 * record */
#ifndef APPTAP_FILE_SINK_H
#define APPTAP_FILE_SINK_H

#include "tier/tier.h"

enum apptap_format {
	APPTAP_FORMAT_PCAP, /* microseconds */
	APPTAP_FORMAT_PCAP_NANO, /* the nanosecond magic */
	APPTAP_FORMAT_PCAPNG, /* nanoseconds, one interface block per interface */
};

#define APPTAP_LINKTYPE_LINUX_SLL2 276

struct apptap_sink;

struct apptap_sink_config {
	enum apptap_format format;
	uint32_t snaplen; /* as the tier was told; the file's own adds the SLL2 header */
	const char *comment; /* pcapng: names app, UIDs and tier; may be NULL. Copied. */
	bool whose; /* pcapng: each packet's comment says its UID, and PID and command where known
		     */
	const char *app; /* pcapng: shb_userappl, "apptap 0.1.0". Copied. */
	/* pcapng: the interface's name, or NULL; called once an interface, when it is first seen */
	const char *(*ifname)(void *arg, int32_t ifindex);
	void *ifname_arg;
};

/*
 * Writes the file header to @fd, which stays the caller's. Regular files and pipes both work; a
 * pipe (or socket) may be in nonblocking mode.
 */
int apptap_sink_open(struct apptap_sink **out, int fd, const struct apptap_sink_config *cfg,
		     struct apptap_error *err);

/* Queues one packet; pkt->data must stay until the next flush (or this call writes by itself). */
int apptap_sink_packet(struct apptap_sink *s, const struct apptap_packet *pkt,
		       struct apptap_error *err);

/*
 * Writes all that is queued. On a failed write (disk full) a regular file is cut back to the last
 * whole record and the sink takes no more; the error says how many records are safe.
 */
int apptap_sink_flush(struct apptap_sink *s, struct apptap_error *err);

/* Flushes and, in pcapng, ends with an Interface Statistics Block for every interface. */
int apptap_sink_finish(struct apptap_sink *s, uint64_t received, uint64_t dropped,
		       struct apptap_error *err);

uint64_t apptap_sink_records(const struct apptap_sink *s); /* whole records in the file */
uint64_t apptap_sink_bytes(const struct apptap_sink *s); /* bytes written */
void apptap_sink_free(struct apptap_sink *s); /* NULL is fine; writes nothing */

#endif
