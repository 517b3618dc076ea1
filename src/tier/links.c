/* links.c - this network namespace's interfaces and addresses, kept current (rtnetlink) */
#include "tier/links.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include "base/netlink.h"

#define LINKS_MAX 65536 /* a host of containers has thousands; a hostile namespace gets no more */
#define ADDRS_MAX 65536
/* Packets of an address that has gone may still be on their way to us; then it may be anybody's. */
#define GONE_NS (5 * APPTAP_NSEC_PER_SEC)

struct link {
	int32_t ifindex;
	bool there;
	bool up;
	char name[IF_NAMESIZE];
};

struct addr {
	struct apptap_addr addr;
	int32_t ifindex;
	uint64_t gone_ns; /* CLOCK_MONOTONIC; 0: it is there */
};

struct apptap_links {
	struct apptap_nl nl; /* owned: multicast */
	struct link *links; /* owned */
	size_t link_count, link_room;
	struct addr *addrs; /* owned; by address, then interface */
	size_t addr_count, addr_room;
	uint64_t oldest_gone_ns; /* 0: all are there */
	bool changed;
	void (*gone)(void *arg, const char *name);
	void *gone_arg;
};

static void *grow(void *array, size_t *room, size_t count, size_t item, size_t max)
{
	size_t want = *room ? *room * 2 : 16;
	void *p;

	if (count < *room)
		return array;
	p = want > max ? NULL : reallocarray(array, want, item);
	if (p)
		*room = want;
	return p;
}

static struct link *find_link(const struct apptap_links *l, int32_t ifindex)
{
	for (size_t i = 0; i < l->link_count; i++)
		if (l->links[i].ifindex == ifindex)
			return &l->links[i];
	return NULL;
}

static const struct rtattr *find_attr(const struct rtattr *a, size_t left, unsigned short type)
{
	for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == type)
			return a;
	return NULL;
}

static struct link *add_link(struct apptap_links *l, int32_t ifindex)
{
	struct link *links =
		grow(l->links, &l->link_room, l->link_count, sizeof(*links), LINKS_MAX);
	struct link *link;

	if (!links)
		return NULL;
	l->links = links;
	link = &links[l->link_count++];
	memset(link, 0, sizeof(*link));
	link->ifindex = ifindex;
	return link;
}

static void say_gone(struct apptap_links *l, const struct link *link)
{
	if (l->gone)
		l->gone(l->gone_arg, link->name);
}

static void take_link(struct apptap_links *l, const struct nlmsghdr *msg)
{
	const struct ifinfomsg *info = NLMSG_DATA(msg);
	struct link *link;
	const struct rtattr *a;

	if (msg->nlmsg_len < NLMSG_LENGTH(sizeof(*info)))
		return;
	link = find_link(l, info->ifi_index);
	if (msg->nlmsg_type == RTM_DELLINK) {
		if (!link || !link->there || info->ifi_family != AF_UNSPEC)
			return;
		link->there = false;
		l->changed = true;
		say_gone(l, link);
		return;
	}
	a = find_attr(IFLA_RTA(info), IFLA_PAYLOAD(msg), IFLA_IFNAME);
	if (!a || RTA_PAYLOAD(a) == 0)
		return;
	if (!link)
		link = add_link(l, info->ifi_index);
	if (!link)
		return;
	if (!link->there || strncmp(link->name, RTA_DATA(a), IF_NAMESIZE - 1) != 0) {
		size_t len = MIN((size_t)RTA_PAYLOAD(a), sizeof(link->name) - 1);

		memset(link->name, 0, sizeof(link->name));
		memcpy(link->name, RTA_DATA(a), len);
		l->changed = true;
	}
	if (link->there && link->up && !(info->ifi_flags & IFF_UP))
		say_gone(l, link);
	link->there = true;
	link->up = (info->ifi_flags & IFF_UP) != 0;
}

static int compare_addrs(const struct addr *a, const struct addr *b)
{
	int r = memcmp(&a->addr, &b->addr, sizeof(a->addr));

	return r ? r : (a->ifindex > b->ifindex) - (a->ifindex < b->ifindex);
}

/* The first that is not before @key. */
static size_t place_of(const struct apptap_links *l, const struct addr *key)
{
	size_t low = 0, high = l->addr_count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (compare_addrs(&l->addrs[mid], key) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void insert_addr(struct apptap_links *l, size_t place, const struct addr *new)
{
	struct addr *addrs =
		grow(l->addrs, &l->addr_room, l->addr_count, sizeof(*addrs), ADDRS_MAX);

	if (!addrs)
		return;
	l->addrs = addrs;
	memmove(&addrs[place + 1], &addrs[place], (l->addr_count - place) * sizeof(*addrs));
	addrs[place] = *new;
	l->addr_count++;
}

void apptap_links_forget(struct apptap_links *l, uint64_t now_ns)
{
	size_t kept = 0;

	if (!l->oldest_gone_ns || now_ns < l->oldest_gone_ns + GONE_NS)
		return;
	l->oldest_gone_ns = 0;
	for (size_t i = 0; i < l->addr_count; i++) {
		uint64_t gone_ns = l->addrs[i].gone_ns;

		if (gone_ns && now_ns >= gone_ns + GONE_NS)
			continue;
		if (gone_ns && (!l->oldest_gone_ns || gone_ns < l->oldest_gone_ns))
			l->oldest_gone_ns = gone_ns;
		l->addrs[kept++] = l->addrs[i];
	}
	l->addr_count = kept;
}

static void take_addr(struct apptap_links *l, const struct nlmsghdr *msg)
{
	const struct ifaddrmsg *info = NLMSG_DATA(msg);
	size_t want = info->ifa_family == AF_INET ? 4 : 16;
	const struct rtattr *a;
	struct addr new = { .ifindex = (int32_t)info->ifa_index };
	size_t place;
	bool there;

	if (msg->nlmsg_len < NLMSG_LENGTH(sizeof(*info)) ||
	    (info->ifa_family != AF_INET && info->ifa_family != AF_INET6))
		return;
	/* On a point-to-point link IFA_ADDRESS is the peer's. */
	a = find_attr(IFA_RTA(info), IFA_PAYLOAD(msg), IFA_LOCAL);
	if (!a)
		a = find_attr(IFA_RTA(info), IFA_PAYLOAD(msg), IFA_ADDRESS);
	if (!a || RTA_PAYLOAD(a) < want)
		return;
	apptap_addr_set(&new.addr, info->ifa_family, RTA_DATA(a));
	place = place_of(l, &new);
	there = place < l->addr_count && compare_addrs(&l->addrs[place], &new) == 0;
	if (msg->nlmsg_type == RTM_DELADDR) {
		if (!there || l->addrs[place].gone_ns)
			return;
		l->addrs[place].gone_ns = apptap_clock_ns(CLOCK_MONOTONIC);
		if (!l->oldest_gone_ns)
			l->oldest_gone_ns = l->addrs[place].gone_ns;
	} else if (there) {
		l->addrs[place].gone_ns = 0;
	} else {
		insert_addr(l, place, &new);
	}
}

static int take(const struct nlmsghdr *msg, void *arg)
{
	switch (msg->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		take_link(arg, msg);
		break;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		take_addr(arg, msg);
		break;
	default:
		break;
	}
	return 0;
}

static int list_all(struct apptap_links *l, uint16_t type, struct apptap_error *err)
{
	struct apptap_nl nl = APPTAP_NL_CLOSED;
	struct {
		struct nlmsghdr h;
		struct rtgenmsg g;
	} m = { .h = { .nlmsg_len = sizeof(m),
		       .nlmsg_type = type,
		       .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP } };
	int r = apptap_nl_open(&nl, NETLINK_ROUTE, err);

	if (r == 0)
		r = apptap_nl_ask(&nl, &m.h, take, l, err);
	apptap_nl_close(&nl);
	return r < 0 ? apptap_error_wrap(err, r, "listing interfaces and addresses") : 0;
}

int apptap_links_open(struct apptap_links **out, struct apptap_error *err)
{
	static const uint32_t groups[] = { RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR };
	struct apptap_links *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return apptap_error_set(err, ENOMEM, "allocating the list of interfaces");
	r = apptap_nl_open(&l->nl, NETLINK_ROUTE, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(groups); i++)
		r = apptap_nl_join(&l->nl, groups[i], 4 << 20, err);
	if (r == 0)
		r = list_all(l, RTM_GETLINK, err);
	if (r == 0)
		r = list_all(l, RTM_GETADDR, err);
	if (r < 0) {
		apptap_links_close(l);
		return r;
	}
	*out = l;
	return 0;
}

void apptap_links_close(struct apptap_links *l)
{
	if (!l)
		return;
	apptap_nl_close(&l->nl);
	free(l->links);
	free(l->addrs);
	free(l);
}

int apptap_links_fd(const struct apptap_links *l)
{
	return l->nl.fd;
}

int apptap_links_read(struct apptap_links *l, void (*gone)(void *arg, const char *name), void *arg)
{
	l->changed = false;
	l->gone = gone;
	l->gone_arg = arg;
	apptap_links_forget(l, apptap_clock_ns(CLOCK_MONOTONIC));
	if (apptap_nl_drain(&l->nl, take, l) ==
	    -ENOBUFS) { /* some changes were lost: look afresh */
		for (size_t i = 0; i < l->addr_count; i++)
			l->addrs[i].gone_ns = apptap_clock_ns(CLOCK_MONOTONIC);
		l->oldest_gone_ns = apptap_clock_ns(CLOCK_MONOTONIC);
		list_all(l, RTM_GETLINK, NULL);
		list_all(l, RTM_GETADDR, NULL);
		l->changed = true;
	}
	return l->changed;
}

const char *apptap_links_name(const struct apptap_links *l, int32_t ifindex)
{
	const struct link *link = find_link(l, ifindex);

	return link ? link->name : NULL;
}

int32_t apptap_links_index(const struct apptap_links *l, const char *name)
{
	for (size_t i = 0; i < l->link_count; i++)
		if (l->links[i].there && strcmp(l->links[i].name, name) == 0)
			return l->links[i].ifindex;
	return -1;
}

int apptap_links_check(const struct apptap_links *l, const char *const *names, size_t count,
		       struct apptap_error *err)
{
	for (size_t i = 0; i < count; i++) {
		if (apptap_links_index(l, names[i]) >= 0)
			continue;
		apptap_error_say(err, ENODEV, "there is no interface '%s' here", names[i]);
		apptap_error_hint(err, "ip link shows them; without -i all are captured");
		return -ENODEV;
	}
	return 0;
}

bool apptap_links_has_addr(const struct apptap_links *l, const struct apptap_addr *a)
{
	struct addr key = { .addr = *a, .ifindex = INT32_MIN };
	size_t place;

	if (apptap_addr_is_loopback(a))
		return true;
	place = place_of(l, &key);
	return place < l->addr_count && memcmp(&l->addrs[place].addr, a, sizeof(*a)) == 0;
}
