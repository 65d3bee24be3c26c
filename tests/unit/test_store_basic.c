/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/unit/store_rig.h"

static void test_store_formats_and_opens_empty(void **state)
{
	struct rig *r = rig_new(*state, 1);

	assert_int_equal(rig_open(r), 0);
	assert_int_equal(store_chains_n(r->s), 0);
	assert_true(id128_is_none(&r->found.cluster));
	assert_true(r->found.bytes_free == r->found.bytes_total);
	store_check(r->s);
	rig_free(r);
}

static void test_store_write_is_read_back_once_committed(void **state)
{
	struct rig *r = rig_new(*state, 2);
	struct rig_op *op;

	rig_open(r);
	rig_chain(r, 1);
	op = rig_write(r, 1, 0, 10, 3);
	rig_wait(r, &op->is_done);
	assert_int_equal(op->res, 0);
	rig_expect_zero(r, 1, 0, 10, 3, false);
	rig_expect(r, 1, 0, 10, 3, true, op);
	store_commit(r->s, 1, 1);
	rig_expect(r, 1, 0, 10, 3, false, op);
	rig_expect_zero(r, 1, 0, 9, 1, false);
	rig_expect_zero(r, 1, 0, 13, 1, false);
	rig_wait(r, &op->is_released);
	store_check(r->s);
	rig_free(r);
}

static void test_store_survives_power_loss_with_pending_and_committed(void **state)
{
	struct rig *r = rig_new(*state, 3);
	struct rig_op *a, *b;
	struct store_chain_info info;

	rig_open(r);
	rig_chain(r, 1);
	a = rig_write(r, 1, 0, 0, 1);
	b = rig_write(r, 1, 0, 0, 2);
	rig_wait(r, &b->is_done);
	store_commit(r->s, 1, 1);
	rig_settle(r);
	rig_crash(r, 0);
	assert_int_equal(rig_open(r), 0);
	assert_int_equal(store_chain_info(r->s, 1, &info), 0);
	assert_int_equal(info.last, 2);
	assert_int_equal(info.committed, 1);
	rig_expect(r, 1, 0, 0, 1, false, a);
	rig_expect(r, 1, 0, 0, 2, true, b);
	rig_expect_fetch(r, 1, 2, b);
	store_commit(r->s, 1, 2);
	rig_expect(r, 1, 0, 0, 2, false, b);
	store_check(r->s);
	rig_free(r);
}

static void test_store_remembers_epoch_and_cluster(void **state)
{
	struct rig *r = rig_new(*state, 4);
	struct store_chain_info info;
	struct id128 cluster = {{7}};

	rig_open(r);
	rig_chain(r, 5);
	rig_set_epoch(r, 5, 9, 2);
	assert_int_equal(rig_set_cluster(r, &cluster), 0);
	rig_crash(r, 500);
	assert_int_equal(rig_open(r), 0);
	assert_int_equal(store_chain_info(r->s, 5, &info), 0);
	assert_int_equal(info.epoch, 9);
	assert_int_equal(info.history, 2);
	assert_true(id128_eq(&r->found.cluster, &cluster));
	assert_int_equal(rig_set_cluster(r, &cluster), 0);
	cluster.b[0] = 8;
	assert_int_equal(rig_set_cluster(r, &cluster), -EEXIST);
	rig_free(r);
}

static void test_store_unmap_and_write_same_are_range_ops(void **state)
{
	struct rig *r = rig_new(*state, 5);
	struct rig_op *w, *u, *s, *z;

	rig_open(r);
	rig_chain(r, 1);
	w = rig_write(r, 1, 0, 0, 200);
	u = rig_unmap(r, 1, 0, 50, 100);
	s = rig_write_same(r, 1, 0, 60, 20, 77);
	z = rig_write_same(r, 1, 0, 70, 2, 0);
	rig_wait(r, &z->is_done);
	rig_expect(r, 1, 0, 0, 50, true, w);
	rig_expect_zero(r, 1, 0, 50, 10, true);
	rig_expect(r, 1, 0, 60, 10, true, s);
	rig_expect_zero(r, 1, 0, 70, 2, true);
	store_commit(r->s, 1, z->op.rec.seq);
	for (int pass = 0; pass < 2; pass++) {
		rig_expect_part(r, 1, 0, 0, 50, w);
		rig_expect_zero(r, 1, 0, 50, 10, false);
		rig_expect_part(r, 1, 0, 60, 10, s);
		rig_expect_zero(r, 1, 0, 70, 2, false);
		rig_expect_part(r, 1, 0, 72, 8, s);
		rig_expect_zero(r, 1, 0, 80, 70, false);
		rig_expect_part(r, 1, 0, 150, 50, w);
		rig_settle(r); /* destaged, checkpointed */
	}
	rig_crash(r, 300);
	assert_int_equal(rig_open(r), 0);
	rig_expect_part(r, 1, 0, 72, 8, s);
	rig_expect_part(r, 1, 0, 150, 50, w);
	rig_expect_zero(r, 1, 0, 80, 70, false);
	assert_int_equal(u->res, 0);
	store_check(r->s);
	rig_free(r);
}

static void test_store_log_wraps_many_times(void **state)
{
	struct rig *r = rig_new(*state, 6);
	struct store_stats st;

	rig_open(r);
	rig_chain(r, 1);
	for (unsigned i = 0; i < 400; i++) {
		struct rig_op *op = rig_write_retry(r, 1, 0, i % 8 * 100, 1 + i * 7 % 99);

		rig_wait(r, &op->is_done);
		assert_int_equal(op->res, 0);
		store_commit(r->s, 1, op->op.rec.seq);
		if (i % 50 == 0)
			store_check(r->s);
	}
	store_stats(r->s, &st);
	assert_true(st.written_bytes > 4 * st.log_bytes);
	assert_true(st.checkpoints > 3);
	rig_crash(r, 500);
	assert_int_equal(rig_open(r), 0);
	/* The last watermark may not have reached the disk; the op itself did. */
	store_commit(r->s, 1, 400);
	for (unsigned i = 392; i < 400; i++)
		rig_expect_block(r, 1, 0, i % 8 * 100, r->ops_of_last[1][i % 8 * 100]);
	store_check(r->s);
	rig_free(r);
}

static void test_store_closes_and_opens_again(void **state)
{
	struct rig *r = rig_new(*state, 7);
	struct rig_op *op;
	struct id128 first, second;

	rig_open(r);
	first = r->incarnation;
	store_registered(r->s);
	rig_chain(r, 1);
	op = rig_write(r, 1, 3, 1000, 24);
	rig_wait(r, &op->is_done);
	store_commit(r->s, 1, 1);
	rig_close(r);
	assert_int_equal(rig_open(r), 0);
	assert_true(id128_eq(&r->found.previous, &first));
	assert_true(id128_is_none(&r->found.doubtful[0]));
	rig_expect(r, 1, 3, 1000, 24, false, op);
	second = r->incarnation;
	rig_crash(r, 500); /* before the service was asked */
	assert_int_equal(rig_open(r), 0);
	assert_true(id128_eq(&r->found.previous, &first));
	assert_true(id128_eq(&r->found.doubtful[0], &second));
	assert_true(id128_is_none(&r->found.doubtful[1]));
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_store_formats_and_opens_empty),
		RIG_TEST(test_store_write_is_read_back_once_committed),
		RIG_TEST(test_store_survives_power_loss_with_pending_and_committed),
		RIG_TEST(test_store_remembers_epoch_and_cluster),
		RIG_TEST(test_store_unmap_and_write_same_are_range_ops),
		RIG_TEST(test_store_log_wraps_many_times),
		RIG_TEST(test_store_closes_and_opens_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
