/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* A chain's log cut back on order of its configuration (store/undo.c). */
#include "store/internal.h"
#include "tests/unit/store_rig.h"

#define OPS 8u
#define KEPT 5u

struct undoing {
	bool done;
	int res;
};

static void undone(void *arg, int res)
{
	struct undoing *u = arg;

	u->done = true;
	u->res = res;
}

static struct rig_op *written(struct rig *r, uint32_t chain, uint64_t extent, uint32_t block,
			      uint32_t n)
{
	struct rig_op *op = rig_write(r, chain, extent, block, n);

	rig_wait(r, &op->is_done);
	assert_int_equal(op->res, 0);
	return op;
}

/* Chain 1 has OPS uncommitted ops, small ones and such as lie in pages, after a power cut. */
static struct rig *rig_with_pending(uint64_t seed, struct rig_op *ret_op[OPS])
{
	struct rig *r = rig_new(NULL, seed);

	rig_open(r);
	rig_chain(r, 1);
	rig_chain(r, 2);
	for (uint32_t i = 0; i < OPS; i++)
		ret_op[i] = written(r, 1, i % 3, i % 2 ? 64 : 3 * i, i % 2 ? 40 : 2);
	written(r, 2, 0, 0, 3);
	rig_crash(r, 500);
	assert_int_equal(rig_open(r), 0);
	assert_int_equal(r->last[1], OPS);
	return r;
}

static void undo(struct rig *r, struct undoing *u)
{
	*u = (struct undoing){0};
	store_undo(r->s, 1, KEPT, undone, u);
	assert_false(u->done);
}

static uint64_t last(const struct rig *r)
{
	struct store_chain_info info;

	assert_int_equal(store_chain_info(r->s, 1, &info), 0);
	return info.last;
}

static void test_store_undo_is_durable_when_it_says_so(void **state)
{
	struct rig_op *op[OPS], *newer;
	struct rig *r = rig_with_pending(101, op);
	struct undoing u;

	(void)state;
	undo(r, &u);
	rig_wait(r, &u.done);
	assert_int_equal(u.res, 0);
	assert_int_equal(last(r), KEPT);
	store_check(r->s);
	rig_crash(r, 0);
	assert_int_equal(rig_open(r), 0);
	assert_int_equal(r->last[1], KEPT);
	assert_int_equal(r->last[2], 1);
	/* The numbers are used again, with other content. */
	newer = written(r, 1, 2, 64, 40);
	assert_int_equal(newer->op.rec.seq, KEPT + 1);
	rig_crash(r, 500);
	assert_int_equal(rig_open(r), 0);
	assert_int_equal(r->last[1], KEPT + 1);
	rig_expect_fetch(r, 1, KEPT, op[KEPT - 1]);
	rig_expect_fetch(r, 1, KEPT + 1, newer);
	store_commit(r->s, 1, KEPT + 1);
	rig_expect_part(r, 1, 2, 64, 40, newer);
	rig_settle(r);
	rig_expect_part(r, 1, 2, 64, 40, newer);
	rig_expect_zero(r, 1, 0, 3 * 6, 2, false); /* of the last one */
	store_check(r->s);
	rig_free(r);
}

/* A power cut anywhere on the way leaves all of them or those that were kept. */
static void test_store_undo_cut_short_did_or_did_not_happen(void **state)
{
	unsigned kept = 0, all = 0;

	(void)state;
	for (unsigned steps = 0; steps < 8; steps++) {
		for (unsigned seed = 0; seed < 8; seed++) {
			struct rig_op *op[OPS];
			struct rig *r = rig_with_pending(200 + seed, op);
			struct undoing u;

			undo(r, &u);
			for (unsigned i = 0; i < steps; i++)
				fake_step(&r->fe);
			rig_crash(r, 500);
			assert_int_equal(rig_open(r), 0);
			assert_true(r->last[1] == KEPT || (r->last[1] == OPS && !u.done));
			kept += r->last[1] == KEPT;
			all += r->last[1] == OPS;
			for (uint32_t i = 0; i < r->last[1]; i++)
				rig_expect_fetch(r, 1, i + 1, op[i]);
			store_commit(r->s, 1, r->last[1]);
			rig_settle(r);
			store_check(r->s);
			rig_free(r);
		}
	}
	assert_true(kept > 0);
	assert_true(all > 0);
}

static void test_store_undo_gives_everything_back(void **state)
{
	struct rig_op *op[OPS];
	struct rig *r = rig_with_pending(103, op);
	struct store_stats before, after;
	struct undoing u;

	(void)state;
	store_stats(r->s, &before);
	undo(r, &u);
	rig_wait(r, &u.done);
	store_commit(r->s, 1, KEPT);
	store_commit(r->s, 2, 1);
	rig_settle(r);
	store_stats(r->s, &after);
	assert_int_equal(r->s->pages.reserved_n, 0);
	assert_int_equal(r->s->pages.limbo_n, 0);
	assert_int_equal(r->s->index.used, 0);
	assert_true(after.bytes_free >= before.bytes_free);
	rig_free(r);
}

static void test_store_undo_of_a_failed_store_says_so(void **state)
{
	struct rig_op *op[OPS];
	struct rig *r = rig_with_pending(104, op);
	struct undoing u;

	(void)state;
	r->disk.fail_write = r->disk.writes + 1;
	undo(r, &u);
	rig_wait(r, &u.done);
	assert_int_equal(u.res, -EIO);
	rig_crash(r, 1000);
	assert_int_equal(rig_open(r), 0);
	assert_in_range(r->last[1], KEPT, OPS);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_store_undo_is_durable_when_it_says_so),
		RIG_TEST(test_store_undo_cut_short_did_or_did_not_happen),
		RIG_TEST(test_store_undo_gives_everything_back),
		RIG_TEST(test_store_undo_of_a_failed_store_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
