/* spool.h - an agent without a link: what would cross it lies in a folder of the target */
#ifndef APPTAP_AGENT_SPOOL_H
#define APPTAP_AGENT_SPOOL_H

#include "base/base.h"

/*
 * How it works. A transport that can only run commands and copy files has no byte streams. So the
 * agent runs by itself, in a folder of root's: the host's frames are appended to its file "in", the
 * agent's go to "out", the capture to "capture". For each exchange the host runs this program
 * again, as apptap --agent-spool FOLDER, and one of
 *
 *	serve			makes FOLDER, starts the agent, returns
 *	io OFFSET HEX		appends to in; prints out from OFFSET on. What is before that is
 *				given back: out never has more than 8 MiB that the host has not
 *	give FILE		copies capture into FILE, which is there already
 *	end FILE [once]		removes FILE (-: none), all of FOLDER, and this program's file
 *	keep FILE [once]	the same, but capture stays
 *
 * and an agent that hears of no exchange for APPTAP_SPOOL_SILENCE_MS takes its host for dead: it
 * ends, and removes the folder.
 */
#define APPTAP_SPOOL_SILENCE_MS 10000

/* @args: FOLDER, then the verb and its arguments, ended by NULL. Return: an exit code. */
int apptap_spool_main(char *const *args);

/* Removes the spool @name in @folder_fd, unless an agent is at work in it. true: it is gone. */
bool apptap_spool_remove(int folder_fd, const char *name);

#define APPTAP_SPOOL_CAPTURE "capture"

#endif
