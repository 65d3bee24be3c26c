/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* split - cuts one request into the parts that each become one message. Pure arithmetic, no state.
 *
 *	offset, len of the volume --split_next(), again and again--> (extent, offset in it, len)
 *
 *   P1  a part never leaves its extent; parts are in order, touch, and cover the range exactly
 *   P2  WRITE: a part is either whole blocks, at most OP_BYTES_MAX, and carries seeded CRCs,
 *       or lies inside one block (a ragged end: the head merges it, PROTOCOL 2)
 *   P3  READ: the blocks a part touches are at most OP_BLOCKS_MAX
 *   P4  UNMAP, PRESENT, CAW: one part per extent
 *   P5  WRITE_SAME: at most OP_BYTES_MAX, so that it needs no more new pages than a write does:
 *       what the members of a chain keep ready for it is as much (W8)
 *
 * A ragged write is cut into up to three parts and not sent as one byte range, so that its whole
 * blocks keep their CRC from here to the platter and need no read at the head. */

#ifndef CLIENT_SPLIT_H
#define CLIENT_SPLIT_H

#include "client/client.h"

struct split_part {
	uint64_t extent;
	uint32_t offset_bytes; /* in the extent */
	uint32_t len_bytes;
	uint64_t at_bytes; /* from the request's start */
};

struct split_range {
	enum client_kind kind;
	uint64_t offset_bytes, len_bytes; /* of the volume; aligned as @kind demands */
};

/* The next part after @cursor_bytes of @r, which moves behind it. False at the end. */
bool split_next(const struct split_range *r, uint64_t *cursor_bytes, struct split_part *ret_part);
/* The whole blocks inside [offset, offset + len): what an UNMAP may touch. Length 0 when none. */
void split_whole_blocks(uint64_t *offset_bytes, uint64_t *len_bytes);

/* First block a part touches, and how many. */
static inline uint32_t split_block(const struct split_part *p)
{
	return p->offset_bytes / BLOCK_BYTES;
}

static inline uint32_t split_blocks(const struct split_part *p)
{
	return (p->offset_bytes + p->len_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES - split_block(p);
}

static inline bool split_is_whole(const struct split_part *p)
{
	return (p->offset_bytes | p->len_bytes) % BLOCK_BYTES == 0;
}

#endif
