/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* disk - struct env_disk over an image, writing down what happens to it.
 *
 *   D1  a transfer ends in disk_step() only (E1); reads see what had been written by then
 *   D2  with .rec set every write and flush is recorded; without, only the image counts
 *   D3  same calls, same random numbers: same order
 *
 * The image and the record belong to the caller. One thread. */

#ifndef TESTS_CRASH_DISK_H
#define TESTS_CRASH_DISK_H

#include "tests/crash/record.h"
#include "tests/unit/fake_env.h"

struct disk {
	struct env_disk disk;
	struct fake_env *fe; /* clock and random numbers */
	struct heap *heap;
	struct image now;
	struct record *rec;
	bool shuffle; /* transfers end in any order */
	struct list queue;
	uint32_t queue_n;
	const struct plant *plant;
	struct region_map regions;
	uint64_t log_end_bytes; /* where the latest write to the log ended */
	uint32_t awaited;       /* bit per region: written there, not yet flushed */
};

void disk_init(struct disk *d, struct fake_env *fe, struct heap *heap);
/* End one transfer, or a few when shuffled; false when none is under way. */
bool disk_step(struct disk *d);
/* The power is gone: nothing under way ends. */
void disk_power_off(struct disk *d);
/* The process is gone: what was under way reaches the disk whole or not at all. */
void disk_kill(struct disk *d);

#endif
