/* elevate.c - how commands on a target get root's rights: found once, then put before each */
#include "host/elevate.h"

#include <errno.h>
#include <stdio.h>

#include "host/quote.h"

/* What was learnt from the ways that did not work; the first of each kind counts. */
struct refusals {
	bool not_answered;
	bool sudo_password;
	char denied[256]; /* what was said; empty: nobody denied */
	enum apptap_elevation denied_by;
};

/* @words, then @argv, as one line. */
static char *prefixed(const char *const *words, const char *const *argv)
{
	const char *all[64];
	size_t n = 0;

	for (; words[n]; n++)
		all[n] = words[n];
	for (size_t i = 0; argv[i]; i++) {
		if (n == ARRAY_SIZE(all) - 1)
			return NULL;
		all[n++] = argv[i];
	}
	all[n] = NULL;
	return apptap_quote(all);
}

char *apptap_elevate(enum apptap_elevation how, const char *const *argv)
{
	static const char *const none[] = { "exec", NULL };
	static const char *const su_0[] = { "exec", "su", "0", NULL };
	static const char *const su_root[] = { "exec", "su", "root", NULL };
	static const char *const sudo[] = { "exec", "sudo", "-n", "--", NULL };
	auto_free char *inner = NULL;

	switch (how) {
	case APPTAP_ELEVATION_SU_C:
		inner = prefixed(none, argv);
		return inner ? apptap_quote((const char *[]){ "exec", "su", "-c", inner, NULL })
			     : NULL;
	case APPTAP_ELEVATION_SU_0:
		return prefixed(su_0, argv);
	case APPTAP_ELEVATION_SU_ROOT:
		return prefixed(su_root, argv);
	case APPTAP_ELEVATION_SUDO:
		return prefixed(sudo, argv);
	case APPTAP_ELEVATION_NONE:
	case APPTAP_ELEVATION_UNKNOWN:
		break;
	}
	return prefixed(none, argv);
}

/* "0" and nothing else: a su that ignores the command runs a shell, which says nothing. */
static bool says_root(const struct apptap_ran *ran)
{
	return ran->out && (strcmp(ran->out, "0\n") == 0 || strcmp(ran->out, "0\r\n") == 0 ||
			    strcmp(ran->out, "0") == 0);
}

static void note_refusal(struct refusals *no, enum apptap_elevation how,
			 const struct apptap_ran *ran)
{
	const char *said = ran->said;

	if (how == APPTAP_ELEVATION_SUDO) {
		no->sudo_password |= strstr(said, "password is required") != NULL;
		if (strstr(said, "not allowed") || strstr(said, "sudoers") ||
		    strstr(said, "may not run")) {
			snprintf(no->denied, sizeof(no->denied), "%s", said);
			no->denied_by = how;
		}
	} else if (how != APPTAP_ELEVATION_NONE && !no->denied[0] && ran->status != 127 &&
		   ran->status != 126 &&
		   (ran->status == EACCES || strcasestr(said, "denied") ||
		    strcasestr(said, "not allowed"))) {
		snprintf(no->denied, sizeof(no->denied), "%s", said[0] ? said : "it said nothing");
		no->denied_by = how;
	}
}

static int complain(const struct refusals *no, int timeout_ms, struct apptap_error *err)
{
	if (no->not_answered) {
		apptap_error_say(err, EPERM,
				 "su was asked for root's rights, and nobody answered within %d s",
				 timeout_ms / 1000);
		apptap_error_hint(err, "unlock the device, start again, and grant the request that "
				       "it shows");
	} else if (no->denied[0] && no->denied_by == APPTAP_ELEVATION_SUDO) {
		apptap_error_say(err, EPERM, "capturing needs root, and sudo refuses: %s",
				 no->denied);
		apptap_error_hint(err, "connect as root, or ask the administrator");
	} else if (no->denied[0]) {
		apptap_error_say(err, EPERM, "capturing needs root, and su refuses: %s",
				 no->denied);
		apptap_error_hint(err, "allow root for the shell in the app that manages root on "
				       "the device");
	} else if (no->sudo_password) {
		apptap_error_say(err, EPERM, "capturing needs root, and sudo asks for a password");
		apptap_error_hint(err, "connect as root, or allow this user sudo without a "
				       "password");
	} else {
		apptap_error_say(err, EPERM,
				 "capturing needs root: commands there do not run as root, and "
				 "there is no su or sudo that helps");
		apptap_error_hint(err, "root the device (Magisk, KernelSU), use a userdebug "
				       "build, or connect as root");
	}
	return -EPERM;
}

int apptap_elevate_find(enum apptap_elevation *out, const enum apptap_elevation *ways,
			apptap_shell_fn shell, void *arg, int timeout_ms, struct apptap_error *err)
{
	static const char *const ask[] = { "id", "-u", NULL };
	struct refusals no = { 0 };

	for (; *ways != APPTAP_ELEVATION_UNKNOWN && !no.not_answered; ways++) {
		auto_free char *line = apptap_elevate(*ways, ask);
		struct apptap_ran ran = { 0 };
		bool is_root;
		int r;

		if (!line)
			return apptap_error_set(err, ENOMEM, "asking for root's rights");
		r = shell(arg, line, timeout_ms, &ran, err);
		is_root = r >= 0 && says_root(&ran);
		if (r >= 0)
			note_refusal(&no, *ways, &ran);
		apptap_ran_free(&ran);
		if (r < 0 && (r != -ETIMEDOUT || *ways == APPTAP_ELEVATION_NONE))
			return r;
		no.not_answered = r == -ETIMEDOUT;
		if (is_root) {
			*out = *ways;
			return 0;
		}
	}
	return complain(&no, timeout_ms, err);
}
