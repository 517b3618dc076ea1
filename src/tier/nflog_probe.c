/*
 * nflog_probe.c - does the nflog tier work here? Proven by packets of our own
 *
 * How it works. Rules for a user that nobody is, and a datagram of that user's to a port of
 * loopback where nobody listens. The datagram must come by the owner match, the ICMP error that
 * answers it by the connection's mark: with both here, all that the tier rests on works.
 */
#include "tier/nflog_probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

#include "tier/ipt.h"
#include "tier/marks.h"
#include "tier/nflog_read.h"
#include "tier/probe_socket.h"
#include "tier/room.h"
#include "tier/rules.h"

#define NOBODYS_UIDS 2000000100U /* so many of them that each capture has its own */
#define NOBODYS_COUNT 100000000U
#define GROUP 65000 /* far from any that is in use */
#define WAIT_MS 200
#define COPY_BYTES 128

struct probe {
	char tag[APPTAP_RULES_TAG_BYTES + 1];
	uint64_t delivered; /* packets of the rules */
	bool sent, answered;
	const char *backend; /* NULL: none took our rules */
	bool clears; /* it has cleared its marks */
	bool loopback; /* a packet could be sent */
};

/* -ENETUNREACH and kin: loopback is down. */
static int send_to_nobody(uid_t uid)
{
	auto_close int fd = apptap_probe_socket(uid);
	auto_close int closed = apptap_probe_socket(uid);
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || closed < 0 || bind(closed, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    getsockname(closed, (struct sockaddr *)&a, &len) < 0)
		return -errno;
	close(apptap_steal_fd(&closed));
	if (sendto(fd, "apptap", 6, 0, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -errno;
	return 0;
}

static int take(const struct apptap_nflog_packet *p, void *arg)
{
	struct probe *probe = arg;

	if (p->prefix_len != APPTAP_RULES_TAG_BYTES + 1 ||
	    memcmp(p->prefix, probe->tag, APPTAP_RULES_TAG_BYTES) != 0)
		return 0;
	probe->delivered++;
	probe->sent |= p->prefix[APPTAP_RULES_TAG_BYTES] == APPTAP_RULE_SENT;
	probe->answered |= p->prefix[APPTAP_RULES_TAG_BYTES] == APPTAP_RULE_GOT_MARKED;
	return 0;
}

static int wait_for_both(struct probe *probe, struct apptap_nflog_reader *reader,
			 struct apptap_error *err)
{
	uint64_t end_ns = apptap_clock_ns(CLOCK_MONOTONIC) + WAIT_MS * APPTAP_NSEC_PER_MSEC;
	struct pollfd p = { .fd = apptap_nflog_fd(reader), .events = POLLIN };
	int r = 0;

	while (r >= 0 && !(probe->sent && probe->answered) &&
	       apptap_clock_ns(CLOCK_MONOTONIC) < end_ns) {
		poll(&p, 1, 10);
		r = apptap_nflog_read(reader, take, probe, err);
	}
	if (r < 0 || (probe->sent && probe->answered))
		return MIN(r, 0);
	if (probe->sent)
		return apptap_error_say(
			err, ENODATA,
			"the kernel takes rules with a connection mark, but no packet has met one");
	return apptap_error_say(err, ENODATA,
				"the kernel takes NFLOG rules, but a packet of our own was not "
				"delivered (nfnetlink_log)");
}

/* With loopback down the rules are there, and more cannot be shown. */
static int exchange(struct probe *probe, struct apptap_nflog_reader *reader, uid_t uid,
		    struct apptap_error *err)
{
	probe->loopback = send_to_nobody(uid) == 0;
	return probe->loopback ? wait_for_both(probe, reader, err) : 0;
}

uid_t apptap_nflog_prover(const char *tag)
{
	uid_t uid = NOBODYS_UIDS + (uid_t)(strtoul(tag, NULL, 16) % NOBODYS_COUNT);

	return apptap_probe_can_be(uid) ? uid : APPTAP_UID_NONE;
}

/* By rules of its own, for no scope. */
static int try_rules(struct probe *probe, struct apptap_nflog_reader *reader, uint16_t group,
		     uint32_t mark, struct apptap_error *err)
{
	struct apptap_scope *scope = calloc(1, sizeof(*scope));
	struct apptap_rules_config cfg = { .scope = scope,
					   .group = group,
					   .mark = mark,
					   .prover = APPTAP_UID_NONE,
					   .trial = true };
	struct apptap_rules *rules = NULL;
	uid_t uid;
	int r;

	if (!scope)
		return apptap_error_set(err, ENOMEM, "allocating a scope");
	apptap_tag_make(probe->tag);
	uid = apptap_nflog_prover(probe->tag);
	uid = uid == APPTAP_UID_NONE ? geteuid() : uid;
	scope->uids[0].uid = uid;
	scope->uid_count = 1;
	memcpy(cfg.tag, probe->tag, sizeof(cfg.tag));
	r = apptap_rules_install(&rules, &cfg, err);
	free(scope);
	if (r == 0) {
		probe->backend = rules->ops->name;
		probe->clears = rules->ops->clears;
		r = exchange(probe, reader, uid, err);
	}
	if (rules)
		rules->ops->remove(rules);
	return r;
}

int apptap_nflog_prove(struct apptap_nflog_reader *reader, const struct apptap_rules_config *cfg,
		       uint64_t *delivered, struct apptap_error *err)
{
	struct probe probe = { 0 };
	int r;

	memcpy(probe.tag, cfg->tag, sizeof(probe.tag));
	r = exchange(&probe, reader, cfg->prover, err);
	*delivered = probe.delivered;
	return r;
}

static char features[256];

/* @known: whether it came to that. */
static void note(const char *name, bool known, bool works)
{
	size_t len = strlen(features);

	snprintf(features + len, sizeof(features) - len, "%s%s=%s", len ? " " : "", name,
		 !known	 ? "unknown"
		 : works ? "yes"
			 : "no");
}

const char *apptap_nflog_features(void)
{
	return features;
}

int apptap_nflog_explain(struct apptap_error *err, int r)
{
	if (err && err->hint[0])
		return r;
	if (r == -EPERM || r == -EACCES)
		apptap_error_hint(err, "run as root, or give it CAP_NET_ADMIN");
	else
		apptap_error_hint(
			err, "the kernel needs nf_tables, nf_conntrack, nfnetlink_log, nft_log; "
			     "--tier sockdiag needs none of them");
	return r;
}

int apptap_nflog_probe(struct apptap_error *err)
{
	struct apptap_marks marks = APPTAP_MARKS_NONE;
	struct apptap_nflog_reader *reader = NULL;
	struct probe probe = { 0 };
	uint16_t group = GROUP;
	int r = apptap_marks_take(&marks, err);

	features[0] = '\0';
	note("root", true, r != -EPERM && r != -EACCES);
	note("conntrack", r != -EPERM && r != -EACCES, r == 0);
	if (r == 0)
		r = apptap_room_check(err);
	if (r == 0)
		r = apptap_nflog_open_free(&reader, &group, COPY_BYTES, 0, err);
	if (r == 0)
		r = try_rules(&probe, reader, group, marks.mark, err);
	note("nfnetlink_log", marks.lock >= 0, reader != NULL);
	note("nftables", reader, probe.backend && strcmp(probe.backend, "nftables") == 0);
	note("iptables", true, apptap_ipt_check(APPTAP_IPT_V4, NULL) == 0);
	note("ip6tables", true, apptap_ipt_check(APPTAP_IPT_V6, NULL) == 0);
	note("nflog_target", reader, probe.backend);
	note("owner", probe.loopback, probe.sent);
	note("connmark", probe.sent, probe.answered);
	apptap_nflog_close(reader);
	/* One of the bits is all that the datagram has left. */
	if (marks.lock >= 0 && !probe.clears)
		apptap_marks_clear(marks.mark & -marks.mark, NULL);
	apptap_marks_release(&marks);
	return r < 0 ? apptap_nflog_explain(err, r) : 0;
}
