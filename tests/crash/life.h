/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* life - a store's random life over several power cuts.
 *
 *	life:SEED:GENERATION
 *
 * A generation opens what the last cut left, does some hundred things in any order, and is cut off.
 * Its record is cut at random places into crash states; one of them is what the next generation
 * opens. What a life is like is drawn once: size of the disk, of its ops, whether it ever rests,
 * whether a chain is stuck, whether the device has a volatile cache. */

#ifndef TESTS_CRASH_LIFE_H
#define TESTS_CRASH_LIFE_H

#include "tests/crash/hunt.h"

#define LIFE_GENERATIONS 8u

struct life {
	struct hunt *h;
	uint64_t seed, rng;
	unsigned generation;
	struct world_disk disk;
	bool big;        /* long ops: the log is always half full */
	bool restless;   /* time hardly passes */
	bool full;       /* pages are scarce */
	uint32_t chains; /* in use */
	uint32_t stuck;  /* this chain's ops are hardly ever committed; 0: none */
	struct image image;
	struct model model;
};

/* A new life: its disk is formatted. False when that aborted. */
bool life_start(struct life *l, struct hunt *h, uint64_t seed);
/* Record the next generation; false when it aborted. h->run is its name. */
bool life_record(struct life *l);
/* Look at its states, or, with @h->replaying, at none; then one of them is what the next opens. */
void life_cut(struct life *l);
/* All of it. */
void life_run(struct life *l, struct hunt *h, uint64_t seed);

#endif
