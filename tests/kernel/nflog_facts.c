/*
 * nflog_facts.c - an NFLOG group has one listener; a rule's threshold of one sends what was
 * gathered before it along; a table with an owner goes with its process
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netlink.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lab.h"

/* Messages are laid one behind the other; the last is acknowledged. */
struct batch {
	size_t len, begun;
	uint8_t bytes[1024] __attribute__((aligned(4)));
};

static void begin(struct batch *b, uint16_t type, uint16_t flags, uint8_t family, uint16_t res_id)
{
	struct nlmsghdr *h = (void *)(b->bytes + b->len);
	struct nfgenmsg *g = (void *)(h + 1);

	b->begun = b->len;
	b->len += sizeof(*h) + sizeof(*g);
	memset(h, 0, sizeof(*h) + sizeof(*g));
	h->nlmsg_type = type;
	h->nlmsg_flags = NLM_F_REQUEST | flags;
	h->nlmsg_len = sizeof(*h) + sizeof(*g);
	g->nfgen_family = family;
	g->version = NFNETLINK_V0;
	g->res_id = htons(res_id);
}

static void put(struct batch *b, uint16_t type, const void *data, size_t len)
{
	struct nlattr *a = (void *)(b->bytes + b->len);
	struct nlmsghdr *h = (void *)(b->bytes + b->begun);

	a->nla_type = type;
	a->nla_len = (uint16_t)(sizeof(*a) + len);
	memcpy(a + 1, data, len);
	b->len += NLA_ALIGN(sizeof(*a) + len);
	h->nlmsg_len = (uint32_t)(b->len - b->begun);
}

/* Sends it and returns what the kernel answers first: 0, or -errno. */
static int talk(int nl, struct batch *b)
{
	uint8_t buf[4096];
	const struct nlmsghdr *h = (const void *)buf;
	const struct nlmsgerr *e = NLMSG_DATA(h);

	if (send(nl, b->bytes, b->len, 0) < 0)
		tap_bail("send");
	if (recv(nl, buf, sizeof(buf), 0) < (ssize_t)sizeof(*h))
		tap_bail("recv");
	return h->nlmsg_type == NLMSG_ERROR ? e->error : 0;
}

static int open_netfilter(void)
{
	struct sockaddr_nl a = { .nl_family = AF_NETLINK };
	struct timeval two = { .tv_sec = 2 };
	int nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

	if (nl < 0 || bind(nl, (struct sockaddr *)&a, sizeof(a)) < 0)
		tap_bail("a netlink socket");
	setsockopt(nl, SOL_SOCKET, SO_RCVTIMEO, &two, sizeof(two));
	return nl;
}

static int bind_group(int nl, uint16_t group)
{
	struct nfulnl_msg_config_cmd cmd = { .command = NFULNL_CFG_CMD_BIND };
	struct batch b = { 0 };

	begin(&b, NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG, NLM_F_ACK, AF_UNSPEC, group);
	put(&b, NFULA_CFG_CMD, &cmd, sizeof(cmd));
	return talk(nl, &b);
}

static void check_group(void)
{
	int first = open_netfilter(), second = open_netfilter();
	int r = bind_group(first, 30);

	if (r < 0) {
		tap_skip("a group has one listener", "no nfnetlink_log here");
		return;
	}
	r = bind_group(second, 30);
	tap_ok(r == -EPERM || r == -EBUSY, "a group that somebody has: %s", strerror(-r));
	tap_ok(bind_group(second, 31) == 0, "another group is free");
	close(first);
	tap_ok(bind_group(open_netfilter(), 30) == 0,
	       "with its listener's socket it is free again");
}

/* What the kernel gathers: up to 64 packets, or for two seconds. */
static void gather(int nl, uint16_t group)
{
	struct nfulnl_msg_config_mode mode = { .copy_mode = NFULNL_COPY_PACKET,
					       .copy_range = htonl(64) };
	uint32_t packets = htonl(64), hundredths = htonl(200);
	struct batch b = { 0 };

	begin(&b, NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG, NLM_F_ACK, AF_UNSPEC, group);
	put(&b, NFULA_CFG_MODE, &mode, sizeof(mode));
	put(&b, NFULA_CFG_QTHRESH, &packets, sizeof(packets));
	put(&b, NFULA_CFG_TIMEOUT, &hundredths, sizeof(hundredths));
	if (talk(nl, &b) < 0)
		tap_bail("the settings of a group");
}

static void send_to(uint16_t port)
{
	union lab_addr to = lab_addr("127.0.0.1", port);
	int fd = lab_bound(LAB_APP, SOCK_DGRAM, "127.0.0.1", 0);

	if (sendto(fd, "x", 1, 0, &to.sa, sizeof(to.v4)) != 1)
		tap_bail("sendto");
	close(fd);
}

/* How many packets have come within @ms. */
static int count_packets(int nl, int ms)
{
	uint64_t end = lab_now_ns(CLOCK_MONOTONIC) + (uint64_t)ms * 1000000;
	_Alignas(struct nlmsghdr) uint8_t buf[8192];
	int count = 0;

	while (lab_now_ns(CLOCK_MONOTONIC) < end) {
		ssize_t n = recv(nl, buf, sizeof(buf), MSG_DONTWAIT);
		const struct nlmsghdr *h = (const void *)buf;

		for (size_t left = n > 0 ? (size_t)n : 0; NLMSG_OK(h, left);
		     h = NLMSG_NEXT(h, left))
			count += h->nlmsg_type == (NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET);
	}
	return count;
}

static void check_threshold(void)
{
	int nl = open_netfilter();

	if (access("/usr/sbin/nft", X_OK) < 0 || bind_group(nl, 32) < 0) {
		tap_skip("a rule's threshold", "needs nft and nfnetlink_log");
		return;
	}
	gather(nl, 32);
	lab_run("nft add table inet lab");
	lab_run("nft 'add chain inet lab out { type filter hook output priority 0; }'");
	lab_run("nft add rule inet lab out udp dport 9 log group 32");
	lab_run("nft add rule inet lab out udp dport 10 log group 32 queue-threshold 1");
	send_to(9);
	send_to(9);
	tap_ok(count_packets(nl, 100) == 0, "packets are gathered");
	send_to(10);
	tap_ok(count_packets(nl, 100) == 3,
	       "a rule with a threshold of one sends them all at once");
	lab_run("nft delete table inet lab");
	close(nl);
}

static int make_table(int nl, const char *name)
{
	uint32_t flags = htonl(NFT_TABLE_F_OWNER);
	struct batch b = { 0 };

	begin(&b, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	begin(&b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_ACK,
	      NFPROTO_INET, 0);
	put(&b, NFTA_TABLE_NAME, name, strlen(name) + 1);
	put(&b, NFTA_TABLE_FLAGS, &flags, sizeof(flags));
	begin(&b, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	return talk(nl, &b);
}

static int delete_table(int nl, const char *name)
{
	struct batch b = { 0 };

	begin(&b, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	begin(&b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE, NLM_F_ACK, NFPROTO_INET, 0);
	put(&b, NFTA_TABLE_NAME, name, strlen(name) + 1);
	begin(&b, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	return talk(nl, &b);
}

static int find_table(int nl, const char *name)
{
	struct batch b = { 0 };

	begin(&b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, 0, NFPROTO_INET, 0);
	put(&b, NFTA_TABLE_NAME, name, strlen(name) + 1);
	return talk(nl, &b);
}

static void check_owner(void)
{
	static const char name[] = "lab_owned";
	int nl = open_netfilter(), ready[2], r;
	uint64_t end;
	pid_t pid;

	if (pipe(ready) < 0)
		tap_bail("pipe");
	pid = fork();
	if (pid == 0) {
		r = make_table(open_netfilter(), name);
		if (write(ready[1], &r, sizeof(r)) < 0)
			_exit(1);
		pause();
		_exit(0);
	}
	if (pid < 0 || read(ready[0], &r, sizeof(r)) != sizeof(r))
		tap_bail("a child");
	if (r < 0) {
		tap_skip("a table with an owner", "the kernel has none (before 5.12)");
	} else {
		tap_ok(find_table(nl, name) == 0, "it is there for all to see");
		r = delete_table(nl, name);
		tap_ok(r == -EPERM, "another cannot delete it: %s", strerror(-r));
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	end = lab_now_ns(CLOCK_MONOTONIC) + 2000000000ULL;
	while ((r = find_table(nl, name)) != -ENOENT && lab_now_ns(CLOCK_MONOTONIC) < end)
		;
	tap_ok(r == -ENOENT, "it has gone with its process, by SIGKILL too");
}

int main(void)
{
	lab_enter();
	check_group();
	check_threshold();
	check_owner();
	return tap_done();
}
