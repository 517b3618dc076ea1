/* test_agent_log.c - an agent's stderr: whole lines, made harmless, and never all that is heard */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "host/agent_log.h"

#define MAX_BYTES ((size_t)16 << 10)

static void count(void *arg, const char *text)
{
	assert_true(text[0]);
	assert_null(strpbrk(text, "\x1b\n\r"));
	(*(int *)arg)++;
}

static int file_of(const char *text, size_t times)
{
	int fd = memfd_create("log", MFD_CLOEXEC);

	assert_true(fd >= 0);
	for (size_t i = 0; i < times; i++)
		assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static void who_chatters_is_read_in_parts(void **state)
{
	static const char line[] = "chatter chatter chatter chatter\n";
	struct apptap_agent_log log = { 0 };
	int fd = file_of(line, 32768), lines = 0;

	(void)state;
	assert_true(apptap_agent_log_read(&log, fd, MAX_BYTES, count, &lines));
	assert_int_equal(lseek(fd, 0, SEEK_CUR), MAX_BYTES);
	assert_int_equal(lines, MAX_BYTES / strlen(line));
	close(fd);
}

static void lines_are_whole_and_harmless(void **state)
{
	struct apptap_agent_log log = { 0 };
	int fd = file_of("\x1b[2Jone\r\n\n\ntwo\nthe last, without an end", 1), lines = 0;

	(void)state;
	assert_false(apptap_agent_log_read(&log, fd, MAX_BYTES, count, &lines));
	assert_int_equal(lines, 3);
	assert_string_equal(log.said, "the last, without an end");
	close(fd);
}

static void a_line_without_an_end_is_cut(void **state)
{
	struct apptap_agent_log log = { 0 };
	int fd = file_of("xxxxxxxx", 512), lines = 0;

	(void)state;
	assert_false(apptap_agent_log_read(&log, fd, MAX_BYTES, count, &lines));
	assert_int_equal(lines, 512 * 8 / sizeof(log.line));
	assert_int_equal(strlen(log.said), sizeof(log.line) - 1);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_chatters_is_read_in_parts),
		cmocka_unit_test(lines_are_whole_and_harmless),
		cmocka_unit_test(a_line_without_an_end_is_cut),
	};

	return cmocka_run_group_tests_name("agent_log", tests, NULL, NULL);
}
