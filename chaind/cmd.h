/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* cmd - what the commands of `chaind` share: the command line as it was given, and how a command
 * fails.
 *
 *	main.c (words and options) -> cmd_format.c
 *	                           -> cmd_run.c -> cmd_worker.c (a thread each)
 *	cmd_share.c (who gets what)  cmd_slices.c (what the store says)  cmd_memory.c
 *
 * A command returns the exit status: 0, 1 after one line on stderr that names thing, cause and next
 * step, or 2 when it was called wrongly. What was asked for goes to stdout (with --json: one
 * object), everything else to stderr. cmd_*.c are wiring: they may use io/ and the system.
 *
 * Thread: the one that called main(). */

#ifndef CHAIND_CMD_H
#define CHAIND_CMD_H

#include "lib/base.h"

struct options { /* NULL, 0 or false: not given */
	const char *store;
	const char *name, *cfg, *listen, *advertise, *insecure_lab;
	const char *pin;
	uint64_t size_bytes, log_bytes, memory_bytes;
	uint64_t reactors;
	uint64_t scrub_days;
	bool scrub_given;
	bool force, json, trust_write_through;
};

int cmd_format(const struct options *o);
int cmd_run(const struct options *o);

/* One line "chaind: THING: WHY" on stderr; returns EXIT_FAILURE. */
int cmd_fail(const char *thing, const char *why);
/* The same for a text that names its thing itself, as io/'s do. */
int cmd_fail_io(const char *why);
/* That, and how the program is called; returns 2. */
int cmd_usage_error(const char *what);
/* Random bytes from the kernel; there is no going on without: exits when there are none. */
void cmd_random(void *out, size_t len);

#endif
