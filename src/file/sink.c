/* sink.c - an open capture file: pcap or pcapng, LINKTYPE_LINUX_SLL2, written record by whole
 * record */
#include "file/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/utsname.h>

#include "file/direct.h"
#include "file/pcap.h"
#include "file/pcapng.h"
#include "file/sll2.h"
#include "wire/text.h"

/*
 * How it works: headers, and the bytes of small packets, are laid end to end in the stage. A large
 * packet's bytes stay where they are: the stage so far becomes one vector, they become the next,
 * and the stage goes on behind them. A flush hands all vectors to writev. The end of every record
 * is kept until then, so that a write that stops halfway can be cut back to a whole one.
 */

#define STAGE_BYTES ((size_t)256 * 1024)
#define BATCH_BYTES                                                            \
	(1024u * 1024) /* queued at most: larger writes gain nothing, and wait \
			*/
#define COPY_MAX 1024u /* a packet up to this is copied: cheaper than two vectors */
#define VECTORS 1024 /* UIO_MAXIOV, the kernel's limit for one writev */
#define ROOM (COPY_MAX + 512u) /* any record in the stage, with its interface block */
#define RECORD_MIN (APPTAP_PCAP_RECORD_BYTES + APPTAP_SLL2_BYTES)
#define RECORDS (STAGE_BYTES / RECORD_MIN + 1)

/* What readers take at most in one record (libpcap's MAXIMUM_SNAPLEN, Wireshark's too). */
#define SNAPLEN_MAX (262144u - APPTAP_SLL2_MAX)

#define WHOSE 64u

#define INTERFACES 4096u /* the last one stands for all that come after */
#define SLOTS 8192u

_Static_assert(sizeof(off_t) == 8, "files above 2 GiB");
_Static_assert((SLOTS & (SLOTS - 1)) == 0 && SLOTS > INTERFACES, "a power of two, never full");

struct interface {
	int32_t ifindex;
	uint64_t packets;
};

struct interfaces { /* pcapng's: in the order of their blocks, found by a hash of the index */
	struct interface all[INTERFACES];
	uint16_t slots[SLOTS]; /* place in all, plus one; 0: empty */
	uint32_t count;
	uint32_t last; /* the one the packet before this was on */
};

/* What stands behind a packet that says whose it is: to write it anew each time costs 300 ns. */
struct whose {
	uid_t uid;
	pid_t pid;
	char comm[sizeof(((struct apptap_packet *)0)->comm)];
	struct apptap_pcapng_comment comment;
};

struct apptap_sink {
	int fd; /* borrowed */
	enum apptap_format format;
	uint32_t snaplen;
	const char *(*ifname)(void *arg, int32_t ifindex);
	void *ifname_arg;

	uint8_t *stage; /* owned */
	uint8_t *next; /* where the stage goes on */
	uint8_t *run; /* from here to next: not in a vector yet */
	uint32_t queued; /* bytes, in vectors and run */
	int vector_count;
	uint32_t record_count;
	struct iovec vectors[VECTORS];
	uint32_t record_ends[RECORDS]; /* counted from the first queued byte */

	struct interfaces *interfaces; /* owned; NULL in pcap */
	bool comments;
	struct whose whose[WHOSE]; /* the latest, by PID and UID */
	uint64_t first_ns; /* when we opened, or an older packet's time */
	uint64_t last_ns; /* the latest packet's time */

	struct apptap_direct *direct; /* owned; NULL: all goes through the page cache, or a pipe */
	bool cuttable; /* a regular file: what is half written can be taken back */
	bool append;
	off_t start; /* where in the file our first byte is */
	uint64_t records;
	uint64_t bytes;
	struct apptap_error why; /* code set: it failed, and takes no more */
};

static int refuse(const struct apptap_sink *s, struct apptap_error *err)
{
	if (err)
		*err = s->why;
	return -s->why.code;
}

/* Waits until a nonblocking pipe or socket takes more. What goes wrong here, writev will tell. */
static void wait_writable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	poll(&p, 1, -1);
}

/* 0, or -errno; @written: how much went out in either case. */
static int write_vectors(int fd, struct iovec *v, int count, uint64_t *written)
{
	*written = 0;
	while (count > 0) {
		ssize_t n = writev(fd, v, count);
		size_t left;

		if (n < 0 && errno == EAGAIN)
			wait_writable(fd);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		*written += (uint64_t)n;
		for (left = (size_t)n; count > 0 && left >= v->iov_len; v++, count--)
			left -= v->iov_len;
		if (count > 0) {
			v->iov_base = (uint8_t *)v->iov_base + left;
			v->iov_len -= left;
		}
	}
	return 0;
}

/*
 * Cuts the file from @length to @safe bytes of ours. Not when somebody else has written to it: then
 * the end of the file is not our half record. -errno: it stays as it is.
 */
static int cut_back(struct apptap_sink *s, uint64_t length, uint64_t safe)
{
	off_t at = lseek(s->fd, 0, SEEK_CUR);
	struct stat st;

	if (at < 0 || fstat(s->fd, &st) < 0)
		return -errno;
	if (length > 0 && at != s->start + (off_t)length)
		return -EBUSY;
	if (s->append && st.st_size != s->start + (off_t)length)
		return -EBUSY;
	if (ftruncate(s->fd, s->start + (off_t)safe) < 0)
		return -errno;
	return lseek(s->fd, s->start + (off_t)safe, SEEK_SET) < 0 ? -errno : 0;
}

/* Keeps the reason of a failed write, for now and for every later call. */
static void give_up(struct apptap_sink *s, int code, bool cut, bool ragged)
{
	struct apptap_error *why = &s->why;

	if (code == EPIPE || code == ECONNRESET) {
		apptap_error_say(why, code,
				 "the reader closed the stream after %" PRIu64 " whole packets",
				 s->records);
		return;
	}
	apptap_error_set(why, code, "writing the capture after %" PRIu64 " whole packets",
			 s->records);
	if (ragged)
		apptap_error_hint(why, "the file ends in part of a packet: readers will say so");
	else if (cut && (code == ENOSPC || code == EDQUOT))
		apptap_error_hint(why, "free some space, or write elsewhere; the file is valid and "
				       "ends after its last whole packet");
	else if (cut && code == EFBIG)
		apptap_error_hint(why, "raise the file size limit (ulimit -f), or write elsewhere; "
				       "the file is valid and ends after its last whole packet");
	else if (cut)
		apptap_error_hint(why, "the file is valid and ends after its last whole packet");
}

/* @written bytes of what was queued went out, then @code stopped it. */
static int fail(struct apptap_sink *s, int code, uint64_t written, struct apptap_error *err)
{
	uint32_t whole = 0;
	uint64_t safe;
	bool cut;

	while (whole < s->record_count && s->record_ends[whole] <= written)
		whole++;
	safe = s->bytes + (whole > 0 ? s->record_ends[whole - 1] : 0);
	cut = s->cuttable && cut_back(s, s->bytes + written, safe) == 0;
	s->records += whole;
	s->bytes = cut ? safe : s->bytes + written;
	give_up(s, code, cut, s->bytes != safe);
	return refuse(s, err);
}

static void push_run(struct apptap_sink *s)
{
	if (s->run == s->next)
		return;
	s->vectors[s->vector_count++] = (struct iovec){ s->run, (size_t)(s->next - s->run) };
	s->run = s->next;
}

/* Much at once goes past the page cache, where that is possible and quick. */
static int write_queued(struct apptap_sink *s, uint64_t *written)
{
	uint64_t since_ns, now_ns;
	bool direct;
	int r;

	if (!s->direct || s->queued < APPTAP_DIRECT_MIN)
		return write_vectors(s->fd, s->vectors, s->vector_count, written);
	direct = apptap_direct_wants(s->direct, s->queued);
	since_ns = apptap_clock_ns(CLOCK_MONOTONIC);
	if (direct)
		r = apptap_direct_write(s->direct, s->vectors, s->vector_count, written);
	else
		r = write_vectors(s->fd, s->vectors, s->vector_count, written);
	now_ns = apptap_clock_ns(CLOCK_REALTIME);
	apptap_direct_note(s->direct, direct, *written, since_ns,
			   now_ns > s->last_ns ? now_ns - s->last_ns : 0);
	return r;
}

int apptap_sink_flush(struct apptap_sink *s, struct apptap_error *err)
{
	uint64_t written;
	int r;

	if (s->why.code)
		return refuse(s, err);
	push_run(s);
	r = write_queued(s, &written);
	if (r < 0)
		return fail(s, -r, written, err);
	s->records += s->record_count;
	s->bytes += s->queued;
	s->next = s->stage;
	s->run = s->stage;
	s->queued = 0;
	s->vector_count = 0;
	s->record_count = 0;
	return 0;
}

/* Takes a whole block that was built at next; never a packet, so no record ends here. */
static void stage_block(struct apptap_sink *s, size_t len)
{
	s->next += len;
	s->queued += (uint32_t)len;
}

static size_t stage_left(const struct apptap_sink *s)
{
	return STAGE_BYTES - (size_t)(s->next - s->stage);
}

static void add_interface(struct apptap_sink *s, int32_t ifindex, const char *name,
			  const char *description)
{
	struct apptap_pcapng_interface block = {
		.name = name,
		.description = description,
		.snaplen = s->snaplen + APPTAP_SLL2_MAX,
		.linktype = APPTAP_LINKTYPE_LINUX_SLL2,
	};

	s->interfaces->all[s->interfaces->count++].ifindex = ifindex;
	stage_block(s, apptap_pcapng_interface(s->next, stage_left(s), &block));
}

/* Where @ifindex has its block; it gets one if it has none. */
static uint32_t find_interface(struct apptap_sink *s, int32_t ifindex)
{
	struct interfaces *f = s->interfaces;
	uint32_t slot = (uint32_t)ifindex * 2654435761u / (UINT32_MAX / SLOTS + 1);
	char unnamed[40];
	const char *name;

	for (; f->slots[slot]; slot = (slot + 1) & (SLOTS - 1))
		if (f->all[f->slots[slot] - 1].ifindex == ifindex)
			return f->slots[slot] - 1;
	if (f->count == INTERFACES)
		return INTERFACES - 1;
	if (f->count == INTERFACES - 1) {
		add_interface(s, 0, NULL, "every interface seen later");
		return INTERFACES - 1;
	}
	name = s->ifname ? s->ifname(s->ifname_arg, ifindex) : NULL;
	snprintf(unnamed, sizeof(unnamed), "interface index %" PRId32, ifindex);
	add_interface(s, ifindex, name, name ? NULL : unnamed);
	f->slots[slot] = (uint16_t)f->count;
	return f->count - 1;
}

static uint32_t interface_of(struct apptap_sink *s, const struct apptap_packet *pkt)
{
	struct interfaces *f = s->interfaces;

	if (f->count == 0 || f->last == INTERFACES - 1 || f->all[f->last].ifindex != pkt->ifindex)
		f->last = find_interface(s, pkt->ifindex);
	f->all[f->last].packets++;
	s->first_ns = MIN(s->first_ns, pkt->ts_ns);
	return f->last;
}

/* "uid 1000 pid 4242 curl": in this order, so that no command can pass for another UID or PID. */
static void say_whose(struct whose *w, const struct apptap_packet *pkt)
{
	char raw[sizeof(pkt->comm) + 1] = "", comm[sizeof(raw)], text[64] = "";
	size_t len = 0;

	w->uid = pkt->uid;
	w->pid = pkt->pid;
	memcpy(w->comm, pkt->comm, sizeof(w->comm));
	memcpy(raw, pkt->comm, sizeof(pkt->comm));
	apptap_text_clean(comm, sizeof(comm), raw); /* whoever runs it has chosen it */
	if (pkt->uid != APPTAP_UID_NONE)
		len = (size_t)snprintf(text, sizeof(text), "uid %u", (unsigned)pkt->uid);
	if (pkt->pid)
		snprintf(text + len, sizeof(text) - len, "%spid %d%s%s", len ? " " : "",
			 (int)pkt->pid, comm[0] ? " " : "", comm);
	w->comment.len = 0;
	if (text[0])
		apptap_pcapng_comment(&w->comment, text);
}

static const struct apptap_pcapng_comment *comment_of(struct apptap_sink *s,
						      const struct apptap_packet *pkt)
{
	struct whose *w = &s->whose[((uint32_t)pkt->pid ^ (uint32_t)pkt->uid) % WHOSE];

	if (!s->comments)
		return NULL;
	if (w->uid != pkt->uid || w->pid != pkt->pid ||
	    memcmp(w->comm, pkt->comm, sizeof(w->comm)) != 0)
		say_whose(w, pkt);
	return &w->comment;
}

static size_t batch_bytes(const struct apptap_sink *s)
{
	bool direct = s->direct && apptap_direct_wants(s->direct, APPTAP_DIRECT_BEST);

	return direct ? APPTAP_DIRECT_BEST : BATCH_BYTES;
}

int apptap_sink_packet(struct apptap_sink *s, const struct apptap_packet *pkt,
		       struct apptap_error *err)
{
	uint32_t front = apptap_sll2_bytes(pkt);
	uint32_t kept = MIN(pkt->len, s->snaplen);
	uint32_t wire = MIN(MAX(pkt->wire_len, pkt->len), UINT32_MAX - front) + front;
	const struct apptap_pcapng_comment *comment = NULL;
	bool pcapng = s->format == APPTAP_FORMAT_PCAPNG;
	uint8_t *from;
	uint8_t *p;

	if (s->why.code)
		return refuse(s, err);
	if (stage_left(s) < ROOM || s->vector_count + 3 > VECTORS || s->queued >= batch_bytes(s)) {
		int r = apptap_sink_flush(s, err);

		if (r < 0)
			return r;
	}
	if (pcapng) {
		uint32_t interface = interface_of(s, pkt);

		comment = comment_of(s, pkt);
		from = s->next;
		p = apptap_pcapng_packet(from, interface, pkt->ts_ns, front + kept, wire, comment);
	} else {
		from = s->next;
		p = apptap_pcap_record(from, s->format == APPTAP_FORMAT_PCAP_NANO, pkt->ts_ns,
				       front + kept, wire);
	}
	p = apptap_sll2_put(p, pkt);
	if (kept > COPY_MAX) {
		s->next = p;
		push_run(s);
		s->vectors[s->vector_count++] =
			(struct iovec){ (void *)(uintptr_t)pkt->data, kept };
		s->queued += kept;
	} else if (kept > 0) {
		memcpy(p, pkt->data, kept);
		p += kept;
	}
	if (pcapng)
		p = apptap_pcapng_packet_end(p, front + kept, apptap_pcapng_flags(pkt->pkttype),
					     comment);
	s->queued += (uint32_t)(p - from);
	s->next = p;
	s->record_ends[s->record_count++] = s->queued;
	s->last_ns = pkt->ts_ns;
	return 0;
}

/* Totals go once into the file: per interface nobody counted what was lost. */
static int put_statistics(struct apptap_sink *s, uint64_t received, uint64_t dropped,
			  struct apptap_error *err)
{
	uint64_t now_ns = apptap_clock_ns(CLOCK_REALTIME);
	struct apptap_pcapng_statistics st = {
		.now_ns = now_ns,
		.start_ns = s->first_ns,
		.end_ns = now_ns,
		.totals = true,
		.received = received,
		.dropped = dropped,
		.comment = "received and dropped count the whole capture, all interfaces together",
	};

	for (uint32_t i = 0; i < s->interfaces->count; i++) {
		if (stage_left(s) < ROOM) {
			int r = apptap_sink_flush(s, err);

			if (r < 0)
				return r;
		}
		st.interface = i;
		st.accepted = s->interfaces->all[i].packets;
		stage_block(s, apptap_pcapng_statistics(s->next, stage_left(s), &st));
		st.totals = false;
		st.comment = NULL;
	}
	return 0;
}

int apptap_sink_finish(struct apptap_sink *s, uint64_t received, uint64_t dropped,
		       struct apptap_error *err)
{
	int r;

	/* Packets first: nothing that fails later may cost one of them. */
	r = apptap_sink_flush(s, err);
	if (r < 0 || !s->interfaces)
		return r;
	/* libpcap takes no section without an interface; and the totals need one to hang on. */
	if (s->interfaces->count == 0)
		add_interface(s, 0, NULL, "no packet was captured on any interface");
	r = put_statistics(s, received, dropped, err);
	if (r < 0)
		return r;
	return apptap_sink_flush(s, err);
}

uint64_t apptap_sink_records(const struct apptap_sink *s)
{
	return s->records;
}

uint64_t apptap_sink_bytes(const struct apptap_sink *s)
{
	return s->bytes;
}

void apptap_sink_free(struct apptap_sink *s)
{
	if (!s)
		return;
	apptap_direct_close(s->direct);
	free(s->stage);
	free(s->interfaces);
	free(s);
}

/* Finds out what @fd is, and where in the file we begin. */
static int look_at_fd(struct apptap_sink *s, struct apptap_error *err)
{
	struct stat st;
	int flags = fcntl(s->fd, F_GETFL);

	if (flags < 0 || fstat(s->fd, &st) < 0)
		return apptap_error_set(err, errno, "looking at the capture file");
	if (!S_ISREG(st.st_mode))
		return 0;
	s->append = flags & O_APPEND;
	s->start = s->append ? st.st_size : lseek(s->fd, 0, SEEK_CUR);
	s->cuttable = s->start >= 0;
	if (s->cuttable && !s->append)
		s->direct = apptap_direct_open(s->fd);
	return 0;
}

static void put_file_header(struct apptap_sink *s, const struct apptap_sink_config *cfg)
{
	struct apptap_pcapng_section section = { .comment = cfg->comment, .app = cfg->app };
	struct utsname uts;
	char os[sizeof(uts.sysname) + sizeof(uts.release) + 1];

	if (s->format != APPTAP_FORMAT_PCAPNG) {
		apptap_pcap_header(s->next, s->format == APPTAP_FORMAT_PCAP_NANO,
				   s->snaplen + APPTAP_SLL2_MAX, APPTAP_LINKTYPE_LINUX_SLL2);
		stage_block(s, APPTAP_PCAP_HEADER_BYTES);
		return;
	}
	if (uname(&uts) == 0) {
		snprintf(os, sizeof(os), "%s %s", uts.sysname, uts.release);
		section.os = os;
	}
	stage_block(s, apptap_pcapng_section(s->next, stage_left(s), &section));
}

/* NULL: no memory. */
static struct apptap_sink *new_sink(bool pcapng)
{
	struct apptap_sink *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->stage = malloc(STAGE_BYTES);
	if (pcapng)
		s->interfaces = calloc(1, sizeof(*s->interfaces));
	if (s->stage && (!pcapng || s->interfaces))
		return s;
	apptap_sink_free(s);
	return NULL;
}

int apptap_sink_open(struct apptap_sink **out, int fd, const struct apptap_sink_config *cfg,
		     struct apptap_error *err)
{
	struct apptap_sink *s = new_sink(cfg->format == APPTAP_FORMAT_PCAPNG);
	int r;

	if (!s)
		return apptap_error_set(err, ENOMEM, "allocating the capture file's buffers");
	s->fd = fd;
	s->format = cfg->format;
	s->snaplen = cfg->snaplen ? MIN(cfg->snaplen, SNAPLEN_MAX) : SNAPLEN_MAX;
	s->ifname = cfg->ifname;
	s->ifname_arg = cfg->ifname_arg;
	s->comments = cfg->whose;
	for (size_t i = 0; i < WHOSE; i++)
		s->whose[i].uid = APPTAP_UID_NONE;
	s->next = s->stage;
	s->run = s->stage;
	s->first_ns = apptap_clock_ns(CLOCK_REALTIME);
	r = look_at_fd(s, err);
	if (r == 0) {
		put_file_header(s, cfg);
		r = apptap_sink_flush(s, err);
	}
	if (r < 0) {
		apptap_sink_free(s);
		return r;
	}
	*out = s;
	return 0;
}
