/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* Pages that change hands, and what replay makes of a log that still names their former owners
 * (store/pages.c, replay.c). */
#include "store/internal.h"
#include "tests/unit/store_rig.h"

static struct rig_op *written(struct rig *r, uint32_t chain, uint64_t extent, uint32_t block,
			      uint32_t n)
{
	struct rig_op *op = rig_write_retry(r, chain, extent, block, n);

	rig_wait(r, &op->is_done);
	assert_int_equal(op->res, 0);
	return op;
}

/* Chain 1 gives pages up and a checkpoint frees them; only the checkpoint says so, since nothing
 * was written to the log in between. Chain 2 takes one. The log still names its former owner,
 * because an older op of chain 1 is not in its page yet. */
static struct rig_op *hand_over(struct rig *r, struct rig_op *ret_kept[2])
{
	struct rig_op *old, *op;

	rig_open(r);
	rig_chain(r, 2);
	rig_chain(r, 1);
	written(r, 1, 5, 0, 1);
	old = written(r, 1, 0, 0, 256);
	written(r, 1, 1, 0, 256);
	store_commit(r->s, 1, 3);
	ret_kept[0] = written(r, 1, 0, 0, 256);
	ret_kept[1] = written(r, 1, 1, 0, 256);
	store_commit(r->s, 1, 5);
	while (r->s->stats.checkpoints == 0)
		assert_true(fake_step_now(&r->fe));
	assert_int_equal(r->s->pages.limbo_n, 0);
	r->s->pages.cursor = old->op.pages[0];
	op = written(r, 2, 0, 0, 16);
	assert_int_equal(op->op.pages[0], old->op.pages[0]);
	return op;
}

static void test_store_reuse_page_is_its_new_owners_after_a_crash(void **state)
{
	struct rig *r = rig_new_sized(61, 24u << 20, 4u << 20);
	struct rig_op *kept[2], *op = hand_over(r, kept);

	(void)state;
	store_commit(r->s, 2, 1);
	written(r, 2, 1, 0, 1); /* its batch says that the op before is committed */
	rig_crash(r, 0);
	assert_int_equal(rig_open(r), 0);
	store_check(r->s);
	rig_expect_part(r, 2, 0, 0, 16, op);
	rig_expect_part(r, 1, 0, 0, 256, kept[0]);
	rig_expect_part(r, 1, 1, 0, 256, kept[1]);
	rig_free(r);
}

static void test_store_reuse_page_is_its_new_owners_while_that_is_pending(void **state)
{
	struct rig *r = rig_new_sized(62, 24u << 20, 4u << 20);
	struct rig_op *kept[2], *op = hand_over(r, kept);

	(void)state;
	rig_crash(r, 0);
	assert_int_equal(rig_open(r), 0);
	store_check(r->s);
	rig_expect_fetch(r, 2, 1, op);
	rig_expect_part(r, 1, 0, 0, 256, kept[0]);
	store_commit(r->s, 2, 1);
	rig_expect_part(r, 2, 0, 0, 16, op);
	rig_free(r);
}

/* The log names many pages that were given up, were freed by checkpoints and hold new data by now:
 * it is replayed from an op on that is not in its page yet. */
static void test_store_reuse_full_store_opens_again(void **state)
{
	struct rig *r = rig_new_sized(63, 24u << 20, 4u << 20);
	struct rig_op *first, *large = NULL, *last[2] = {NULL, NULL}, *op;
	uint32_t fill = 0;

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	first = written(r, 1, 9, 0, 1);
	for (unsigned i = 0; i < 10; i++) {
		large = written(r, 1, 0, 0, 256);
		store_commit(r->s, 1, r->last[1]);
		while (fake_step_now(&r->fe))
			;
	}
	assert_true(r->s->stats.checkpoints > 2);
	while (rig_try_write(r, 1, 1 + fill / 64, fill % 64 * PAGE_BLOCKS, 1, &op) == 0) {
		rig_wait(r, &op->is_done);
		store_commit(r->s, 1, r->last[1]);
		last[0] = last[0] ? last[0] : op;
		last[1] = op;
		fill++;
	}
	assert_int_equal(r->s->pages.free_n, r->s->pages.spare_max - r->s->pages.spare_used);
	for (unsigned i = 0; i < 3; i++) {
		rig_crash(r, 0);
		assert_int_equal(rig_open(r), 0);
		store_check(r->s);
		store_commit(r->s, 1, r->last[1]);
		rig_expect_block(r, 1, 9, 0, first);
		rig_expect_part(r, 1, 0, 0, 256, large);
		rig_expect_block(r, 1, 1, 0, last[0]);
		rig_expect_block(r, 1, 1 + (fill - 1) / 64, (fill - 1) % 64 * PAGE_BLOCKS, last[1]);
		if (i == 1)
			rig_settle(r);
	}
	rig_free(r);
}

/* An UNMAP is committed and others fill what it gave back, but the log does not say yet that it is
 * committed: after a crash both need their pages. */
static void test_store_reuse_waits_until_it_is_sure_who_gave_the_page_up(void **state)
{
	struct rig *r = rig_new_sized(64, 24u << 20, 4u << 20);
	struct rig_op *op, *taken = NULL;
	uint32_t fill = 0, n = 0;

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	rig_chain(r, 2);
	while (rig_try_write(r, 1, fill / 64, fill % 64 * PAGE_BLOCKS, 1, &op) == 0) {
		rig_wait(r, &op->is_done);
		fill++;
	}
	written(r, 1, 0, 0, 1);
	op = rig_unmap(r, 1, 1, 0, EXTENT_BLOCKS);
	rig_wait(r, &op->is_done);
	store_commit(r->s, 1, r->last[1] - 1);
	r->disk.stalled = true;
	rig_write(r, 1, 0, 0, 1); /* goes with the watermark of the commit above */
	fake_step_now(&r->fe);
	store_commit(r->s, 1, op->op.rec.seq);
	while (n < 64 && rig_try_write(r, 2, n / 64, n % 64 * PAGE_BLOCKS, 1, &op) == 0) {
		taken = op;
		n++;
	}
	fake_step_now(&r->fe);
	r->disk.stalled = false;
	if (taken)
		rig_wait(r, &taken->is_done);
	rig_crash(r, 0);
	assert_int_equal(rig_open(r), 0);
	store_check(r->s);
	store_commit(r->s, 1, r->last[1]);
	rig_settle(r);
	store_check(r->s);
	assert_int_equal(rig_try_write(r, 1, 1, 0, 1, &op), 0);
	rig_free(r);
}

/* What a read holds is given to nobody, however many checkpoints pass. */
static void test_store_reuse_waits_for_whoever_reads_the_page(void **state)
{
	struct rig *r = rig_new_sized(66, 24u << 20, 4u << 20);
	struct rig_op *op;
	struct page *p;

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	op = written(r, 1, 0, 0, 16);
	store_commit(r->s, 1, 1);
	rig_settle(r);
	p = &r->s->pages.v[op->op.pages[0]];
	assert_int_equal(p->state, PAGE_OWNED);
	p->pins++;
	for (uint64_t i = 2; i < 5; i++) {
		written(r, 1, 0, 0, 16);
		store_commit(r->s, 1, i);
		rig_settle(r);
		assert_int_equal(p->state, PAGE_LIMBO);
		assert_int_equal(r->s->pages.limbo_n, 1);
	}
	p->pins--;
	written(r, 1, 0, 0, 16);
	store_commit(r->s, 1, 5);
	rig_settle(r);
	assert_int_equal(r->s->pages.limbo_n, 0);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_store_reuse_page_is_its_new_owners_after_a_crash),
		RIG_TEST(test_store_reuse_page_is_its_new_owners_while_that_is_pending),
		RIG_TEST(test_store_reuse_waits_for_whoever_reads_the_page),
		RIG_TEST(test_store_reuse_full_store_opens_again),
		RIG_TEST(test_store_reuse_waits_until_it_is_sure_who_gave_the_page_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
