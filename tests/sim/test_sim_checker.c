/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* The linearizability checker against hand-made histories and against an exhaustive search. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "sim/checker.h"
#include "sim/rng.h"

#define W(i, r, v)                                                                                 \
	{                                                                                          \
		.inv = (i), .ret = (r), .value = (v), .kind = HIST_WRITE                           \
	}
#define R(i, r, v)                                                                                 \
	{                                                                                          \
		.inv = (i), .ret = (r), .value = (v), .kind = HIST_READ                            \
	}
#define N(i, r, v)                                                                                 \
	{                                                                                          \
		.inv = (i), .ret = (r), .value = (v), .kind = HIST_NOT                             \
	}
#define C(i, r, f, v)                                                                              \
	{                                                                                          \
		.inv = (i), .ret = (r), .value = (v), .from = (f), .kind = HIST_RMW                \
	}
#define GOOD(...)                                                                                  \
	assert_int_equal(count((struct hist_op[]){__VA_ARGS__},                                    \
			       sizeof((struct hist_op[]){__VA_ARGS__}) / sizeof(struct hist_op)),  \
			 0)
#define BAD(...)                                                                                   \
	assert_int_not_equal(                                                                      \
		count((struct hist_op[]){__VA_ARGS__},                                             \
		      sizeof((struct hist_op[]){__VA_ARGS__}) / sizeof(struct hist_op)),           \
		0)

static uint64_t count(const struct hist_op *ops, size_t n)
{
	struct checker_verdict v;

	checker_run(ops, n, &v);
	return v.violations;
}

static void test_sequential_history_is_good(void **state)
{
	(void)state;
	GOOD(W(1, 2, 7), R(3, 4, 7), W(5, 6, 8), R(7, 8, 8));
	GOOD(R(1, 2, 0), W(3, 4, 7), R(5, 6, 7));
}

static void test_read_of_an_overwritten_value_is_bad(void **state)
{
	(void)state;
	BAD(W(1, 2, 7), W(3, 4, 8), R(5, 6, 7));
	BAD(W(1, 2, 7), R(3, 4, 0));
}

static void test_reads_may_not_go_back(void **state)
{
	(void)state;
	BAD(W(1, 10, 7), R(2, 3, 7), R(4, 5, 0));
	GOOD(W(1, 10, 7), R(2, 3, 0), R(4, 5, 7));
	BAD(W(1, 2, 7), W(3, 20, 8), R(4, 5, 8), R(6, 7, 7));
}

static void test_concurrent_writes_may_land_in_any_order(void **state)
{
	(void)state;
	GOOD(W(1, 4, 7), W(2, 3, 8), R(5, 6, 7));
	GOOD(W(1, 4, 7), W(2, 3, 8), R(5, 6, 8));
	BAD(W(1, 4, 7), W(2, 3, 8), R(5, 6, 8), R(7, 8, 7));
}

static void test_unknown_outcome_may_take_effect_any_time_later_or_never(void **state)
{
	(void)state;
	GOOD(W(1, HIST_NEVER, 7), W(2, 3, 8), R(4, 5, 8), R(6, 7, 7));
	GOOD(W(1, HIST_NEVER, 7), W(2, 3, 8), R(4, 5, 8));
	BAD(W(1, HIST_NEVER, 7), W(2, 3, 8), R(4, 5, 7), R(6, 7, 8));
	BAD(W(4, HIST_NEVER, 7), R(2, 3, 7));
}

static void test_value_from_nowhere_or_from_the_future_is_bad(void **state)
{
	(void)state;
	BAD(R(1, 2, 9));
	BAD(R(1, 2, 7), W(3, 4, 7));
}

static void test_two_compare_and_writes_may_not_consume_one_value(void **state)
{
	(void)state;
	BAD(W(1, 2, 7), C(3, 6, 7, 8), C(4, 5, 7, 9));
	GOOD(W(1, 2, 7), C(3, 6, 7, 8), C(4, 5, 8, 9), R(7, 8, 9));
}

static void test_nothing_fits_between_a_compare_and_write_and_what_it_compared(void **state)
{
	(void)state;
	/* 9 was read after the compare-and-write of 7, so 9 lies between: contradiction. */
	BAD(W(1, 2, 7), W(3, 4, 9), C(5, 6, 7, 8));
	GOOD(W(1, 2, 7), W(3, 6, 9), C(4, 5, 7, 8), R(7, 8, 9));
	BAD(W(1, 2, 7), C(3, 4, 7, 8), R(5, 6, 7));
}

static void test_unknown_compare_and_write_counts_only_when_seen(void **state)
{
	(void)state;
	GOOD(W(1, 2, 7), C(3, HIST_NEVER, 7, 8), C(4, 5, 7, 9), R(6, 7, 9));
	BAD(W(1, 2, 7), C(3, HIST_NEVER, 7, 8), C(4, 5, 7, 9), R(6, 7, 8));
	GOOD(W(1, 2, 7), C(3, HIST_NEVER, 7, 8), C(4, HIST_NEVER, 8, 9), R(6, 7, 9));
}

static void test_a_compare_may_not_fail_while_its_value_must_hold(void **state)
{
	(void)state;
	BAD(W(1, 2, 7), N(3, 4, 7), R(5, 6, 7));
	GOOD(W(1, 2, 7), N(3, 6, 7), W(4, 8, 9), R(5, 7, 9));
	GOOD(W(1, 4, 7), N(2, 3, 7), R(5, 6, 7));
	BAD(W(1, 2, 7), W(3, 10, 8), N(4, 5, 7), R(6, 7, 7));
}

/* ---- exhaustive search, for small histories ---- */

static bool search(const struct hist_op *ops, int n, unsigned done, uint64_t value)
{
	uint64_t first_ret = HIST_NEVER;
	bool all = true;

	for (int i = 0; i < n; i++) {
		if (done & (1u << i))
			continue;
		first_ret = ops[i].ret < first_ret ? ops[i].ret : first_ret;
		all = all && ops[i].ret == HIST_NEVER;
	}
	if (all) /* what is left need not have happened */
		return true;
	for (int i = 0; i < n; i++) {
		const struct hist_op *op = &ops[i];

		if ((done & (1u << i)) || op->inv > first_ret)
			continue;
		if (op->kind == HIST_READ ? op->value != value
					  : op->kind == HIST_RMW && op->from != value)
			continue;
		if (search(ops, n, done | (1u << i), op->value))
			return true;
	}
	return false;
}

static int make_history(struct rng *r, struct hist_op *ops)
{
	int n = (int)rng_range(r, 2, 7), slots = 2 * n;
	uint64_t ticks[14], written[8] = {0};
	int written_n = 1;

	for (int i = 0; i < slots; i++)
		ticks[i] = (uint64_t)i + 1;
	for (int i = slots - 1; i > 0; i--) {
		int j = (int)rng_below(r, (uint64_t)i + 1);
		uint64_t t = ticks[i];

		ticks[i] = ticks[j];
		ticks[j] = t;
	}
	for (int i = 0; i < n; i++) {
		uint64_t a = ticks[2 * i], b = ticks[2 * i + 1];

		memset(&ops[i], 0, sizeof(ops[i]));
		ops[i].inv = a < b ? a : b;
		ops[i].ret = a < b ? b : a;
		ops[i].kind = (enum hist_kind)rng_below(r, 3);
		if (ops[i].kind != HIST_READ) {
			ops[i].value = (uint64_t)written_n;
			written[written_n++] = ops[i].value;
			if (rng_chance(r, 200000))
				ops[i].ret = HIST_NEVER;
		}
	}
	for (int i = 0; i < n; i++) {
		if (ops[i].kind == HIST_READ)
			ops[i].value = written[rng_below(r, (uint64_t)written_n)];
		do {
			ops[i].from = written[rng_below(r, (uint64_t)written_n)];
		} while (ops[i].kind == HIST_RMW && ops[i].from == ops[i].value);
	}
	return n;
}

static void test_agrees_with_exhaustive_search_on_random_histories(void **state)
{
	struct hist_op ops[8];
	struct rng r;
	int good = 0;

	(void)state;
	rng_init(&r, 42);
	for (int i = 0; i < 200000; i++) {
		int n = make_history(&r, ops);
		bool want = search(ops, n, 0, 0);

		good += want;
		if ((count(ops, (size_t)n) == 0) != want) {
			for (int k = 0; k < n; k++)
				print_message("kind %d [%lu, %lu] value %lu from %lu\n",
					      ops[k].kind, ops[k].inv, ops[k].ret, ops[k].value,
					      ops[k].from);
			fail_msg("history %d: exhaustive search says %d", i, want);
		}
	}
	assert_in_range(good, 20000, 180000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sequential_history_is_good),
		cmocka_unit_test(test_read_of_an_overwritten_value_is_bad),
		cmocka_unit_test(test_reads_may_not_go_back),
		cmocka_unit_test(test_concurrent_writes_may_land_in_any_order),
		cmocka_unit_test(test_unknown_outcome_may_take_effect_any_time_later_or_never),
		cmocka_unit_test(test_value_from_nowhere_or_from_the_future_is_bad),
		cmocka_unit_test(test_two_compare_and_writes_may_not_consume_one_value),
		cmocka_unit_test(
			test_nothing_fits_between_a_compare_and_write_and_what_it_compared),
		cmocka_unit_test(test_unknown_compare_and_write_counts_only_when_seen),
		cmocka_unit_test(test_a_compare_may_not_fail_while_its_value_must_hold),
		cmocka_unit_test(test_agrees_with_exhaustive_search_on_random_histories),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
