/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "lib/crc.h"

#include <isa-l/crc.h>
#include <limits.h>

#include "lib/limits.h"

uint32_t crc32c(uint32_t crc, const void *data, size_t len_bytes)
{
	CHECK(len_bytes <= INT_MAX);
	/* ISA-L takes and returns the register as it is; the usual form inverts it at both ends.
	 * It only reads the buffer, in spite of its prototype. */
	return ~crc32_iscsi((unsigned char *)(uintptr_t)data, (int)len_bytes, ~crc);
}

static uint32_t seed(const struct block_addr *at)
{
	const struct {
		uint64_t volume, extent, block;
	} bytes = {at->volume, at->extent, at->block};

	CHECK(at->block < EXTENT_BLOCKS);
	return crc32c(0, &bytes, sizeof(bytes));
}

uint32_t crc_block(const struct block_addr *at, const void *data)
{
	return crc32c(seed(at), data, BLOCK_BYTES);
}

uint32_t crc_block_zero(const struct block_addr *at)
{
	static const uint8_t zeros[BLOCK_BYTES] __attribute__((aligned(64)));

	return crc32c(seed(at), zeros, BLOCK_BYTES);
}
