/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "store/internal.h"
#include "tests/unit/store_rig.h"

#define SMALL_DISK (24u << 20)
#define SMALL_LOG (4u << 20)
#define LARGE_DISK (320u << 20)
#define LARGE_LOG (16u << 20) /* what a batch may take at most is little of it */

static void commit_all(struct rig *r, uint32_t chain)
{
	store_commit(r->s, chain, r->last[chain]);
}

/* Writes @n blocks and commits. -ENOSPC is returned, everything else must work. */
static int write_through(struct rig *r, uint32_t chain, uint64_t extent, uint32_t block, uint32_t n,
			 struct rig_op **ret)
{
	int res;

	r->space_called = false;
	res = rig_try_write(r, chain, extent, block, n, ret);
	while (res == -EAGAIN) {
		rig_wait(r, &r->space_called);
		r->space_called = false;
		res = rig_append(r, *ret);
	}
	if (res)
		return res;
	rig_wait(r, &(*ret)->is_done);
	assert_int_equal((*ret)->res, 0);
	commit_all(r, chain);
	return 0;
}

static void test_store_full_refuses_cleanly_and_takes_overwrites_and_unmaps(void **state)
{
	struct rig *r = rig_new_sized(11, SMALL_DISK, SMALL_LOG);
	struct rig_op *op, *first = NULL;
	struct store_stats st;
	uint64_t extent = 0;
	uint32_t block = 0;
	int res;

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	while ((res = write_through(r, 1, extent, block, 16, &op)) == 0) {
		first = first ? first : op;
		block += 16;
		extent += block == EXTENT_BLOCKS;
		block %= EXTENT_BLOCKS;
	}
	assert_int_equal(res, -ENOSPC);
	store_check(r->s);
	store_stats(r->s, &st);
	assert_true(st.bytes_free == 0);
	/* Overwrites need no page. */
	assert_int_equal(write_through(r, 1, 0, 0, 16, &op), 0);
	rig_expect_part(r, 1, 0, 0, 16, op);
	assert_int_equal(write_through(r, 1, extent, block, 1, &op), -ENOSPC);
	/* Space comes back without a restart, after a checkpoint. */
	op = rig_unmap(r, 1, 0, 16, 32);
	rig_wait(r, &op->is_done);
	r->space_called = false;
	commit_all(r, 1);
	rig_wait(r, &r->space_called);
	assert_int_equal(write_through(r, 1, extent, block, 1, &op), 0);
	assert_int_equal(write_through(r, 1, extent, block + 16, 1, &op), 0);
	rig_expect_zero(r, 1, 0, 16, 32, false);
	rig_settle(r);
	store_check(r->s);
	rig_crash(r, 0);
	assert_int_equal(rig_open(r), 0);
	rig_expect_zero(r, 1, 0, 16, 32, false);
	rig_expect_part(r, 1, extent, block + 16, 1, op);
	rig_free(r);
}

static struct rig_op *numbered(struct rig *r, uint64_t extent, uint32_t block, uint32_t n)
{
	struct rig_op *op = rig_op(r, 1, OP_WRITE, extent);

	op->op.rec.block = block;
	op->op.rec.blocks = n;
	op->op.numbered = true;
	assert_int_equal(rig_append(r, op), 0);
	rig_wait(r, &op->is_done);
	assert_int_equal(op->res, 0);
	commit_all(r, 1);
	store_check(r->s);
	return op;
}

/* What a head has numbered may take the reserve. Its ends need pages as well as its middle. */
static void test_store_full_takes_numbered_large_writes_to_the_last_page(void **state)
{
	struct rig *r = rig_new_sized(17, SMALL_DISK, SMALL_LOG);
	struct rig_op *op;
	uint32_t n = 0;

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	for (; r->s->pages.free_n > r->s->pages.spare_max + 3; n++)
		assert_int_equal(write_through(r, 1, n / 64, n % 64 * 16, 16, &op), 0);
	for (n = 100; r->s->pages.free_n >= 4; n++) {
		op = numbered(r, n, 8, 56); /* half a page and three whole ones, all new */
		rig_expect_part(r, 1, n, 8, 56, op);
	}
	/* Three whole ones take the place of others, and half a new one. */
	assert_int_equal(r->s->pages.free_n, 3);
	op = numbered(r, 100, 16, 56);
	rig_expect_part(r, 1, 100, 16, 56, op);
	/* Fewer are free than it covers: through the log. */
	assert_int_equal(r->s->pages.free_n, 2);
	op = numbered(r, 100, 16, 48);
	assert_int_equal(op->op.pages_n, 0);
	rig_expect_part(r, 1, 100, 16, 48, op);
	rig_settle(r);
	store_check(r->s);
	rig_free(r);
}

static void test_store_ledger_balances_to_zero_when_everything_is_unmapped(void **state)
{
	struct rig *r = rig_new_sized(12, SMALL_DISK, SMALL_LOG);
	struct store_stats st;
	struct rig_op *op;

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	for (unsigned i = 0; i < 60; i++)
		assert_int_equal(write_through(r, 1, i % 3, i * 16 % 1000, 20, &op), 0);
	for (uint64_t extent = 0; extent < 3; extent++) {
		op = rig_unmap(r, 1, extent, 0, EXTENT_BLOCKS);
		rig_wait(r, &op->is_done);
	}
	commit_all(r, 1);
	rig_settle(r);
	store_check(r->s);
	store_stats(r->s, &st);
	assert_int_equal(st.bytes_free, st.bytes_total);
	rig_free(r);
}

static void test_store_stuck_chain_does_not_jam_the_log(void **state)
{
	struct rig *r = rig_new_sized(13, 64u << 20, 8u << 20);
	struct rig_op *stuck[20], *op;

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	rig_chain(r, 2);
	for (unsigned i = 0; i < 20; i++)
		stuck[i] = rig_write(r, 1, 0, i, 1 + i % 3);
	rig_wait(r, &stuck[19]->is_done);
	/* Many laps of the other chain. */
	for (unsigned i = 0; i < 300; i++) {
		assert_int_equal(write_through(r, 2, 0, i % 4 * 128, 64 + i % 64, &op), 0);
		if (i % 16 == 0)
			store_check(r->s);
		if (i == 150) {
			rig_crash(r, 500);
			assert_int_equal(rig_open(r), 0);
			commit_all(r, 2);
		}
	}
	assert_true(r->s->again.copies >= 20);
	for (unsigned i = 0; i < 20; i++)
		rig_expect_fetch(r, 1, i + 1, stuck[i]);
	rig_crash(r, 500);
	assert_int_equal(rig_open(r), 0);
	for (unsigned i = 0; i < 20; i++)
		rig_expect_fetch(r, 1, i + 1, stuck[i]);
	store_commit(r->s, 1, 20);
	rig_expect(r, 1, 0, 19, 2, false, stuck[19]);
	rig_settle(r);
	rig_expect(r, 1, 0, 19, 2, false, stuck[19]);
	store_check(r->s);
	rig_free(r);
}

static struct {
	struct rig *r;
	void (*submit)(struct env_disk *d, struct disk_io *io);
	unsigned reads;
	bool commit; /* its chain wakes up while the second is under way */
} copying;

/* The first read of what is to be copied fails; with .commit each. */
static void copying_submit(struct env_disk *d, struct disk_io *io)
{
	struct store *s = copying.r->s;
	bool original = s && io == &s->again.io;

	if (original)
		copying.r->disk.bad_block =
			copying.reads++ == 0 || copying.commit ? io->offset_bytes : 0;
	copying.submit(d, io);
	if (original && copying.commit && copying.reads == 1)
		store_commit(s, 1, 1);
}

static void stuck_op_cannot_be_read(uint64_t seed, bool wakes_up)
{
	struct rig *r = rig_new_sized(seed, 64u << 20, 8u << 20);
	struct rig_op *stuck, *op;

	rig_open(r);
	rig_chain(r, 1);
	rig_chain(r, 2);
	copying.r = r;
	copying.submit = r->disk.disk.submit;
	copying.reads = 0;
	copying.commit = wakes_up;
	r->disk.disk.submit = copying_submit;
	stuck = rig_write(r, 1, 0, 1, 3);
	rig_wait(r, &stuck->is_done);
	for (unsigned i = 0; i < 150; i++)
		assert_int_equal(write_through(r, 2, 0, i % 4 * 128 + 1, 14, &op), 0);
	assert_int_equal(copying.reads > 1, !wakes_up);
	assert_true(copying.reads > 0);
	r->disk.bad_block = 0;
	if (!wakes_up)
		rig_expect_fetch(r, 1, 1, stuck);
	store_check(r->s);
	rig_free(r);
}

static void test_store_stuck_chain_that_cannot_be_read_once_stops_nobody(void **state)
{
	(void)state;
	stuck_op_cannot_be_read(24, false);
}

static void test_store_stuck_chain_that_wakes_up_needs_not_be_read(void **state)
{
	(void)state;
	stuck_op_cannot_be_read(25, true);
}

/* Others go on while a chain is copied: they must leave room for the copies that are to come. */
static void test_store_stuck_chain_is_copied_whatever_others_write_meanwhile(void **state)
{
	struct rig *r = rig_new_sized(18, 128u << 20, 16u << 20);
	struct rig_op *stuck = NULL, *op, *flying[12] = {NULL};
	unsigned n = 0;

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	rig_chain(r, 2);
	for (unsigned i = 0; i < 66; i++) {
		stuck = rig_write(r, 1, i, 1, 14);
		rig_wait(r, &stuck->is_done);
	}
	for (unsigned lap = 0; r->s->again.copies < 66 || r->s->again.chain; lap++) {
		op = flying[n % 12];
		if (op && op->is_done)
			store_commit(r->s, 2, op->op.rec.seq);
		if ((!op || op->is_done) && rig_try_write(r, 2, n % 40, 1, 14, &op) == 0)
			flying[n++ % 12] = op;
		else
			assert_true(fake_step(&r->fe));
		if (lap % 64 == 0)
			store_check(r->s);
	}
	assert_true(n > 66);
	rig_expect_fetch(r, 1, 66, stuck);
	rig_crash(r, 500);
	assert_int_equal(rig_open(r), 0);
	rig_expect_fetch(r, 1, 66, stuck);
	rig_free(r);
}

static void test_store_stuck_chain_may_wake_up_while_it_is_copied(void **state)
{
	struct rig *r = rig_new_sized(14, 64u << 20, 8u << 20);
	struct rig_op *stuck[40], *op;
	unsigned commits = 0;

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	rig_chain(r, 2);
	for (unsigned i = 0; i < 40; i++)
		stuck[i] = rig_write(r, 1, 0, i, 1 + i % 3);
	rig_wait(r, &stuck[39]->is_done);
	for (unsigned i = 0; i < 400; i++) {
		/* Parts of four pages: through the log. */
		assert_int_equal(write_through(r, 2, 0, i % 4 * 128 + 1, 14, &op), 0);
		if (r->s->again.state != AGAIN_IDLE && commits < 30)
			store_commit(r->s, 1, ++commits);
		if (i % 8 == 0)
			store_check(r->s);
	}
	assert_true(commits > 3);
	rig_crash(r, 500);
	assert_int_equal(rig_open(r), 0);
	assert_int_equal(r->last[1], 40);
	store_commit(r->s, 1, 40);
	for (unsigned i = 0; i < 40; i++)
		rig_expect_block(r, 1, 0, i, stuck[i]);
	rig_expect_part(r, 1, 0, 39, 1, stuck[39]);
	store_check(r->s);
	rig_free(r);
}

static void test_store_write_same_of_whole_extents_fits_any_index(void **state)
{
	struct rig *r = rig_new_sized(15, 48u << 20, SMALL_LOG);
	struct rig_op *op = NULL;

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	for (unsigned i = 0; i < 20; i++) {
		int res;

		op = rig_op(r, 1, OP_WRITE_SAME, i % 2);
		op->op.rec.blocks = EXTENT_BLOCKS;
		r->space_called = false;
		while ((res = rig_append(r, op)) == -EAGAIN) {
			rig_wait(r, &r->space_called);
			r->space_called = false;
		}
		assert_int_equal(res, 0);
		rig_wait(r, &op->is_done);
		commit_all(r, 1);
		store_check(r->s);
	}
	rig_expect_part(r, 1, 1, 500, 100, op);
	rig_crash(r, 500);
	assert_int_equal(rig_open(r), 0);
	commit_all(r, 1);
	rig_expect_part(r, 1, 1, 0, 256, op);
	rig_settle(r);
	rig_expect_part(r, 1, 1, 700, 256, op);
	rig_free(r);
}

/* More blocks than the index has entries, in a few blocks of log: each op counts for what it may
 * put there. */
static void test_store_write_same_counts_for_all_its_blocks(void **state)
{
	struct rig *r = rig_new_sized(17, 160u << 20, SMALL_LOG);
	struct rig_op *op = NULL;
	unsigned n = 0;

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	for (; (uint64_t)n * EXTENT_BLOCKS < 2ull * r->s->index.entries_n; n++) {
		int res;

		op = rig_op(r, 1, OP_WRITE_SAME, n);
		op->op.rec.blocks = EXTENT_BLOCKS;
		r->space_called = false;
		while ((res = rig_append(r, op)) == -EAGAIN) {
			rig_wait(r, &r->space_called);
			r->space_called = false;
		}
		assert_int_equal(res, 0);
		rig_wait(r, &op->is_done);
		commit_all(r, 1);
	}
	assert_true(n > 8);
	store_check(r->s);
	rig_crash(r, 500);
	assert_int_equal(rig_open(r), 0);
	commit_all(r, 1);
	rig_expect_part(r, 1, n - 1, 0, 256, op);
	rig_free(r);
}

static void test_store_megabyte_ops_fit_a_log_of_eight(void **state)
{
	struct rig *r = rig_new_sized(16, 64u << 20, 8u << 20);
	struct rig_op *op[12];

	(void)state;
	rig_open(r);
	rig_chain(r, 3);
	for (unsigned i = 0; i < 12; i++)
		assert_int_equal(write_through(r, 3, i / 4, i % 4 * 256, 256, &op[i]), 0);
	for (unsigned i = 0; i < 12; i++)
		rig_expect_part(r, 3, i / 4, i % 4 * 256, 256, op[i]);
	rig_settle(r);
	rig_crash(r, 0);
	assert_int_equal(rig_open(r), 0);
	for (unsigned i = 0; i < 12; i++)
		rig_expect_part(r, 3, i / 4, i % 4 * 256, 256, op[i]);
	rig_free(r);
}

/* @depth writes of a block each at once, then their commits; how often it was refused. */
static unsigned write_some(struct rig *r, unsigned depth, uint32_t *block)
{
	struct rig_op *op = NULL;
	unsigned refused = 0;

	for (unsigned i = 0; i < depth; i++) {
		int res;

		*block = (*block + 37) % (8 * EXTENT_BLOCKS);
		r->space_called = false;
		res = rig_try_write(r, 1, *block / EXTENT_BLOCKS, *block % EXTENT_BLOCKS, 1, &op);
		while (res == -EAGAIN) {
			refused++;
			rig_wait(r, &r->space_called);
			r->space_called = false;
			res = rig_append(r, op);
		}
		assert_int_equal(res, 0);
	}
	rig_wait(r, &op->is_done);
	commit_all(r, 1);
	return refused;
}

/* Destaging hangs at its first page: what is let in ends at three quarters of the log, not where it
 * is full, and goes on when a job ends. */
static void test_store_nearly_full_log_takes_in_what_goes_out(void **state)
{
	struct rig *r = rig_new_sized(21, LARGE_DISK, LARGE_LOG);
	struct rig_op *op;
	const struct log *l;
	uint32_t block = 0, live;
	int res;

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	l = &r->s->log;
	r->disk.hold_from = r->s->super.pages_offset_bytes;
	while ((res = rig_try_write(r, 1, block / EXTENT_BLOCKS, block % EXTENT_BLOCKS, 1, &op)) ==
	       0) {
		rig_wait(r, &op->is_done);
		commit_all(r, 1);
		block += 5;
	}
	assert_int_equal(res, -EAGAIN);
	live = l->live_blocks;
	assert_in_range(live, l->blocks / 4 * 3, l->blocks / 4 * 3 + 2 * LOG_BATCH_BLOCKS_MAX);
	assert_true(l->used < l->blocks * 7 / 8);
	for (unsigned i = 0; i < 100; i++) {
		fake_step_now(&r->fe);
		assert_int_equal(rig_append(r, op), -EAGAIN);
	}
	r->disk.hold_from = 0;
	r->space_called = false;
	rig_wait(r, &r->space_called);
	assert_true(l->live_blocks < live);
	assert_int_equal(rig_append(r, op), 0);
	rig_wait(r, &op->is_done);
	rig_expect(r, 1, block / EXTENT_BLOCKS, block % EXTENT_BLOCKS, 1, true, op);
	rig_free(r);
}

/* Each checkpoint writes anew every record block that changed: one for an eighth of the log,
 * however full it is. */
static void test_store_full_log_has_no_row_of_checkpoints(void **state)
{
	struct rig *r = rig_new_sized(22, LARGE_DISK, LARGE_LOG);
	struct store_stats before, after;
	uint32_t block = 0, blocks;
	unsigned refused = 0;

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	while (refused == 0)
		refused += write_some(r, 16, &block);
	store_stats(r->s, &before);
	for (unsigned i = 0; i < 250; i++)
		refused += write_some(r, 16, &block);
	store_stats(r->s, &after);
	assert_true(refused > 20); /* the log was nearly full throughout */
	blocks = (uint32_t)((after.ops - before.ops) + (after.batches - before.batches));
	assert_true(after.checkpoints - before.checkpoints <= blocks / (r->s->log.blocks / 8) + 1);
	rig_free(r);
}

/* W8: what was promised to one chain is not taken by another, nor by overwrites, and is used up by
 * the chain's own ops alone. */
static void test_store_credit_is_kept_whatever_other_chains_do(void **state)
{
	struct rig *r = rig_new_sized(17, 48u << 20, SMALL_LOG);
	uint32_t promised[RIG_CHAINS + 1], sum = 0, block = 0;
	struct store_stats st;
	struct rig_op *op;
	uint64_t extent = 0;
	int res;

	(void)state;
	rig_open(r);
	for (uint32_t c = 1; c <= RIG_CHAINS; c++)
		rig_chain(r, c);
	for (uint32_t c = 2; c <= RIG_CHAINS; c++) {
		promised[c] = store_credit(r->s, c);
		assert_true(promised[c] > OP_BLOCKS_MAX / PAGE_BLOCKS);
		assert_int_equal(store_credit(r->s, c), promised[c]);
		sum += promised[c];
	}
	/* Chain 1 takes all it can, small and large, and overwrites. */
	while ((res = write_through(r, 1, extent, block, extent % 2 ? 16 : 1, &op)) == 0) {
		assert_int_equal(write_through(r, 1, 0, 0, 16, &op), 0);
		block += 16;
		extent += block == EXTENT_BLOCKS;
		block %= EXTENT_BLOCKS;
	}
	assert_int_equal(res, -ENOSPC);
	store_stats(r->s, &st);
	assert_int_equal(st.bytes_free / PAGE_BYTES, sum);
	store_check(r->s);
	/* The others have what they were promised, to the last page. */
	for (uint32_t c = 2; c <= RIG_CHAINS; c++) {
		assert_int_equal(store_credit(r->s, c), promised[c]);
		for (uint32_t i = 0; i < promised[c]; i++)
			assert_int_equal(write_through(r, c, i / 64, i % 64 * 16, 1, &op), 0);
		assert_int_equal(store_credit(r->s, c), 0);
		assert_int_equal(write_through(r, c, 9, 0, 1, &op), -ENOSPC);
	}
	store_check(r->s);
	rig_free(r);
}

/* G5: the same while overwrites hold all the pages they can get, none of them given back yet. */
static void test_store_credit_is_kept_while_pages_are_lent(void **state)
{
	struct rig *r = rig_new_sized(18, 48u << 20, SMALL_LOG);
	uint32_t promised[RIG_CHAINS + 1], n = 0;
	struct rig_op *op;

	(void)state;
	rig_open(r);
	for (uint32_t c = 1; c <= RIG_CHAINS; c++)
		rig_chain(r, c);
	for (uint32_t c = 2; c <= RIG_CHAINS; c++)
		promised[c] = store_credit(r->s, c);
	while (write_through(r, 1, n / 64, n % 64 * 16, 16, &op) == 0)
		n++;
	rig_settle(r);
	assert_int_equal(r->s->pages.spare_used, 0);
	/* Nothing is committed: nothing is given up. */
	for (uint32_t i = 0; i < WINDOW_BYTES_MAX / PAGE_BYTES; i++) {
		assert_int_equal(rig_try_write(r, 1, i / 64, i % 64 * 16, 16, &op), 0);
		assert_true(pages_room(&r->s->pages) >= r->s->reserved_n);
		if (op->op.pages_n == 0)
			break;
		while (fake_step_now(&r->fe))
			;
	}
	assert_int_equal(op->op.pages_n, 0);
	assert_true(r->s->pages.spare_used >= r->s->pages.spare_max);
	/* Ops of a chain that was promised pages take them all. */
	for (uint32_t c = 2; c <= RIG_CHAINS; c++) {
		for (uint32_t i = 0; i < promised[c]; i++)
			assert_int_equal(rig_try_write(r, c, 0, i * 16, 1, &op), 0);
		rig_wait(r, &op->is_done);
	}
	store_check(r->s);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_store_full_refuses_cleanly_and_takes_overwrites_and_unmaps),
		RIG_TEST(test_store_full_takes_numbered_large_writes_to_the_last_page),
		RIG_TEST(test_store_ledger_balances_to_zero_when_everything_is_unmapped),
		RIG_TEST(test_store_stuck_chain_does_not_jam_the_log),
		RIG_TEST(test_store_stuck_chain_that_cannot_be_read_once_stops_nobody),
		RIG_TEST(test_store_stuck_chain_that_wakes_up_needs_not_be_read),
		RIG_TEST(test_store_stuck_chain_is_copied_whatever_others_write_meanwhile),
		RIG_TEST(test_store_stuck_chain_may_wake_up_while_it_is_copied),
		RIG_TEST(test_store_write_same_of_whole_extents_fits_any_index),
		RIG_TEST(test_store_credit_is_kept_whatever_other_chains_do),
		RIG_TEST(test_store_nearly_full_log_takes_in_what_goes_out),
		RIG_TEST(test_store_full_log_has_no_row_of_checkpoints),
		RIG_TEST(test_store_credit_is_kept_while_pages_are_lent),
		RIG_TEST(test_store_write_same_counts_for_all_its_blocks),
		RIG_TEST(test_store_megabyte_ops_fit_a_log_of_eight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
