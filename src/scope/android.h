/* android.h - who the app is, on Android: a package becomes UIDs, of users, sandboxes, isolated */
#ifndef APPTAP_SCOPE_ANDROID_H
#define APPTAP_SCOPE_ANDROID_H

#include "scope/scope.h"

bool apptap_android_here(void); /* whether this machine runs Android */

/* "Android 14 (API 34)". Returns @buf; empty where it is none. */
const char *apptap_android_version(char *buf, size_t size);

/*
 * @target's name as a package. Return: 1 it is one, and @out has its UIDs; 0 there is no such
 * package; -errno.
 */
int apptap_android_resolve(struct apptap_scope *out, const struct apptap_target *target,
			   apptap_warn_fn warn, void *warn_arg, struct apptap_error *err);

/* Neither package nor process is called so: with the nearest installed names. Returns -ESRCH. */
int apptap_android_say_none(const char *name, struct apptap_error *err);

/* The system's resolver, which asks for all apps. */
void apptap_android_add_dns(struct apptap_scope *out, apptap_warn_fn warn, void *warn_arg);

#endif
