/* quiet.c - local UDP ports so busy that their packets raise no questions one by one */
#include "tier/quiet.h"

#define TEND_NS (500 * APPTAP_NSEC_PER_MSEC)
#define CALM_PACKETS 250 /* fewer than this in such a time */

static bool has(const struct apptap_quiet *q, uint16_t port)
{
	return q->bits[port / 8] & (1 << (port % 8));
}

static void remove_at(struct apptap_quiet *q, size_t i)
{
	uint16_t port = q->ports[i];

	q->bits[port / 8] &= (uint8_t) ~(1 << (port % 8));
	q->count--;
	q->ports[i] = q->ports[q->count];
	q->packets[i] = q->packets[q->count];
	q->changed = true;
}

void apptap_quiet_add(struct apptap_quiet *q, uint16_t port)
{
	if (has(q, port) || q->count == ARRAY_SIZE(q->ports))
		return;
	q->ports[q->count] = port;
	q->packets[q->count] = CALM_PACKETS; /* it was busy just now */
	q->count++;
	q->bits[port / 8] |= (uint8_t)(1 << (port % 8));
	q->changed = true;
}

void apptap_quiet_remove(struct apptap_quiet *q, uint16_t port)
{
	if (!has(q, port))
		return;
	for (size_t i = 0; i < q->count; i++) {
		if (q->ports[i] == port) {
			remove_at(q, i);
			return;
		}
	}
}

void apptap_quiet_count(struct apptap_quiet *q, uint16_t port)
{
	if (!q->count || !has(q, port))
		return;
	for (size_t i = 0; i < q->count; i++)
		if (q->ports[i] == port)
			q->packets[i]++;
}

void apptap_quiet_tend(struct apptap_quiet *q, uint64_t now_ns)
{
	if (now_ns - q->tended_ns < TEND_NS)
		return;
	q->tended_ns = now_ns;
	for (size_t i = q->count; i-- > 0;) {
		if (q->packets[i] < CALM_PACKETS)
			remove_at(q, i);
		else
			q->packets[i] = 0;
	}
}
