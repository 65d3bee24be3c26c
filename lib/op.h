/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* op - one entry of a chain's replicated log, the same bytes on the wire (FORWARD) and on disk (log
 * descriptors). PROTOCOL 2, W1 and X1.
 *
 * A range never leaves its extent. WRITE carries whole blocks only: sub-block writes and
 * compare-and-write were merged by the head before numbering. Ops without payload: UNMAP, SESSION,
 * CLOSE, MISCOMPARE, NOP.
 *
 *   O1  op_rec_check() accepted every record that is acted on
 *   O2  crcs_n == blocks for WRITE (crc_block each), 1 for WRITE_SAME (crc_block_anywhere(): not
 *       seeded, replicas derive the seeded ones), else 0; data_bytes == blocks * 4096, 4096, or 0
 *   O3  req_no 0 means "not a client's request" (NOP) */

#ifndef LIB_OP_H
#define LIB_OP_H

#include "lib/base.h"
#include "lib/limits.h"

enum op_kind {
	OP_NOP = 1,
	OP_WRITE = 2,
	OP_UNMAP = 3,
	OP_WRITE_SAME = 4,
	OP_SESSION = 5,    /* client announces session .session (X3); 1 creates its table entry */
	OP_CLOSE = 6,      /* client is gone for good: drop its table entry */
	OP_MISCOMPARE = 7, /* compare-and-write that differed: only .offset_bytes counts */
	OP_KIND_END
};

struct op_rec {
	uint64_t seq;   /* position in the chain's log, from 1, no gaps */
	uint64_t epoch; /* configuration in which the head numbered it */
	uint64_t volume;
	uint64_t extent;
	uint32_t chain;
	uint16_t kind;         /* enum op_kind */
	uint16_t flags;        /* 0 */
	uint32_t block;        /* first block in the extent */
	uint32_t blocks;       /* 0 for ops without a range */
	uint32_t data_bytes;   /* O2 */
	int32_t result;        /* what the client will be told: 0 or -errno */
	uint32_t offset_bytes; /* MISCOMPARE: first differing byte from the request's start */
	uint32_t session;
	struct id128 client;
	uint64_t generation; /* owner generation the client acted under */
	uint64_t req_no;     /* X1; from 1 */
	uint64_t low;        /* X1: all below are complete or given up */
	uint64_t known;      /* commit watermark of the chain where this copy was made */
	uint32_t crcs_n;     /* O2 */
	uint32_t reserved0;
	uint64_t reserved1;
};
static_assert(sizeof(struct op_rec) == 128, "op_rec is a wire and disk format");
static_assert(offsetof(struct op_rec, client) == 64, "op_rec layout");
static_assert(offsetof(struct op_rec, known) == 104, "op_rec layout");

/* Validate bytes from outside: kinds, ranges, O2, reserved zero. 0 or -EPROTO with @ret_why set. */
MUST_CHECK int op_rec_check(const struct op_rec *op, const char **ret_why);
const char *op_kind_name(unsigned kind);
static inline bool op_changes_blocks(const struct op_rec *op)
{
	return op->kind == OP_WRITE || op->kind == OP_UNMAP || op->kind == OP_WRITE_SAME;
}

#endif
