/* agent_log.c - what an agent writes to its stderr, line by line */
#include "host/agent_log.h"

#include <errno.h>
#include <unistd.h>

#include "wire/text.h"

static void end_line(struct apptap_agent_log *l, void (*line)(void *arg, const char *text),
		     void *arg)
{
	l->line[l->line_len] = '\0';
	if (l->line_len) {
		apptap_text_clean(l->said, sizeof(l->said), l->line);
		if (line)
			line(arg, l->said);
	}
	l->line_len = 0;
}

bool apptap_agent_log_read(struct apptap_agent_log *l, int fd, size_t max,
			   void (*line)(void *arg, const char *text), void *arg)
{
	char buf[1024];
	ssize_t n = 1;

	for (size_t done = 0; done < max && (n = read(fd, buf, sizeof(buf))) > 0; done += (size_t)n)
		for (ssize_t i = 0; i < n; i++) {
			if (buf[i] != '\n' && buf[i] != '\r' && l->line_len < sizeof(l->line) - 1)
				l->line[l->line_len++] = buf[i];
			else
				end_line(l, line, arg);
		}
	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return true;
	end_line(l, line, arg);
	return false;
}
