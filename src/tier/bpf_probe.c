/*
 * bpf_probe.c - does the bpf tier work here? Proven by a packet of our own
 *
 * How it works. The programs are attached to loopback for a user that nobody is, and two datagrams
 * pass: that user's to a port of ours must come out, and ours to ourselves must not. Both are
 * through before sendto() returns, for the programs run in it.
 */
#include "tier/bpf_probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tier/probe_socket.h"

#define NOBODYS_UID 2000000002U
#define RING_BYTES ((size_t)1 << 20)
#define HEADERS 28 /* IPv4 and UDP */
#define PAYLOAD "apptap probe"

static char loopback[] = "lo";
static char *const names[] = { loopback };

/* Negative: loopback is down. */
static int send_both(uid_t uid)
{
	auto_close int theirs = apptap_probe_socket(uid);
	auto_close int own = apptap_probe_socket(geteuid());
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (theirs < 0 || own < 0 || bind(own, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    getsockname(own, (struct sockaddr *)&a, &len) < 0 ||
	    sendto(own, "not this", 8, 0, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    sendto(theirs, PAYLOAD, sizeof(PAYLOAD), 0, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -errno;
	return 0;
}

static bool is_payload(const struct apptap_bpf_item *item)
{
	return item->rec.len == HEADERS + sizeof(PAYLOAD) &&
	       memcmp(item->data + HEADERS, PAYLOAD, sizeof(PAYLOAD)) == 0;
}

static int look(struct apptap_bpf_ring *ring, bool alone, struct apptap_error *err)
{
	struct apptap_bpf_item item;
	unsigned got = 0, wrong = 0;

	apptap_bpf_ring_look(ring);
	while (apptap_bpf_ring_take(ring, UINT64_MAX, &item)) {
		if (is_payload(&item))
			got++;
		else
			wrong++;
	}
	apptap_bpf_ring_release(ring);
	if (!got)
		return apptap_error_say(
			err, ENODATA,
			"the programs are in the kernel, but a packet of our own on "
			"loopback did not come out of them");
	if (wrong && alone)
		return apptap_error_say(err, ENODATA,
					"a packet of our own was taken for another user's");
	return 0;
}

int apptap_bpf_prove(struct apptap_bpf_kernel *k, struct apptap_bpf_ring *ring,
		     struct apptap_error *err)
{
	auto_free struct apptap_scope *scope = calloc(1, sizeof(*scope));
	bool alone = apptap_probe_can_be(NOBODYS_UID);
	int r;

	if (!scope)
		return apptap_error_set(err, ENOMEM, "allocating a scope");
	scope->uids[0].uid = alone ? NOBODYS_UID : geteuid();
	scope->uid_count = 1;
	apptap_bpf_kernel_scope(k, scope);
	r = apptap_bpf_kernel_attach(k, names, ARRAY_SIZE(names), err);
	if (r < 0)
		return r;
	/* With loopback down the programs are there, and more cannot be shown. */
	return send_both(scope->uids[0].uid) == 0 ? look(ring, alone, err) : 0;
}

int apptap_bpf_probe(struct apptap_error *err)
{
	static const struct apptap_bpf_wanted nothing = { 0 };
	struct apptap_bpf_kernel *kernel = NULL;
	int fd, r;

	r = apptap_bpf_kernel_open(&kernel, RING_BYTES, &nothing, names, ARRAY_SIZE(names), err);
	if (r < 0)
		return r;
	apptap_bpf_kernel_settings(kernel)->snaplen = HEADERS + sizeof(PAYLOAD);
	r = apptap_bpf_prove(kernel, apptap_bpf_kernel_ring(kernel, &fd), err);
	apptap_bpf_kernel_close(kernel);
	return r;
}
