/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* Large writes straight to fresh pages (store/direct.c, land.c). */
#include "store/internal.h"
#include "tests/unit/store_await.h"
#include "tests/unit/store_rig.h"

static struct rig_op *written(struct rig *r, uint64_t extent, uint32_t block, uint32_t n)
{
	struct rig_op *op = rig_write_retry(r, 1, extent, block, n);

	rig_wait(r, &op->is_done);
	assert_int_equal(op->res, 0);
	return op;
}

static void test_store_direct_large_write_costs_its_bytes_and_one_header(void **state)
{
	struct rig *r = rig_new(NULL, 41);
	struct store_stats before, after;
	struct rig_op *op;

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	store_stats(r->s, &before);
	op = written(r, 0, 256, 256);
	store_stats(r->s, &after);
	assert_int_equal(after.written_bytes - before.written_bytes, OP_BYTES_MAX + BLOCK_BYTES);
	assert_int_equal(after.direct_blocks, 256);
	rig_expect(r, 1, 0, 256, 256, true, op);
	rig_expect_zero(r, 1, 0, 256, 256, false);
	store_commit(r->s, 1, 1);
	rig_expect_part(r, 1, 0, 256, 256, op);
	rig_settle(r);
	store_check(r->s);
	rig_expect_part(r, 1, 0, 256, 256, op);
	rig_free(r);
}

static void test_store_direct_unaligned_ends_go_through_the_log(void **state)
{
	struct rig *r = rig_new(NULL, 42);
	struct rig_op *last = NULL;
	unsigned n = 0;

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	for (uint32_t first = 0; first < 16; first += 3)
		for (uint32_t len = 14; len < 60; len += 9)
			last = written(r, n++ % 7, first, len);
	rig_expect_fetch(r, 1, n, last);
	store_commit(r->s, 1, n);
	rig_expect_part(r, 1, last->op.rec.extent, 15, 58, last);
	rig_crash(r, 500);
	assert_int_equal(rig_open(r), 0);
	assert_int_equal(r->last[1], n);
	store_commit(r->s, 1, n);
	rig_expect_part(r, 1, last->op.rec.extent, 15, 58, last);
	rig_settle(r);
	store_check(r->s);
	rig_expect_part(r, 1, last->op.rec.extent, 15, 58, last);
	rig_free(r);
}

static void test_store_direct_pages_that_did_not_arrive_undo_their_chain_only(void **state)
{
	struct rig *r = rig_new(NULL, 43);
	struct rig_op *large, *behind, *other;

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	rig_chain(r, 2);
	large = rig_write(r, 1, 0, 0, 64);
	behind = rig_write(r, 1, 0, 100, 1);
	other = rig_write(r, 2, 0, 0, 1);
	/* The header is there, the pages are held up: the other chain does not wait for them. */
	r->disk.hold_from = r->s->super.pages_offset_bytes;
	rig_wait(r, &other->is_done);
	assert_false(large->is_done);
	assert_false(behind->is_done);
	while (fake_step_now(&r->fe))
		;
	assert_false(behind->is_done);
	rig_crash(r, 0);
	r->disk.hold_from = 0;
	assert_int_equal(rig_open(r), 0);
	assert_int_equal(r->last[1], 0);
	assert_int_equal(r->last[2], 1);
	/* The same numbers again, with other content; then everything once more from the disk. */
	large = written(r, 0, 8, 64);
	rig_crash(r, 0);
	assert_int_equal(rig_open(r), 0);
	assert_int_equal(r->last[1], 1);
	rig_expect_fetch(r, 1, 1, large);
	store_commit(r->s, 1, 1);
	store_commit(r->s, 2, 1);
	rig_expect_part(r, 1, 0, 8, 64, large);
	rig_expect_zero(r, 1, 0, 0, 8, false);
	rig_settle(r);
	store_check(r->s);
	rig_free(r);
}

/* Reads of one record block get no answer. */
static struct {
	void (*submit)(struct env_disk *d, struct disk_io *io);
	uint64_t home[2];
	bool on;
} wall;

static void submit_past_wall(struct env_disk *d, struct disk_io *io)
{
	bool there = io->offset_bytes == wall.home[0] || io->offset_bytes == wall.home[1];

	if (!wall.on || io->op != DISK_READ || !there)
		wall.submit(d, io);
}

/* Committed, in its pages, but the record that is to say so is not in memory and does not come: a
 * checkpoint meanwhile leaves its op to replay. */
static void test_store_direct_checkpoint_leaves_to_replay_what_has_not_landed(void **state)
{
	struct rig *r = rig_new(NULL, 47);
	static uint8_t got[BLOCK_BYTES];
	struct rig_op *op;
	uint32_t block;

	(void)state;
	r->cache_slots = 6;
	rig_open(r);
	rig_chain(r, 1);
	wall.submit = r->disk.disk.submit;
	r->disk.disk.submit = submit_past_wall;
	for (uint32_t i = 0; i < 24; i++) {
		written(r, i / 4, i % 4 * 256, 256);
		store_commit(r->s, 1, r->last[1]);
	}
	rig_settle(r);
	for (uint32_t i = 0; i < 256; i++) { /* what a checkpoint is for */
		written(r, i % 6, 3 * i % EXTENT_BLOCKS, 3);
		store_commit(r->s, 1, r->last[1]);
	}
	op = written(r, 0, 64, 16);
	block = recs_block_of(op->op.pages[0]);
	for (uint32_t i = 0; i < 100 && recs_peek(r->s, block) != RECS_NONE; i++)
		assert_int_equal(rig_read(r, 1, i % 6, 800 + i, 1, false, got), 0);
	assert_int_equal(recs_peek(r->s, block), RECS_NONE); /* not in memory any more */
	wall.home[0] = recs_home_offset(r->s, block, false);
	wall.home[1] = recs_home_offset(r->s, block, true);
	wall.on = true;
	store_commit(r->s, 1, r->last[1]);
	for (uint64_t before = r->s->stats.checkpoints; r->s->stats.checkpoints == before;)
		assert_true(fake_step(&r->fe));
	assert_int_equal(r->s->fresh_n, 16);
	wall.on = false;
	rig_crash(r, 0);
	assert_int_equal(rig_open(r), 0);
	store_commit(r->s, 1, r->last[1]);
	rig_expect_part(r, 1, 0, 64, 16, op);
	rig_settle(r);
	rig_expect_part(r, 1, 0, 64, 16, op);
	store_check(r->s);
	rig_free(r);
}

static void test_store_direct_overwrites_give_their_pages_back(void **state)
{
	struct rig *r = rig_new_sized(44, 32u << 20, 4u << 20);
	struct store_stats st;
	struct rig_op *op = NULL;
	uint64_t free_bytes;

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	written(r, 0, 0, 256);
	store_commit(r->s, 1, 1);
	store_stats(r->s, &st);
	free_bytes = st.bytes_free;
	for (unsigned i = 2; i < 200; i++) {
		op = written(r, 0, 0, 256);
		store_commit(r->s, 1, i);
		store_stats(r->s, &st);
		/* What new data may take does not shrink meanwhile. */
		assert_int_equal(st.bytes_free, free_bytes);
		if (i % 16 == 0)
			store_check(r->s);
	}
	assert_true(st.direct_blocks > 256);
	rig_expect_part(r, 1, 0, 0, 256, op);
	rig_settle(r);
	store_check(r->s);
	assert_int_equal(r->s->pages.limbo_n, 0);
	assert_int_equal(r->s->pages.spare_used, 0);
	rig_free(r);
}

/* More record blocks in use than the cache holds: they come and go, and no checksum is lost. */
static void test_store_direct_records_outlive_a_small_cache(void **state)
{
	struct rig *r = rig_new_sized(45, 64u << 20, 4u << 20);
	struct rig_op *op[30];
	struct store_stats st;

	(void)state;
	r->cache_slots = 3;
	rig_open(r);
	rig_chain(r, 1);
	for (unsigned lap = 0; lap < 3; lap++) {
		for (unsigned i = 0; i < 30; i++) {
			op[i] = written(r, i, lap * 16, 200 + i);
			store_commit(r->s, 1, r->last[1]);
			if (i % 10 == 0)
				store_check(r->s);
		}
		rig_settle(r);
		for (unsigned i = 0; i < 30; i++)
			rig_expect_part(r, 1, (i * 7) % 30, lap * 16, 200, op[(i * 7) % 30]);
		rig_crash(r, 500);
		assert_int_equal(rig_open(r), 0);
		store_commit(r->s, 1, r->last[1]);
	}
	store_stats(r->s, &st);
	assert_true(r->s->recs.slots_n < r->s->recs.blocks_n);
	for (unsigned i = 0; i < 30; i++)
		rig_expect_part(r, 1, i, 32, 200, op[i]);
	store_stats(r->s, &st);
	assert_true(st.cache_misses > 0);
	rig_settle(r);
	store_check(r->s);
	rig_free(r);
}

/* The one slot there is holds a block that has to be written out first: somebody who waits for
 * another block needs no other event for that. */
static void test_store_direct_read_gets_its_record_while_time_stands_still(void **state)
{
	struct rig *r = rig_new_sized(47, 64u << 20, 4u << 20);

	(void)state;
	r->cache_slots = 1;
	rig_open(r);
	rig_chain(r, 1);
	for (unsigned i = 0; i < 60; i++) {
		struct await_read rd = {.read = {.chain = 1,
						 .volume = 1,
						 .extent = i * 7 % (i / 2 + 1),
						 .block = 16,
						 .blocks = 100}};

		written(r, i / 2, i % 2 * 64, 160);
		store_commit(r->s, 1, r->last[1]);
		for (uint64_t n = fake_random(&r->fe, 6); n > 0; n--)
			fake_step_now(&r->fe);
		/* As after a round that ended at its limit. */
		r->s->recs.evict_at = r->s->recs.blocks_n - 1;
		await_read(r->s, &rd);
		while (!rd.done)
			assert_true(fake_step_now(&r->fe));
		assert_int_equal(rd.res, 0);
		buf_put(rd.read.data);
	}
	rig_settle(r);
	store_check(r->s);
	rig_free(r);
}

static void test_store_direct_failed_page_write_fails_the_store_and_every_op(void **state)
{
	struct rig *r = rig_new(NULL, 46);
	struct rig_op *large, *small;

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	rig_wait(r, &rig_write(r, 1, 0, 0, 1)->is_done);
	r->disk.fail_write = r->disk.writes + 1; /* pages are submitted before their header */
	large = rig_write(r, 1, 0, 16, 64);
	small = rig_write(r, 1, 0, 4, 1);
	rig_wait(r, &large->is_done);
	rig_wait(r, &small->is_done);
	assert_int_equal(large->res, -EIO);
	assert_int_equal(small->res, -EIO);
	rig_crash(r, 0);
	r->disk.fail_write = 0;
	assert_int_equal(rig_open(r), 0);
	assert_int_equal(r->last[1], 1);
	rig_free(r);
}

/* G4: a late write would land in what somebody else put there. */
static void test_store_page_is_not_reused_while_a_transfer_runs_on_it(void **state)
{
	const struct page_key key = {.volume = 1};
	struct rig *r = rig_new(NULL, 48);
	struct rig_op *op;
	struct page *p;

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	written(r, 0, 0, 16);
	store_commit(r->s, 1, 1);
	rig_settle(r);
	p = pages_find(&r->s->pages, &key);
	assert_non_null(p);
	p->pins++;
	op = rig_unmap(r, 1, 0, 0, 16);
	rig_wait(r, &op->is_done);
	store_commit(r->s, 1, 2);
	rig_settle(r);
	assert_int_equal(p->state, PAGE_LIMBO);
	p->pins--;
	written(r, 1, 0, 16);
	store_commit(r->s, 1, 3);
	rig_settle(r);
	assert_int_equal(p->state, PAGE_FREE);
	store_check(r->s);
	rig_free(r);
}

/* G4: until then a power cut may bring its owner back. */
static void test_store_page_is_not_reused_before_a_later_checkpoint_is_durable(void **state)
{
	const struct page_key key = {.volume = 1};
	struct rig *r = rig_new(NULL, 49);
	uint64_t generation;
	struct rig_op *op;
	struct page *p;

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	written(r, 0, 0, 16);
	store_commit(r->s, 1, 1);
	rig_settle(r);
	p = pages_find(&r->s->pages, &key);
	assert_non_null(p);
	op = rig_unmap(r, 1, 0, 0, 16);
	rig_wait(r, &op->is_done);
	store_commit(r->s, 1, 2);
	assert_int_equal(p->state, PAGE_LIMBO);
	generation = r->s->super.ckpt_generation;
	while (p->state != PAGE_FREE)
		assert_true(fake_step(&r->fe));
	for (unsigned i = 0; i < SUPER_COPIES; i++) {
		const struct disk_super *sb =
			(const void *)(r->disk.durable + super_offset_bytes(i));

		assert_true(sb->ckpt_generation > generation);
	}
	rig_free(r);
}

static void test_store_direct_last_page_of_an_unproved_op_is_looked_at(void **state)
{
	struct rig *r = rig_new(NULL, 50);
	struct rig_op *op;
	uint64_t at;

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	op = written(r, 0, 0, 64);
	at = r->s->super.pages_offset_bytes + (op->op.pages[3] + 1ull) * PAGE_BYTES - 1;
	rig_crash(r, 0);
	fake_disk_poke(&r->disk, at, "x", 1);
	assert_int_equal(rig_open(r), 0);
	assert_int_equal(r->last[1], 0);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_store_direct_large_write_costs_its_bytes_and_one_header),
		RIG_TEST(test_store_direct_unaligned_ends_go_through_the_log),
		RIG_TEST(test_store_direct_pages_that_did_not_arrive_undo_their_chain_only),
		RIG_TEST(test_store_direct_checkpoint_leaves_to_replay_what_has_not_landed),
		RIG_TEST(test_store_direct_overwrites_give_their_pages_back),
		RIG_TEST(test_store_direct_records_outlive_a_small_cache),
		RIG_TEST(test_store_direct_read_gets_its_record_while_time_stands_still),
		RIG_TEST(test_store_direct_failed_page_write_fails_the_store_and_every_op),
		RIG_TEST(test_store_page_is_not_reused_while_a_transfer_runs_on_it),
		RIG_TEST(test_store_page_is_not_reused_before_a_later_checkpoint_is_durable),
		RIG_TEST(test_store_direct_last_page_of_an_unproved_op_is_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
