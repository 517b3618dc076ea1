/* ring.c - every frame of every interface, through a ring shared with the kernel (TPACKET_V3) */
#include "tier/ring.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define BLOCK_BYTES (1U << 20) /* room for the largest packet there is (BIG TCP: 512 KiB) */
#define BLOCKS_MIN 4
#define RETIRE_MS 16

struct apptap_ring {
	int fd; /* owned */
	uint8_t *map; /* owned */
	size_t map_bytes;
	unsigned block_count;
	unsigned block; /* the one being read, or to be read next */
	unsigned packets_left; /* of the block being read */
	const uint8_t *next;
	uint64_t dropped;
};

static struct tpacket_block_desc *desc(const struct apptap_ring *r, unsigned i)
{
	return (struct tpacket_block_desc *)(void *)(r->map +
						     (size_t)(i % r->block_count) * BLOCK_BYTES);
}

static int set_up(struct apptap_ring *r, size_t bytes, struct apptap_error *err)
{
	struct tpacket_req3 req = { .tp_block_size = BLOCK_BYTES,
				    .tp_frame_size = 2048, /* unused by V3, but checked */
				    .tp_retire_blk_tov = RETIRE_MS };
	int version = TPACKET_V3;

	req.tp_block_nr = (unsigned)MAX(bytes / BLOCK_BYTES, (size_t)BLOCKS_MIN);
	req.tp_frame_nr = req.tp_block_nr * (BLOCK_BYTES / req.tp_frame_size);
	if (setsockopt(r->fd, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) < 0)
		return apptap_error_set(err, errno, "choosing TPACKET_V3");
	if (setsockopt(r->fd, SOL_PACKET, PACKET_RX_RING, &req, sizeof(req)) < 0) {
		int r2 = apptap_error_set(err, errno, "making a packet ring of %zu KiB",
					  (size_t)req.tp_block_nr * BLOCK_BYTES / 1024);
		apptap_error_hint(err, "a smaller ring: -B 8192");
		return r2;
	}
	r->block_count = req.tp_block_nr;
	r->map_bytes = (size_t)req.tp_block_nr * BLOCK_BYTES;
	r->map = mmap(NULL, r->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
	if (r->map == MAP_FAILED) {
		r->map = NULL;
		return apptap_error_set(err, errno, "mapping the packet ring");
	}
	return 0;
}

int apptap_ring_open(struct apptap_ring **out, size_t bytes, struct apptap_error *err)
{
	struct apptap_ring *r = calloc(1, sizeof(*r));
	int ret;

	if (!r)
		return apptap_error_set(err, ENOMEM, "allocating a packet ring");
	/* Protocol 0: nothing comes in until it is bound. Cooked: SLL2 keeps no more of the link.
	 */
	r->fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (r->fd < 0) {
		ret = apptap_error_set(err, errno, "opening a packet socket");
		if (ret == -EPERM || ret == -EACCES)
			apptap_error_hint(err, "run as root, or give it CAP_NET_RAW");
	} else {
		ret = set_up(r, bytes, err);
	}
	if (ret < 0) {
		apptap_ring_close(r);
		return ret;
	}
	*out = r;
	return 0;
}

void apptap_ring_close(struct apptap_ring *r)
{
	if (!r)
		return;
	if (r->map)
		munmap(r->map, r->map_bytes);
	if (r->fd >= 0)
		close(r->fd);
	free(r);
}

int apptap_ring_fd(const struct apptap_ring *r)
{
	return r->fd;
}

int apptap_ring_filter(struct apptap_ring *r, const struct sock_fprog *prog,
		       struct apptap_error *err)
{
	if (setsockopt(r->fd, SOL_SOCKET, SO_ATTACH_FILTER, prog, sizeof(*prog)) < 0)
		return apptap_error_set(err, errno, "attaching a packet filter");
	return 0;
}

int apptap_ring_start(struct apptap_ring *r, struct apptap_error *err)
{
	struct sockaddr_ll all = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };

	if (bind(r->fd, (struct sockaddr *)&all, sizeof(all)) < 0)
		return apptap_error_set(err, errno, "binding the packet ring to all interfaces");
	return 0;
}

bool apptap_ring_block(struct apptap_ring *r)
{
	struct tpacket_hdr_v1 *h = &desc(r, r->block)->hdr.bh1;

	if (!(__atomic_load_n(&h->block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER))
		return false;
	r->packets_left = h->num_pkts;
	r->next = (const uint8_t *)desc(r, r->block) + h->offset_to_first_pkt;
	return true;
}

bool apptap_ring_packet(struct apptap_ring *r, struct apptap_packet *pkt)
{
	const struct tpacket3_hdr *h = (const void *)r->next;
	const struct sockaddr_ll *sll;

	if (r->packets_left == 0)
		return false;
	r->packets_left--;
	r->next += h->tp_next_offset;
	sll = (const void *)((const uint8_t *)h + TPACKET_ALIGN(sizeof(*h)));
	pkt->data = (const uint8_t *)h + h->tp_mac;
	pkt->len = h->tp_snaplen;
	pkt->wire_len = h->tp_len;
	pkt->ts_ns = h->tp_sec * APPTAP_NSEC_PER_SEC + h->tp_nsec;
	pkt->ifindex = sll->sll_ifindex;
	pkt->protocol = ntohs(sll->sll_protocol);
	pkt->arphrd = sll->sll_hatype;
	pkt->pkttype = sll->sll_pkttype;
	pkt->halen = MIN(sll->sll_halen, (uint8_t)sizeof(pkt->haddr));
	memcpy(pkt->haddr, sll->sll_addr, sizeof(pkt->haddr));
	pkt->vlan_tpid = 0;
	pkt->vlan_tci = 0;
	if (h->tp_status & TP_STATUS_VLAN_VALID) {
		pkt->vlan_tci = (uint16_t)h->hv1.tp_vlan_tci;
		pkt->vlan_tpid = h->tp_status & TP_STATUS_VLAN_TPID_VALID ? h->hv1.tp_vlan_tpid
									  : ETH_P_8021Q;
	}
	pkt->uid = APPTAP_UID_NONE;
	pkt->pid = 0;
	pkt->comm[0] = '\0';
	return true;
}

void apptap_ring_release(struct apptap_ring *r)
{
	__atomic_store_n(&desc(r, r->block)->hdr.bh1.block_status, TP_STATUS_KERNEL,
			 __ATOMIC_RELEASE);
	r->block = (r->block + 1) % r->block_count;
}

bool apptap_ring_pending(const struct apptap_ring *r)
{
	const struct tpacket_hdr_v1 *h = &desc(r, r->block)->hdr.bh1;

	/* The kernel counts in place, from zero when it opens a block: this is the open one, or
	 * full. */
	return (__atomic_load_n(&h->block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER) ||
	       __atomic_load_n(&h->num_pkts, __ATOMIC_RELAXED) > 0;
}

unsigned apptap_ring_fill(const struct apptap_ring *r)
{
	/* Blocks are filled in order: two looks tell a quarter. */
	for (unsigned quarter = 3; quarter > 0; quarter--) {
		const struct tpacket_hdr_v1 *h =
			&desc(r, r->block + r->block_count * quarter / 4)->hdr.bh1;

		if (__atomic_load_n(&h->block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER)
			return quarter * 25;
	}
	return 0;
}

unsigned apptap_ring_delay_ms(const struct apptap_ring *r)
{
	(void)r;
	return RETIRE_MS;
}

uint64_t apptap_ring_dropped(struct apptap_ring *r)
{
	struct tpacket_stats_v3 s = { 0 };
	socklen_t len = sizeof(s);

	if (getsockopt(r->fd, SOL_PACKET, PACKET_STATISTICS, &s, &len) == 0)
		r->dropped += s.tp_drops; /* reading them sets them to zero */
	return r->dropped;
}
