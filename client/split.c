/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "client/split.h"

/* P2: the ragged start, then whole blocks, then the ragged end. */
static uint64_t write_len(uint64_t in_block, uint64_t left)
{
	uint64_t most;

	if (in_block) {
		most = BLOCK_BYTES - in_block;
		return MIN(left, most);
	}
	if (left < BLOCK_BYTES)
		return left;
	most = MIN(left, OP_BYTES_MAX);
	return most - most % BLOCK_BYTES;
}

bool split_next(const struct split_range *r, uint64_t *cursor_bytes, struct split_part *ret_part)
{
	uint64_t at = *cursor_bytes, offset = r->offset_bytes + at;
	uint64_t in_extent = offset % EXTENT_BYTES, in_block = offset % BLOCK_BYTES;
	uint64_t left;

	CHECK(at <= r->len_bytes);
	if (at == r->len_bytes)
		return false;

	left = MIN(r->len_bytes - at, EXTENT_BYTES - in_extent);
	if (r->kind == CLIENT_WRITE)
		left = write_len(in_block, left);
	else if (r->kind == CLIENT_READ)
		left = MIN(left, OP_BYTES_MAX - in_block);
	else if (r->kind == CLIENT_WRITE_SAME)
		left = MIN(left, OP_BYTES_MAX);

	CHECK(left > 0);
	*ret_part = (struct split_part){.extent = offset / EXTENT_BYTES,
					.offset_bytes = (uint32_t)in_extent,
					.len_bytes = (uint32_t)left,
					.at_bytes = at};
	*cursor_bytes = at + left;
	return true;
}

void split_whole_blocks(uint64_t *offset_bytes, uint64_t *len_bytes)
{
	uint64_t end = *offset_bytes + *len_bytes;
	uint64_t first = (*offset_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;

	end -= end % BLOCK_BYTES;
	*offset_bytes = first;
	*len_bytes = end > first ? end - first : 0;
}
