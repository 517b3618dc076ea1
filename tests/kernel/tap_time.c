/* tap_time.c - a ring and a plain packet socket stamp a packet with the very same nanosecond */
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lab.h"

/*
 * How it works: a datagram to the loopback, or out of va and so into vb, which is in the same
 * namespace here, passes both sockets twice: outgoing and incoming. It carries a number, by which
 * the records of the two sockets are matched.
 */

enum { PORT = 4242, BLOCK = 1 << 18, BLOCKS = 16, PACKETS = 64 };

struct record {
	uint64_t ns;
	bool seen;
};

struct records {
	struct record out[PACKETS], in[PACKETS];
};

struct ring {
	int fd;
	uint8_t *map;
	unsigned int block;
};

static struct ring ring_open(void)
{
	struct ring r = { .fd = lab_tap() };
	int version = TPACKET_V3;
	struct tpacket_req3 req = {
		.tp_block_size = BLOCK,
		.tp_block_nr = BLOCKS,
		.tp_frame_size = 2048,
		.tp_frame_nr = BLOCK / 2048 * BLOCKS,
		.tp_retire_blk_tov = 5,
	};

	if (setsockopt(r.fd, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) < 0 ||
	    setsockopt(r.fd, SOL_PACKET, PACKET_RX_RING, &req, sizeof(req)) < 0)
		tap_bail("TPACKET_V3 ring");
	r.map = mmap(NULL, BLOCK * BLOCKS, PROT_READ | PROT_WRITE, MAP_SHARED, r.fd, 0);
	if (r.map == MAP_FAILED)
		tap_bail("mapping the ring");
	return r;
}

static void ring_close(struct ring *r)
{
	munmap(r->map, BLOCK * BLOCKS);
	close(r->fd);
}

static void stamp(int fd)
{
	int on = 1;

	if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) < 0)
		tap_bail("SO_TIMESTAMPNS");
}

/* One packet, from its IP header on: is it one of ours, and which? */
static void note(struct records *r, const uint8_t *ip, size_t len, uint8_t pkttype, uint64_t ns)
{
	uint32_t number;
	uint16_t port;
	struct record *rec;

	if (len < 32 || ip[0] != 0x45 || ip[9] != IPPROTO_UDP)
		return;
	memcpy(&port, ip + 22, sizeof(port));
	memcpy(&number, ip + 28, sizeof(number));
	if (ntohs(port) != PORT || number >= PACKETS)
		return;
	rec = pkttype == PACKET_OUTGOING ? &r->out[number] : &r->in[number];
	*rec = (struct record){ .ns = ns, .seen = true };
}

/* Reads until both records of the last of @count datagrams are there, or 100 ms of silence. */
static void ring_read(struct ring *r, struct records *out, uint32_t count)
{
	struct pollfd p = { .fd = r->fd, .events = POLLIN };

	while (!out->out[count - 1].seen || !out->in[count - 1].seen) {
		struct tpacket_block_desc *b = (void *)(r->map + (size_t)r->block * BLOCK);
		const struct tpacket3_hdr *h;

		if (!(__atomic_load_n(&b->hdr.bh1.block_status, __ATOMIC_ACQUIRE) &
		      TP_STATUS_USER)) {
			if (poll(&p, 1, 100) <= 0)
				return;
			continue;
		}
		h = (void *)((uint8_t *)b + b->hdr.bh1.offset_to_first_pkt);
		for (uint32_t i = 0; i < b->hdr.bh1.num_pkts; i++) {
			const struct sockaddr_ll *sll =
				(const void *)((const uint8_t *)h + TPACKET_ALIGN(sizeof(*h)));

			note(out, (const uint8_t *)h + h->tp_net, h->tp_snaplen, sll->sll_pkttype,
			     (uint64_t)h->tp_sec * 1000000000U + h->tp_nsec);
			h = (const void *)((const uint8_t *)h + h->tp_next_offset);
		}
		__atomic_store_n(&b->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
		r->block = (r->block + 1) % BLOCKS;
	}
}

static void plain_read(int fd, struct records *out)
{
	for (;;) {
		uint8_t ip[128];
		_Alignas(struct cmsghdr) char control[256];
		struct sockaddr_ll sll;
		struct iovec iov = { .iov_base = ip, .iov_len = sizeof(ip) };
		struct msghdr m = {
			.msg_name = &sll,
			.msg_namelen = sizeof(sll),
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = control,
			.msg_controllen = sizeof(control),
		};
		ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT);
		uint64_t ns = 0;

		if (n < 0)
			return;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
			struct timespec ts;

			if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS)
				continue;
			memcpy(&ts, CMSG_DATA(c), sizeof(ts));
			ns = (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
		}
		note(out, ip, (size_t)n, sll.sll_pkttype, ns);
	}
}

static void send_numbered(int fd, const union lab_addr *to, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (sendto(fd, &i, sizeof(i), 0, &to->sa, sizeof(*to)) < 0)
			tap_bail("sendto");
}

struct tally {
	int both, same;
	uint64_t worst_ns; /* largest difference */
};

static void compare(const struct record *a, const struct record *b, struct tally *t)
{
	for (int i = 0; i < PACKETS; i++) {
		uint64_t d = a[i].ns > b[i].ns ? a[i].ns - b[i].ns : b[i].ns - a[i].ns;

		if (!a[i].seen || !b[i].seen)
			continue;
		t->both++;
		t->same += d == 0;
		if (d > t->worst_ns)
			t->worst_ns = d;
	}
}

struct lab {
	const char *to;
	struct ring ring;
	int plain;
	int sender;
};

/* One round of @count datagrams, and what both sockets have to say of them. */
static void round_trip(struct lab *l, uint32_t count, struct tally *out, struct tally *in)
{
	static struct records ring, plain;
	union lab_addr to = lab_addr(l->to, PORT);

	memset(&ring, 0, sizeof(ring));
	memset(&plain, 0, sizeof(plain));
	*out = *in = (struct tally){ 0 };
	send_numbered(l->sender, &to, count);
	ring_read(&l->ring, &ring, count);
	plain_read(l->plain, &plain);
	compare(ring.out, plain.out, out);
	compare(ring.in, plain.in, in);
}

/*
 * SO_TIMESTAMPNS turns on the stamping of all packets in the kernel, but a moment later: the
 * switch is thrown by a work queue (net_enable_timestamp). Up to then each socket stamps by
 * itself. Returns how long it took, or UINT64_MAX.
 */
static uint64_t settle(struct lab *l)
{
	uint64_t began = lab_now_ns(CLOCK_MONOTONIC);

	for (int i = 0; i < 100; i++) {
		struct tally out, in;

		uint64_t asked = lab_now_ns(CLOCK_MONOTONIC);
		round_trip(l, 1, &out, &in);
		if (out.same == 1 && in.same == 1)
			return asked - began;
	}
	return UINT64_MAX;
}

static void check(const char *name, const char *to, bool ring_first, bool stamp_ring)
{
	struct lab l = { .to = to };
	struct tally out, in;
	uint64_t settled_ns;

	if (ring_first)
		l.ring = ring_open();
	l.plain = lab_tap();
	if (!ring_first)
		l.ring = ring_open();
	l.sender = lab_socket(LAB_APP, AF_INET, SOCK_DGRAM, 0);
	if (stamp_ring)
		stamp(l.ring.fd);
	stamp(l.plain);
	settled_ns = settle(&l);
	tap_ok(settled_ns != UINT64_MAX, "%s: stamps agree soon after SO_TIMESTAMPNS", name);
	tap_diag("%s: they agreed for a packet sent %.3f ms after it", name,
		 (double)settled_ns / 1e6);
	round_trip(&l, PACKETS, &out, &in);
	tap_ok(out.both == PACKETS && out.same == PACKETS, "%s: %d of %d outgoing the same", name,
	       out.same, PACKETS);
	tap_ok(in.both == PACKETS && in.same == PACKETS, "%s: %d of %d incoming the same", name,
	       in.same, PACKETS);
	close(l.sender);
	close(l.plain);
	ring_close(&l.ring);
}

int main(void)
{
	lab_enter();
	lab_run("ip link add va type veth peer name vb");
	lab_run("ip addr add 10.9.0.1/24 dev va && ip link set va up && ip link set vb up");
	lab_run("ip neigh add 10.9.0.2 lladdr 02:00:00:00:00:09 dev va");
	check("veth, ring first", "10.9.0.2", true, false);
	check("veth, ring last", "10.9.0.2", false, false);
	check("veth, asked on both", "10.9.0.2", true, true);
	check("loopback, ring first", "127.0.0.1", true, false);
	check("loopback, ring last", "127.0.0.1", false, false);
	return tap_done();
}
