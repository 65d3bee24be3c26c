/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* fault_disk - a disk on top of any other that spoils the Nth transfer of its kind.
 *
 *	store --submit--> fault_disk --submit--> fake disk, or a real one
 *
 *   D1  what the plan does not name passes unchanged; every transfer ends once, from the loop
 *   D2  after a write or a flush was reported as failed no write and no flush may follow: those are
 *       counted in .writes_after, together with those of a store that says it has failed
 *   D3  a block that went bad (SECTOR, ROT) stays so until it is written, or healed
 *
 * The owner embeds it and calls fault_disk_init(); .plan and .below stay the owner's. One thread.
 */

#ifndef TESTS_FAULT_DISK_H
#define TESTS_FAULT_DISK_H

#include "lib/env.h"
#include "tests/fault/fault_plan.h"

#define FAULT_IOS 512u
#define FAULT_BLOCKS 64u /* that went bad */

struct fault_io {
	struct disk_io io; /* as the disk below sees it */
	struct list link;  /* free */
	struct fault_disk *d;
	struct disk_io *outer;
	uint8_t *scratch;
	int res; /* what the caller hears; 0: what the disk below said */
	bool tear, lose, flip;
	uint32_t rounds;
};

struct fault_block { /* D3 */
	uint64_t offset_bytes;
	uint32_t bit; /* UINT32_MAX: it cannot be read */
};

struct fault_disk {
	struct env_disk disk; /* the store's */
	struct env_disk *below;
	struct fault_plan *plan;
	struct fault_io ios[FAULT_IOS];
	struct list free;
	uint32_t inflight;
	struct fault_block blocks[FAULT_BLOCKS];
	uint32_t blocks_n;
	bool write_failed;
	uint64_t writes_after;        /* D2 */
	bool (*may_write)(void *arg); /* D2: false when the store says it has failed */
	void (*lose)(void *arg);      /* GONE: forget what is not durable */
	void (*wrote)(void *arg, uint64_t offset_bytes, uint32_t len_bytes); /* or NULL */
	void *arg;
};

void fault_disk_init(struct fault_disk *d, struct env_disk *below, struct fault_plan *plan);
/* A sound disk again; nothing may be under way. */
void fault_disk_heal(struct fault_disk *d);

#endif
