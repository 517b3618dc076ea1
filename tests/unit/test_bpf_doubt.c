/* test_bpf_doubt.c - connections that nobody has accepted yet, and what becomes of them */
#include "tier/bpf_doubt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <sys/socket.h>

#define APP 5001
#define STRANGER 5002
#define MS(n) ((uint64_t)(n)*APPTAP_NSEC_PER_MSEC)
#define ALWAYS UINT64_MAX

struct room {
	struct apptap_scope scope;
	struct apptap_diag *diag;
	struct apptap_bpf_doubts *doubts;
};

static int set_up(void **state)
{
	struct room *r = calloc(1, sizeof(*r));

	r->scope.uids[0].uid = APP;
	r->scope.uid_count = 1;
	assert_int_equal(apptap_diag_open(&r->diag, NULL), 0);
	assert_int_equal(apptap_bpf_doubts_new(&r->doubts, &r->scope, r->diag), 0);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct room *r = *state;

	apptap_bpf_doubts_free(r->doubts);
	apptap_diag_close(r->diag);
	free(r);
	return 0;
}

/* Of a connection to 192.0.2.1, which is nobody's: the socket table never knows it. */
static struct apptap_bpf_record record(uint8_t kind, uint32_t uid, uint16_t rport)
{
	static const uint8_t local[16] = { [10] = 0xff, 0xff, 192, 0, 2, 1 };
	struct apptap_bpf_record rec = {
		.mono_ns = MS(1), .kind = kind, .uid = uid, .is_ours = uid == APP
	};

	memcpy(rec.flow.laddr, local, sizeof(local));
	memcpy(rec.flow.raddr, local, sizeof(local));
	rec.flow.raddr[15] = 2;
	rec.flow.lport_be = htons(80);
	rec.flow.rport_be = htons(rport);
	rec.flow.proto = IPPROTO_TCP;
	rec.flow.family = AF_INET;
	return rec;
}

static struct apptap_bpf_doubt *pend(struct room *r, uint32_t listener, uint16_t rport)
{
	struct apptap_bpf_record rec = record(APPTAP_BPF_PENDING, listener, rport);
	struct apptap_bpf_doubt *doubt = apptap_bpf_doubt_open(r->doubts, &rec);

	assert_non_null(doubt);
	return doubt;
}

static void settle(struct room *r, uint32_t uid, uint16_t rport)
{
	struct apptap_bpf_record rec = record(APPTAP_BPF_SETTLED, uid, rport);

	apptap_bpf_doubts_settle(r->doubts, &rec);
}

static void assert_answer(struct room *r, struct apptap_bpf_doubt *doubt, uint64_t now_ns,
			  enum apptap_bpf_answer want, uid_t want_uid)
{
	struct apptap_bpf_owner owner = { .uid = APPTAP_UID_NONE };

	assert_int_equal(apptap_bpf_doubt_answer(r->doubts, doubt, now_ns, &owner), want);
	if (want != APPTAP_BPF_ANSWER_WAIT)
		assert_int_equal(owner.uid, want_uid);
}

static void whoever_accepts_has_it(void **state)
{
	struct room *r = *state;
	struct apptap_bpf_doubt *syn = pend(r, STRANGER, 1000), *ack = pend(r, STRANGER, 1000);

	assert_ptr_equal(syn, ack);
	assert_answer(r, syn, MS(2), APPTAP_BPF_ANSWER_WAIT, 0);
	settle(r, APP, 1000);
	assert_answer(r, syn, MS(2), APPTAP_BPF_ANSWER_OURS, APP);
	assert_answer(r, ack, MS(2), APPTAP_BPF_ANSWER_OURS, APP);
}

static void given_by_our_listener_to_a_stranger(void **state)
{
	struct room *r = *state;
	struct apptap_bpf_doubt *syn = pend(r, APP, 1000);

	settle(r, STRANGER, 1000);
	assert_answer(r, syn, MS(2), APPTAP_BPF_ANSWER_FOREIGN, STRANGER);
}

/* Another connection's news says nothing. */
static void by_its_own_flow_only(void **state)
{
	struct room *r = *state;
	struct apptap_bpf_doubt *syn = pend(r, STRANGER, 1000);

	settle(r, APP, 1001);
	assert_answer(r, syn, MS(2), APPTAP_BPF_ANSWER_WAIT, 0);
	assert_answer(r, syn, ALWAYS, APPTAP_BPF_ANSWER_FOREIGN, STRANGER);
}

/* Gone when it was asked about: what was written before it went has first to be heard. */
static void gone_is_the_listeners(void **state)
{
	struct room *r = *state;
	struct apptap_bpf_doubt *ours = pend(r, APP, 1000), *late = pend(r, APP, 1001);

	assert_answer(r, ours, MS(6), APPTAP_BPF_ANSWER_WAIT, 0);
	assert_answer(r, late, MS(6), APPTAP_BPF_ANSWER_WAIT, 0);
	settle(r, STRANGER, 1001);
	assert_answer(r, late, MS(10), APPTAP_BPF_ANSWER_FOREIGN, STRANGER);
	assert_answer(r, ours, MS(10), APPTAP_BPF_ANSWER_OURS, APP);
}

/* The same ends again, after the first connection was settled and before it was answered. */
static void the_next_connection_of_a_flow(void **state)
{
	struct room *r = *state;
	struct apptap_bpf_doubt *first = pend(r, STRANGER, 1000), *second;

	settle(r, APP, 1000);
	second = pend(r, STRANGER, 1000);
	assert_ptr_not_equal(first, second);
	settle(r, STRANGER, 1000);
	assert_answer(r, first, MS(2), APPTAP_BPF_ANSWER_OURS, APP);
	assert_answer(r, second, MS(2), APPTAP_BPF_ANSWER_FOREIGN, STRANGER);
}

static void there_are_only_so_many(void **state)
{
	struct room *r = *state;
	struct apptap_bpf_doubt *doubts[20000];
	struct apptap_bpf_record rec;
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(doubts); i++) {
		rec = record(APPTAP_BPF_PENDING, APP, (uint16_t)i);
		doubts[n] = apptap_bpf_doubt_open(r->doubts, &rec);
		n += doubts[n] != NULL;
	}
	assert_int_equal(n, 16384);
	assert_int_equal(apptap_bpf_doubts_count(r->doubts), n);
	for (size_t i = 0; i < n; i++)
		settle(r, APP, (uint16_t)i);
	for (size_t i = 0; i < n; i++)
		assert_answer(r, doubts[i], MS(2), APPTAP_BPF_ANSWER_OURS, APP);
	assert_int_equal(apptap_bpf_doubts_count(r->doubts), 0);
}

#define doubt_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		doubt_test(whoever_accepts_has_it),
		doubt_test(given_by_our_listener_to_a_stranger),
		doubt_test(by_its_own_flow_only),
		doubt_test(gone_is_the_listeners),
		doubt_test(the_next_connection_of_a_flow),
		doubt_test(there_are_only_so_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
