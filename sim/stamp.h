/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* stamp - what the simulation writes into every sector: who wrote it, where it belongs, a checksum.
 *
 * The operation's number makes every write of a block unique, so a read says which write it saw;
 * the block and sector tell misplaced bytes; the checksum tells torn or foreign ones. A sector is a
 * pure function of (operation, block, sector), so it can be made again to compare with. Pure. */

#ifndef SIM_STAMP_H
#define SIM_STAMP_H

#include "lib/base.h"
#include "lib/limits.h"

#define STAMP_ZERO 0ull            /* value of a sector of zeros */
#define STAMP_BAD UINT64_MAX       /* value of a sector nobody wrote */
#define STAMP_ANY_BLOCK UINT32_MAX /* of a write-same: one block everywhere */
#define BLOCK_SECTORS (BLOCK_BYTES / SECTOR_BYTES)

struct stamp {
	uint64_t magic, op;
	uint32_t block, sector; /* block of the volume; sector in the block */
	uint64_t fill[60];
	uint32_t crc, reserved;
};
static_assert(sizeof(struct stamp) == SECTOR_BYTES, "a stamp fills its sector");

void stamp_fill(void *sector, uint64_t op, uint32_t block, uint32_t index);
/* What it says about itself, unchecked: false when it is no stamp. */
bool stamp_peek(const void *sector, uint64_t *ret_op, uint32_t *ret_block);
/* The operation that wrote it, STAMP_ZERO or STAMP_BAD. */
uint64_t stamp_value(const void *sector, uint32_t block, uint32_t index);

#endif
