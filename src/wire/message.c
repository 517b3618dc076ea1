/* message.c - what host and agent say to each other: commands and events, as structs and as JSON */
#include "wire/message.h"

#include <errno.h>
#include <jansson.h>

#include "wire/text.h"

/*
 * How it works. A message is a JSON object with "type" and the fields of its struct; what is flat
 * in the struct is described by a table of fields, which both directions walk. Lists have a
 * function each.
 */
enum kind { TEXT, NUMBER, FLAG, CHOICE };

struct field {
	const char *key;
	enum kind kind;
	size_t offset;
	size_t size; /* of the member: text with its NUL, or 4 or 8 bytes of number */
	uint64_t max; /* of a number */
	bool required;
	const char *const *names; /* of a choice, ended by NULL; the member is an enum */
};

#define MEMBER(type, member) offsetof(type, member), sizeof(((type *)0)->member)
#define TEXT_FIELD(type, member)                                    \
	{                                                           \
#member, TEXT, MEMBER(type, member), 0, false, NULL \
	}
#define NUMBER_FIELD(type, member, max)                                \
	{                                                              \
#member, NUMBER, MEMBER(type, member), max, true, NULL \
	}
#define OPTION_FIELD(type, member, max)                                 \
	{                                                               \
#member, NUMBER, MEMBER(type, member), max, false, NULL \
	}
#define FLAG_FIELD(type, member)                                    \
	{                                                           \
#member, FLAG, MEMBER(type, member), 0, false, NULL \
	}

static const char *const command_names[] = { "start", "stop",  "probe", "cleanup",
					     "list",  "clock", "beat",	NULL };
_Static_assert(ARRAY_SIZE(command_names) == APPTAP_COMMAND_BEAT + 2, "each command has its name");
static const char *const event_names[] = { "ready", "status",  "warning", "error",
					   "probe", "cleanup", "done",	  "clock",
					   "scope", "apps",    NULL };
_Static_assert(ARRAY_SIZE(event_names) == APPTAP_WIRE_EVENT_APPS + 2, "each event has its name");
static const char *const failure_names[] = { "none",	"other",       "usage",
					     "no-tier", "reader-gone", NULL };

static const struct field start_fields[] = {
	TEXT_FIELD(struct apptap_start, name),
	TEXT_FIELD(struct apptap_start, user),
	TEXT_FIELD(struct apptap_start, android_user),
	FLAG_FIELD(struct apptap_start, whole_device),
	TEXT_FIELD(struct apptap_start, cgroup),
	TEXT_FIELD(struct apptap_start, unit),
	TEXT_FIELD(struct apptap_start, container),
	OPTION_FIELD(struct apptap_start, command_pid, INT32_MAX),
	FLAG_FIELD(struct apptap_start, tree),
	TEXT_FIELD(struct apptap_start, scope),
	TEXT_FIELD(struct apptap_start, netns),
	FLAG_FIELD(struct apptap_start, plain),
	TEXT_FIELD(struct apptap_start, breadth),
	TEXT_FIELD(struct apptap_start, tier),
	TEXT_FIELD(struct apptap_start, format),
	FLAG_FIELD(struct apptap_start, stream),
	FLAG_FIELD(struct apptap_start, empty),
	FLAG_FIELD(struct apptap_start, no_file),
	FLAG_FIELD(struct apptap_start, live_packets),
	FLAG_FIELD(struct apptap_start, live_connections),
	NUMBER_FIELD(struct apptap_start, snaplen_bytes, APPTAP_SNAPLEN_MAX),
	OPTION_FIELD(struct apptap_start, ring_bytes, APPTAP_RING_BYTES_MAX),
	OPTION_FIELD(struct apptap_start, nflog_group, UINT16_MAX),
	OPTION_FIELD(struct apptap_start, duration_ms, 1ull << 40),
	OPTION_FIELD(struct apptap_start, count, INT64_MAX),
	OPTION_FIELD(struct apptap_start, silence_ms, INT32_MAX),
	{ 0 },
};

static const struct field ready_fields[] = {
	TEXT_FIELD(struct apptap_event_ready, tier),
	NUMBER_FIELD(struct apptap_event_ready, linktype, UINT16_MAX),
	FLAG_FIELD(struct apptap_event_ready, whole_device),
	TEXT_FIELD(struct apptap_event_ready, netns),
	{ 0 },
};

static const struct field uid_fields[] = {
	NUMBER_FIELD(struct apptap_wire_uid, uid, UINT32_MAX - 1),
	TEXT_FIELD(struct apptap_wire_uid, why),
	{ 0 },
};

static const struct field cgroup_fields[] = {
	TEXT_FIELD(struct apptap_wire_cgroup, path),
	TEXT_FIELD(struct apptap_wire_cgroup, why),
	{ 0 },
};

static const struct field process_fields[] = {
	NUMBER_FIELD(struct apptap_wire_process, pid, INT32_MAX),
	FLAG_FIELD(struct apptap_wire_process, tree),
	TEXT_FIELD(struct apptap_wire_process, why),
	{ 0 },
};

#define COUNTER_FIELD(member) NUMBER_FIELD(struct apptap_wire_counters, member, INT64_MAX)

static const struct field counter_fields[] = {
	COUNTER_FIELD(elapsed_ms), COUNTER_FIELD(packets),
	COUNTER_FIELD(bytes),	   COUNTER_FIELD(connections),
	COUNTER_FIELD(seen),	   COUNTER_FIELD(kept),
	COUNTER_FIELD(kept_bytes), COUNTER_FIELD(foreign),
	COUNTER_FIELD(not_ip),	   COUNTER_FIELD(unattributed),
	COUNTER_FIELD(held),	   COUNTER_FIELD(dropped_kernel),
	COUNTER_FIELD(lookups),	   { 0 },
};

static const struct field error_fields[] = {
	{ "failure", CHOICE, MEMBER(struct apptap_wire_error, failure), 0, true, failure_names },
	OPTION_FIELD(struct apptap_wire_error, code, 4095),
	TEXT_FIELD(struct apptap_wire_error, msg),
	TEXT_FIELD(struct apptap_wire_error, hint),
	{ 0 },
};

static const struct field warning_fields[] = {
	{ "text", TEXT, 0, sizeof(((struct apptap_wire_event *)0)->warning), 0, true, NULL },
	{ 0 },
};

static const struct field probed_fields[] = {
	{ "name", TEXT, MEMBER(struct apptap_wire_probed, name), 0, true, NULL },
	TEXT_FIELD(struct apptap_wire_probed, gist),
	FLAG_FIELD(struct apptap_wire_probed, works),
	TEXT_FIELD(struct apptap_wire_probed, reason),
	TEXT_FIELD(struct apptap_wire_probed, hint),
	TEXT_FIELD(struct apptap_wire_probed, features),
	FLAG_FIELD(struct apptap_wire_probed, chosen),
	{ 0 },
};

static const struct field cleanup_fields[] = {
	NUMBER_FIELD(struct apptap_event_cleanup, processes_checked, INT64_MAX),
	NUMBER_FIELD(struct apptap_event_cleanup, agents_ended, INT64_MAX),
	NUMBER_FIELD(struct apptap_event_cleanup, agents_live, INT64_MAX),
	OPTION_FIELD(struct apptap_event_cleanup, cgroups_removed, INT64_MAX),
	OPTION_FIELD(struct apptap_event_cleanup, chains_removed, INT64_MAX),
	OPTION_FIELD(struct apptap_event_cleanup, files_removed, INT64_MAX),
	OPTION_FIELD(struct apptap_event_cleanup, files_in_use, INT64_MAX),
	OPTION_FIELD(struct apptap_event_cleanup, filters_removed, INT64_MAX),
	OPTION_FIELD(struct apptap_event_cleanup, captures_left, INT64_MAX),
	{ 0 },
};

static const struct field left_fields[] = {
	TEXT_FIELD(struct apptap_wire_left, path),
	NUMBER_FIELD(struct apptap_wire_left, bytes, INT64_MAX),
	NUMBER_FIELD(struct apptap_wire_left, age_s, INT64_MAX),
	{ 0 },
};

static const struct field app_fields[] = {
	TEXT_FIELD(struct apptap_wire_app, name),
	NUMBER_FIELD(struct apptap_wire_app, uid, UINT32_MAX - 1),
	{ 0 },
};

static const struct field apps_fields[] = {
	FLAG_FIELD(struct apptap_event_apps, last),
	{ 0 },
};

static const struct field clock_fields[] = {
	NUMBER_FIELD(struct apptap_event_clock, realtime_ns, INT64_MAX),
	{ 0 },
};

static const struct field probe_fields[] = {
	TEXT_FIELD(struct apptap_event_probe, system),
	{ 0 },
};

static const struct field done_fields[] = {
	TEXT_FIELD(struct apptap_event_done, reason),
	NUMBER_FIELD(struct apptap_event_done, connections_listed, INT64_MAX),
	NUMBER_FIELD(struct apptap_event_done, stream_bytes, INT64_MAX),
	{ 0 },
};

static uint64_t number_load(const void *member, size_t size)
{
	uint32_t small;
	uint64_t large;

	if (size == sizeof(small)) {
		memcpy(&small, member, sizeof(small));
		return small;
	}
	memcpy(&large, member, sizeof(large));
	return large;
}

static void number_store(void *member, size_t size, uint64_t value)
{
	uint32_t small = (uint32_t)value;

	memcpy(member, size == sizeof(small) ? (const void *)&small : &value, size);
}

static json_t *text_to_json(const char *text, size_t size)
{
	auto_free char *clean = malloc(size + 1);

	if (!clean)
		return NULL;
	apptap_text_clean(clean, size, text);
	return json_string(clean);
}

/* The struct at @base as a new JSON object; NULL: no memory, or a value out of its range. */
static json_t *fields_to_json(const struct field *fields, const void *base)
{
	json_t *object = json_object();

	for (const struct field *f = fields; f->key && object; f++) {
		const char *member = (const char *)base + f->offset;
		json_t *value = NULL;
		uint64_t number;

		if (f->kind == TEXT) {
			value = text_to_json(member, f->size);
		} else if (f->kind == FLAG) {
			value = json_boolean(*(const bool *)(const void *)member);
		} else {
			number = number_load(member, f->size);
			if (f->kind == CHOICE)
				value = json_string(f->names[number]);
			else if (number <= f->max)
				value = json_integer((json_int_t)number);
		}
		if (json_object_set_new(object, f->key, value) < 0) {
			json_decref(object);
			object = NULL;
		}
	}
	return object;
}

static int choice_of(const char *const *names, const json_t *value)
{
	const char *text = json_string_value(value);

	for (int i = 0; text && names[i]; i++)
		if (strcmp(names[i], text) == 0)
			return i;
	return -1;
}

/* false: of the wrong type, out of range, or too long. */
static bool field_from_json(const struct field *f, const json_t *value, char *member)
{
	json_int_t number = json_integer_value(value);
	int choice;

	switch (f->kind) {
	case TEXT:
		if (!json_is_string(value) || json_string_length(value) >= f->size)
			return false;
		apptap_text_clean(member, f->size, json_string_value(value));
		return true;
	case FLAG:
		if (!json_is_boolean(value))
			return false;
		*(bool *)(void *)member = json_is_true(value);
		return true;
	case CHOICE:
		choice = choice_of(f->names, value);
		if (choice < 0)
			return false;
		number_store(member, f->size, (uint64_t)choice);
		return true;
	case NUMBER:
		break;
	}
	if (!json_is_integer(value) || number < 0 || (uint64_t)number > f->max)
		return false;
	number_store(member, f->size, (uint64_t)number);
	return true;
}

static int fields_from_json(const struct field *fields, const json_t *object, void *base,
			    struct apptap_error *err)
{
	if (!json_is_object(object))
		return apptap_error_say(err, EPROTO, "a message holds no object where one belongs");
	for (const struct field *f = fields; f->key; f++) {
		const json_t *value = json_object_get(object, f->key);

		if (!value && !f->required)
			continue; /* the struct was zeroed: absent */
		if (!value || !field_from_json(f, value, (char *)base + f->offset))
			return apptap_error_say(err, EPROTO, "a message has no valid \"%s\"",
						f->key);
	}
	return 0;
}

/* An array of @count structs of @size bytes at @base. */
static json_t *list_to_json(const struct field *fields, const void *base, size_t size,
			    uint32_t count)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < count && list; i++)
		if (json_array_append_new(
			    list, fields_to_json(fields, (const char *)base + i * size)) < 0) {
			json_decref(list);
			list = NULL;
		}
	return list;
}

static int list_from_json(const struct field *fields, const json_t *list, void *base, size_t size,
			  uint32_t max, uint32_t *count, struct apptap_error *err)
{
	if (!list)
		return 0;
	if (!json_is_array(list) || json_array_size(list) > max)
		return apptap_error_say(err, EPROTO,
					"a message has a list that is none, or too long");
	for (*count = 0; *count < json_array_size(list); ++*count) {
		int r = fields_from_json(fields, json_array_get(list, *count),
					 (char *)base + *count * size, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static json_t *start_to_json(const struct apptap_start *s)
{
	json_t *object = fields_to_json(start_fields, s);
	json_t *uids = json_array();
	json_t *interfaces = json_array();
	bool bad = !object || s->uid_count > APPTAP_WIRE_UIDS_MAX ||
		   s->interface_count > APPTAP_WIRE_INTERFACES_MAX;

	for (uint32_t i = 0; !bad && i < s->uid_count; i++)
		bad = json_array_append_new(uids, json_integer(s->uids[i])) < 0;
	for (uint32_t i = 0; !bad && i < s->interface_count; i++)
		bad = json_array_append_new(interfaces, text_to_json(s->interfaces[i], 16)) < 0;
	if (!bad)
		bad = json_object_set(object, "uids", uids) < 0 ||
		      json_object_set(object, "interfaces", interfaces) < 0;
	json_decref(uids);
	json_decref(interfaces);
	if (!bad)
		return object;
	json_decref(object);
	return NULL;
}

static int start_from_json(const json_t *object, struct apptap_start *s, struct apptap_error *err)
{
	static const struct field number = { "uids", NUMBER, 0, 4, UINT32_MAX - 1, true, NULL };
	static const struct field name = { "interfaces", TEXT, 0, 16, 0, true, NULL };
	const json_t *uids = json_object_get(object, "uids");
	const json_t *interfaces = json_object_get(object, "interfaces");
	int r = fields_from_json(start_fields, object, s, err);

	if (r < 0)
		return r;
	if (json_array_size(uids) > APPTAP_WIRE_UIDS_MAX ||
	    json_array_size(interfaces) > APPTAP_WIRE_INTERFACES_MAX)
		return apptap_error_say(err, EPROTO, "a start command names too many things");
	for (; s->uid_count < json_array_size(uids); s->uid_count++)
		if (!field_from_json(&number, json_array_get(uids, s->uid_count),
				     (char *)&s->uids[s->uid_count]))
			return apptap_error_say(err, EPROTO, "a start command has a bad UID");
	for (; s->interface_count < json_array_size(interfaces); s->interface_count++)
		if (!field_from_json(&name, json_array_get(interfaces, s->interface_count),
				     s->interfaces[s->interface_count]))
			return apptap_error_say(err, EPROTO, "a start command has a bad interface");
	return 0;
}

/* Takes @object (NULL: it could not be made), names its type and prints it. */
static int print(json_t *object, const char *type, char **out, struct apptap_error *err)
{
	*out = NULL;
	if (!object)
		return apptap_error_say(err, EINVAL, "a '%s' message cannot be put in words", type);
	if (json_object_set_new(object, "type", json_string(type)) == 0)
		*out = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	if (!*out)
		return apptap_error_set(err, ENOMEM, "encoding a '%s' message", type);
	return (int)strlen(*out);
}

int apptap_command_encode(const struct apptap_command *cmd, char **out, struct apptap_error *err)
{
	json_t *object =
		cmd->type == APPTAP_COMMAND_START ? start_to_json(&cmd->start) : json_object();

	return print(object, command_names[cmd->type], out, err);
}

/* Both lists and objects within an event: *object is kept, or dropped and NULL on failure. */
static void attach(json_t **object, const char *key, json_t *value)
{
	if (!*object) {
		json_decref(value);
	} else if (json_object_set_new(*object, key, value) < 0) {
		json_decref(*object);
		*object = NULL;
	}
}

static json_t *ready_to_json(const struct apptap_event_ready *ready)
{
	json_t *object = fields_to_json(ready_fields, ready);

	attach(&object, "uids",
	       list_to_json(uid_fields, ready->uids, sizeof(ready->uids[0]),
			    MIN(ready->uid_count, APPTAP_WIRE_UIDS_MAX)));
	attach(&object, "cgroups",
	       list_to_json(cgroup_fields, ready->cgroups, sizeof(ready->cgroups[0]),
			    MIN(ready->cgroup_count, APPTAP_WIRE_CGROUPS_MAX)));
	attach(&object, "processes",
	       list_to_json(process_fields, ready->processes, sizeof(ready->processes[0]),
			    MIN(ready->process_count, APPTAP_WIRE_PROCESSES_MAX)));
	return object;
}

int apptap_event_encode(const struct apptap_wire_event *ev, char **out, struct apptap_error *err)
{
	json_t *object = NULL;

	switch (ev->type) {
	case APPTAP_WIRE_EVENT_READY:
	case APPTAP_WIRE_EVENT_SCOPE:
		object = ready_to_json(&ev->ready);
		break;
	case APPTAP_WIRE_EVENT_STATUS:
		object = fields_to_json(counter_fields, &ev->status);
		break;
	case APPTAP_WIRE_EVENT_WARNING:
		object = fields_to_json(warning_fields, ev->warning);
		break;
	case APPTAP_WIRE_EVENT_ERROR:
		object = fields_to_json(error_fields, &ev->error);
		break;
	case APPTAP_WIRE_EVENT_PROBE:
		object = fields_to_json(probe_fields, &ev->probe);
		attach(&object, "tiers",
		       list_to_json(probed_fields, ev->probe.tiers, sizeof(ev->probe.tiers[0]),
				    MIN(ev->probe.tier_count, APPTAP_WIRE_TIERS_MAX)));
		break;
	case APPTAP_WIRE_EVENT_CLEANUP:
		object = fields_to_json(cleanup_fields, &ev->cleanup);
		attach(&object, "left",
		       list_to_json(left_fields, ev->cleanup.left, sizeof(ev->cleanup.left[0]),
				    MIN(ev->cleanup.left_count, APPTAP_WIRE_LEFT_MAX)));
		break;
	case APPTAP_WIRE_EVENT_DONE:
		object = fields_to_json(done_fields, &ev->done);
		attach(&object, "counters", fields_to_json(counter_fields, &ev->done.counters));
		attach(&object, "error", fields_to_json(error_fields, &ev->done.error));
		break;
	case APPTAP_WIRE_EVENT_CLOCK:
		object = fields_to_json(clock_fields, &ev->clock);
		break;
	case APPTAP_WIRE_EVENT_APPS:
		object = fields_to_json(apps_fields, &ev->apps);
		attach(&object, "apps",
		       list_to_json(app_fields, ev->apps.apps, sizeof(ev->apps.apps[0]),
				    MIN(ev->apps.app_count, APPTAP_WIRE_APPS_MAX)));
		break;
	}
	return print(object, event_names[ev->type], out, err);
}

/* The JSON object in @body, for the caller to drop, and its type's place in @names; or NULL. */
static json_t *parse(struct apptap_view body, const char *const *names, int *type,
		     struct apptap_error *err)
{
	json_t *object = json_loadb((const char *)body.p, body.left, JSON_REJECT_DUPLICATES, NULL);

	*type = choice_of(names, json_object_get(object, "type"));
	if (*type >= 0)
		return object;
	json_decref(object);
	apptap_error_say(err, EPROTO, "the other side sent what is no message");
	return NULL;
}

int apptap_command_decode(struct apptap_view body, struct apptap_command *out,
			  struct apptap_error *err)
{
	int type, r = 0;
	json_t *object = parse(body, command_names, &type, err);

	if (!object)
		return -EPROTO;
	memset(out, 0, sizeof(*out));
	out->type = (enum apptap_command_type)type;
	if (out->type == APPTAP_COMMAND_START)
		r = start_from_json(object, &out->start, err);
	json_decref(object);
	return r;
}

static int ready_from_json(const json_t *object, struct apptap_event_ready *ready,
			   struct apptap_error *err)
{
	int r = fields_from_json(ready_fields, object, ready, err);

	if (r == 0)
		r = list_from_json(uid_fields, json_object_get(object, "uids"), ready->uids,
				   sizeof(ready->uids[0]), APPTAP_WIRE_UIDS_MAX, &ready->uid_count,
				   err);
	if (r == 0)
		r = list_from_json(cgroup_fields, json_object_get(object, "cgroups"),
				   ready->cgroups, sizeof(ready->cgroups[0]),
				   APPTAP_WIRE_CGROUPS_MAX, &ready->cgroup_count, err);
	if (r == 0)
		r = list_from_json(process_fields, json_object_get(object, "processes"),
				   ready->processes, sizeof(ready->processes[0]),
				   APPTAP_WIRE_PROCESSES_MAX, &ready->process_count, err);
	return r;
}

static int event_from_json(const json_t *object, struct apptap_wire_event *ev,
			   struct apptap_error *err)
{
	int r;

	switch (ev->type) {
	case APPTAP_WIRE_EVENT_READY:
	case APPTAP_WIRE_EVENT_SCOPE:
		return ready_from_json(object, &ev->ready, err);
	case APPTAP_WIRE_EVENT_STATUS:
		return fields_from_json(counter_fields, object, &ev->status, err);
	case APPTAP_WIRE_EVENT_WARNING:
		return fields_from_json(warning_fields, object, ev->warning, err);
	case APPTAP_WIRE_EVENT_ERROR:
		return fields_from_json(error_fields, object, &ev->error, err);
	case APPTAP_WIRE_EVENT_PROBE:
		r = fields_from_json(probe_fields, object, &ev->probe, err);
		return r < 0 ? r
			     : list_from_json(probed_fields, json_object_get(object, "tiers"),
					      ev->probe.tiers, sizeof(ev->probe.tiers[0]),
					      APPTAP_WIRE_TIERS_MAX, &ev->probe.tier_count, err);
	case APPTAP_WIRE_EVENT_CLEANUP:
		r = fields_from_json(cleanup_fields, object, &ev->cleanup, err);
		return r < 0 ? r
			     : list_from_json(left_fields, json_object_get(object, "left"),
					      ev->cleanup.left, sizeof(ev->cleanup.left[0]),
					      APPTAP_WIRE_LEFT_MAX, &ev->cleanup.left_count, err);
	case APPTAP_WIRE_EVENT_CLOCK:
		return fields_from_json(clock_fields, object, &ev->clock, err);
	case APPTAP_WIRE_EVENT_APPS:
		r = fields_from_json(apps_fields, object, &ev->apps, err);
		return r < 0 ? r
			     : list_from_json(app_fields, json_object_get(object, "apps"),
					      ev->apps.apps, sizeof(ev->apps.apps[0]),
					      APPTAP_WIRE_APPS_MAX, &ev->apps.app_count, err);
	case APPTAP_WIRE_EVENT_DONE:
		break;
	}
	r = fields_from_json(done_fields, object, &ev->done, err);
	if (r >= 0)
		r = fields_from_json(error_fields, json_object_get(object, "error"),
				     &ev->done.error, err);
	return r < 0 ? r
		     : fields_from_json(counter_fields, json_object_get(object, "counters"),
					&ev->done.counters, err);
}

int apptap_event_decode(struct apptap_view body, struct apptap_wire_event *out,
			struct apptap_error *err)
{
	int type, r;
	json_t *object = parse(body, event_names, &type, err);

	if (!object)
		return -EPROTO;
	memset(out, 0, sizeof(*out));
	out->type = (enum apptap_wire_event_type)type;
	r = event_from_json(object, out, err);
	json_decref(object);
	return r;
}
