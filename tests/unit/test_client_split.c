/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "client/split.h"
#include "tests/unit/client_test.h"

#define K 1024ull
#define EXT ((uint64_t)EXTENT_BYTES)

struct want {
	uint64_t extent, at;
	uint32_t offset, len;
};

static void expect(enum client_kind kind, uint64_t offset, uint64_t len, const struct want *want,
		   unsigned n)
{
	const struct split_range r = {kind, offset, len};
	struct split_part p;
	uint64_t cursor = 0;

	for (unsigned i = 0; i < n; i++) {
		assert_true(split_next(&r, &cursor, &p));
		assert_int_equal(p.extent, want[i].extent);
		assert_int_equal(p.at_bytes, want[i].at);
		assert_int_equal(p.offset_bytes, want[i].offset);
		assert_int_equal(p.len_bytes, want[i].len);
	}
	assert_false(split_next(&r, &cursor, &p));
	assert_int_equal(cursor, len);
}

#define EXPECT(kind, offset, len, ...)                                                             \
	do {                                                                                       \
		const struct want want_[] = {__VA_ARGS__};                                         \
		expect(kind, offset, len, want_, ARRAY_LEN(want_));                                \
	} while (0)

static void test_split_aligned_write_is_one_part(void **state)
{
	(void)state;
	EXPECT(CLIENT_WRITE, 8 * K, 4 * K, {0, 0, 8 * K, 4 * K});
	EXPECT(CLIENT_WRITE, 2 * EXT, 1024 * K, {2, 0, 0, 1024 * K});
}

static void test_split_cuts_at_the_border_of_an_extent(void **state)
{
	(void)state;
	EXPECT(CLIENT_UNMAP, EXT, EXT, {1, 0, 0, (uint32_t)EXT});
	EXPECT(CLIENT_WRITE, EXT - 8 * K, 12 * K, {0, 0, EXT - 8 * K, 8 * K}, {1, 8 * K, 0, 4 * K});
	EXPECT(CLIENT_READ, EXT - 512, 1 * K, {0, 0, EXT - 512, 512}, {1, 512, 0, 512});
}

static void test_split_write_same_needs_no_more_pages_than_a_write(void **state)
{
	(void)state;
	EXPECT(CLIENT_WRITE_SAME, 4 * K, 2052 * K, {0, 0, 4 * K, 1024 * K},
	       {0, 1024 * K, 1028 * K, 1024 * K}, {0, 2048 * K, 2052 * K, 4 * K});
}

static void test_split_ragged_write_keeps_its_whole_blocks_together(void **state)
{
	(void)state;
	EXPECT(CLIENT_WRITE, 3 * K + 512, 9 * K, {0, 0, 3 * K + 512, 512}, {0, 512, 4 * K, 8 * K},
	       {0, 8 * K + 512, 12 * K, 512});
	EXPECT(CLIENT_WRITE, 512, 1 * K, {0, 0, 512, 1 * K});
	EXPECT(CLIENT_WRITE, 3 * K, 2 * K, {0, 0, 3 * K, 1 * K}, {0, 1 * K, 4 * K, 1 * K});
}

static void test_split_ragged_read_touches_at_most_one_op_of_blocks(void **state)
{
	(void)state;
	EXPECT(CLIENT_READ, 512, 1024 * K, {0, 0, 512, 1024 * K - 512},
	       {0, 1024 * K - 512, 1024 * K, 512});
	EXPECT(CLIENT_READ, 512, 8 * K, {0, 0, 512, 8 * K});
}

static void test_split_range_operations_take_one_part_per_extent(void **state)
{
	(void)state;
	EXPECT(CLIENT_UNMAP, EXT / 2, 2 * EXT, {0, 0, EXT / 2, EXT / 2}, {1, EXT / 2, 0, EXT},
	       {2, EXT / 2 + EXT, 0, EXT / 2});
	EXPECT(CLIENT_PRESENT, 0, EXT + 4 * K, {0, 0, 0, EXT}, {1, EXT, 0, 4 * K});
	EXPECT(CLIENT_CAW, 4 * K, 32 * K, {0, 0, 4 * K, 32 * K});
}

static void test_split_whole_blocks_leaves_the_ragged_ends(void **state)
{
	uint64_t offset = 512, len = 12 * K;

	(void)state;
	split_whole_blocks(&offset, &len);
	assert_int_equal(offset, 4 * K);
	assert_int_equal(len, 8 * K);
	offset = 512;
	len = 4 * K;
	split_whole_blocks(&offset, &len);
	assert_int_equal(len, 0);
}

static uint64_t next_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return *seed >> 33;
}

/* P1 to P4 for many ranges. */
static void test_split_parts_cover_any_range_exactly_and_fit_a_message(void **state)
{
	uint64_t seed = 1;

	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		struct split_range r = {next_random(&seed) % 2 ? CLIENT_READ : CLIENT_WRITE,
					next_random(&seed) % (4 * EXT) / 512 * 512,
					(1 + next_random(&seed) % 2048) * 512};
		uint64_t cursor = 0, at = 0;
		struct split_part p;

		while (split_next(&r, &cursor, &p)) {
			assert_int_equal(p.at_bytes, at);
			assert_int_equal(p.extent * EXT + p.offset_bytes, r.offset_bytes + at);
			assert_true(p.len_bytes > 0);
			assert_true(p.offset_bytes + p.len_bytes <= EXT);
			assert_true(split_blocks(&p) <= OP_BLOCKS_MAX);
			if (r.kind == CLIENT_WRITE)
				assert_true(split_is_whole(&p) || split_blocks(&p) == 1);
			at += p.len_bytes;
		}
		assert_int_equal(at, r.len_bytes);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split_aligned_write_is_one_part),
		cmocka_unit_test(test_split_cuts_at_the_border_of_an_extent),
		cmocka_unit_test(test_split_write_same_needs_no_more_pages_than_a_write),
		cmocka_unit_test(test_split_ragged_write_keeps_its_whole_blocks_together),
		cmocka_unit_test(test_split_ragged_read_touches_at_most_one_op_of_blocks),
		cmocka_unit_test(test_split_range_operations_take_one_part_per_extent),
		cmocka_unit_test(test_split_whole_blocks_leaves_the_ragged_ends),
		cmocka_unit_test(test_split_parts_cover_any_range_exactly_and_fit_a_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
