/* start.c - the caller's options, checked and turned into what host and agent speak */
#include "api/link.h"
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
	int ways = !!o->target + !!o->user + !!o->uid_count + !!o->cgroup + !!o->unit +
		   !!o->container + !!o->command + !!o->pid + !!o->whole_device;

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
	return 0;
}

/* How the target is meant. */
static int take_scope(struct apptap_start *s, const struct apptap_options *o,
		      struct apptap_error *err)
{
	if ((o->tree || o->process_only) && !o->pid)
		return apptap_error_say(err, EINVAL, "tree and process_only are for a pid");
	if (o->tree && o->process_only)
		return apptap_error_say(err, EINVAL, "tree and process_only are both given");
	if (o->android_user && !o->target)
		return apptap_error_say(err, EINVAL, "android_user is for a package");
	s->tree = o->tree;
	if (o->process_only)
		strcpy(s->scope, "process");
	return 0;
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

/* What goes as it is. */
static int take_words(struct apptap_start *s, const struct apptap_options *o,
		      struct apptap_error *err)
{
	const struct {
		char *to;
		size_t size;
		const char *from, *what;
	} words[] = {
		{ s->name, sizeof(s->name), o->target, "target" },
		{ s->user, sizeof(s->user), o->user, "user" },
		{ s->cgroup, sizeof(s->cgroup), o->cgroup, "cgroup" },
		{ s->unit, sizeof(s->unit), o->unit, "unit" },
		{ s->container, sizeof(s->container), o->container, "container" },
		{ s->android_user, sizeof(s->android_user), o->android_user, "android_user" },
		{ s->netns, sizeof(s->netns), o->netns, "netns" },
		{ s->breadth, sizeof(s->breadth), o->breadth, "breadth" },
		{ s->tier, sizeof(s->tier), o->tier, "tier" },
		{ s->format, sizeof(s->format), format_of(o), "format" },
	};
	int r = 0;

	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(words); i++)
		r = copy_text(words[i].to, words[i].size, words[i].from, words[i].what, err);
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
	s->plain = o->no_comments;
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

/* As one block: the list, and behind it the texts. */
static int keep_command(struct apptap_plan *p, struct apptap_error *err)
{
	const char *const *argv = p->options.command;
	size_t count = 0, bytes = 0;
	char *text;

	if (!argv)
		return 0;
	if (!argv[0] || !argv[0][0])
		return apptap_error_say(err, EINVAL, "command names no program");
	if (p->options.device || p->options.ssh || p->options.link)
		return apptap_error_say(err, EINVAL, "command is for this machine alone");
	for (; argv[count]; count++)
		bytes += strlen(argv[count]) + 1;
	p->command = calloc(1, (count + 1) * sizeof(*p->command) + bytes);
	if (!p->command)
		return apptap_error_set(err, ENOMEM, "copying the options");
	text = (char *)(p->command + count + 1);
	for (size_t i = 0; i < count; i++) {
		p->command[i] = text;
		text = stpcpy(text, argv[i]) + 1;
	}
	return 0;
}

static int take_where(struct apptap_plan *p, struct apptap_error *err)
{
	const struct apptap_options *o = &p->options;
	int r;

	if (o->sudo != APPTAP_SUDO_AUTO && o->sudo != APPTAP_SUDO_NEVER)
		return apptap_error_say(err, EINVAL, "sudo is no enum apptap_sudo");
	if (!!o->device + !!o->ssh + !!o->link > 1)
		return apptap_error_say(err, EINVAL,
					"the machine is named in more than one way: device, ssh, "
					"link");
	r = o->link ? apptap_link_check(o->link, err) : 0;
	if (r >= 0)
		r = keep(&p->agent, o->agent, err);
	if (r >= 0)
		r = keep(&p->agents, o->agents, err);
	if (r >= 0)
		r = keep(&p->device, o->device, err);
	return r < 0 ? r : keep(&p->ssh, o->ssh, err);
}

int apptap_plan_make(struct apptap_plan *out, const struct apptap_options *options,
		     struct apptap_error *err)
{
	static int (*const steps[])(struct apptap_start *, const struct apptap_options *,
				    struct apptap_error *) = {
		take_target, take_scope, take_interfaces, take_limits, take_words, take_outputs,
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
	if (r >= 0)
		r = keep_command(out, err);
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
	if (r >= 0)
		r = take_where(out, err);
	if (r < 0)
		apptap_plan_free(out);
	return r;
}

void apptap_plan_free(struct apptap_plan *p)
{
	char **const owned[] = { &p->output, &p->agent, &p->agents, &p->device, &p->ssh };

	for (size_t i = 0; i < ARRAY_SIZE(owned); i++) {
		free(*owned[i]);
		*owned[i] = NULL;
	}
	free(p->command);
	p->command = NULL;
}

int apptap_plan_executor(const struct apptap_plan *p, struct apptap_executor **out,
			 struct apptap_error *err)
{
	const struct apptap_remote_config cfg = {
		.keep_agent = p->options.keep_agent,
		.agents_dir = p->agents,
	};
	const char *agent = p->agent;

	if (p->device)
		return apptap_executor_adb_new(out, p->device[0] ? p->device : NULL, &cfg, err);
	if (p->ssh)
		return apptap_executor_ssh_new(out, p->ssh, &cfg, err);
	if (p->options.link)
		return apptap_link_executor(out, p->options.link, p->options.link_arg, &cfg, err);
	if (!agent)
		agent = secure_getenv("APPTAP_AGENT");
	return apptap_executor_local_new(out, agent && agent[0] ? agent : APPTAP_AGENT_PATH,
					 p->options.sudo == APPTAP_SUDO_NEVER, err);
}
