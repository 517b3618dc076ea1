/* pcap.h - the classic capture format: file header and record header into a buffer, little-endian
 */
#ifndef APPTAP_FILE_PCAP_H
#define APPTAP_FILE_PCAP_H

#include "base/view.h"

#define APPTAP_PCAP_HEADER_BYTES 24
#define APPTAP_PCAP_RECORD_BYTES 16

/* Both return the end of what they wrote. */
uint8_t *apptap_pcap_header(uint8_t *p, bool nano, uint32_t snaplen, uint32_t linktype);
uint8_t *apptap_pcap_record(uint8_t *p, bool nano, uint64_t ts_ns, uint32_t kept, uint32_t wire);

#endif
