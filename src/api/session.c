/* session.c - a capture, from its options to its result, in a thread of its own */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#include "api/queue.h"
#include "api/start.h"

/*
 * How it works. The thread holds the whole conversation with the agent (host/run.h) and calls the
 * callbacks. What others want of it they leave in two flags, and wake it by an eventfd: nobody else
 * touches the run until the thread has ended. All signals are blocked in the thread, so that they
 * go to the caller's, and a broken pipe is an error and no signal.
 */

#define STACK_BYTES ((size_t)1 << 20)

enum state { NEW, STARTING, CAPTURING, OVER };

struct apptap_session {
	struct apptap_plan plan;
	struct apptap_run run; /* the thread's while it runs */
	struct apptap_executor *executor; /* owned */
	struct apptap_job job; /* owned; pid 0: no command */
	struct apptap_error job_err; /* code 0: it could be started */
	struct apptap_unpacker *unpacker; /* owned; NULL unless packets are wanted */
	struct apptap_queue *queue; /* owned; NULL unless packets are read */
	struct apptap_result *result; /* owned; NULL until it was asked for */
	pthread_t thread;
	bool has_thread; /* to be joined */
	int wake_fd; /* owned; an eventfd */
	atomic_bool wants_stop;
	atomic_bool wants_abandon;
	bool told_enough; /* the packet callback wants no more */
	uint64_t dropped; /* as far as was told */

	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	enum state state;
	bool joining;
	struct apptap_error failed; /* code 0: it has not */
};

static void tell(const struct apptap_session *s, const struct apptap_event *ev)
{
	if (s->plan.options.event)
		s->plan.options.event(s->plan.options.callback_arg, ev);
}

static void set_state(struct apptap_session *s, enum state state)
{
	pthread_mutex_lock(&s->lock);
	s->state = state;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

/* The command is let go. false: it could not be started, and the capture is about nothing. */
static bool begin_job(struct apptap_session *s)
{
	if (!s->job.pid || apptap_job_release(&s->job, s->plan.command[0], &s->job_err) >= 0)
		return true;
	apptap_run_stop(&s->run);
	return false;
}

static void take_scope(struct apptap_session *s, const struct apptap_event_ready *ready,
		       enum apptap_event_type type)
{
	struct apptap_uid uids[APPTAP_WIRE_UIDS_MAX];
	struct apptap_event ev = {
		.type = type,
		.tier = ready->tier,
		.uid_count = ready->uid_count,
	};

	apptap_convert_uids(ready->uids, ready->uid_count, uids);
	ev.uids = uids;
	if (type == APPTAP_EVENT_READY && !begin_job(s))
		return;
	if (type == APPTAP_EVENT_READY)
		set_state(s, CAPTURING);
	tell(s, &ev);
}

static void take_status(struct apptap_session *s, const struct apptap_wire_counters *status)
{
	struct apptap_counters counters;
	struct apptap_event ev = { .type = APPTAP_EVENT_STATUS, .counters = &counters };

	apptap_convert_counters(status, &counters);
	tell(s, &ev);
	if (counters.dropped_kernel <= s->dropped)
		return;
	ev.type = APPTAP_EVENT_DROP;
	ev.count = counters.dropped_kernel - s->dropped;
	s->dropped = counters.dropped_kernel;
	tell(s, &ev);
}

static void take_event(void *arg, const struct apptap_wire_event *wire)
{
	struct apptap_session *s = arg;
	struct apptap_event ev = { .type = APPTAP_EVENT_WARNING };

	switch (wire->type) {
	case APPTAP_WIRE_EVENT_READY:
		take_scope(s, &wire->ready, APPTAP_EVENT_READY);
		break;
	case APPTAP_WIRE_EVENT_SCOPE:
		take_scope(s, &wire->ready, APPTAP_EVENT_SCOPE);
		break;
	case APPTAP_WIRE_EVENT_STATUS:
		take_status(s, &wire->status);
		break;
	case APPTAP_WIRE_EVENT_DONE:
		take_status(s, &wire->done.counters);
		break;
	case APPTAP_WIRE_EVENT_WARNING:
		ev.text = wire->warning;
		tell(s, &ev);
		break;
	default:
		break;
	}
}

static void take_news(void *arg, const struct apptap_conn_record *conn, bool ended)
{
	struct apptap_connection connection;
	struct apptap_event ev = {
		.type = ended ? APPTAP_EVENT_CONNECTION_CLOSED : APPTAP_EVENT_CONNECTION_NEW,
		.connection = &connection,
	};

	apptap_convert_connection(conn, &connection);
	tell(arg, &ev);
}

static void take_log(void *arg, const char *line)
{
	struct apptap_event ev = { .type = APPTAP_EVENT_LOG, .text = line };

	tell(arg, &ev);
}

static int take_packets(void *arg, struct apptap_view records, struct apptap_error *err)
{
	struct apptap_session *s = arg;
	const struct apptap_options *o = &s->plan.options;
	struct apptap_packet pkt;
	int r;

	if (s->queue)
		return apptap_queue_put(s->queue, records, err);
	while ((r = apptap_unpacker_next(s->unpacker, &records, &pkt, err)) > 0) {
		if (s->told_enough || o->packet(o->callback_arg, &pkt) == 0)
			continue;
		s->told_enough = true;
		apptap_run_stop(&s->run);
	}
	return r;
}

static void take_wake(void *arg)
{
	struct apptap_session *s = arg;
	uint64_t count;

	if (read(s->wake_fd, &count, sizeof(count)) < 0)
		return;
	if (atomic_load(&s->wants_stop))
		apptap_run_stop(&s->run);
	/* What has not begun is given up: there is nothing yet whose end is worth waiting for. */
	if (atomic_load(&s->wants_abandon) ||
	    (atomic_load(&s->wants_stop) && !s->run.outcome.is_ready))
		apptap_run_abandon(&s->run);
}

static void *work(void *arg)
{
	struct apptap_session *s = arg;
	struct apptap_error err = { 0 };
	int r = apptap_run_go(&s->run, s->executor, &s->plan.start, &err);

	/* Here, for it may run commands of the caller's transport: what is on the target goes. */
	apptap_executor_free(s->executor);
	s->executor = NULL;
	if (s->queue)
		apptap_queue_end(s->queue);
	if (s->job.go_fd >= 0) /* it never began */
		apptap_job_close(&s->job);
	else
		apptap_job_reap(&s->job);
	if (s->job_err.code) {
		apptap_output_remove(&s->run.output);
		s->run.outcome.is_ready = false;
		err = s->job_err;
		r = -err.code;
	}
	if (r < 0 && !s->run.outcome.is_ready && atomic_load(&s->wants_stop))
		apptap_error_say(&err, ECANCELED, "the capture was called off before it began");
	pthread_mutex_lock(&s->lock);
	if (r < 0)
		s->failed = err;
	s->state = OVER;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static int start_thread(struct apptap_session *s, struct apptap_error *err)
{
	pthread_attr_t attr;
	sigset_t all, before;
	int code;

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* the thread inherits it */
	code = pthread_create(&s->thread, &attr, work, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (code)
		return apptap_error_set(err, code, "starting a thread");
	s->has_thread = true;
	return 0;
}

static int open_output(struct apptap_session *s, struct apptap_error *err)
{
	if (s->plan.output)
		return apptap_output_open(&s->run.output, s->plan.output, err);
	if (s->plan.options.output_fd)
		return apptap_output_adopt(&s->run.output, s->plan.options.output_fd,
					   "the descriptor of the output", err);
	return 0;
}

static int init_sync(struct apptap_session *s)
{
	pthread_condattr_t attr;
	int code = pthread_mutex_init(&s->lock, NULL);

	if (code)
		return -code;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	code = pthread_cond_init(&s->changed, &attr);
	pthread_condattr_destroy(&attr);
	if (code)
		pthread_mutex_destroy(&s->lock);
	return -code;
}

int apptap_session_new(struct apptap_session **out, const struct apptap_options *options,
		       struct apptap_error *err)
{
	struct apptap_session *s = calloc(1, sizeof(*s));
	int r = s ? init_sync(s) : -ENOMEM;

	if (r < 0) {
		free(s);
		return apptap_error_set(err, -r, "allocating a session");
	}
	s->run.output = (struct apptap_output)APPTAP_OUTPUT_CLOSED;
	s->job = (struct apptap_job)APPTAP_JOB_NONE;
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = s->wake_fd < 0 ? apptap_error_set(err, errno, "making an eventfd") : 0;
	if (r >= 0)
		r = apptap_plan_make(&s->plan, options, err);
	if (r >= 0 && s->plan.start.live_packets)
		r = apptap_unpacker_new(&s->unpacker, err);
	if (r >= 0 && s->plan.options.read_packets)
		r = apptap_queue_new(&s->queue, &s->wants_stop, err);
	if (r < 0) {
		apptap_session_free(s);
		return r;
	}
	*out = s;
	return 0;
}

/* Marks the session as begun. -EBUSY: it was. */
static int begin(struct apptap_session *s, struct apptap_error *err)
{
	int r = 0;

	pthread_mutex_lock(&s->lock);
	if (s->state != NEW)
		r = apptap_error_say(err, EBUSY, "the session was started before");
	else
		s->state = STARTING;
	pthread_mutex_unlock(&s->lock);
	return r;
}

static int set_up(struct apptap_session *s, struct apptap_error *err)
{
	int r = apptap_plan_executor(&s->plan, &s->executor, err);

	if (r >= 0)
		r = open_output(s, err);
	if (r >= 0 && s->plan.command)
		r = apptap_job_hold(&s->job, s->plan.command, err);
	if (r < 0) {
		apptap_output_remove(&s->run.output);
		return r;
	}
	s->plan.start.command_pid = (uint32_t)s->job.pid;
	s->run.handler = (struct apptap_dialog_handler){
		.arg = s,
		.event = take_event,
		.news = take_news,
		.packets = take_packets,
		.log = take_log,
		.wake_fd = s->wake_fd,
		.wake = take_wake,
	};
	r = start_thread(s, err);
	if (r < 0)
		apptap_output_remove(&s->run.output);
	return r;
}

/* With the lock held and the session over: waits for the thread to be gone, whoever joins it. */
static void join(struct apptap_session *s)
{
	while (s->joining)
		pthread_cond_wait(&s->changed, &s->lock);
	if (!s->has_thread)
		return;
	s->joining = true;
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	pthread_mutex_lock(&s->lock);
	s->has_thread = false;
	s->joining = false;
	pthread_cond_broadcast(&s->changed);
}

int apptap_session_start(struct apptap_session *s, struct apptap_error *err)
{
	struct apptap_error why = { 0 };
	int r = begin(s, err);

	if (r < 0)
		return r;
	r = set_up(s, &why);
	pthread_mutex_lock(&s->lock);
	if (r < 0) {
		s->state = OVER;
		s->failed = why;
		pthread_cond_broadcast(&s->changed);
	}
	while (s->state == STARTING)
		pthread_cond_wait(&s->changed, &s->lock);
	/* It may have begun and ended meanwhile; stop() then tells how. */
	if (s->state == OVER && !s->run.outcome.is_ready) {
		join(s);
		r = -s->failed.code;
		if (err)
			*err = s->failed;
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

int apptap_session_read(struct apptap_session *s, int timeout_ms,
			const struct apptap_packet **packets, struct apptap_error *err)
{
	if (!s->queue)
		return apptap_error_say(err, EINVAL, "the session was made without read_packets");
	return apptap_queue_get(s->queue, s->unpacker, timeout_ms, packets, err);
}

/* With the lock held: waits until it is over. false: time ran out. */
static bool wait_over(struct apptap_session *s, int timeout_ms)
{
	struct timespec end;

	apptap_deadline(&end, timeout_ms);
	while (s->state != OVER) {
		if (timeout_ms < 0)
			pthread_cond_wait(&s->changed, &s->lock);
		else if (pthread_cond_timedwait(&s->changed, &s->lock, &end) == ETIMEDOUT)
			return s->state == OVER;
	}
	return true;
}

int apptap_session_wait(struct apptap_session *s, int timeout_ms, struct apptap_error *err)
{
	int r;

	pthread_mutex_lock(&s->lock);
	if (s->state == NEW)
		r = apptap_error_say(err, EINVAL, "the session was never started");
	else
		r = wait_over(s, timeout_ms);
	pthread_mutex_unlock(&s->lock);
	return r;
}

void apptap_session_interrupt(struct apptap_session *s)
{
	const uint64_t one = 1;
	int before = errno; /* this may be a signal handler */

	atomic_store(&s->wants_stop, true);
	if (write(s->wake_fd, &one, sizeof(one)) < 0)
		errno = before; /* only when it is full: then it wakes anyway */
	errno = before;
}

/* With the lock held, the thread gone. */
static int conclude(struct apptap_session *s, const struct apptap_result **result,
		    struct apptap_error *err)
{
	if (!s->result && s->run.outcome.is_ready)
		s->result = apptap_convert_outcome(&s->run.outcome, &s->plan.start, s->plan.output);
	if (s->result)
		apptap_convert_job(&s->job, s->result);
	apptap_output_close(&s->run.output);
	if (result)
		*result = s->result;
	if (!s->result && s->run.outcome.is_ready)
		return apptap_error_set(err, ENOMEM, "allocating the result");
	if (err && s->failed.code)
		*err = s->failed;
	return -s->failed.code;
}

int apptap_session_stop(struct apptap_session *s, const struct apptap_result **result,
			struct apptap_error *err)
{
	int r;

	if (result)
		*result = NULL;
	pthread_mutex_lock(&s->lock);
	if (s->state == NEW) {
		r = apptap_error_say(err, EINVAL, "the session was never started");
	} else if (s->has_thread && pthread_equal(pthread_self(), s->thread)) {
		r = apptap_error_say(err, EDEADLK,
				     "a session cannot be stopped from its own "
				     "callback: use apptap_session_interrupt()");
	} else {
		apptap_session_interrupt(s);
		wait_over(s, -1);
		join(s);
		r = conclude(s, result, err);
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

void apptap_session_free(struct apptap_session *s)
{
	if (!s)
		return;
	atomic_store(&s->wants_abandon, s->run.output.is_pipe);
	if (s->has_thread)
		apptap_session_stop(s, NULL, NULL);
	apptap_job_close(&s->job);
	apptap_run_free(&s->run);
	apptap_executor_free(s->executor);
	apptap_plan_free(&s->plan);
	apptap_unpacker_free(s->unpacker);
	apptap_queue_free(s->queue);
	apptap_result_free(s->result);
	if (s->wake_fd >= 0)
		close(s->wake_fd);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

int apptap_capture(const struct apptap_options *options, struct apptap_result **result,
		   struct apptap_error *err)
{
	struct apptap_session *s = NULL;
	int r = apptap_session_new(&s, options, err);

	if (result)
		*result = NULL;
	if (!s)
		return r;
	r = apptap_session_start(s, err);
	if (r >= 0) {
		apptap_session_wait(s, -1, NULL);
		r = apptap_session_stop(s, NULL, err);
		if (result)
			*result = apptap_steal(&s->result);
	}
	apptap_session_free(s);
	return r;
}

const char *apptap_version(void)
{
	return APPTAP_VERSION;
}
