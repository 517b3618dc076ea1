/* procnet.c - sockets as /proc/net lists them */
#include "tier/procnet.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>

/* The files have room for no surprise: fixed columns, hexadecimal, host byte order by 32 bits. */
static bool hex(struct apptap_view *v, size_t digits, uint32_t *out)
{
	const uint8_t *p = apptap_view_take(v, digits);

	*out = 0;
	for (size_t i = 0; p && i < digits; i++) {
		uint32_t d;

		if (p[i] >= '0' && p[i] <= '9')
			d = p[i] - (uint32_t)'0';
		else if (p[i] >= 'A' && p[i] <= 'F')
			d = p[i] - (uint32_t)'A' + 10;
		else if (p[i] >= 'a' && p[i] <= 'f')
			d = p[i] - (uint32_t)'a' + 10;
		else
			return false;
		*out = *out << 4 | d;
	}
	return p != NULL;
}

static bool skip(struct apptap_view *v, char c)
{
	const uint8_t *p = apptap_view_peek(v, 1);

	if (!p || *p != (uint8_t)c)
		return false;
	apptap_view_take(v, 1);
	return true;
}

static void skip_spaces(struct apptap_view *v)
{
	while (skip(v, ' '))
		;
}

static bool skip_word(struct apptap_view *v)
{
	const uint8_t *p;

	skip_spaces(v);
	while ((p = apptap_view_peek(v, 1)) && *p != ' ' && *p != '\n')
		apptap_view_take(v, 1);
	return p != NULL;
}

static bool decimal(struct apptap_view *v, uint64_t *out)
{
	const uint8_t *p;
	int digits = 0;

	*out = 0;
	skip_spaces(v);
	while ((p = apptap_view_peek(v, 1)) && *p >= '0' && *p <= '9' && digits < 18) {
		*out = *out * 10 + (*p - (uint64_t)'0');
		digits++;
		apptap_view_take(v, 1);
	}
	return digits > 0;
}

static bool endpoint(struct apptap_view *v, int family, struct apptap_addr *addr, uint16_t *port)
{
	uint32_t words[4];
	uint32_t p;
	size_t n = family == AF_INET ? 1 : 4;

	skip_spaces(v);
	for (size_t i = 0; i < n; i++)
		if (!hex(v, 8,
			 &words[i])) /* printed as a host-order number: bytes are as in memory */
			return false;
	if (!skip(v, ':') || !hex(v, 4, &p))
		return false;
	apptap_addr_set(addr, family, words);
	*port = (uint16_t)p;
	return true;
}

bool apptap_procnet_parse(struct apptap_view line, int family, struct apptap_procnet_line *out)
{
	uint64_t number;
	uint32_t state;

	memset(out, 0, sizeof(*out));
	if (!decimal(&line, &number) || !skip(&line, ':') ||
	    !endpoint(&line, family, &out->laddr, &out->lport) ||
	    !endpoint(&line, family, &out->raddr, &out->rport))
		return false;
	skip_spaces(&line);
	if (!hex(&line, 2, &state))
		return false;
	out->state = (uint8_t)state;
	for (int i = 0; i < 3; i++) /* tx_queue:rx_queue, tr:tm->when, retrnsmt */
		if (!skip_word(&line))
			return false;
	if (!decimal(&line, &number) || number > UINT32_MAX)
		return false;
	out->uid = (uid_t)number;
	return decimal(&line, &number) && decimal(&line, &out->inode); /* timeout, inode */
}

static const char *file_of(int proto, int family)
{
	bool six = family == AF_INET6;

	switch (proto) {
	case IPPROTO_TCP:
		return six ? "/proc/thread-self/net/tcp6" : "/proc/thread-self/net/tcp";
	case IPPROTO_UDP:
		return six ? "/proc/thread-self/net/udp6" : "/proc/thread-self/net/udp";
	case IPPROTO_UDPLITE:
		return six ? "/proc/thread-self/net/udplite6" : "/proc/thread-self/net/udplite";
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return six ? "/proc/thread-self/net/icmp6" : "/proc/thread-self/net/icmp";
	default:
		return six ? "/proc/thread-self/net/raw6" : "/proc/thread-self/net/raw";
	}
}

static int each_line(const char *path, int family,
		     int (*each)(const struct apptap_procnet_line *line, void *arg), void *arg)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	char buf[16384];
	size_t have = 0;
	ssize_t n;
	int r;

	if (fd < 0)
		return -errno;
	while ((n = read(fd, buf + have, sizeof(buf) - have)) > 0) {
		char *line = buf;
		char *end;

		have += (size_t)n;
		while ((end = memchr(line, '\n', have - (size_t)(line - buf)))) {
			struct apptap_view v = { (const uint8_t *)line, (size_t)(end + 1 - line) };
			struct apptap_procnet_line parsed;

			if (apptap_procnet_parse(v, family, &parsed)) {
				r = each(&parsed, arg);
				if (r < 0)
					return r;
			}
			line = end + 1;
		}
		have -= (size_t)(line - buf);
		memmove(buf, line, have);
		if (have == sizeof(buf))
			have = 0; /* a line longer than any the kernel writes */
	}
	return n < 0 ? -errno : 0;
}

int apptap_procnet_each(int proto, int family,
			int (*each)(const struct apptap_procnet_line *line, void *arg), void *arg,
			struct apptap_error *err)
{
	int r = each_line(file_of(proto, family), family, each, arg);

	return r < 0 ? apptap_error_set(err, -r, "reading %s", file_of(proto, family)) : 0;
}

struct search {
	const struct apptap_flow *flow;
	bool raw; /* lport is the IP protocol */
	struct apptap_sighting *out;
	int best; /* how well the best match so far binds the flow; -1: none */
};

/* How closely a socket is bound to the flow, as the kernel's own lookup scores it; -1: not at all.
 */
static int score(const struct search *s, const struct apptap_procnet_line *line)
{
	const struct apptap_flow *f = s->flow;
	uint16_t lport = s->raw ? f->proto : f->lport;
	int points = 0;

	if (line->lport != lport)
		return -1;
	if (!apptap_addr_is_any(&line->laddr)) {
		if (memcmp(&line->laddr, &f->laddr, sizeof(f->laddr)) != 0)
			return -1;
		points++;
	}
	if (!apptap_addr_is_any(&line->raddr)) {
		if (memcmp(&line->raddr, &f->raddr, sizeof(f->raddr)) != 0)
			return -1;
		points += 2;
	}
	if (!s->raw && line->rport && f->proto != IPPROTO_ICMP && f->proto != IPPROTO_ICMPV6) {
		if (line->rport != f->rport)
			return -1;
		points += 2;
	}
	return points;
}

static int match(const struct apptap_procnet_line *line, void *arg)
{
	struct search *s = arg;
	int points = score(s, line);
	bool accepted = line->inode != 0;

	if (points < 0 || points < s->best)
		return 0;
	if (points == s->best && s->raw && s->out->uid != line->uid) {
		s->out->sight = APPTAP_SIGHT_ORPHAN; /* any of several users may have sent it */
		s->out->uid = APPTAP_UID_NONE;
		return 0;
	}
	s->out->several = points == s->best && s->raw;
	s->best = points;
	s->out->cookie = line->inode;
	s->out->uid = line->uid;
	s->out->sight = APPTAP_SIGHT_OWNED;
	if (s->flow->proto == IPPROTO_TCP && line->state == TCP_LISTEN)
		s->out->sight = APPTAP_SIGHT_PENDING;
	if (accepted)
		return 0;
	if (s->flow->proto == IPPROTO_TCP &&
	    (line->state == TCP_ESTABLISHED || line->state == TCP_CLOSE_WAIT)) {
		s->out->sight = APPTAP_SIGHT_PENDING;
	} else { /* TIME_WAIT, orphans: unknown, never root's; and without inode nothing tells it
		    apart */
		s->out->sight = APPTAP_SIGHT_ORPHAN;
		s->out->uid = APPTAP_UID_NONE;
	}
	return 0;
}

void apptap_procnet_ask(const struct apptap_flow *flow, struct apptap_sighting *out)
{
	struct search s = { .flow = flow, .out = out, .best = -1 };
	bool ports = flow->proto == IPPROTO_TCP || flow->proto == IPPROTO_UDP ||
		     flow->proto == IPPROTO_UDPLITE;
	bool icmp = flow->proto == IPPROTO_ICMP || flow->proto == IPPROTO_ICMPV6;

	memset(out, 0, sizeof(*out));
	out->flow = *flow;
	out->uid = APPTAP_UID_NONE;
	out->sight = APPTAP_SIGHT_NONE;
	if (ports || icmp) {
		each_line(file_of(flow->proto, flow->family), flow->family, match, &s);
		/* IPv4 through an AF_INET6 socket stands in the file of IPv6 only. */
		if (s.best < 0 && flow->family == AF_INET && ports)
			each_line(file_of(flow->proto, AF_INET6), AF_INET6, match, &s);
	}
	if (s.best < 0 && !ports) {
		s.raw = true;
		each_line(file_of(IPPROTO_RAW, flow->family), flow->family, match, &s);
	}
	out->asked_ns = apptap_clock_ns(CLOCK_REALTIME);
}
