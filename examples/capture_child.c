/*
 * capture_child.c - run a program, and capture what it and its children send and receive
 *
 *	cc capture_child.c $(pkg-config --cflags --libs apptap) -o capture_child
 *	./capture_child curl.pcapng curl -s https://example.org
 *
 * The program starts when the capture is ready, and the capture ends when the program does.
 */
#include <stdio.h>
#include <string.h>

#include <apptap/apptap.h>

int main(int argc, char **argv)
{
	struct apptap_options options;
	struct apptap_result *result;
	struct apptap_error err;
	int status;

	if (argc < 3) {
		fprintf(stderr, "usage: capture_child FILE PROGRAM [ARGUMENT...]\n");
		return 2;
	}
	memset(&options, 0, sizeof(options));
	options.size = sizeof(options);
	options.output = argv[1];
	options.command = (const char *const *)(argv + 2);
	if (apptap_capture(&options, &result, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		if (err.hint[0])
			fprintf(stderr, "try: %s\n", err.hint);
		apptap_result_free(result);
		return 1;
	}
	for (size_t i = 0; i < result->connection_count; i++)
		fprintf(stderr, "%s %u -> %s %u: %llu bytes out, %llu in\n",
			result->connections[i].local_text, result->connections[i].local_port,
			result->connections[i].remote_text, result->connections[i].remote_port,
			(unsigned long long)result->connections[i].bytes_out,
			(unsigned long long)result->connections[i].bytes_in);
	status = result->command_status;
	apptap_result_free(result);
	return status;
}
