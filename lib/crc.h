/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* crc - CRC32C (Castagnoli) through ISA-L, and the block checksum seeded with its address.
 *
 * The client computes crc_block() for every block it writes; every hop and every read checks it;
 * the store keeps it; the reading client checks it again. Because volume, extent and block are
 * folded into the initial value, a block that landed in the wrong place, or another volume's bytes,
 * fail.
 *
 * A CRC alone has a blind spot: data that ends with its own CRC32C leaves the register in one and
 * the same state whatever the data is, so sectors of such a kind (log blocks of databases, a
 * chainblk log inside a guest) could be exchanged unseen. So it goes over the block and then over
 * the block's Fletcher sums, which are not linear (docs/decisions/005). Pure, no state. */

#ifndef LIB_CRC_H
#define LIB_CRC_H

#include "lib/base.h"

struct block_addr {
	uint64_t volume;
	uint64_t extent; /* index within the volume */
	uint32_t block;  /* index within the extent, < EXTENT_BLOCKS */
};

/* CRC32C of @len bytes continuing from @crc (0 to start); crc32c(0, "123456789", 9) ==
 * 0xe3069283. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len_bytes);
/* Of one whole block (BLOCK_BYTES at @data) stored at @at. */
uint32_t crc_block(const struct block_addr *at, const void *data);
/* Of a block wherever it is stored: what a WRITE_SAME ships. */
uint32_t crc_block_anywhere(const void *data);
/* crc_block() of a block of zeros at @at. */
uint32_t crc_block_zero(const struct block_addr *at);

#endif
