/* diag_cgroup.c - SOCK_DIAG tells the cgroup of a socket: its maker's, for good, gone or not */
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lab.h"

#ifndef INET_DIAG_CGROUP_ID
#define INET_DIAG_CGROUP_ID 21
#endif

static char root[256]; /* where cgroup2 is */

static void find_root(void)
{
	char type[64], point[256], line[1024];
	FILE *f = fopen("/proc/self/mounts", "re");

	while (f && !root[0] && fgets(line, sizeof(line), f))
		if (sscanf(line, "%*s %255s %63s", point, type) == 2 &&
		    strcmp(type, "cgroup2") == 0)
			memcpy(root, point, sizeof(root));
	if (f)
		fclose(f);
	if (!root[0])
		tap_skip_all("cgroup2 is not mounted");
}

static void enter(const char *path)
{
	char file[512];
	int fd;

	snprintf(file, sizeof(file), "%s/cgroup.procs", path);
	fd = open(file, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		tap_bail("entering %s", path);
	close(fd);
}

/* The cgroup of the socket at @local; 0: none was told. */
static uint64_t cgroup_of(int nl, int proto, int family, const union lab_addr *local,
			  const union lab_addr *remote)
{
	struct {
		struct nlmsghdr h;
		struct inet_diag_req_v2 r;
	} q = { .h = { sizeof(q), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0 } };
	char buf[8192] __attribute__((aligned(8)));
	struct nlmsghdr *h = (void *)buf;
	uint64_t id = 0;
	ssize_t n;

	q.r.sdiag_family = (uint8_t)family;
	q.r.sdiag_protocol = (uint8_t)proto;
	q.r.idiag_states = ~0U;
	q.r.id.idiag_src[0] = local->v4.sin_addr.s_addr;
	q.r.id.idiag_sport = local->v4.sin_port;
	q.r.id.idiag_dst[0] = remote->v4.sin_addr.s_addr;
	q.r.id.idiag_dport = remote->v4.sin_port;
	q.r.id.idiag_cookie[0] = q.r.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	if (send(nl, &q, sizeof(q), 0) != sizeof(q) || (n = recv(nl, buf, sizeof(buf), 0)) <= 0)
		tap_bail("asking SOCK_DIAG");
	if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY)
		return 0;
	for (size_t at = NLMSG_ALIGN(NLMSG_LENGTH(sizeof(struct inet_diag_msg)));
	     at + 4 <= (size_t)n;) {
		struct nlattr *a = (void *)(buf + at);

		if (a->nla_len < 4)
			break;
		if (a->nla_type == INET_DIAG_CGROUP_ID)
			memcpy(&id, buf + at + 4, sizeof(id));
		at += NLA_ALIGN(a->nla_len);
	}
	return id;
}

static uint64_t id_of(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		tap_bail("stat %s", path);
	return st.st_ino; /* the whole id on a 64-bit kernel, as long as none was used twice */
}

int main(void)
{
	char maker[300], taker[300];
	union lab_addr server, client;
	uint64_t made, took;
	int nl, listener, fd, accepted;

	lab_enter();
	find_root();
	snprintf(maker, sizeof(maker), "%s/apptap-kernel-%d-a", root, (int)getpid());
	snprintf(taker, sizeof(taker), "%s/apptap-kernel-%d-b", root, (int)getpid());
	if (mkdir(maker, 0755) < 0 || mkdir(taker, 0755) < 0)
		tap_skip_all("cgroup2 cannot be written");
	made = id_of(maker);
	took = id_of(taker);
	nl = lab_diag_open();
	enter(maker);
	listener = lab_listener(LAB_APP, "127.0.0.1", &server);
	enter(taker);
	fd = lab_connected(LAB_APP, SOCK_STREAM, &server);
	client = lab_sockname(fd);
	tap_ok(cgroup_of(nl, IPPROTO_TCP, AF_INET, &client, &server) == took,
	       "a socket has the cgroup that its maker is in");
	tap_ok(cgroup_of(nl, IPPROTO_TCP, AF_INET, &server, &client) == made,
	       "one that nobody has accepted yet has its listener's");
	accepted = lab_accept(LAB_BYSTANDER, listener);
	tap_ok(cgroup_of(nl, IPPROTO_TCP, AF_INET, &server, &client) == made,
	       "and still when another user has accepted it in another cgroup");
	enter(root);
	rmdir(maker);
	rmdir(taker);
	tap_ok(cgroup_of(nl, IPPROTO_TCP, AF_INET, &client, &server) == took,
	       "the id stays when the cgroup is removed");
	close(fd);
	close(accepted);
	tap_ok(cgroup_of(nl, IPPROTO_TCP, AF_INET, &client, &server) == 0, "TIME_WAIT has none");
	close(listener);
	return tap_done();
}
