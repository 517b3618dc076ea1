/* fuzz_dissect.c - any bytes as a packet: nothing read beyond, and what is said of it fits together
 */
#include <netinet/in.h>
#include <sys/socket.h>

#include "flow/flow.h"

static void expect(bool ok)
{
	if (!ok)
		abort();
}

static bool has(const struct apptap_dissect *d, uint32_t flags)
{
	return (d->flags & flags) == flags;
}

static bool may_have_ports(uint8_t proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_UDPLITE ||
	       proto == IPPROTO_SCTP || proto == IPPROTO_DCCP || proto == IPPROTO_ICMP ||
	       proto == IPPROTO_ICMPV6;
}

static void check_flags(const struct apptap_dissect *d, size_t size)
{
	const uint32_t tcp =
		APPTAP_DIS_TCP_SYN | APPTAP_DIS_TCP_ACK | APPTAP_DIS_TCP_FIN | APPTAP_DIS_TCP_RST;

	expect(d->family == AF_INET || d->family == AF_INET6);
	expect(d->payload_len <= size);
	expect(size >= (d->family == AF_INET ? 20U : 40U) + (has(d, APPTAP_DIS_PORTS) ? 4U : 0U));
	expect(!has(d, APPTAP_DIS_FRAG_FIRST | APPTAP_DIS_FRAG_LATER));
	if (has(d, APPTAP_DIS_PORTS))
		expect(may_have_ports(d->proto) && !has(d, APPTAP_DIS_FRAG_LATER));
	else
		expect(d->sport == 0 && d->dport == 0);
	if (d->flags & tcp)
		expect(d->proto == IPPROTO_TCP && has(d, APPTAP_DIS_PORTS));
	if (d->flags & (APPTAP_DIS_ICMP_ERROR | APPTAP_DIS_ECHO_REPLY))
		expect((d->proto == IPPROTO_ICMP || d->proto == IPPROTO_ICMPV6) &&
		       !has(d, APPTAP_DIS_FRAG_LATER));
	expect(!has(d, APPTAP_DIS_ICMP_ERROR | APPTAP_DIS_PORTS));
	expect(has(d, APPTAP_DIS_MULTICAST) == apptap_addr_is_multicast(&d->dst));
	if (!has(d, APPTAP_DIS_ICMP_ERROR))
		expect(!d->inner_ports && !d->inner_proto);
	if (!d->inner_ports)
		expect(d->inner_sport == 0 && d->inner_dport == 0);
	else
		expect(may_have_ports(d->inner_proto));
}

/* Both ends' flows mirror each other, and hash to the same every time. */
static void check_flow(const struct apptap_flow *ours, const struct apptap_flow *theirs)
{
	static const uint64_t key[2] = { 0x0123456789abcdefULL, 0xfedcba9876543210ULL };
	struct apptap_flow copy;
	char text[APPTAP_ADDR_STRLEN];

	expect(memcmp(&ours->laddr, &theirs->raddr, sizeof(ours->laddr)) == 0);
	expect(ours->lport == theirs->rport && ours->rport == theirs->lport && ours->zero == 0);
	memcpy(&copy, ours, sizeof(copy));
	expect(apptap_flow_equal(&copy, ours));
	expect(apptap_flow_hash(&copy, key) == apptap_flow_hash(ours, key));
	apptap_addr_str(&ours->laddr, ours->family, ours->lport, text, sizeof(text));
	expect(strlen(text) > 2 && strlen(text) < sizeof(text) - 1);
}

/* The first two bytes are the EtherType. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct apptap_view v = { data, size };
	const uint8_t *type = apptap_view_take(&v, 2);
	struct apptap_flow ours, theirs;
	struct apptap_dissect d, again;

	if (!type)
		return 0;
	memset(&d, 0xff, sizeof(d));
	memset(&again, 0, sizeof(again));
	apptap_dissect(v, apptap_get_be16(type), &d);
	apptap_dissect(v, apptap_get_be16(type), &again);
	expect(d.flags == again.flags && d.payload_len == again.payload_len);
	if (!has(&d, APPTAP_DIS_IP)) {
		expect(d.flags == 0);
		return 0;
	}
	check_flags(&d, v.left);
	apptap_dissect_flow(&d, true, &ours);
	apptap_dissect_flow(&d, false, &theirs);
	check_flow(&ours, &theirs);
	apptap_dissect_flow(&again, true, &theirs);
	expect(apptap_flow_equal(&ours, &theirs));
	apptap_dissect_inner_flow(&d, true, &ours);
	apptap_dissect_inner_flow(&d, false, &theirs);
	check_flow(&ours, &theirs);
	return 0;
}
