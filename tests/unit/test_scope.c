/* test_scope.c - who the app is: real processes with hostile names, a stub resolver, the watch */
#include "scope/scope.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "scope/nearest.h"
#include "scope/process.h"
#include "scope/resolver.h"
#include "scope/scope_watch.h"
#include "scope/user.h"

#define APP 5001
#define BYSTANDER 5002
#define RESOLVER 5003
#define CHILDREN_MAX 400
#define SCAN_MS_MAX 5.0

struct fixture {
	pid_t children[CHILDREN_MAX];
	size_t count;
	char said[4096]; /* all warnings, a line each */
	struct apptap_scope scope;
	struct apptap_error err;
	int netns; /* the one to go back to; -1: never left */
	char dir[64];
};

static void hear(void *arg, const char *text)
{
	struct fixture *f = arg;
	size_t len = strlen(f->said);

	snprintf(f->said + len, sizeof(f->said) - len, "%s\n", text);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	f->netns = -1;
	*state = f;
	return 0;
}

static void end_child(struct fixture *f, size_t i)
{
	if (f->children[i] <= 0)
		return;
	kill(f->children[i], SIGKILL);
	waitpid(f->children[i], NULL, 0);
	f->children[i] = 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char path[128];

	for (size_t i = 0; i < f->count; i++)
		end_child(f, i);
	if (f->netns >= 0) {
		setns(f->netns, CLONE_NEWNET);
		close(f->netns);
	}
	if (f->dir[0]) {
		snprintf(path, sizeof(path), "%s/resolv.conf", f->dir);
		unlink(path);
		rmdir(f->dir);
	}
	free(f);
	return 0;
}

static void need_root(void)
{
	if (geteuid() == 0)
		return;
	print_message("SKIP: becoming other users needs root\n");
	skip();
}

struct life {
	uid_t uid; /* (uid_t)-1: keeps ours */
	const char *comm;
	const char *bind_ip; /* a UDP socket at port 53; NULL: none */
	bool connected; /* to somewhere */
	bool v6only;
	bool late; /* names itself only when SIGUSR1 comes */
};

static int bind_udp(const struct life *l)
{
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(53) };
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(53) };
	bool is_v6 = strchr(l->bind_ip, ':') != NULL;
	int only = l->v6only;
	int yes = 1;
	int fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)); /* so that several may */
	if (is_v6) {
		inet_pton(AF_INET6, l->bind_ip, &v6.sin6_addr);
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only));
		return bind(fd, (struct sockaddr *)&v6, sizeof(v6));
	}
	inet_pton(AF_INET, l->bind_ip, &v4.sin_addr);
	if (bind(fd, (struct sockaddr *)&v4, sizeof(v4)) < 0)
		return -1;
	v4.sin_port = htons(9);
	return l->connected ? connect(fd, (struct sockaddr *)&v4, sizeof(v4)) : 0;
}

static void live(const struct life *l, int ready)
{
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (l->uid != APPTAP_UID_NONE && setresuid(l->uid, l->uid, l->uid) < 0)
		_exit(2);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* setresuid has cleared it */
	if (l->bind_ip && bind_udp(l) < 0)
		_exit(3);
	if (!l->late)
		prctl(PR_SET_NAME, l->comm);
	do {
		if (write(ready, "", 1) != 1)
			_exit(4);
		sigwait(&set, &sig);
		prctl(PR_SET_NAME, l->comm);
	} while (1);
}

/* Returns when the child is what @l says, and *@ready (if given) tells of its later changes. */
static pid_t spawn(struct fixture *f, struct life l, int *ready)
{
	int pipes[2];
	char byte;
	pid_t pid;

	assert_true(f->count < CHILDREN_MAX);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(pipes[0]);
		live(&l, pipes[1]);
	}
	close(pipes[1]);
	f->children[f->count++] = pid;
	assert_int_equal(read(pipes[0], &byte, 1), 1);
	if (ready)
		*ready = pipes[0];
	else
		close(pipes[0]);
	return pid;
}

static pid_t spawn_named(struct fixture *f, uid_t uid, const char *comm)
{
	return spawn(f, (struct life){ .uid = uid, .comm = comm }, NULL);
}

static int resolve(struct fixture *f, struct apptap_target target, pid_t *pid)
{
	f->said[0] = '\0';
	memset(&f->err, 0, sizeof(f->err));
	return apptap_scope_resolve(&f->scope, &target, pid, hear, f, &f->err);
}

static int resolve_name(struct fixture *f, const char *name)
{
	return resolve(f, (struct apptap_target){ .name = name }, NULL);
}

static void assert_has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" does not say \"%s\"", text, part);
}

static void assert_clean(const char *text)
{
	for (; *text; text++)
		assert_false((unsigned char)*text < 0x20 || *text == 0x7f);
}

static void assert_only(const struct fixture *f, uid_t uid)
{
	assert_int_equal(f->scope.uid_count, 1);
	assert_int_equal(f->scope.uids[0].uid, uid);
}

static struct apptap_view view(const char *text)
{
	return (struct apptap_view){ .p = (const uint8_t *)text, .left = strlen(text) };
}

static void test_add(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(apptap_scope_add(&f->scope, 7, &f->err, "process %d (%s)", 1, "a\033[31m"),
			 0);
	assert_string_equal(f->scope.uids[0].why, "process 1 (a?[31m)");
	assert_int_equal(apptap_scope_add(&f->scope, 7, &f->err, "again"), 0);
	assert_int_equal(f->scope.uid_count, 1);
	assert_true(apptap_scope_has(&f->scope, 7));
	assert_false(apptap_scope_has(&f->scope, 8));
	assert_int_equal(apptap_scope_add(&f->scope, (uid_t)-1, &f->err, "none"), -EINVAL);
	assert_false(apptap_scope_has(&f->scope, (uid_t)-1));
	for (uid_t uid = 100; f->scope.uid_count < APPTAP_SCOPE_UIDS_MAX; uid++)
		assert_int_equal(apptap_scope_add(&f->scope, uid, &f->err, "%0300d", 1), 0);
	assert_int_equal(apptap_scope_add(&f->scope, 7, &f->err, "again"), 0);
	assert_int_equal(apptap_scope_add(&f->scope, 8, &f->err, "full"), -ENOSPC);
}

static void test_parse_status(void **state)
{
	struct apptap_proc_status st;

	(void)state;
	assert_int_equal(
		apptap_proc_parse_status(view("Name:\ta\\nUid:\\\\n 0\nState:\tS (sleeping)\n"
					      "Tgid:\t12\nPPid:\t7\nUid:\t1\t2\t3\t4\n"
					      "VmSize:\t 1 kB\nThreads:\t1\n"),
					 &st),
		0);
	assert_string_equal(st.name, "a\nUid:\\n 0");
	assert_int_equal(st.tgid, 12);
	assert_int_equal(st.ppid, 7);
	assert_int_equal(st.uid, 4);
	assert_true(st.alive);
	assert_int_equal(
		apptap_proc_parse_status(view("Name:\tz\nUid:\t1\t1\t1\t1\nThreads:\t1\n"), &st),
		0);
	assert_false(st.alive);
	assert_int_equal(
		apptap_proc_parse_status(view("Name:\tz\nUid:\t1\t1\t1\t1\nThreads:\t2\n"), &st),
		0);
	assert_true(st.alive);
	assert_int_equal(apptap_proc_parse_status(view("Name:\tx\nUid:\t1\t1\t1\n"), &st),
			 -EBADMSG);
	assert_int_equal(
		apptap_proc_parse_status(view("Name:\tx\nUid:\t1\t1\t1\t4294967295\n"), &st),
		-EBADMSG);
	assert_int_equal(
		apptap_proc_parse_status(view("Name:\tx\nUid:\t1\t1\t1\t4294967296\n"), &st),
		-EBADMSG);
	assert_int_equal(apptap_proc_parse_status(view("Uid:\t1\t1\t1\t1\n"), &st), -EBADMSG);
	assert_int_equal(apptap_proc_parse_status(view(""), &st), -EBADMSG);
}

static void test_parse_names(void **state)
{
	static const char cmdline[] = "/usr/lib/firefox/firefox\0-P\0/x/y";
	char name[16];

	(void)state;
	apptap_proc_parse_cmdline(
		(struct apptap_view){ .p = (const uint8_t *)cmdline, .left = sizeof(cmdline) },
		name, sizeof(name));
	assert_string_equal(name, "firefox");
	apptap_proc_parse_cmdline(view("0123456789abcdefgh"), name, sizeof(name));
	assert_string_equal(name, "0123456789abcde");
	apptap_proc_parse_cmdline(view(""), name, sizeof(name));
	assert_string_equal(name, "");
	apptap_proc_parse_cmdline(view("bin/"), name, sizeof(name));
	assert_string_equal(name, "");
	apptap_proc_parse_exe(view("/usr/bin/curl (deleted)"), name, sizeof(name));
	assert_string_equal(name, "curl");
	apptap_proc_parse_exe(view("/"), name, sizeof(name));
	assert_string_equal(name, "");
	assert_true(apptap_proc_is_pid("0012"));
	assert_false(apptap_proc_is_pid("12a"));
	assert_false(apptap_proc_is_pid(""));
	assert_int_equal(apptap_proc_parse_pid("0012"), 12);
	assert_int_equal(apptap_proc_parse_pid("2147483648"), 0);
	assert_int_equal(apptap_proc_parse_pid("99999999999999999999"), 0);
}

static void test_is_named(void **state)
{
	struct apptap_process p = { .comm = "systemd-resolve", .argv0 = "systemd-resolved" };

	(void)state;
	assert_true(apptap_process_is_named(&p, "systemd-resolve"));
	assert_true(apptap_process_is_named(&p, "systemd-resolved"));
	assert_false(apptap_process_is_named(&p, "systemd-resolvconf"));
	assert_false(apptap_process_is_named(&p, "systemd"));
	assert_false(apptap_process_is_named(&p, ""));
	/* a script: only the cut name is its own */
	p = (struct apptap_process){ .comm = "my-long-script-",
				     .argv0 = "python3",
				     .exe = "python3" };
	assert_true(apptap_process_is_named(&p, "my-long-script-name"));
	assert_true(apptap_process_is_named(&p, "python3"));
	assert_false(apptap_process_is_named(&p, "my-long-script"));
	p = (struct apptap_process){ .comm = "short" };
	assert_false(apptap_process_is_named(&p, "shorter-than-fifteen"));
	assert_false(apptap_process_is_named(&p, "Short"));
}

static void test_nearest(void **state)
{
	struct apptap_nearest n = { .wanted = "firefx" };
	char buf[200];

	(void)state;
	apptap_nearest_offer(&n, "bash");
	apptap_nearest_offer(&n, "");
	assert_string_equal(apptap_nearest_list(&n, buf, sizeof(buf)), "");
	apptap_nearest_offer(&n, "firefly");
	apptap_nearest_offer(&n, "firefox");
	apptap_nearest_offer(&n, "firefox");
	apptap_nearest_offer(&n, "fir\033efx");
	apptap_nearest_offer(&n, "FireFX");
	assert_string_equal(apptap_nearest_list(&n, buf, sizeof(buf)),
			    "'FireFX', 'firefox', 'fir?efx', 'firefly'");
	apptap_nearest_offer(&n, "firefx-bin");
	assert_string_equal(apptap_nearest_list(&n, buf, sizeof(buf)),
			    "'FireFX', 'firefx-bin', 'firefox', 'fir?efx'");
	assert_string_equal(apptap_nearest_list(&n, buf, 12), "'FireFX'");
}

static void test_target_kinds(void **state)
{
	static const uid_t uids[] = { 5001, 5002, 5001 };
	static const uid_t none[] = { (uid_t)-1 };
	static const uid_t root[] = { 0 };
	struct fixture *f = *state;

	assert_int_equal(resolve(f, (struct apptap_target){ 0 }, NULL), -EINVAL);
	assert_true(f->err.hint[0] != '\0');
	assert_int_equal(resolve(f, (struct apptap_target){ .name = "" }, NULL), -EINVAL);
	assert_int_equal(resolve(f, (struct apptap_target){ .name = "a", .user = "b" }, NULL),
			 -EINVAL);
	assert_int_equal(resolve(f, (struct apptap_target){ .whole_device = true }, NULL), 0);
	assert_true(f->scope.whole_device);
	assert_int_equal(f->scope.uid_count, 0);
	assert_int_equal(resolve(f, (struct apptap_target){ .uids = uids, .uid_count = 3 }, NULL),
			 0);
	assert_false(f->scope.whole_device);
	assert_int_equal(f->scope.uid_count, 2);
	assert_string_equal(f->said, "");
	assert_int_equal(resolve(f, (struct apptap_target){ .uids = none, .uid_count = 1 }, NULL),
			 -EINVAL);
	assert_int_equal(resolve(f, (struct apptap_target){ .uids = root, .uid_count = 1 }, NULL),
			 0);
	assert_has(f->said, "UID 0 owns what the system itself sends");
	assert_int_equal(resolve(f, (struct apptap_target){ .user = "root" }, NULL), 0);
	assert_only(f, 0);
	assert_string_equal(f->scope.uids[0].why, "user root");
	assert_int_equal(resolve(f, (struct apptap_target){ .user = "rooot" }, NULL), -ESRCH);
	assert_string_equal(f->err.msg, "no user is named 'rooot'; there are 'root'");
	assert_int_equal(f->scope.uid_count, 0);
	assert_int_equal(resolve(f, (struct apptap_target){ .user = "5001" }, NULL), -ESRCH);
	assert_string_equal(f->err.hint, "for a UID: --uid 5001");
	assert_int_equal(resolve(f, (struct apptap_target){ .user = "\033[2J" }, NULL), -ESRCH);
	assert_clean(f->err.msg);
	assert_int_equal(apptap_scope_resolve(&f->scope,
					      &(struct apptap_target){ .name = "a b c d" }, NULL,
					      NULL, NULL, NULL),
			 -ESRCH);
}

static void test_pid(void **state)
{
	struct fixture *f = *state;
	char number[16];
	pid_t watched = -1;
	pid_t pid;

	need_root();
	pid = spawn_named(f, APP, "x\033]0;y\a");
	snprintf(number, sizeof(number), "%d", (int)pid);
	assert_int_equal(resolve(f, (struct apptap_target){ .name = number }, &watched), 0);
	assert_only(f, APP);
	assert_int_equal(watched, pid);
	assert_has(f->scope.uids[0].why, "(x?]0;y?)");
	kill(pid, SIGKILL);
	waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT);
	assert_int_equal(resolve(f, (struct apptap_target){ .name = number }, &watched), -ESRCH);
	assert_has(f->err.msg, "has ended");
	assert_int_equal(watched, 0);
	end_child(f, 0);
	assert_int_equal(resolve(f, (struct apptap_target){ .name = number }, &watched), -ESRCH);
	assert_has(f->err.msg, "no process has the PID");
	assert_true(f->err.hint[0] != '\0');
	assert_int_equal(resolve(f, (struct apptap_target){ .name = "99999999999" }, NULL), -ESRCH);
	assert_int_equal(resolve(f, (struct apptap_target){ .name = "0" }, NULL), -ESRCH);
}

static void test_name_one_user(void **state)
{
	struct fixture *f = *state;
	char number[16];
	pid_t first;

	need_root();
	first = spawn_named(f, APP, "tapped (a) b");
	assert_int_equal(resolve_name(f, "tapped (a) b"), 0);
	assert_only(f, APP);
	snprintf(number, sizeof(number), "%d", (int)first);
	assert_has(f->scope.uids[0].why, number);
	assert_has(f->scope.uids[0].why, "(tapped (a) b)");
	for (int i = 0; i < 4; i++)
		spawn_named(f, APP, "tapped (a) b");
	assert_int_equal(resolve_name(f, "tapped (a) b"), 0);
	assert_only(f, APP);
	assert_has(f->scope.uids[0].why, "processes ");
	assert_has(f->scope.uids[0].why, " and 2 more (tapped (a) b)");
	/* parts and other spellings are not the name */
	assert_int_equal(resolve_name(f, "tapped (a)"), -ESRCH);
	assert_has(f->err.msg, "no process is named 'tapped (a)'; running are 'tapped (a) b'");
	assert_true(f->err.hint[0] != '\0');
	assert_int_equal(resolve_name(f, "Tapped (a) b"), -ESRCH);
}

static void test_name_several_users(void **state)
{
	struct fixture *f = *state;
	char line[64];
	pid_t a, b;

	need_root();
	a = spawn_named(f, APP, "tapped-\033[1m\n");
	b = spawn_named(f, BYSTANDER, "tapped-\033[1m\n");
	spawn_named(f, BYSTANDER, "tapped-\033[1m\n");
	assert_int_equal(resolve_name(f, "tapped-\033[1m\n"), -ENOTUNIQ);
	assert_int_equal(f->scope.uid_count, 0);
	assert_clean(f->err.msg);
	snprintf(line, sizeof(line), "PID %d tapped-?[1m? (UID 5001)", (int)a);
	assert_has(f->err.msg, line);
	snprintf(line, sizeof(line), "PID %d tapped-?[1m? (UID 5002)", (int)b);
	assert_has(f->err.msg, line);
	assert_has(f->err.msg, "and 1 more");
	assert_has(f->err.hint, "--uid");
	end_child(f, 0);
	assert_int_equal(resolve_name(f, "tapped-\033[1m\n"), 0);
	assert_only(f, BYSTANDER);
}

/* A name that reads like a line of its status file gives nobody another UID. */
static void test_name_forges_nothing(void **state)
{
	static const char forged[] = "q\nUid:\t0\t0\t0\t0";
	struct fixture *f = *state;
	char number[16];
	pid_t pid;

	need_root();
	pid = spawn_named(f, APP, forged);
	snprintf(number, sizeof(number), "%d", (int)pid);
	assert_int_equal(resolve(f, (struct apptap_target){ .name = number }, NULL), 0);
	assert_only(f, APP);
	assert_clean(f->scope.uids[0].why);
	assert_int_equal(resolve_name(f, forged), 0);
	assert_only(f, APP);
}

static void test_name_cut_short(void **state)
{
	struct fixture *f = *state;

	need_root();
	spawn_named(f, APP, "a-script-with-a-long-name.py");
	assert_int_equal(resolve_name(f, "a-script-with-a-long-name.py"), 0);
	assert_int_equal(resolve_name(f, "a-script-with-a"), 0);
	assert_int_equal(resolve_name(f, "a-script-with"), -ESRCH);
}

/* By its comm, argv[0] and executable this test runs as test_scope; so do its forks. */
static void test_own_chain_never_matches(void **state)
{
	struct fixture *f = *state;
	struct apptap_process self;
	int dir = apptap_process_open(getpid());

	assert_true(dir >= 0);
	assert_int_equal(apptap_process_names(dir, getpid(), &self), 0);
	close(dir);
	assert_true(self.exe[0] != '\0');
	prctl(PR_SET_NAME, "tapped-self");
	assert_int_equal(resolve_name(f, "tapped-self"), -ESRCH);
	assert_has(f->err.msg, "but those that apptap itself runs under");
	assert_int_equal(resolve_name(f, self.exe), -ESRCH);
	prctl(PR_SET_NAME, self.comm);
	need_root();
	spawn_named(f, APP, "anything");
	assert_int_equal(resolve_name(f, self.exe), 0);
	assert_only(f, APP);
}

/* What a socket gets is the filesystem UID; it follows the effective one, not the real one. */
static void test_fsuid(void **state)
{
	struct apptap_proc_status st;
	struct fixture *f = *state;
	int dir;
	pid_t pid;

	need_root();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (setresuid(APP, BYSTANDER, 0) < 0)
			_exit(1);
		raise(SIGSTOP);
		_exit(0);
	}
	f->children[f->count++] = pid;
	assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
	dir = apptap_process_open(pid);
	assert_int_equal(apptap_process_status(dir, &st), 0);
	close(dir);
	assert_int_equal(st.uid, BYSTANDER);
	assert_int_equal(st.ppid, getpid());
}

static void test_parse_resolv_conf(void **state)
{
	struct apptap_nameserver ns[APPTAP_NAMESERVERS_MAX];
	char many[4096] = "";
	char text[APPTAP_ADDR_STRLEN];

	(void)state;
	assert_int_equal(apptap_resolv_parse(view("# nameserver 127.0.0.9\nnameserver 127.0.0.53\n"
						  "nameserver 8.8.8.8\noptions edns0\n"),
					     ns),
			 1);
	assert_string_equal(apptap_addr_str(&ns[0].addr, ns[0].family, 53, text, sizeof(text)),
			    "127.0.0.53:53");
	assert_int_equal(
		apptap_resolv_parse(view("nameserver\t ::1%lo # here\nnameserver 127.1;x\n"
					 "nameserver 127.0.0.1\r\nnameserver ::ffff:127.0.0.2\n"
					 "nameserver 0.0.0.0"),
				    ns),
		3);
	assert_string_equal(apptap_addr_str(&ns[0].addr, ns[0].family, 53, text, sizeof(text)),
			    "[::1]:53");
	assert_string_equal(apptap_addr_str(&ns[1].addr, ns[1].family, 53, text, sizeof(text)),
			    "127.0.0.1:53");
	assert_int_equal(ns[2].family, AF_INET);
	assert_int_equal(apptap_resolv_parse(view("nameserver 8.8.8.8\n"), ns), 0);
	/* resolv.conf(5): without a nameserver, this machine's own is asked */
	assert_int_equal(apptap_resolv_parse(view(""), ns), 1);
	assert_int_equal(apptap_resolv_parse(view("nameserverx 127.0.0.9\nnameserver\nnameserver \n"
						  "nameserver 127.0.0.1.2\n\xff\xfe"),
					     ns),
			 1);
	assert_string_equal(apptap_addr_str(&ns[0].addr, ns[0].family, 53, text, sizeof(text)),
			    "127.0.0.1:53");
	for (int i = 1; i <= 40; i++)
		snprintf(many + strlen(many), sizeof(many) - strlen(many),
			 "nameserver 127.0.0.%d\n", i);
	assert_int_equal(apptap_resolv_parse(view(many), ns), APPTAP_NAMESERVERS_MAX);
}

static void test_parse_proc_net_udp(void **state)
{
	static const char v4[] =
		"  123: 3500007F:0035 00000000:0000 07 00000000:00000000 00:00000000 "
		"00000000  5003        0 9999 2 0000000000000000 0\n";
	static const char v6[] = "   12: 00000000000000000000000001000000:0035 "
				 "00000000000000000000000000000000:0000 07 00000000:00000000 "
				 "00:00000000 00000000     0        0 77 2 0000000000000000 0\n";
	static const char connected[] = "  1: 3500007F:0035 0100007F:0009 01 00000000:00000000 "
					"00:00000000 00000000  5003        0 9 2 0 0\n";
	static const char nobody[] = "  1: 3500007F:0035 00000000:0000 07 00000000:00000000 "
				     "00:00000000 00000000  0        0 0 2 0 0\n";
	struct apptap_bound b;
	char text[APPTAP_ADDR_STRLEN];

	(void)state;
	assert_true(apptap_bound_parse_proc(view(v4), AF_INET, &b));
	assert_string_equal(apptap_addr_str(&b.addr, b.family, b.port, text, sizeof(text)),
			    "127.0.0.53:53");
	assert_int_equal(b.uid, 5003);
	assert_true(apptap_bound_parse_proc(view(v6), AF_INET6, &b));
	assert_string_equal(apptap_addr_str(&b.addr, b.family, b.port, text, sizeof(text)),
			    "[::1]:53");
	assert_int_equal(b.uid, 0);
	assert_false(apptap_bound_parse_proc(view(v4), AF_INET6, &b));
	assert_false(apptap_bound_parse_proc(view(connected), AF_INET, &b));
	assert_false(apptap_bound_parse_proc(view(nobody), AF_INET, &b));
	assert_false(apptap_bound_parse_proc(view("  sl  local_address rem_address   st\n"),
					     AF_INET, &b));
}

/* Into a network namespace of its own: port 53 free for all, lo up. */
static void enter_netns(struct fixture *f)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd;

	need_root();
	f->netns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(f->netns >= 0);
	if (unshare(CLONE_NEWNET) < 0) {
		print_message("SKIP: a network namespace cannot be made: %s\n", strerror(errno));
		skip();
	}
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
	close(fd);
	fd = open("/proc/sys/net/ipv4/ip_unprivileged_port_start", O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "0", 1), 1);
	close(fd);
}

static void add_resolver(struct fixture *f, const char *resolv_conf)
{
	char path[128];
	FILE *file;

	if (!f->dir[0]) {
		snprintf(f->dir, sizeof(f->dir), "/tmp/test_scope.XXXXXX");
		assert_non_null(mkdtemp(f->dir));
	}
	snprintf(path, sizeof(path), "%s/resolv.conf", f->dir);
	file = fopen(path, "we");
	assert_non_null(file);
	fputs(resolv_conf, file);
	fclose(file);
	f->said[0] = '\0';
	memset(&f->scope, 0, sizeof(f->scope));
	assert_int_equal(apptap_scope_add(&f->scope, APP, NULL, "test"), 0);
	apptap_resolver_add(&f->scope, path, hear, f);
}

static void test_resolver_found(void **state)
{
	struct fixture *f = *state;

	enter_netns(f);
	add_resolver(f, "nameserver 127.0.0.53\n"); /* nobody is there */
	assert_only(f, APP);
	assert_string_equal(f->said, "");
	spawn(f, (struct life){ .uid = RESOLVER, .comm = "stub", .bind_ip = "127.0.0.53" }, NULL);
	add_resolver(f, "nameserver 127.0.0.53\n");
	assert_int_equal(f->scope.uid_count, 2);
	assert_int_equal(f->scope.uids[1].uid, RESOLVER);
	assert_string_equal(f->scope.uids[1].why, "stub resolver 127.0.0.53:53 (UID 5003)");
	assert_has(f->said, "127.0.0.53:53 (UID 5003)");
	assert_has(f->said, "--no-dns");
	add_resolver(f, "nameserver 127.0.0.54\n"); /* another address */
	assert_only(f, APP);
	add_resolver(f, "nameserver 192.0.2.1\n"); /* nothing local */
	assert_only(f, APP);
	assert_string_equal(f->said, "");
}

static void test_resolver_choice(void **state)
{
	struct fixture *f = *state;

	enter_netns(f);
	spawn(f, (struct life){ .uid = RESOLVER, .bind_ip = "::", .comm = "six" }, NULL);
	add_resolver(f, "nameserver 127.0.0.53\n"); /* dual-stack: it answers IPv4 */
	assert_int_equal(f->scope.uids[1].uid, RESOLVER);
	end_child(f, 0);
	spawn(f, (struct life){ .uid = RESOLVER, .bind_ip = "::", .v6only = true, .comm = "six" },
	      NULL);
	add_resolver(f, "nameserver 127.0.0.53\n");
	assert_only(f, APP);
	add_resolver(f, "nameserver ::1\n");
	assert_int_equal(f->scope.uids[1].uid, RESOLVER);
	assert_string_equal(f->scope.uids[1].why, "stub resolver [::1]:53 (UID 5003)");
	/* the socket that is bound to the address itself goes before the wildcard's */
	spawn(f, (struct life){ .uid = BYSTANDER, .bind_ip = "::1", .comm = "one" }, NULL);
	add_resolver(f, "nameserver ::1\n");
	assert_int_equal(f->scope.uid_count, 2);
	assert_int_equal(f->scope.uids[1].uid, BYSTANDER);
	/* a client that asks from port 53 is no server */
	spawn(f,
	      (struct life){
		      .uid = BYSTANDER, .bind_ip = "127.0.0.7", .connected = true, .comm = "c" },
	      NULL);
	add_resolver(f, "nameserver 127.0.0.7\n");
	assert_only(f, APP);
}

static void test_resolver_not_added(void **state)
{
	struct fixture *f = *state;
	char fifo[128];

	enter_netns(f);
	spawn(f, (struct life){ .uid = 0, .comm = "stub", .bind_ip = "127.0.0.53" }, NULL);
	spawn(f, (struct life){ .uid = 0, .comm = "stub", .bind_ip = "127.0.0.54" }, NULL);
	spawn(f, (struct life){ .uid = APP, .comm = "stub", .bind_ip = "127.0.0.1" }, NULL);
	add_resolver(f, "nameserver 127.0.0.53\nnameserver 127.0.0.54\n");
	assert_only(f, APP);
	assert_has(f->said, "runs as root");
	assert_ptr_equal(strchr(f->said, '\n'), strrchr(f->said, '\n')); /* one sentence */
	add_resolver(f, "nameserver 127.0.0.1\n");
	assert_only(f, APP);
	assert_string_equal(f->said, "");
	snprintf(fifo, sizeof(fifo), "%s/resolv.conf", f->dir);
	assert_int_equal(unlink(fifo), 0);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	apptap_resolver_add(&f->scope, fifo, hear, f);
	assert_only(f, APP);
}

static struct apptap_scope_watch *watch(struct fixture *f, const char *name)
{
	struct apptap_target target = { .name = name };
	struct apptap_scope_watch *w = NULL;
	pid_t pid;

	assert_int_equal(resolve(f, target, &pid), 0);
	assert_int_equal(apptap_scope_watch_new(&w, &target, pid, &f->scope, hear, f, &f->err), 0);
	return w;
}

static void test_watch_pid(void **state)
{
	struct fixture *f = *state;
	struct apptap_scope_watch *w;
	char number[16];
	pid_t found[4];
	struct pollfd p = { .events = POLLIN };

	need_root();
	snprintf(number, sizeof(number), "%d", (int)spawn_named(f, APP, "watched"));
	w = watch(f, number);
	p.fd = apptap_scope_watch_fd(w);
	assert_int_equal(apptap_scope_watch_event(w), 0);
	assert_int_equal(apptap_scope_watch_rescan(w, found, 4), 0);
	if (p.fd >= 0)
		assert_int_equal(poll(&p, 1, 0), 0);
	kill(f->children[0], SIGKILL);
	waitid(P_PID, (id_t)f->children[0], &(siginfo_t){ 0 }, WEXITED | WNOWAIT);
	if (p.fd >= 0)
		assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(apptap_scope_watch_event(w), 1);
	assert_int_equal(apptap_scope_watch_event(w), 0); /* told once */
	end_child(f, 0);
	assert_int_equal(apptap_scope_watch_rescan(w, found, 4), 0);
	assert_string_equal(f->said, "");
	apptap_scope_watch_free(w);
	apptap_scope_watch_free(NULL);
}

static void test_watch_name(void **state)
{
	struct fixture *f = *state;
	struct apptap_scope_watch *w;
	pid_t found[4] = { 0 };
	pid_t pid;

	need_root();
	spawn_named(f, APP, "watched");
	w = watch(f, "watched");
	assert_int_equal(apptap_scope_watch_fd(w), -1);
	assert_int_equal(apptap_scope_watch_rescan(w, found, 4), 0); /* known at the start */
	pid = spawn_named(f, APP, "watched");
	assert_int_equal(apptap_scope_watch_rescan(w, found, 4), 1);
	assert_int_equal(found[0], pid);
	assert_int_equal(apptap_scope_watch_rescan(w, found, 4), 0);
	assert_string_equal(f->said, "");
	spawn_named(f, BYSTANDER, "watched");
	spawn_named(f, BYSTANDER, "watched");
	assert_int_equal(apptap_scope_watch_rescan(w, found, 4), 0);
	assert_has(f->said, "watched (UID 5002)");
	assert_ptr_equal(strchr(f->said, '\n'), strrchr(f->said, '\n'));
	assert_only(f, APP);
	f->said[0] = '\0';
	end_child(f, 2);
	spawn_named(f, BYSTANDER, "watched");
	for (int i = 0; i < 20; i++)
		assert_int_equal(apptap_scope_watch_rescan(w, found, 4), 0);
	assert_string_equal(f->said, "");
	assert_int_equal(apptap_scope_watch_event(w), 0);
	apptap_scope_watch_free(w);
}

/* A process may take the name long after it was first met. */
static void test_watch_renamed(void **state)
{
	struct fixture *f = *state;
	struct apptap_scope_watch *w;
	pid_t found[4] = { 0 };
	size_t n = 0;
	int ready;
	char byte;
	pid_t pid;

	need_root();
	spawn_named(f, APP, "watched");
	pid = spawn(f, (struct life){ .uid = APP, .comm = "watched", .late = true }, &ready);
	w = watch(f, "watched");
	for (int i = 0; i < 20; i++)
		assert_int_equal(apptap_scope_watch_rescan(w, found, 4), 0);
	kill(pid, SIGUSR1);
	assert_int_equal(read(ready, &byte, 1), 1);
	close(ready);
	for (int i = 0; i < 8 && !n; i++) /* the most that the old ones have to wait */
		n = apptap_scope_watch_rescan(w, found, 4);
	assert_int_equal(n, 1);
	assert_int_equal(found[0], pid);
	apptap_scope_watch_free(w);
}

static double cpu_ms(void)
{
	return (double)apptap_clock_ns(CLOCK_THREAD_CPUTIME_ID) / (double)APPTAP_NSEC_PER_MSEC;
}

static void test_scan_cost(void **state)
{
	struct fixture *f = *state;
	struct apptap_scope_watch *w;
	double best = 1e9, start, all;

	need_root();
	for (int i = 0; i < 300; i++)
		spawn_named(f, APP, i ? "idle" : "watched");
	start = cpu_ms();
	assert_int_equal(resolve_name(f, "watched"), 0);
	all = cpu_ms() - start;
	start = cpu_ms();
	w = watch(f, "watched");
	print_message("resolving %.2f ms at first, again with a watch %.2f ms\n", all,
		      cpu_ms() - start);
	for (int i = 0; i < 30; i++) {
		start = cpu_ms();
		assert_int_equal(apptap_scope_watch_rescan(w, NULL, 0), 0);
		best = MIN(best, cpu_ms() - start);
	}
	print_message("a rescan %.2f ms of CPU time\n", best);
	assert_true(best < SCAN_MS_MAX);
	apptap_scope_watch_free(w);
}

#define scope_test(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		scope_test(test_add),
		scope_test(test_parse_status),
		scope_test(test_parse_names),
		scope_test(test_is_named),
		scope_test(test_nearest),
		scope_test(test_target_kinds),
		scope_test(test_pid),
		scope_test(test_name_one_user),
		scope_test(test_name_several_users),
		scope_test(test_name_forges_nothing),
		scope_test(test_name_cut_short),
		scope_test(test_own_chain_never_matches),
		scope_test(test_fsuid),
		scope_test(test_parse_resolv_conf),
		scope_test(test_parse_proc_net_udp),
		scope_test(test_resolver_found),
		scope_test(test_resolver_choice),
		scope_test(test_resolver_not_added),
		scope_test(test_watch_pid),
		scope_test(test_watch_name),
		scope_test(test_watch_renamed),
		scope_test(test_scan_cost),
	};

	return cmocka_run_group_tests_name("scope", tests, NULL, NULL);
}
