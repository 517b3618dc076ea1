/* link.c - a caller's own transport, as the rooms below know one */
#include "api/link.h"

#include <errno.h>
#include <stdio.h>

#define OUTPUT_MAX ((size_t)4 << 20) /* of a command; what is beyond it is cut off */

struct apptap_answer {
	struct apptap_ran *ran; /* borrowed */
	bool full;
};

struct transport {
	struct apptap_link_ops ops; /* what the rooms below call; its name is the caller's */
	struct apptap_link link; /* of this library's size */
	void *arg; /* borrowed */
};

void apptap_answer_output(struct apptap_answer *answer, const void *bytes, size_t len)
{
	struct apptap_ran *ran = answer->ran;
	char *grown;

	if (answer->full || len > OUTPUT_MAX - ran->out_len) {
		answer->full = true;
		return;
	}
	grown = realloc(ran->out, ran->out_len + len + 1);
	if (!grown) {
		answer->full = true;
		return;
	}
	memcpy(grown + ran->out_len, bytes, len);
	ran->out = grown;
	ran->out_len += len;
	ran->out[ran->out_len] = '\0';
}

void apptap_answer_status(struct apptap_answer *answer, int status, const char *said)
{
	answer->ran->status = status;
	snprintf(answer->ran->said, sizeof(answer->ran->said), "%s", said ? said : "");
	apptap_ran_clean(answer->ran);
}

/* A caller may return an error and forget to say what it was. */
static int checked(const struct transport *t, int r, const char *what, struct apptap_error *err)
{
	if (r < 0 && !err->msg[0])
		apptap_error_set(err, -r, "%s over %s", what, t->link.name);
	return r;
}

static int link_run(void *arg, const char *const *argv, int timeout_ms, struct apptap_ran *out,
		    struct apptap_error *err)
{
	const struct transport *t = arg;
	struct apptap_answer answer = { .ran = out };
	int r;

	*out = (struct apptap_ran){ .status = -1 };
	r = t->link.run(t->arg, argv, timeout_ms, &answer, err);
	if (r < 0)
		apptap_ran_free(out);
	return checked(t, r, "running a command", err);
}

static int link_push(void *arg, const char *local, const char *remote, struct apptap_error *err)
{
	const struct transport *t = arg;

	return checked(t, t->link.push(t->arg, local, remote, err), "pushing a file", err);
}

static int link_pull(void *arg, const char *remote, const char *local, struct apptap_error *err)
{
	const struct transport *t = arg;

	return checked(t, t->link.pull(t->arg, remote, local, err), "pulling a file", err);
}

static int link_is_root(void *arg, struct apptap_error *err)
{
	const struct transport *t = arg;

	return checked(t, t->link.is_root(t->arg, err), "asking for root's rights", err);
}

static const char *link_platform(void *arg)
{
	const struct transport *t = arg;

	return t->link.platform ? t->link.platform(t->arg) : NULL;
}

static int link_stream(void *arg, const char *const *argv, struct apptap_child *out,
		       struct apptap_error *err)
{
	const struct transport *t = arg;
	struct apptap_child child = APPTAP_CHILD_NONE;
	int32_t pid = -1;
	int r = t->link.stream(t->arg, argv, &child.in_fd, &child.out_fd, &child.err_fd, &pid, err);

	child.pid = pid > 0 ? pid : -1;
	if (r >= 0)
		*out = child;
	return checked(t, r, "starting the agent", err);
}

static int link_start(void *arg, const char *const *argv, struct apptap_error *err)
{
	const struct transport *t = arg;

	return checked(t, t->link.start(t->arg, argv, err), "starting the agent", err);
}

static void link_free(void *arg)
{
	free(arg);
}

int apptap_link_check(const struct apptap_link *link, struct apptap_error *err)
{
	if (link->size < offsetof(struct apptap_link, platform))
		return apptap_error_say(err, EINVAL, "link.size is not sizeof(struct apptap_link)");
	if (!link->name || !link->run || !link->push || !link->pull || !link->is_root)
		return apptap_error_say(err, EINVAL, "the link has no name, or lacks a function");
	return 0;
}

int apptap_link_executor(struct apptap_executor **out, const struct apptap_link *link, void *arg,
			 const struct apptap_remote_config *cfg, struct apptap_error *err)
{
	struct transport *t = calloc(1, sizeof(*t));

	if (!t)
		return apptap_error_set(err, ENOMEM, "reaching another machine");
	memcpy(&t->link, link, MIN(link->size, sizeof(t->link)));
	t->arg = arg;
	t->ops = (struct apptap_link_ops){
		.size = sizeof(t->ops),
		.name = t->link.name,
		.run = link_run,
		.push = link_push,
		.pull = link_pull,
		.is_root = link_is_root,
		.platform = link_platform,
		.stream = t->link.stream ? link_stream : NULL,
		.start = t->link.start ? link_start : NULL,
		.free = link_free,
	};
	return apptap_executor_remote_new(out, &t->ops, t, cfg, err);
}
