/* cmd_probe.c - say which tiers work here, and why others do not */
#include "cmd.h"
#include "host/dialog.h"
#include "result.h"
#include "terminal.h"
#include "where.h"

static void take_event(void *arg, const struct apptap_wire_event *ev)
{
	struct apptap_event_probe *out = arg;

	if (ev->type == APPTAP_WIRE_EVENT_PROBE)
		*out = ev->probe;
	else if (ev->type == APPTAP_WIRE_EVENT_WARNING)
		apptap_terminal_say("%s", ev->warning);
}

static void print(const struct apptap_event_probe *p)
{
	printf("%s\n", p->system);
	for (uint32_t i = 0; i < p->tier_count; i++) {
		printf("%-10s %-4s %s\n", p->tiers[i].name, p->tiers[i].works ? "yes" : "no",
		       p->tiers[i].works ? p->tiers[i].gist : p->tiers[i].reason);
		if (!p->tiers[i].works && p->tiers[i].hint[0])
			printf("%-15s try: %s\n", "", p->tiers[i].hint);
		if (p->tiers[i].features[0])
			printf("%-15s %s\n", "", p->tiers[i].features);
	}
	for (uint32_t i = 0; i < p->tier_count; i++)
		if (p->tiers[i].chosen)
			printf("--tier auto takes %s here\n", p->tiers[i].name);
}

int apptap_cmd_probe(struct apptap_options *o, struct apptap_error *err)
{
	static struct apptap_event_probe found;
	struct apptap_dialog_handler handler = { .arg = &found,
						 .event = take_event,
						 .wake_fd = -1 };
	struct apptap_dialog *session = NULL;
	bool works = false;
	struct apptap_executor *executor = NULL;
	int r = apptap_where_open(&executor, o, err);

	if (r >= 0)
		r = apptap_dialog_open(&session, executor, &handler, err);
	if (r >= 0)
		r = apptap_dialog_ask(session, APPTAP_COMMAND_PROBE, err);
	apptap_dialog_close(session);
	apptap_executor_free(executor);
	if (r < 0)
		return APPTAP_EXIT_FAILED;
	if (o->json)
		apptap_jsonout_probe(&found, stdout);
	else
		print(&found);
	for (uint32_t i = 0; i < found.tier_count; i++)
		works |= found.tiers[i].works;
	return works ? APPTAP_EXIT_DONE : APPTAP_EXIT_NO_TIER;
}
