/* quote.c - lists of arguments as lines for a POSIX shell: data stays data */
#include "host/quote.h"

#include <stdio.h>

/* What no shell gives a meaning to, wherever it stands; all else goes into quotes. */
static bool is_plain(const char *word)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789_-./:,@+";

	return word[0] && word[strspn(word, plain)] == '\0';
}

static void quote_word(FILE *to, const char *word)
{
	if (is_plain(word)) {
		fputs(word, to);
		return;
	}
	fputc('\'', to);
	for (; *word; word++)
		if (*word == '\'')
			fputs("'\\''", to);
		else
			fputc(*word, to);
	fputc('\'', to);
}

char *apptap_quote(const char *const *argv)
{
	char *line = NULL;
	size_t len;
	FILE *to = open_memstream(&line, &len);

	if (!to)
		return NULL;
	for (size_t i = 0; argv[i]; i++) {
		if (i)
			fputc(' ', to);
		quote_word(to, argv[i]);
	}
	if (fclose(to) == EOF) {
		free(line);
		return NULL;
	}
	return line;
}
