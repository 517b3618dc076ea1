/* abi.c - what a program that was built yesterday takes for granted: sizes and places of members */
#include <stdio.h>

#include <apptap/apptap.h>

#define SIZE(type) printf("struct %s %zu\n", #type, sizeof(struct type))
#define AT(type, member) printf("  %s %zu\n", #member, offsetof(struct type, member))

int main(void)
{
	SIZE(apptap_error);
	AT(apptap_error, msg);
	AT(apptap_error, hint);
	SIZE(apptap_packet);
	AT(apptap_packet, ts_ns);
	AT(apptap_packet, uid);
	AT(apptap_packet, direction);
	AT(apptap_packet, ifindex);
	AT(apptap_packet, interface);
	AT(apptap_packet, reserved);
	SIZE(apptap_connection);
	AT(apptap_connection, uid);
	AT(apptap_connection, local);
	AT(apptap_connection, first_ns);
	AT(apptap_connection, local_text);
	AT(apptap_connection, pid);
	AT(apptap_connection, community_id);
	AT(apptap_connection, command);
	AT(apptap_connection, reserved);
	SIZE(apptap_uid);
	SIZE(apptap_cgroup);
	SIZE(apptap_process);
	SIZE(apptap_tier_status);
	SIZE(apptap_counters);
	AT(apptap_counters, dropped_kernel);
	SIZE(apptap_event);
	AT(apptap_event, text);
	AT(apptap_event, counters);
	AT(apptap_event, connection);
	SIZE(apptap_link);
	AT(apptap_link, is_root);
	AT(apptap_link, stream);
	AT(apptap_link, start);
	SIZE(apptap_options);
	AT(apptap_options, target);
	AT(apptap_options, pid);
	AT(apptap_options, breadth);
	AT(apptap_options, device);
	AT(apptap_options, link_arg);
	AT(apptap_options, sudo);
	AT(apptap_options, snaplen);
	AT(apptap_options, output);
	AT(apptap_options, output_fd);
	AT(apptap_options, packet);
	AT(apptap_options, callback_arg);
	AT(apptap_options, count);
	SIZE(apptap_result);
	AT(apptap_result, linktype);
	AT(apptap_result, uids);
	AT(apptap_result, connections);
	AT(apptap_result, warnings);
	AT(apptap_result, counters);
	AT(apptap_result, cgroups);
	AT(apptap_result, clock_ahead_ns);
	SIZE(apptap_app);
	SIZE(apptap_app_list);
	SIZE(apptap_tier_list);
	AT(apptap_tier_list, system);
	SIZE(apptap_cleaned);
	AT(apptap_cleaned, files_removed);
	AT(apptap_cleaned, cgroups_removed);
	AT(apptap_cleaned, filters_removed);
	AT(apptap_cleaned, files_in_use);
	AT(apptap_cleaned, captures_left);
	return 0;
}
