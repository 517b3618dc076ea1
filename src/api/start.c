/* start.c - the caller's options, checked and turned into what host and agent speak */
#include "api/start.h"

#include <errno.h>
#include <stdio.h>

/* Tells whether the caller's library is a newer one, and knows options that this one does not. */
static int copy_options(struct apptap_options *out, const struct apptap_options *in,
			struct apptap_error *err)
{
	const uint8_t *bytes = (const uint8_t *)in;

	memset(out, 0, sizeof(*out));
	if (in->size < offsetof(struct apptap_options, target) + sizeof(in->target))
		return apptap_error_say(err, EINVAL,
					"options.size is not sizeof(struct apptap_options)");
	for (size_t i = sizeof(*out); i < in->size; i++)
		if (bytes[i])
			return apptap_error_say(err, EINVAL,
						"an option is set that libapptap " APPTAP_VERSION
						" does not know");
	memcpy(out, in, MIN(in->size, sizeof(*out)));
	return 0;
}

static int copy_text(char *out, size_t size, const char *text, const char *what,
		     struct apptap_error *err)
{
	if (!text)
		return 0;
	if (!text[0])
		return apptap_error_say(err, EINVAL, "%s is empty", what);
	if (strlen(text) >= size)
		return apptap_error_say(err, EINVAL, "%s is longer than %zu bytes", what, size - 1);
	memcpy(out, text, strlen(text) + 1);
	return 0;
}

static int take_target(struct apptap_start *s, const struct apptap_options *o,
		       struct apptap_error *err)
{
	int ways = !!o->target + !!o->user + !!o->uid_count + !!o->pid + !!o->whole_device;
	int r;

	if (ways == 0)
		return apptap_error_say(err, EINVAL,
					"nothing is captured when it is not said whose traffic");
	if (ways > 1)
		return apptap_error_say(err, EINVAL, "the target is named in more than one way");
	if (o->pid < 0)
		return apptap_error_say(err, EINVAL, "%d is no PID", (int)o->pid);
	if (o->uid_count > APPTAP_WIRE_UIDS_MAX || (o->uid_count && !o->uids))
		return apptap_error_say(err, EINVAL, "uids has no number from 1 to %u of UIDs",
					APPTAP_WIRE_UIDS_MAX);
	for (size_t i = 0; i < o->uid_count; i++) {
		if (o->uids[i] == APPTAP_UID_NONE)
			return apptap_error_say(err, EINVAL, "%u is no user's ID", o->uids[i]);
		s->uids[s->uid_count++] = o->uids[i];
	}
	if (o->pid)
		snprintf(s->name, sizeof(s->name), "%d", (int)o->pid);
	s->whole_device = o->whole_device;
	r = copy_text(s->name, sizeof(s->name), o->target, "target", err);
	return r < 0 ? r : copy_text(s->user, sizeof(s->user), o->user, "user", err);
}

static int take_interfaces(struct apptap_start *s, const struct apptap_options *o,
			   struct apptap_error *err)
{
	if (o->interface_count > APPTAP_WIRE_INTERFACES_MAX ||
	    (o->interface_count && !o->interfaces))
		return apptap_error_say(err, EINVAL,
					"interfaces has no number from 1 to %u of names",
					APPTAP_WIRE_INTERFACES_MAX);
	for (size_t i = 0; i < o->interface_count; i++) {
		int r = o->interfaces[i] ? copy_text(s->interfaces[i], sizeof(s->interfaces[i]),
						     o->interfaces[i], "an interface's name", err)
					 : apptap_error_say(err, EINVAL, "an interface is NULL");

		if (r < 0)
			return r;
		s->interface_count++;
	}
	return 0;
}

static const char *format_of(const struct apptap_options *o)
{
	const char *dot = o->output ? strrchr(o->output, '.') : NULL;

	if (o->format)
		return o->format;
	return dot && strcmp(dot, ".pcapng") == 0 ? APPTAP_FORMAT_PCAPNG : APPTAP_FORMAT_PCAP;
}

static int take_limits(struct apptap_start *s, const struct apptap_options *o,
		       struct apptap_error *err)
{
	if (o->snaplen > APPTAP_SNAPLEN_MAX)
		return apptap_error_say(err, EINVAL, "snaplen is above %u", APPTAP_SNAPLEN_MAX);
	if (o->buffer_bytes > APPTAP_RING_BYTES_MAX || (o->buffer_bytes && o->buffer_bytes < 65536))
		return apptap_error_say(err, EINVAL, "buffer_bytes is not from 65536 to %llu",
					APPTAP_RING_BYTES_MAX);
	if (o->nflog_group > UINT16_MAX)
		return apptap_error_say(err, EINVAL, "nflog_group is above 65535");
	if (o->duration_ms > 1ull << 40 || o->count > INT64_MAX)
		return apptap_error_say(err, EINVAL, "duration_ms or count is out of range");
	s->snaplen_bytes = o->snaplen ? o->snaplen : APPTAP_SNAPLEN_MAX;
	s->ring_bytes = o->buffer_bytes;
	s->nflog_group = o->nflog_group;
	s->duration_ms = o->duration_ms;
	s->count = o->count;
	return 0;
}

static int take_words(struct apptap_start *s, const struct apptap_options *o,
		      struct apptap_error *err)
{
	int r = copy_text(s->breadth, sizeof(s->breadth), o->breadth, "breadth", err);

	if (r >= 0)
		r = copy_text(s->tier, sizeof(s->tier), o->tier, "tier", err);
	if (r >= 0)
		r = copy_text(s->format, sizeof(s->format), format_of(o), "format", err);
	return r;
}

static int take_outputs(struct apptap_start *s, const struct apptap_options *o,
			struct apptap_error *err)
{
	if (o->output && o->output_fd)
		return apptap_error_say(err, EINVAL, "output and output_fd are both given");
	if (o->output_fd < 0)
		return apptap_error_say(err, EINVAL, "%d is no descriptor", (int)o->output_fd);
	if (o->packet && o->read_packets)
		return apptap_error_say(err, EINVAL, "packet and read_packets are both given");
	if (!o->output && !o->output_fd && !o->packet && !o->read_packets && !o->event)
		return apptap_error_say(err, EINVAL, "it is not said where the capture goes");
	s->live_packets = o->packet || o->read_packets;
	s->live_connections = o->event && o->events_of_connections;
	return 0;
}

static int keep(char **out, const char *text, struct apptap_error *err)
{
	if (!text)
		return 0;
	*out = strdup(text);
	return *out ? 0 : apptap_error_set(err, ENOMEM, "copying the options");
}

static int take_where(struct apptap_plan *p, struct apptap_error *err)
{
	if (p->options.sudo != APPTAP_SUDO_AUTO && p->options.sudo != APPTAP_SUDO_NEVER)
		return apptap_error_say(err, EINVAL, "sudo is no enum apptap_sudo");
	return keep(&p->agent, p->options.agent, err);
}

int apptap_plan_make(struct apptap_plan *out, const struct apptap_options *options,
		     struct apptap_error *err)
{
	static int (*const steps[])(struct apptap_start *, const struct apptap_options *,
				    struct apptap_error *) = {
		take_target, take_interfaces, take_limits, take_words, take_outputs,
	};
	int r;

	memset(out, 0, sizeof(*out));
	r = copy_options(&out->options, options, err);
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(steps); i++)
		r = steps[i](&out->start, &out->options, err);
	if (r >= 0)
		r = take_where(out, err);
	if (r >= 0)
		r = keep(&out->output, out->options.output, err);
	if (r < 0)
		apptap_plan_free(out);
	return r;
}

int apptap_plan_where(struct apptap_plan *out, const struct apptap_options *options,
		      struct apptap_error *err)
{
	int r;

	memset(out, 0, sizeof(*out));
	r = options ? copy_options(&out->options, options, err) : 0;
	return r < 0 ? r : take_where(out, err);
}

void apptap_plan_free(struct apptap_plan *p)
{
	free(p->output);
	free(p->agent);
	p->output = NULL;
	p->agent = NULL;
}

int apptap_plan_executor(const struct apptap_plan *p, struct apptap_executor **out,
			 struct apptap_error *err)
{
	const char *agent = p->agent;

	if (!agent)
		agent = secure_getenv("APPTAP_AGENT");
	return apptap_executor_local_new(out, agent && agent[0] ? agent : APPTAP_AGENT_PATH,
					 p->options.sudo == APPTAP_SUDO_NEVER, err);
}
