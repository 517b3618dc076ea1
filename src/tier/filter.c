/*
 * filter.c - classic filters for packet sockets
 *
 * How it works. The sockets are cooked, so offset 0 is the network header both ways. A conditional
 * jump of classic BPF reaches 255 ops, so programs are laid out as tests that end in a RET of their
 * own (reject_unless and kin), and never jump far.
 */
#include "tier/filter.h"

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>

#include "tier/links.h"

static void emit(struct apptap_filter *f, uint16_t code, uint32_t k, uint8_t jt, uint8_t jf)
{
	if (f->count < APPTAP_FILTER_OPS_MAX)
		f->ops[f->count++] = (struct sock_filter){ code, jt, jf, k };
}

static void load(struct apptap_filter *f, uint16_t size, uint32_t offset)
{
	emit(f, BPF_LD | size | BPF_ABS, offset, 0, 0);
}

static void load_ancillary(struct apptap_filter *f, uint32_t what)
{
	load(f, BPF_W, (uint32_t)(SKF_AD_OFF + (int32_t)what));
}

static void give(struct apptap_filter *f, uint32_t bytes)
{
	emit(f, BPF_RET | BPF_K, bytes, 0, 0);
}

/* The accumulator is @k: return @bytes. Else go on. */
static void give_if(struct apptap_filter *f, uint32_t k, uint32_t bytes)
{
	emit(f, BPF_JMP | BPF_JEQ | BPF_K, k, 0, 1);
	give(f, bytes);
}

static void give_unless(struct apptap_filter *f, uint32_t k, uint32_t bytes)
{
	emit(f, BPF_JMP | BPF_JEQ | BPF_K, k, 1, 0);
	give(f, bytes);
}

/* Opens a block that runs only when the accumulator is @k; returns its place for end_block(). */
static size_t begin_if(struct apptap_filter *f, uint32_t k)
{
	emit(f, BPF_JMP | BPF_JEQ | BPF_K, k, 1, 0);
	emit(f, BPF_JMP | BPF_JA, 0, 0, 0); /* 32-bit distance, set at the end of the block */
	return f->count - 1;
}

static void end_block(struct apptap_filter *f, size_t at)
{
	f->ops[at].k = (uint32_t)(f->count - at - 1);
}

static void common(struct apptap_filter *f, const struct apptap_filter_config *cfg)
{
	size_t block;

	f->count = 0;
	load_ancillary(f, SKF_AD_IFINDEX);
	block = begin_if(f, APPTAP_LOOPBACK_IFINDEX); /* seen on the way out, and in again: once */
	load_ancillary(f, SKF_AD_PKTTYPE);
	give_unless(f, PACKET_OUTGOING, 0);
	load_ancillary(f, SKF_AD_IFINDEX);
	end_block(f, block);
	if (cfg->all_interfaces)
		return;
	for (size_t i = 0; i < cfg->ifindex_count && i < APPTAP_FILTER_IFACES_MAX; i++)
		emit(f, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)cfg->ifindexes[i],
		     (uint8_t)(cfg->ifindex_count - i), 0);
	give(f, 0);
}

void apptap_filter_ring(struct apptap_filter *f, const struct apptap_filter_config *cfg)
{
	common(f, cfg);
	give(f, UINT32_MAX);
}

/* X holds the transport's offset; ports there: out by source, in by destination. */
static void quiet_ports(struct apptap_filter *f, const struct apptap_filter_config *cfg,
			uint32_t snaplen_bytes)
{
	size_t out;

	if (cfg->quiet_count == 0) {
		give(f, snaplen_bytes);
		return;
	}
	load_ancillary(f, SKF_AD_PKTTYPE);
	out = begin_if(f, PACKET_OUTGOING);
	emit(f, BPF_LD | BPF_H | BPF_IND, 0, 0, 0);
	for (size_t i = 0; i < cfg->quiet_count && i < APPTAP_FILTER_PORTS_MAX; i++)
		give_if(f, cfg->quiet_ports[i], 0);
	give(f, snaplen_bytes);
	end_block(f, out);
	emit(f, BPF_LD | BPF_H | BPF_IND, 2, 0, 0);
	for (size_t i = 0; i < cfg->quiet_count && i < APPTAP_FILTER_PORTS_MAX; i++)
		give_if(f, cfg->quiet_ports[i], 0);
	give(f, snaplen_bytes);
}

/* X holds the TCP header's offset: data or FIN that a connection of a listening port sends. */
static void listening_ports(struct apptap_filter *f, const struct apptap_filter_config *cfg,
			    uint32_t snaplen_bytes)
{
	if (cfg->tcp_count) {
		emit(f, BPF_LD | BPF_B | BPF_IND, 13, 0, 0);
		emit(f, BPF_JMP | BPF_JSET | BPF_K, 0x09, 1, 0); /* FIN, PSH */
		give(f, 0);
		load_ancillary(f, SKF_AD_PKTTYPE);
		give_unless(f, PACKET_OUTGOING, 0);
		emit(f, BPF_LD | BPF_H | BPF_IND, 0, 0, 0);
		for (size_t i = 0; i < cfg->tcp_count && i < APPTAP_FILTER_PORTS_MAX; i++)
			give_if(f, cfg->tcp_ports[i], snaplen_bytes);
	}
	give(f, 0);
}

/* A holds the protocol, X the offset of its header; every path returns. */
static void transport(struct apptap_filter *f, const struct apptap_filter_config *cfg,
		      uint32_t snaplen_bytes, uint32_t icmp, uint8_t echo_request)
{
	size_t block;

	block = begin_if(f, IPPROTO_TCP);
	emit(f, BPF_LD | BPF_B | BPF_IND, 13, 0, 0);
	emit(f, BPF_ALU | BPF_AND | BPF_K, 0x12, 0, 0);
	give_if(f, 0x02, snaplen_bytes); /* SYN without ACK */
	listening_ports(f, cfg, snaplen_bytes);
	end_block(f, block);
	block = begin_if(f, icmp);
	emit(f, BPF_LD | BPF_B | BPF_IND, 0, 0, 0);
	give_unless(f, echo_request, 0);
	load_ancillary(f, SKF_AD_PKTTYPE);
	give_if(f, PACKET_OUTGOING, snaplen_bytes);
	give(f, 0);
	end_block(f, block);
	give_if(f, IPPROTO_IGMP, 0);
	emit(f, BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 2, 0);
	emit(f, BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDPLITE, 1, 0);
	give(f, snaplen_bytes);
	quiet_ports(f, cfg, snaplen_bytes);
}

void apptap_filter_trigger(struct apptap_filter *f, const struct apptap_filter_config *cfg,
			   uint32_t snaplen_bytes)
{
	size_t block;

	common(f, cfg);
	load_ancillary(f, SKF_AD_PKTTYPE);
	give_if(f, PACKET_OTHERHOST, 0);
	load_ancillary(f, SKF_AD_PROTOCOL);
	block = begin_if(f, ETH_P_IP);
	load(f, BPF_H, 6);
	emit(f, BPF_JMP | BPF_JSET | BPF_K, 0x1fff, 0, 1);
	give(f, 0); /* a later fragment */
	emit(f, BPF_LDX | BPF_B | BPF_MSH, 0, 0, 0);
	load(f, BPF_B, 9);
	transport(f, cfg, snaplen_bytes, IPPROTO_ICMP, 8);
	end_block(f, block);
	give_unless(f, ETH_P_IPV6, 0);
	load(f, BPF_B, 6);
	give_if(f, IPPROTO_HOPOPTS, snaplen_bytes); /* rare: user space steps over them */
	give_if(f, IPPROTO_ROUTING, snaplen_bytes);
	give_if(f, IPPROTO_FRAGMENT, snaplen_bytes);
	give_if(f, IPPROTO_DSTOPTS, snaplen_bytes);
	emit(f, BPF_LDX | BPF_W | BPF_IMM, 40, 0, 0);
	transport(f, cfg, snaplen_bytes, IPPROTO_ICMPV6, 128);
}

void apptap_filter_none(struct apptap_filter *f)
{
	f->count = 0;
	give(f, 0);
}
