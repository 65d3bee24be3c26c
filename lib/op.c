/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "lib/op.h"

#include <errno.h>

static const char *const names[OP_KIND_END] = {
	[OP_NOP] = "NOP",
	[OP_WRITE] = "WRITE",
	[OP_UNMAP] = "UNMAP",
	[OP_WRITE_SAME] = "WRITE_SAME",
	[OP_SESSION] = "SESSION",
	[OP_CLOSE] = "CLOSE",
	[OP_MISCOMPARE] = "MISCOMPARE",
};

const char *op_kind_name(unsigned kind)
{
	return kind < OP_KIND_END && names[kind] ? names[kind] : "?";
}

/* Returns why the fields every kind has are wrong, or NULL. */
static const char *common_wrong(const struct op_rec *op)
{
	if (op->kind == 0 || op->kind >= OP_KIND_END)
		return "op: unknown kind";
	if (op->flags != 0 || op->reserved0 != 0 || op->reserved1 != 0)
		return "op: reserved bits are set";
	if (op->seq == 0 || op->epoch == 0 || op->chain == 0)
		return "op: seq, epoch or chain is 0";
	if (op->result > 0 || op->result < -4095)
		return "op: result is not an errno";
	if (op->block >= EXTENT_BLOCKS || op->blocks > EXTENT_BLOCKS - op->block)
		return "op: range leaves its extent";
	if (op->extent >= EXTENTS_MAX)
		return "op: extent beyond the longest volume";
	if (op->kind != OP_MISCOMPARE && op->offset_bytes != 0)
		return "op: offset on a kind that has none";
	return NULL;
}

static const char *shape_wrong(const struct op_rec *op, uint32_t blocks_max, uint32_t crcs_n,
			       uint32_t data_bytes)
{
	if (blocks_max == 0 && op->blocks != 0)
		return "op: range on a kind that has none";
	if (blocks_max != 0 && (op->blocks == 0 || op->blocks > blocks_max))
		return "op: number of blocks out of bounds";
	if (op->crcs_n != crcs_n)
		return "op: number of checksums does not match the range";
	if (op->data_bytes != data_bytes)
		return "op: payload length does not match the range";
	return NULL;
}

static const char *kind_wrong(const struct op_rec *op)
{
	switch ((enum op_kind)op->kind) {
	case OP_WRITE:
		return shape_wrong(op, OP_BLOCKS_MAX, op->blocks, op->blocks * BLOCK_BYTES);
	case OP_WRITE_SAME:
		return shape_wrong(op, EXTENT_BLOCKS, 1, BLOCK_BYTES);
	case OP_UNMAP:
		return shape_wrong(op, EXTENT_BLOCKS, 0, 0);
	case OP_SESSION:
		if (op->session == 0)
			return "op: session number is 0";
		break;
	case OP_MISCOMPARE:
		if (op->offset_bytes >= CAW_BLOCKS_MAX * BLOCK_BYTES)
			return "op: offset of the difference out of bounds";
		break;
	case OP_NOP:
		if (op->req_no != 0)
			return "op: NOP with a request number";
		break;
	case OP_CLOSE:
	case OP_KIND_END:
		break;
	}
	return shape_wrong(op, 0, 0, 0);
}

int op_rec_check(const struct op_rec *op, const char **ret_why)
{
	const char *why = common_wrong(op);

	if (!why)
		why = kind_wrong(op);
	if (!why)
		return 0;
	*ret_why = why;
	return -EPROTO;
}
