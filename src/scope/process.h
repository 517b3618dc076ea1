/* process.h - a process as /proc tells of it: its names, its user, and a walk over all of them */
#ifndef APPTAP_SCOPE_PROCESS_H
#define APPTAP_SCOPE_PROCESS_H

#include "base/error.h"
#include "base/view.h"

#define APPTAP_COMM_MAX 15 /* bytes that the kernel keeps of a program's name */
#define APPTAP_PROCESS_NAME_SIZE 128

/* What /proc/PID/status says. */
struct apptap_proc_status {
	char name[64 + 1]; /* raw, escapes undone; kernel threads exceed APPTAP_COMM_MAX */
	pid_t tgid;
	pid_t ppid;
	uid_t uid; /* the filesystem UID: the one that a new socket gets (sock_alloc in the kernel)
		    */
	bool alive; /* neither a kernel thread nor a zombie: it can own a socket */
};

/* The names that a process goes by; raw bytes, chosen by whoever runs it. Empty where unknown. */
struct apptap_process {
	pid_t pid;
	char comm[64 + 1];
	char argv0[APPTAP_PROCESS_NAME_SIZE]; /* basename of the first argument */
	char exe[APPTAP_PROCESS_NAME_SIZE]; /* basename of the executable */
};

/* Bytes in, struct out, no I/O. -EBADMSG: not a status file, or one without its UIDs. */
int apptap_proc_parse_status(struct apptap_view v, struct apptap_proc_status *out);

/* The basename of the first argument in the bytes of /proc/PID/cmdline. */
void apptap_proc_parse_cmdline(struct apptap_view v, char *name, size_t size);

/* The basename of what /proc/PID/exe links to; the kernel's " (deleted)" is cut off. */
void apptap_proc_parse_exe(struct apptap_view v, char *name, size_t size);

/* A name of nothing but digits is a PID. 0: it is none that Linux could give (too large, 0). */
bool apptap_proc_is_pid(const char *name);
pid_t apptap_proc_parse_pid(const char *name);

/* An O_PATH descriptor on /proc/PID: reads through it never reach a later process of that PID. */
int apptap_process_open(pid_t pid);

/* By such a descriptor: 0, -ESRCH the process is gone, -errno. */
int apptap_process_status(int dir, struct apptap_proc_status *out);
int apptap_process_names(int dir, pid_t pid, struct apptap_process *out);

/* Whether @p goes by @name exactly. */
bool apptap_process_is_named(const struct apptap_process *p, const char *name);

/*
 * A look at @pid that holds together, after a quick one found it to be named so: 1 it still is, and
 * can own sockets; 0 it is not. @p may be NULL.
 */
int apptap_process_confirm(pid_t pid, const char *name, struct apptap_process *p,
			   struct apptap_proc_status *st);

/* Whether @pids, ended by 0, has @pid. */
bool apptap_pids_have(const pid_t *pids, pid_t pid);

/* This process and its parents (apptap, sudo, the shell), ended by 0. Return: how many. */
#define APPTAP_ANCESTORS_MAX 64
size_t apptap_process_ancestors(pid_t out[APPTAP_ANCESTORS_MAX + 1]);

/* One process of a walk: 0 go on, anything else ends the walk and is returned. */
typedef int (*apptap_process_each)(const struct apptap_process *p, void *arg);

/*
 * Calls @each for every process in /proc, in the kernel's order, with its names. @want (may be
 * NULL) is asked first: a PID that it turns down costs no more than its line in the directory.
 */
int apptap_process_walk(bool (*want)(pid_t pid, void *arg), apptap_process_each each, void *arg,
			struct apptap_error *err);

#endif
