/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* hunt - from a record to crash states: cut it, recover every image, compare, and go on with some.
 *
 *	record --cut, pick--> image --recover--> store == model?
 *	                        |
 *	                        +-- some: recover, write, destage, checkpoint, close, open again,
 *	all recorded, and that record is cut as well (level 1)
 *
 *   T1  a state is one distinct image, recovered and compared. An image met again counts once; what
 *       its recovery found is held against the model of the later cut too
 *   T2  a state is named by RUN@CUT:PICK, one below it by RUN@CUT:PICK/CUT:PICK; the name alone
 *       brings it back (replay.h)
 *   T3  which states are gone on with depends on the image alone
 *
 * Counters are shared by the processes of a hunt (tally). */

#ifndef TESTS_CRASH_HUNT_H
#define TESTS_CRASH_HUNT_H

#include <stdatomic.h>

#include "tests/crash/check.h"
#include "tests/crash/cut.h"
#include "tests/crash/seen.h"
#include "tests/crash/world.h"

#define HUNT_LEVELS 2u
#define HUNT_RUN_BYTES 200u

struct tally {
	atomic_ullong states, sequences, bad;
	atomic_ullong life_states;         /* of those */
	atomic_ullong next_run, next_life; /* work that is given out */
	atomic_bool enough;                /* states, seconds or bad ones */
	uint64_t states_max, bad_max;
	uint64_t deadline_ns; /* on the monotonic clock; 0: none */
};

struct hunt_level {
	struct record rec;
	struct cut cut;
	struct image image;
	struct seen seen;
	struct scope scope;
};

struct hunt {
	struct world w;
	struct heap spare[2]; /* lives have their own */
	struct hunt_level level[HUNT_LEVELS];
	struct tally *tally;
	struct known *known; /* images counted by any process; NULL: all count */
	char run[HUNT_RUN_BYTES];
	struct pick above;    /* the state of level 0 that is gone on with */
	uint32_t torn_n;      /* random picks per cut */
	uint32_t deep_one_in; /* states gone on with; 0: none */
	uint32_t deep_cuts;   /* cuts of what they did; 0: every event, none, all and one torn */
	bool is_life;         /* what is counted is a life's */
	bool replaying;       /* one state is wanted, and what comes of it */
};

void hunt_init(struct hunt *h, uint64_t disk_bytes_max);
/* Run @fn, which makes level 0's record. When it aborts that is a bad state, named RUN. */
bool hunt_record(struct hunt *h, void (*fn)(void *arg), void *arg);
/* The record of level @level is complete: prepare to cut it. */
void hunt_begin(struct hunt *h, unsigned level);
/* Cut after every event from @from on, every pick. */
void hunt_every_cut(struct hunt *h, unsigned level, uint32_t from);
/* One state at @at, not before an earlier one. False: it is bad. */
bool hunt_state(struct hunt *h, unsigned level, uint32_t at, const struct pick *p);
/* Bring back the level below: the store goes on from the state (@at, @p) of level 0. */
bool hunt_descend(struct hunt *h, uint32_t at, const struct pick *p);
/* Is it time to stop? Asks the clock. */
bool hunt_enough(const struct hunt *h);

#endif
