/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* runner - many small cases in child processes: a case that aborts, crashes or hangs ends its
 * child, is named with the command that replays it, and the next child goes on behind it.
 *
 * Results that are to survive go to memory from runner_shared(). One thread. */

#ifndef TESTS_FAULT_RUNNER_H
#define TESTS_FAULT_RUNNER_H

#include "lib/base.h"

#define RUNNER_BAD_MAX 40u /* then the rest is not looked at */

struct runner {
	const char *program; /* in messages */
	uint64_t points, bad, bad_max;
};

struct runner_row {
	/* Run case @n, from 1. False: there is none. */
	bool (*run)(void *arg, uint64_t n);
	/* What replays it. */
	void (*name)(void *arg, uint64_t n, char *to, size_t len);
	void *arg;
};

/* All cases of @row, in order. */
void runner_run(struct runner *r, const struct runner_row *row);
/* Zeroed memory that children and parent share; never given back. */
void *runner_shared(size_t len_bytes);

#endif
