/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* world_fake - the fake clock and disk of the unit tests as a life's world (life.h). Made once,
 * reset for each life. One thread. */

#ifndef TESTS_FAULT_WORLD_FAKE_H
#define TESTS_FAULT_WORLD_FAKE_H

#include "tests/fault/life.h"
#include "tests/unit/fake_env.h"

struct world_fake {
	struct world w;
	struct fake_env fe;
	struct fake_disk disk;
	uint64_t disk_bytes; /* as at init */
	uint8_t *written;    /* a byte per block */
	uint8_t *image;      /* what world_fake_reset() restores; NULL: zeros */
};

void world_fake_init(struct world_fake *f, uint64_t disk_bytes);
void world_fake_fini(struct world_fake *f);
/* A clock at its start and a disk of zeros, or .image; completions come in an order made from
 * @seed. Costs what was written since, and what world_fake_touch() named. */
void world_fake_reset(struct world_fake *f, uint64_t seed);
/* Block @offset_bytes was changed by fake_disk_poke(). */
void world_fake_touch(struct world_fake *f, uint64_t offset_bytes);
/* Before life_begin(): the disk is only so long, at most as at init. */
void world_fake_resize(struct world_fake *f, uint64_t disk_bytes);
/* Nothing is armed, queued or under way. */
bool world_fake_quiet(const struct world_fake *f);

#endif
