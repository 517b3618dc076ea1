/* people.h - real processes with users and names to order, and what resolving them says */
#ifndef APPTAP_TESTS_UNIT_PEOPLE_H
#define APPTAP_TESTS_UNIT_PEOPLE_H

#include "base/view.h"
#include "scope/scope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define APPTAP_TESTS_UNIT_PEOPLE_H

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "base/view.h"
#include "scope/scope.h"

#define APP 5001
#define BYSTANDER 5002
#define RESOLVER 5003
#define PEOPLE_MAX 400

struct people {
	pid_t children[PEOPLE_MAX];
	size_t count;
	char said[4096]; /* all warnings, a line each */
	struct apptap_scope scope;
	struct apptap_error err;
	int netns; /* the one to go back to; -1: never left */
	char dir[64]; /* of a resolv.conf; empty: none was made */
	int lock;
};

/* What a child is told to be. */
struct life {
	uid_t uid; /* (uid_t)-1: keeps ours */
	const char *comm;
	const char *bind_ip; /* a UDP socket at port 53; NULL: none */
	bool connected; /* to somewhere */
	bool v6only;
	bool late; /* names itself only when SIGUSR1 comes */
};

/* An apptap_warn_fn: adds to said. */
void hear(void *arg, const char *text);
int people_setup(void **state);
int people_teardown(void **state);
/* Kills the @i-th and waits for it; done to all in the end. */
void people_end(struct people *f, size_t i);
/* Skips the test, saying why, when we cannot become other users. */
void people_need_root(void);
/* Returns when the child is what @l says, and *@ready (if given) tells of its later changes. */
pid_t people_spawn(struct people *f, struct life l, int *ready);
pid_t people_spawn_named(struct people *f, uid_t uid, const char *comm);
int people_resolve(struct people *f, struct apptap_target target, pid_t *pid);
int people_resolve_name(struct people *f, const char *name);
void assert_has(const char *text, const char *part);
/* Nothing in @text would do anything to a terminal. */
void assert_clean(const char *text);
void assert_only(const struct people *f, uid_t uid);
struct apptap_view view(const char *text);

#define people_test(t) cmocka_unit_test_setup_teardown(t, people_setup, people_teardown)

#endif
