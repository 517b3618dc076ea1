/* pcap.c - the classic capture format: file header and record header into a buffer, little-endian
 */
#include "file/pcap.h"

#define MAGIC_MICROSECONDS 0xa1b2c3d4
#define MAGIC_NANOSECONDS 0xa1b23c4d

uint8_t *apptap_pcap_header(uint8_t *p, bool nano, uint32_t snaplen, uint32_t linktype)
{
	apptap_put_le32(p, nano ? MAGIC_NANOSECONDS : MAGIC_MICROSECONDS);
	apptap_put_le16(p + 4, 2); /* version 2.4, since 1998 */
	apptap_put_le16(p + 6, 4);
	apptap_put_le32(p + 8, 0); /* once a time zone */
	apptap_put_le32(p + 12, 0);
	apptap_put_le32(p + 16, snaplen);
	apptap_put_le32(p + 20, linktype);
	return p + APPTAP_PCAP_HEADER_BYTES;
}

uint8_t *apptap_pcap_record(uint8_t *p, bool nano, uint64_t ts_ns, uint32_t kept, uint32_t wire)
{
	uint32_t rest = (uint32_t)(ts_ns % APPTAP_NSEC_PER_SEC);

	apptap_put_le32(p, (uint32_t)(ts_ns / APPTAP_NSEC_PER_SEC));
	apptap_put_le32(p + 4, nano ? rest : rest / (uint32_t)APPTAP_NSEC_PER_USEC);
	apptap_put_le32(p + 8, kept);
	apptap_put_le32(p + 12, wire);
	return p + APPTAP_PCAP_RECORD_BYTES;
}
