/* resolver.c - the local stub resolver: whose sockets ask the network for the app's names */
#include "scope/resolver.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/netlink.h"
#include "scope/user.h"

#define DNS_PORT 53
#define RESOLV_CONF_BYTES_MAX 16384
#define TOKEN_BYTES 80 /* the longest IPv6 address with a scope */
#define LOOPBACK_IFINDEX 1 /* in every network namespace (the kernel's LOOPBACK_IFINDEX) */
#define TCP_ESTABLISHED_STATE 1 /* of a UDP socket: connected */
#define PROC_LINE_BYTES 512

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static void keep_loopback(const struct apptap_nameserver *ns,
			  struct apptap_nameserver out[APPTAP_NAMESERVERS_MAX], size_t *count)
{
	if (!apptap_addr_is_loopback(&ns->addr) || *count == APPTAP_NAMESERVERS_MAX)
		return;
	for (size_t i = 0; i < *count; i++)
		if (memcmp(&out[i].addr, &ns->addr, sizeof(ns->addr)) == 0)
			return;
	out[(*count)++] = *ns;
}

/* An address as glibc's resolver takes it: inet_aton's short forms, and IPv6 with a %scope. */
static bool parse_address(const char *p, size_t len, struct apptap_nameserver *out)
{
	static const uint8_t localhost[4] = { 127, 0, 0, 1 };
	char token[TOKEN_BYTES];
	struct in6_addr v6;
	struct in_addr v4;

	if (len >= sizeof(token))
		return false;
	memcpy(token, p, len);
	token[len] = '\0';
	memset(out, 0, sizeof(*out));
	if (inet_aton(token, &v4)) {
		out->family = AF_INET;
		apptap_addr_set(&out->addr, AF_INET, &v4);
	} else {
		token[strcspn(token, "%")] = '\0';
		if (inet_pton(AF_INET6, token, &v6) != 1)
			return false;
		out->family = IN6_IS_ADDR_V4MAPPED(&v6) ? AF_INET : AF_INET6;
		apptap_addr_set(&out->addr, AF_INET6, &v6);
	}
	/* The kernel sends what is addressed to the wildcard to this machine. */
	if (apptap_addr_is_any(&out->addr) && out->family == AF_INET)
		apptap_addr_set(&out->addr, AF_INET, localhost);
	else if (apptap_addr_is_any(&out->addr))
		out->addr.b[15] = 1;
	return true;
}

size_t apptap_resolv_parse(struct apptap_view v,
			   struct apptap_nameserver out[APPTAP_NAMESERVERS_MAX])
{
	static const char key[] = "nameserver";
	const size_t key_len = sizeof(key) - 1;
	struct apptap_nameserver ns;
	struct apptap_view line;
	bool any = false;
	size_t count = 0;

	while (apptap_view_until(&v, '\n', &line)) {
		const char *p = (const char *)line.p;
		size_t len = line.left;
		size_t token = 0;

		if (len <= key_len || memcmp(p, key, key_len) != 0 || !is_blank(p[key_len]))
			continue;
		p += key_len;
		len -= key_len;
		for (; len && is_blank(*p); p++)
			len--;
		while (token < len && p[token] && !strchr(" \t\r;#", p[token]))
			token++;
		if (!parse_address(p, token, &ns))
			continue;
		any = true;
		keep_loopback(&ns, out, &count);
	}
	if (!any && parse_address("127.0.0.1", strlen("127.0.0.1"), &ns))
		keep_loopback(&ns, out, &count);
	return count;
}

bool apptap_bound_parse_diag(struct apptap_view v, struct apptap_bound *out)
{
	struct inet_diag_msg m;
	const void *p = apptap_view_take(&v, sizeof(m));

	memset(out, 0, sizeof(*out));
	if (!p)
		return false;
	memcpy(&m, p, sizeof(m));
	/* UID 0 without an inode is a socket whose owner is not known, never root's (kernel.md). */
	if ((m.idiag_family != AF_INET && m.idiag_family != AF_INET6) || m.id.idiag_dport ||
	    m.idiag_state == TCP_ESTABLISHED_STATE || (m.idiag_uid == 0 && m.idiag_inode == 0))
		return false;
	out->family = m.idiag_family;
	apptap_addr_set(&out->addr, m.idiag_family, m.id.idiag_src);
	out->port = ntohs(m.id.idiag_sport);
	out->ifindex = m.id.idiag_if;
	out->uid = m.idiag_uid;
	while (v.left >= sizeof(struct rtattr)) {
		struct rtattr a;

		memcpy(&a, v.p, sizeof(a));
		if (a.rta_len < sizeof(a) || a.rta_len > v.left)
			return false;
		if (a.rta_type == INET_DIAG_SKV6ONLY && a.rta_len > sizeof(a))
			out->v6only = v.p[sizeof(a)] != 0;
		apptap_view_take(&v, MIN((size_t)RTA_ALIGN(a.rta_len), v.left));
	}
	return out->uid != APPTAP_UID_NONE;
}

/* All of @text as a number of at most @max; digits only, no sign, no blanks. */
static bool parse_number(const char *text, int base, uint32_t max, uint32_t *out)
{
	unsigned long long n;
	char *end;

	if (!isxdigit((unsigned char)text[0]))
		return false;
	errno = 0;
	n = strtoull(text, &end, base);
	if (errno || *end || n > max)
		return false;
	*out = (uint32_t)n;
	return true;
}

/* "3500007F:0035"; the words are printed as host integers of what lies in network order. */
static bool parse_endpoint(const char *text, uint8_t family, struct apptap_addr *addr,
			   uint32_t *port)
{
	const size_t words = family == AF_INET ? 1 : 4;
	const char *colon = strchr(text, ':');
	uint32_t word[4] = { 0 };

	if (!colon || (size_t)(colon - text) != words * 8)
		return false;
	for (size_t i = 0; i < words; i++) {
		char digits[9] = "";

		memcpy(digits, text + i * 8, 8);
		if (!parse_number(digits, 16, UINT32_MAX, &word[i]))
			return false;
	}
	apptap_addr_set(addr, family, word);
	return parse_number(colon + 1, 16, UINT16_MAX, port);
}

/* sl local remote state tx:rx timer:when retransmits uid timeout inode ... */
enum { PROC_LOCAL = 1, PROC_REMOTE = 2, PROC_STATE = 3, PROC_UID = 7, PROC_INODE = 9, PROC_FIELDS };

bool apptap_bound_parse_proc(struct apptap_view line, uint8_t family, struct apptap_bound *out)
{
	char *fields[PROC_FIELDS];
	char buf[PROC_LINE_BYTES];
	struct apptap_addr remote;
	uint32_t port, remote_port, state, uid, inode;
	char *rest = buf;

	memset(out, 0, sizeof(*out));
	if (line.left >= sizeof(buf))
		return false;
	memcpy(buf, line.p, line.left);
	buf[line.left] = '\0';
	for (size_t i = 0; i < PROC_FIELDS; i++) {
		fields[i] = strtok_r(rest, " \n", &rest);
		if (!fields[i])
			return false;
	}
	if (!parse_endpoint(fields[PROC_LOCAL], family, &out->addr, &port) ||
	    !parse_endpoint(fields[PROC_REMOTE], family, &remote, &remote_port) ||
	    !parse_number(fields[PROC_STATE], 16, UINT8_MAX, &state) ||
	    !parse_number(fields[PROC_UID], 10, APPTAP_UID_NONE - 1, &uid) ||
	    !parse_number(fields[PROC_INODE], 10, UINT32_MAX, &inode))
		return false;
	out->family = family;
	out->port = (uint16_t)port;
	out->uid = uid;
	return !remote_port && state != TCP_ESTABLISHED_STATE && (uid != 0 || inode != 0);
}

int apptap_bound_answers(const struct apptap_bound *b, const struct apptap_nameserver *ns)
{
	if (b->port != DNS_PORT || (b->ifindex && b->ifindex != LOOPBACK_IFINDEX))
		return 0;
	if (memcmp(&b->addr, &ns->addr, sizeof(ns->addr)) == 0)
		return 3;
	if (!apptap_addr_is_any(&b->addr))
		return 0;
	if (b->family == ns->family)
		return 2;
	return b->family == AF_INET6 && !b->v6only ? 1 : 0;
}

/* The best answering socket so far. */
struct search {
	const struct apptap_nameserver *ns;
	int best;
	uid_t uid;
};

static void consider(struct search *s, const struct apptap_bound *b)
{
	int score = apptap_bound_answers(b, s->ns);

	if (score <= s->best)
		return;
	s->best = score;
	s->uid = b->uid;
}

static int consider_diag(const struct nlmsghdr *msg, void *arg)
{
	struct apptap_view v = { .p = NLMSG_DATA(msg), .left = msg->nlmsg_len - NLMSG_HDRLEN };
	struct apptap_bound b;

	if (msg->nlmsg_type == SOCK_DIAG_BY_FAMILY && apptap_bound_parse_diag(v, &b))
		consider(arg, &b);
	return 0;
}

/* A dump lists each socket under its own family: [::]:53 may answer IPv4 too. */
static int search_diag(struct search *s)
{
	static const uint8_t families[] = { AF_INET, AF_INET6 };
	struct apptap_nl nl = APPTAP_NL_CLOSED;
	int r = apptap_nl_open(&nl, NETLINK_SOCK_DIAG, NULL);

	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(families); i++) {
		struct {
			struct nlmsghdr h;
			struct inet_diag_req_v2 req;
		} msg = {
			.h = { .nlmsg_len = sizeof(msg),
			       .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			       .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
			.req = { .sdiag_family = families[i],
				 .sdiag_protocol = IPPROTO_UDP,
				 .idiag_states = ~0U,
				 .id = { .idiag_sport = htons(DNS_PORT) } },
		};

		r = apptap_nl_ask(&nl, &msg.h, consider_diag, s, NULL);
		if (r == -ENOENT && families[i] == AF_INET6)
			r = 0; /* a kernel without IPv6 */
	}
	apptap_nl_close(&nl);
	return r;
}

static void search_proc(struct search *s, const char *path, uint8_t family)
{
	FILE *f = fopen(path, "re");
	char line[PROC_LINE_BYTES];
	struct apptap_bound b;

	while (f && fgets(line, sizeof(line), f)) {
		struct apptap_view v = { .p = (const uint8_t *)line, .left = strlen(line) };

		if (apptap_bound_parse_proc(v, family, &b))
			consider(s, &b);
	}
	if (f)
		fclose(f);
}

uid_t apptap_resolver_owner(const struct apptap_nameserver *ns)
{
	struct search s = { .ns = ns, .uid = APPTAP_UID_NONE };

	if (search_diag(&s) < 0) {
		search_proc(&s, "/proc/net/udp", AF_INET);
		search_proc(&s, "/proc/net/udp6", AF_INET6);
	}
	return s.uid;
}

/* Bytes of the regular file @path, at most @size; -errno. A FIFO there must not stop us. */
static ssize_t read_regular(const char *path, uint8_t *buf, size_t size)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	return apptap_read_full(fd, buf, size);
}

static void say(apptap_warn_fn warn, void *warn_arg, const char *fmt, ...) APPTAP_PRINTF(3, 4);

static void say(apptap_warn_fn warn, void *warn_arg, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (!warn)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	warn(warn_arg, text);
}

/* Of root's resolver one word is enough, however many addresses it has. */
static void add_owner(struct apptap_scope *s, const struct apptap_nameserver *ns, bool *root_told,
		      apptap_warn_fn warn, void *warn_arg)
{
	uid_t uid = apptap_resolver_owner(ns);
	char where[APPTAP_ADDR_STRLEN];
	char who[APPTAP_USER_NAME_SIZE];

	if (uid == APPTAP_UID_NONE || apptap_scope_has(s, uid) || (uid == 0 && *root_told))
		return;
	apptap_addr_str(&ns->addr, ns->family, DNS_PORT, where, sizeof(where));
	apptap_user_name(uid, who, sizeof(who));
	if (uid == 0) {
		*root_told = true;
		say(warn, warn_arg,
		    "the stub resolver %s runs as root: what it asks the network for the app is "
		    "not captured, since root's UID would bring all else that root sends",
		    where);
		return;
	}
	if (apptap_scope_add(s, uid, NULL, "stub resolver %s (%s)", where, who) < 0)
		return;
	say(warn, warn_arg,
	    "names are looked up through the stub resolver %s (%s), which serves all apps: "
	    "other apps' DNS will be in the capture; --no-dns leaves it out",
	    where, who);
}

void apptap_resolver_add(struct apptap_scope *s, const char *path, apptap_warn_fn warn,
			 void *warn_arg)
{
	struct apptap_nameserver ns[APPTAP_NAMESERVERS_MAX];
	uint8_t buf[RESOLV_CONF_BYTES_MAX] = { 0 };
	ssize_t n = read_regular(path, buf, sizeof(buf));
	bool root_told = false;
	size_t count;

	/* No file: the C library asks 127.0.0.1, and so does the parser say of no bytes. */
	if (n < 0 && n != -ENOENT)
		return;
	count = apptap_resolv_parse((struct apptap_view){ .p = buf, .left = n < 0 ? 0 : (size_t)n },
				    ns);
	for (size_t i = 0; i < count; i++)
		add_owner(s, &ns[i], &root_told, warn, warn_arg);
}
