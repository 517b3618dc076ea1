/* executor_remote.c - the agent on another machine: found or pushed there, started, taken away */
#include <errno.h>
#include <stdio.h>

#include "host/agents.h"
#include "host/executor.h"
#include "host/spool.h"
#include "wire/text.h"

/*
 * How it works. One look as root tells what machine it is and which agents are there. If ours is
 * missing, it is pushed with the rights of who connects, and copied by root into a folder of root's
 * own: nobody else can change it between the check of its sum and its start. Without keep_agent it
 * gets a name that no other host looks for, and removes its own file as soon as it runs, so that
 * nothing is left however it ends.
 */
#define RUN_MS 10000
#define PUSH_DIR_ANDROID "/data/local/tmp"
#define PUSH_DIR_LINUX "/tmp"

/* Where root's folder may be, best first; and its name there. */
#define HOMES "/data/local", "/data/adb", "/var/lib", "/root", "/tmp"

struct remote {
	struct apptap_executor base;
	const struct apptap_link_ops *link; /* borrowed */
	void *arg; /* owned where the link has a free() */
	char *agents_dir; /* owned; NULL: the default */
	bool keep_agent;
	bool is_android;
	char machine[32]; /* as `uname -m` says it */
	char agent[128]; /* its path there; empty: not there */
	bool installed; /* by us */
	struct apptap_spool *spool; /* owned; NULL where there is a live link */
};

/* Prints "key value" lines, and "end": a link that is cut may look like one that ended. */
static const char look_script[] =
	"echo machine $(uname -m)\n"
	"[ -x /system/bin/getprop ] && echo android yes\n"
	"for d; do h=$d/.apptap\n"
	"[ -d $h ] && [ ! -L $h ] && [ -O $h ] || continue\n"
	"for f in $h/apptap-*; do [ -f $f ] && [ -O $f ] && [ -x $f ] && echo file $f; done\n"
	"done\n"
	"echo end\n";

/* Copies the file $1 with the sum $2 to a folder of root's as $3; further arguments: where. */
static const char install_script[] =
	"umask 077; drop=$1 sum=$2 name=$3; shift 3\n"
	"[ -r \"$drop\" ] || echo lost $drop\n"
	"for d; do h=$d/.apptap t=$h/new-$$\n"
	"[ -d $d ] || continue\n"
	"mkdir $h 2>/dev/null\n"
	"[ -d $h ] && [ ! -L $h ] && [ -O $h ] && chmod 700 $h || continue\n"
	"if cat \"$drop\" >$t && chmod 700 $t; then\n"
	"s=$(sha256sum $t 2>/dev/null); s=${s%% *}\n"
	"if [ -n \"$s\" ] && [ \"$s\" != \"$sum\" ]; then echo damaged $h\n"
	"elif ! $t --version >/dev/null; then echo refused $h\n"
	"elif mv -f $t $h/$name; then echo home $h; break; fi; fi\n"
	"rm -f $t; rmdir $h 2>/dev/null\n"
	"done\n"
	"rm -f \"$drop\"\n"
	"echo end\n";

static const char *platform(const struct remote *x)
{
	return x->link->platform ? x->link->platform(x->arg) : NULL;
}

static int refuse_unrooted(const struct remote *x, struct apptap_error *err)
{
	apptap_error_say(err, EPERM, "capturing needs root, and commands over %s do not run as it",
			 x->link->name);
	apptap_error_hint(err, "root the device, or connect as root");
	return -EPERM;
}

/* The script's answer, whole, or an error; the caller frees it. */
static int ask(const struct remote *x, const char *const *argv, const char *what,
	       struct apptap_ran *ran, struct apptap_error *err)
{
	int r = x->link->run(x->arg, argv, RUN_MS, ran, err);

	if (r < 0)
		return apptap_error_wrap(err, r, "%s over %s", what, x->link->name);
	if (ran->out && strstr(ran->out, "end\n"))
		return 0;
	if (ran->said[0])
		return apptap_error_say(err, EIO, "%s over %s: %s", what, x->link->name, ran->said);
	return apptap_error_say(err, ECONNRESET,
				"%s over %s: the link was cut, or the command ended (status %d) "
				"before it was through",
				what, x->link->name, ran->status);
}

/* The value of "key value" at the start of @line; NULL: another key. */
static const char *value_of(const char *line, const char *key)
{
	size_t len = strlen(key);

	return strncmp(line, key, len) == 0 && line[len] == ' ' ? line + len + 1 : NULL;
}

static void take_look(struct remote *x, char *out, const char *dir, struct apptap_agent_file *file,
		      int *found, struct apptap_error *err)
{
	char *rest = NULL;

	*found = 1;
	for (char *line = strtok_r(out, "\r\n", &rest); line;
	     line = strtok_r(NULL, "\r\n", &rest)) {
		const char *value = value_of(line, "machine");
		const char *slash;

		if (value) {
			apptap_text_clean(x->machine, sizeof(x->machine), value);
			*found = apptap_agents_find(file, dir, x->machine, err);
		}
		if (value_of(line, "android"))
			x->is_android = true;
		value = value_of(line, "file");
		slash = value ? strrchr(value, '/') : NULL;
		if (slash && *found == 0 && strcmp(slash + 1, file->name) == 0 &&
		    strlen(value) < sizeof(x->agent))
			memcpy(x->agent, value, strlen(value) + 1);
	}
}

static int look(struct remote *x, struct apptap_agent_file *file, struct apptap_error *err)
{
	static const char *const argv[] = { "sh", "-c", look_script, "apptap", HOMES, NULL };
	struct apptap_ran ran = { 0 };
	int found = 0; /* 1: nothing was said */
	int r = ask(x, argv, "looking at the target", &ran, err);

	x->agent[0] = '\0';
	if (r >= 0)
		take_look(x, ran.out, x->agents_dir, file, &found, err);
	apptap_ran_free(&ran);
	if (found > 0)
		return apptap_error_say(err, EPROTO, "the target does not say what machine it is");
	if (platform(x))
		x->is_android = strcmp(platform(x), "android") == 0;
	return r < 0 ? r : found;
}

static int take_installed(struct remote *x, const struct apptap_ran *ran, const char *name,
			  struct apptap_error *err)
{
	const char *out = ran->out, *home = strstr(out, "home ");
	size_t len = home ? strcspn(home + 5, "\r\n") : 0;

	if (home && len + strlen(name) + 2 < sizeof(x->agent)) {
		snprintf(x->agent, sizeof(x->agent), "%.*s/%s", (int)len, home + 5, name);
		x->installed = true;
		return 0;
	}
	if (strstr(out, "damaged "))
		return apptap_error_say(err, EBADMSG, "the agent arrived damaged on the target");
	if (strstr(out, "refused "))
		return apptap_error_say(err, ENOEXEC,
					"the target does not run the agent for '%s': its kernel "
					"or its rules refuse it",
					x->machine);
	if (strstr(out, "lost "))
		return apptap_error_say(err, ESTALE,
					"the agent was pushed to the target, and is not there any "
					"more: somebody removed it, or root sees another %s",
					x->is_android ? PUSH_DIR_ANDROID : PUSH_DIR_LINUX);
	return apptap_error_say(err, EROFS,
				"root finds no folder for the agent on the target: all of them "
				"are missing, full or read-only%s%s",
				ran->said[0] ? ": " : "", ran->said);
}

/* Where who connects may write. */
static void name_drop(const struct remote *x, const char *what, char *buf, size_t size)
{
	snprintf(buf, size, "%s/.apptap-%s-%08x", x->is_android ? PUSH_DIR_ANDROID : PUSH_DIR_LINUX,
		 what, (unsigned)apptap_clock_ns(CLOCK_REALTIME) ^ (unsigned)getpid());
}

static int install(struct remote *x, const struct apptap_agent_file *file, struct apptap_error *err)
{
	char drop[96], name[sizeof(file->name) + 16];
	const char *argv[] = { "sh",	  "-c", install_script, "apptap", drop,
			       file->sum, name, HOMES,		NULL };
	struct apptap_ran ran = { 0 };
	int r;

	name_drop(x, file->name + strlen("apptap-"), drop, sizeof(drop));
	/* One that goes again is ours alone: nobody else may start it while we remove it. */
	snprintf(name, sizeof(name), "%s%s", file->name, x->keep_agent ? "" : strrchr(drop, '-'));
	r = x->link->push(x->arg, file->path, drop, err);
	if (r < 0)
		return apptap_error_wrap(err, r, "pushing the agent over %s", x->link->name);
	r = ask(x, argv, "installing the agent", &ran, err);
	if (r >= 0)
		r = take_installed(x, &ran, name, err);
	apptap_ran_free(&ran);
	return r;
}

static int spawn_spooled(struct remote *x, struct apptap_child *out, struct apptap_error *err)
{
	char drop[96];
	struct apptap_spool_config cfg = {
		.agent = x->agent,
		.drop = drop,
		.once = x->installed && !x->keep_agent,
	};

	name_drop(x, "capture", drop, sizeof(drop));
	return apptap_spool_open(&x->spool, x->link, x->arg, &cfg, out, err);
}

static int remote_spawn(struct apptap_executor *base, struct apptap_child *out,
			struct apptap_error *err)
{
	struct remote *x = apptap_container_of(base, struct remote, base);
	const char *argv[] = { x->agent, "--agent", NULL };
	struct apptap_agent_file file;
	int r = x->link->is_root(x->arg, err);

	if (r <= 0)
		return r < 0 ? r : refuse_unrooted(x, err);
	r = look(x, &file, err);
	if (r >= 0 && !x->agent[0])
		r = install(x, &file, err);
	if (r < 0)
		return r;
	if (!x->link->stream)
		return spawn_spooled(x, out, err);
	if (x->installed && !x->keep_agent)
		argv[1] = "--agent-once";
	return x->link->stream(x->arg, argv, out, err);
}

static int remote_carry(struct apptap_executor *base, struct apptap_error *err)
{
	const struct remote *x = apptap_container_of(base, struct remote, base);

	return apptap_spool_carry(x->spool, err);
}

static int remote_fetch(struct apptap_executor *base, struct apptap_output *o,
			struct apptap_error *err)
{
	const struct remote *x = apptap_container_of(base, struct remote, base);

	return apptap_spool_fetch(x->spool, o, err);
}

static int remote_explain(struct apptap_executor *base, int status, const char *said,
			  struct apptap_error *err)
{
	const struct remote *x = apptap_container_of(base, struct remote, base);

	(void)status;
	if (said[0])
		return apptap_error_say(err, ECHILD, "the agent did not start over %s: %s",
					x->link->name, said);
	return apptap_error_say(err, ECONNRESET,
				"the agent did not start over %s: the link was cut, or it ended "
				"without a word",
				x->link->name);
}

static int remote_explain_lost(struct apptap_executor *base, const char *said,
			       struct apptap_error *err)
{
	const struct remote *x = apptap_container_of(base, struct remote, base);

	apptap_error_say(err, ECONNRESET,
			 "the link over %s was cut before the capture was done%s%s", x->link->name,
			 said[0] ? ": " : "", said);
	apptap_error_hint(err, "what came before that is in the file, and is valid");
	return -ECONNRESET;
}

static int remote_explain_silence(struct apptap_executor *base, unsigned seconds,
				  struct apptap_error *err)
{
	const struct remote *x = apptap_container_of(base, struct remote, base);

	apptap_error_say(err, ETIMEDOUT,
			 "nothing has come over %s for %u s: the link hangs, or the other side "
			 "sleeps",
			 x->link->name, seconds);
	apptap_error_hint(err, "what came before that is in the file, and is valid; the agent ends "
			       "when it hears nothing either");
	return -ETIMEDOUT;
}

static void remote_free(struct apptap_executor *base)
{
	struct remote *x = apptap_container_of(base, struct remote, base);

	apptap_spool_close(x->spool);
	if (x->link->free)
		x->link->free(x->arg);
	free(x->agents_dir);
	free(x);
}

static const struct apptap_executor_ops remote_ops = {
	.name = "remote",
	.spawn = remote_spawn,
	.explain = remote_explain,
	.explain_lost = remote_explain_lost,
	.explain_silence = remote_explain_silence,
	.free = remote_free,
};

/* Where there is no live link. */
static const struct apptap_executor_ops spooled_ops = {
	.name = "remote",
	.spawn = remote_spawn,
	.explain = remote_explain,
	.explain_lost = remote_explain_lost,
	.carry = remote_carry,
	.fetch = remote_fetch,
	.free = remote_free,
};

int apptap_executor_remote_new(struct apptap_executor **out, const struct apptap_link_ops *ops,
			       void *arg, const struct apptap_remote_config *cfg,
			       struct apptap_error *err)
{
	struct remote *x = calloc(1, sizeof(*x));

	if (x && cfg && cfg->agents_dir) {
		x->agents_dir = strdup(cfg->agents_dir);
		if (!x->agents_dir) {
			free(x);
			x = NULL;
		}
	}
	if (!x) {
		if (ops->free)
			ops->free(arg);
		return apptap_error_set(err, ENOMEM, "reaching another machine");
	}
	x->base.ops = ops->stream ? &remote_ops : &spooled_ops;
	x->base.is_remote = true;
	x->link = ops;
	x->arg = arg;
	x->keep_agent = cfg && cfg->keep_agent;
	*out = &x->base;
	return 0;
}

void apptap_ran_clean(struct apptap_ran *ran)
{
	char raw[sizeof(ran->said)];

	memcpy(raw, ran->said, sizeof(raw));
	apptap_text_clean(ran->said, sizeof(ran->said), raw);
}

void apptap_executor_free(struct apptap_executor *x)
{
	if (x && x->ops->free)
		x->ops->free(x);
}
