/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* seq - every sequence of up to three operations that differ in kind, on several stores, with
 * several timings: small things done in every order.
 *
 *	seq:BASE:TIMING:LETTERS      seq:used:step:wpc
 *
 * A run opens the store, does what the letters say, waits for what is under way, lets time pass,
 * commits everything, lets time pass again (destage, checkpoint) and closes. The letters before the
 * last are what a shorter sequence did already: cuts start where the last one was asked for.
 *
 *   base     fresh   formatted, never opened
 *            used    content in pages, in the log and pending; the log about to wrap
 *            full    the same, hardly a page free
 *   timing   burst   all in one turn of the loop, transfers end in any order
 *            turn    one turn of the loop after each
 *            step    each is waited for
 *
 * Sequences of up to two operations have every base with every timing, those of three the five
 * settings that differ most. */

#ifndef TESTS_CRASH_SEQ_H
#define TESTS_CRASH_SEQ_H

#include "tests/crash/hunt.h"

#define SEQ_LENGTH_MAX 3u

enum seq_base { SEQ_FRESH, SEQ_USED, SEQ_FULL, SEQ_BASES };
enum seq_timing { SEQ_BURST, SEQ_TURN, SEQ_STEP, SEQ_TIMINGS };

struct seq {
	enum seq_base base;
	enum seq_timing timing;
	char letters[SEQ_LENGTH_MAX + 1];
};

struct seq_start { /* what a base is */
	struct image image;
	struct model model;
	struct world_disk disk;
};

/* Make the bases; what they hold stays at the bottom of the heap. False: one aborted. */
bool seq_init(struct hunt *h);
/* How many sequences of exactly @length there are, each with its settings. */
uint64_t seq_count(unsigned length);
/* The @i-th of them. */
void seq_nth(unsigned length, uint64_t i, struct seq *ret);
void seq_print(const struct seq *q, char *to, size_t len_bytes);
bool seq_parse(const char *s, struct seq *ret);
/* Record it; h->run is its name. Returns the event to cut from, or RECORD_NEVER when it aborted. */
uint32_t seq_record(struct hunt *h, const struct seq *q);
/* Every state of it. */
void seq_run(struct hunt *h, const struct seq *q);

#endif
