/* nflog_preempt.c - a real-time reader of its CPU's NFLOG group asks before the sender can close */
#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netlink.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lab.h"

/*
 * How it works: a rule for each CPU logs to a group of NFLOG of its own, at once. That wakes the
 * group's reader from within send(); pinned to that CPU and of class SCHED_FIFO, it runs before
 * send() returns to the sender. So a socket that sends one datagram and is closed at once is still
 * there for the lookup, and no other packet has interrupted anybody.
 */

enum { SOCKETS = 2000, PORT = 4242, CPUS_MAX = 256, GROUP = 100 };

struct reader {
	pthread_t thread;
	int log; /* owned by main */
	int seen, found, app;
};

static atomic_bool stop;
static struct reader readers[CPUS_MAX];

struct request {
	struct nlmsghdr h;
	struct nfgenmsg g;
	struct nlattr a;
	uint8_t value[8];
};

static int config(int nl, uint16_t group, uint16_t type, const void *value, size_t len)
{
	struct request q = {
		.h = { .nlmsg_len = (uint32_t)(NLMSG_LENGTH(sizeof(struct nfgenmsg)) + NLA_HDRLEN +
					       NLA_ALIGN(len)),
		       .nlmsg_type = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG,
		       .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK },
		.g = { .res_id = htons(group) },
		.a = { .nla_type = type, .nla_len = (uint16_t)(NLA_HDRLEN + len) },
	};
	uint8_t buf[4096];
	const struct nlmsghdr *h = (const void *)buf;
	const struct nlmsgerr *e = NLMSG_DATA(h);

	memcpy(q.value, value, len);
	if (send(nl, &q, q.h.nlmsg_len, 0) < 0 || recv(nl, buf, sizeof(buf), 0) < 0)
		tap_bail("talking to nfnetlink_log");
	return h->nlmsg_type == NLMSG_ERROR ? e->error : 0;
}

/* -errno: there is no nfnetlink_log. */
static int open_group(uint16_t group)
{
	struct nfulnl_msg_config_cmd bind_it = { .command = NFULNL_CFG_CMD_BIND };
	struct nfulnl_msg_config_mode mode = { .copy_mode = NFULNL_COPY_PACKET,
					       .copy_range = htonl(64) };
	struct timeval tick = { .tv_usec = 50000 }; /* how soon a reader sees that it should stop */
	int nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	int r;

	if (nl < 0 || setsockopt(nl, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof(tick)) < 0)
		tap_bail("a netlink socket");
	r = config(nl, group, NFULA_CFG_CMD, &bind_it, sizeof(bind_it));
	if (r == 0)
		r = config(nl, group, NFULA_CFG_MODE, &mode, sizeof(mode));
	return r < 0 ? r : nl;
}

/* The addresses of one of our datagrams, if that is what the message holds. */
static bool ours(const uint8_t *buf, size_t len, union lab_addr *src, union lab_addr *dst)
{
	const struct nlmsghdr *h = (const void *)buf;
	size_t at = NLMSG_LENGTH(sizeof(struct nfgenmsg));

	if (len < at || h->nlmsg_type != (NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET))
		return false;
	while (at + NLA_HDRLEN <= len) {
		const struct nlattr *a = (const void *)(buf + at);
		const uint8_t *ip = buf + at + NLA_HDRLEN;

		if (a->nla_len < NLA_HDRLEN)
			return false;
		at += NLA_ALIGN(a->nla_len);
		if (a->nla_type != NFULA_PAYLOAD || a->nla_len < NLA_HDRLEN + 28)
			continue;
		*src = lab_addr("0.0.0.0", 0);
		*dst = lab_addr("0.0.0.0", 0);
		memcpy(&src->v4.sin_addr, ip + 12, 4);
		memcpy(&dst->v4.sin_addr, ip + 16, 4);
		memcpy(&src->v4.sin_port, ip + 20, 2);
		memcpy(&dst->v4.sin_port, ip + 22, 2);
		return true;
	}
	return false;
}

static void *read_cpu(void *arg)
{
	_Alignas(struct nlmsghdr) uint8_t buf[8192];
	struct reader *r = arg;
	int nl = lab_diag_open();

	while (!stop) {
		ssize_t n = recv(r->log, buf, sizeof(buf), 0);
		union lab_addr src, dst;
		struct lab_sock s;

		if (n < 0 || !ours(buf, (size_t)n, &src, &dst))
			continue;
		r->seen++;
		if (lab_owner(nl, IPPROTO_UDP, &src, &dst, &s) == 0) {
			r->found++;
			r->app += s.uid == LAB_APP;
		}
	}
	close(nl);
	return NULL;
}

int main(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	struct reader sum = { 0 };
	char rule[160];

	if (access("/usr/sbin/nft", X_OK) < 0)
		tap_skip_all("needs nft");
	if (cpus < 1 || cpus > CPUS_MAX)
		tap_skip_all("more CPUs than this test knows of");
	lab_enter();
	lab_veth();
	lab_run("nft add table inet lab");
	lab_run("nft 'add chain inet lab out { type filter hook output priority 0; }'");
	for (int i = 0; i < cpus; i++) {
		readers[i].log = open_group((uint16_t)(GROUP + i));
		if (readers[i].log < 0)
			tap_skip_all("needs nfnetlink_log");
		snprintf(rule, sizeof(rule),
			 "nft add rule inet lab out udp dport %d meta cpu %d log group %d "
			 "queue-threshold 1",
			 PORT, i, GROUP + i);
		lab_run(rule);
	}
	for (int i = 0; i < cpus; i++)
		lab_reader(&readers[i].thread, i, read_cpu, &readers[i]);
	lab_send_and_close("10.9.0.2", PORT, SOCKETS);
	stop = true;
	for (int i = 0; i < cpus; i++) {
		pthread_join(readers[i].thread, NULL);
		sum.seen += readers[i].seen;
		sum.found += readers[i].found;
		sum.app += readers[i].app;
	}
	tap_ok(sum.seen == SOCKETS, "%d of %d datagrams logged", sum.seen, SOCKETS);
	tap_ok(sum.found >= SOCKETS * 99 / 100, "%d of %d sockets found before they were closed",
	       sum.found, SOCKETS);
	tap_ok(sum.app == sum.found, "all with the UID of the sender");
	return tap_done();
}
