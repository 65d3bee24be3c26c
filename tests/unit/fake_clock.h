/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* fake_clock - the part of struct env that every fake world has: clock, random numbers, timers,
 * deferred tasks. The test says when they go on; the owner adds log, network and disks.
 *
 *   C1  callbacks come from fake_clock_tasks() and fake_clock_fire() only (E1)
 *   C2  timers fire soonest first, those of one moment in the order they were armed
 *   C3  same seed, same numbers
 *
 * The struct is the owner's, timers and tasks are their users'. One thread. */

#ifndef TESTS_UNIT_FAKE_CLOCK_H
#define TESTS_UNIT_FAKE_CLOCK_H

#include "lib/env.h"

struct fake_clock {
	struct env env; /* what is not filled in here may be by the owner */
	uint64_t now_ns, rng;
	struct list tasks, timers; /* timers: as they will fire */
};

void fake_clock_init(struct fake_clock *c, uint64_t now_ns, uint64_t seed);
uint64_t fake_clock_random(struct fake_clock *c);
/* Run what is deferred by now, not what that defers in turn. False when nothing was. */
bool fake_clock_tasks(struct fake_clock *c);
/* When the next timer fires; UINT64_MAX when none is armed. */
uint64_t fake_clock_next_ns(const struct fake_clock *c);
/* Fire it, at its time or now if that has passed. False when none is armed. */
bool fake_clock_fire(struct fake_clock *c);
/* Forget all timers and tasks: the process died. */
void fake_clock_drop(struct fake_clock *c);

#endif
