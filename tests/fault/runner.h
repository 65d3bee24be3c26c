/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* runner - many small cases in child processes: a case that aborts, crashes or hangs ends its
 * child, is named with the command that replays it, and the next child goes on behind it.
 *
 * Programs that run cases so share a command line and how they end. Results that are to survive go
 * to memory from runner_shared(). One thread. */

#ifndef TESTS_FAULT_RUNNER_H
#define TESTS_FAULT_RUNNER_H

#include "lib/base.h"

#define RUNNER_BAD_MAX 40u /* then the rest is not looked at */
#define RUNNER_MORE_MAX 4u

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

/* [--json] [--first] [--only WHAT], and words of the program's own. */
struct runner_words {
	const char *usage; /* all of them, without the program's name */
	const char *one_word;
	const char *more_word; /* NULL: there is none */
	bool json;
	const char *only;                  /* NULL: all */
	const char *one;                   /* what followed .one_word; NULL: nothing did */
	const char *more[RUNNER_MORE_MAX]; /* what followed each .more_word */
	unsigned more_n;
};

/* Fill in the lower half of @w, and @r->bad_max. False: wrong words, and the right ones were said.
 */
bool runner_words(struct runner *r, int argc, char **argv, struct runner_words *w);
/* How many points, how many bad: for a person, or as one JSON object. */
void runner_print(const struct runner *r, bool json);
/* All cases of @row, in order. */
void runner_run(struct runner *r, const struct runner_row *row);
/* Zeroed memory that children and parent share; never given back. */
void *runner_shared(size_t len_bytes);

#endif
