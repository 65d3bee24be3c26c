/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/op.h"

/* The smallest valid record of a kind. */
static struct op_rec rec(enum op_kind kind)
{
	struct op_rec op = {
		.seq = 1,
		.epoch = 1,
		.volume = 1,
		.chain = 1,
		.kind = (uint16_t)kind,
		.session = 1,
		.req_no = kind == OP_NOP ? 0 : 1,
	};

	if (kind == OP_WRITE || kind == OP_UNMAP || kind == OP_WRITE_SAME)
		op.blocks = 1;
	if (kind == OP_WRITE || kind == OP_WRITE_SAME) {
		op.crcs_n = 1;
		op.data_bytes = BLOCK_BYTES;
	}
	return op;
}

static const char *wrong(const struct op_rec *op)
{
	const char *why = NULL;
	int rc = op_rec_check(op, &why);

	assert_int_equal(rc, why ? -EPROTO : 0);
	return why ? why : "";
}

static void test_the_smallest_record_of_every_kind_is_accepted(void **state)
{
	(void)state;
	for (unsigned kind = OP_NOP; kind < OP_KIND_END; kind++) {
		struct op_rec op = rec((enum op_kind)kind);

		assert_string_equal(wrong(&op), "");
		assert_string_not_equal(op_kind_name(kind), "?");
	}
	assert_string_equal(op_kind_name(0), "?");
	assert_string_equal(op_kind_name(OP_KIND_END), "?");
}

static void test_the_longest_ranges_are_accepted_and_one_block_more_is_not(void **state)
{
	struct op_rec op = rec(OP_WRITE);

	(void)state;
	op.block = EXTENT_BLOCKS - OP_BLOCKS_MAX;
	op.blocks = op.crcs_n = OP_BLOCKS_MAX;
	op.data_bytes = OP_BYTES_MAX;
	assert_string_equal(wrong(&op), "");
	op.block++;
	assert_string_equal(wrong(&op), "op: range leaves its extent");
	op = rec(OP_UNMAP);
	op.blocks = EXTENT_BLOCKS;
	assert_string_equal(wrong(&op), "");
	op.blocks++;
	assert_string_equal(wrong(&op), "op: range leaves its extent");
	op = rec(OP_WRITE_SAME);
	op.blocks = EXTENT_BLOCKS;
	assert_string_equal(wrong(&op), "");
}

static void test_kinds_without_range_or_payload_have_none(void **state)
{
	static const enum op_kind kinds[] = {OP_NOP, OP_SESSION, OP_CLOSE, OP_MISCOMPARE};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct op_rec op = rec(kinds[i]);

		op.blocks = 1;
		assert_string_equal(wrong(&op), "op: range on a kind that has none");
		op = rec(kinds[i]);
		op.data_bytes = BLOCK_BYTES;
		assert_string_equal(wrong(&op), "op: payload length does not match the range");
		op = rec(kinds[i]);
		op.crcs_n = 1;
		assert_string_equal(wrong(&op), "op: number of checksums does not match the range");
		assert_false(op_changes_blocks(&op));
	}
}

static void test_what_only_one_kind_may_say(void **state)
{
	struct op_rec op = rec(OP_SESSION);

	(void)state;
	op.session = 0;
	assert_string_equal(wrong(&op), "op: session number is 0");
	op = rec(OP_NOP);
	op.req_no = 1;
	assert_string_equal(wrong(&op), "op: NOP with a request number");
	op = rec(OP_MISCOMPARE);
	op.result = -EILSEQ;
	op.offset_bytes = CAW_BLOCKS_MAX * BLOCK_BYTES - 1;
	assert_string_equal(wrong(&op), "");
	op.offset_bytes++;
	assert_string_equal(wrong(&op), "op: offset of the difference out of bounds");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_smallest_record_of_every_kind_is_accepted),
		cmocka_unit_test(test_the_longest_ranges_are_accepted_and_one_block_more_is_not),
		cmocka_unit_test(test_kinds_without_range_or_payload_have_none),
		cmocka_unit_test(test_what_only_one_kind_may_say),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
