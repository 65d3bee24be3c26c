/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/arena.h"
#include "lib/frame.h"

static struct buf_pool pool;
static struct frame_pool frames;
static uint8_t *memory;

static int setup(void **state)
{
	const struct buf_pool_config cfg = {
		.small_n = 4, .large_n = 2, .reserve_small = 2, .reserve_large = 1};
	size_t bytes = buf_pool_bytes(&cfg) + frame_pool_bytes(3);
	struct arena a;

	(void)state;
	memory = calloc(1, bytes + 1);
	arena_init(&a, memory + 1, bytes); /* as unaligned as can be */
	buf_pool_init(&pool, &cfg, &a);
	frame_pool_init(&frames, 3, &a);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	buf_pool_check(&pool);
	assert_int_equal(pool.small_free_n, 4);
	assert_int_equal(pool.large_free_n, 2);
	assert_int_equal(frames.free_n, 3);
	free(memory);
	return 0;
}

static void test_buffers_are_aligned_distinct_and_within_the_region(void **state)
{
	struct buf *b[6];

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		b[i] = buf_get(&pool, i < 4 ? 100 : OP_BYTES_MAX, BUF_NODE);
		assert_non_null(b[i]);
		assert_int_equal((uintptr_t)b[i]->data % BLOCK_BYTES, 0);
		assert_true(b[i]->data >= pool.region);
		assert_true(b[i]->data + b[i]->cap_bytes <= pool.region + pool.region_bytes);
		assert_int_equal(b[i]->len_bytes, i < 4 ? 100 : OP_BYTES_MAX);
		memset(b[i]->data, (int)i, b[i]->cap_bytes);
	}
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(b[i]->data[0], i);
		assert_int_equal(b[i]->data[b[i]->cap_bytes - 1], i);
		buf_put(b[i]);
	}
}

static void test_a_small_request_takes_a_large_buffer_when_small_ones_run_out(void **state)
{
	struct buf *b[7];

	(void)state;
	for (unsigned i = 0; i < 7; i++)
		b[i] = buf_get(&pool, 1, BUF_NODE);
	assert_int_equal(b[3]->cap_bytes, BUF_SMALL_BYTES);
	assert_int_equal(b[4]->cap_bytes, OP_BYTES_MAX);
	assert_int_equal(b[5]->cap_bytes, OP_BYTES_MAX);
	assert_null(b[6]);
	for (unsigned i = 0; i < 6; i++)
		buf_put(b[i]);
}

static void test_clients_leave_the_reserve_to_nodes(void **state)
{
	struct buf *b[4], *node;

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		b[i] = buf_get(&pool, 1, BUF_CLIENT);
	assert_int_equal(b[1]->cap_bytes, BUF_SMALL_BYTES);
	assert_int_equal(b[2]->cap_bytes, OP_BYTES_MAX); /* 2 small and 1 large are reserved */
	assert_null(b[3]);
	node = buf_get(&pool, OP_BYTES_MAX, BUF_NODE);
	assert_non_null(node);
	buf_put(node);
	for (unsigned i = 0; i < 3; i++)
		buf_put(b[i]);
}

static void test_a_buffer_returns_with_its_last_reference(void **state)
{
	struct buf *b = buf_get(&pool, 10, BUF_NODE);

	(void)state;
	assert_ptr_equal(buf_ref(b), b);
	buf_put(b);
	assert_int_equal(pool.small_free_n, 3);
	buf_put(b);
	assert_int_equal(pool.small_free_n, 4);
	buf_put(NULL);
}

static void test_a_frame_starts_clean_and_its_last_put_releases_the_payload(void **state)
{
	struct frame *f = frame_new(&frames, WIRE_MAP, 0), *g;
	struct buf *b = buf_get(&pool, 10, BUF_NODE);

	(void)state;
	frame_set_data(f, b);
	assert_int_equal(f->hdr.data_bytes, 10);
	f->hdr.tag = 5;
	f->meta[3] = 1;
	frame_put(frame_ref(f));
	assert_int_equal(pool.small_free_n, 3);
	frame_put(f);
	assert_int_equal(pool.small_free_n, 4);
	g = frame_new(&frames, WIRE_HELLO, 8);
	assert_int_equal(g->hdr.tag, 0);
	assert_int_equal(g->hdr.type, WIRE_HELLO);
	assert_int_equal(g->hdr.magic, WIRE_MAGIC);
	assert_int_equal(g->hdr.meta_bytes, 8);
	assert_int_equal(g->meta[3], 0);
	assert_null(g->data);
	frame_put(g);
	frame_put(NULL);
}

static void test_an_empty_frame_pool_gives_null(void **state)
{
	struct frame *f[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		f[i] = frame_new(&frames, WIRE_HELLO, 0);
	assert_non_null(f[2]);
	assert_null(f[3]);
	for (unsigned i = 0; i < 3; i++)
		frame_put(f[i]);
}

static void test_an_arena_aligns_and_counts(void **state)
{
	static uint8_t bytes[256];
	struct arena a;
	void *p, *q;

	(void)state;
	arena_init(&a, bytes + 1, 200);
	p = arena_alloc(&a, 3, 64);
	q = arena_alloc(&a, 5, 16);
	assert_int_equal((uintptr_t)p % 64, 0);
	assert_int_equal((uintptr_t)q % 16, 0);
	assert_true((uint8_t *)q >= (uint8_t *)p + 3);
	assert_true((uint8_t *)q + 5 <= bytes + 201);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_buffers_are_aligned_distinct_and_within_the_region),
		T(test_a_small_request_takes_a_large_buffer_when_small_ones_run_out),
		T(test_clients_leave_the_reserve_to_nodes),
		T(test_a_buffer_returns_with_its_last_reference),
		T(test_a_frame_starts_clean_and_its_last_put_releases_the_payload),
		T(test_an_empty_frame_pool_gives_null),
		cmocka_unit_test(test_an_arena_aligns_and_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
