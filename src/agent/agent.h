/* agent.h - the half that runs beside the kernel: commands in, events out, one job, then gone */
#ifndef APPTAP_AGENT_AGENT_H
#define APPTAP_AGENT_AGENT_H

#include "base/base.h"

/*
 * Serves the host on descriptors 0 and 1 until its one job (a capture, a probe, a cleanup) is done
 * or its stdin ends, whichever comes first. @once: its own file is removed at the start, so that
 * nothing of it is left however it ends. Takes @file_fd, where the capture goes when the host does
 * not pass a file; -1: none. Return: the exit code of the process.
 */
int apptap_agent_main(bool once, int file_fd);

/* The file that this process runs from, where a host has put it. */
void apptap_agent_remove_own_file(void);

#endif
