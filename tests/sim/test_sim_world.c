/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* The env a simulated process gets: E1, E4, clocks, pauses, death. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "sim/net.h"
#include "sim/world.h"

static struct world w;
static struct net net;
static struct proc p;
static struct env_timer timers[8];
static struct env_task tasks[4];
static int order[16], order_n;

static int setup(void **state)
{
	(void)state;
	world_init(&w, 1, 0);
	net_init(&net, &w);
	proc_init(&p, &w, "p", "");
	proc_start(&p, 1 << 20);
	memset(timers, 0, sizeof(timers));
	memset(tasks, 0, sizeof(tasks));
	order_n = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	net_fini(&net);
	proc_fini(&p);
	world_fini(&w);
	return 0;
}

static void note_timer(struct env_timer *t)
{
	assert_true(p.env.now_ns(&p.env) >= t->at_ns);
	order[order_n++] = (int)(t - timers);
}

static void note_task(struct env_task *t)
{
	order[order_n++] = 100 + (int)(t - tasks);
	if (t == &tasks[0])
		p.env.defer(&p.env, &tasks[1]);
}

static void arm(int i, uint64_t in_ns)
{
	timers[i].fn = note_timer;
	p.env.timer_arm(&p.env, &timers[i], p.env.now_ns(&p.env) + in_ns);
}

static void run_all(void)
{
	while (world_step(&w))
		;
}

static void test_timers_fire_in_order_and_never_early(void **state)
{
	(void)state;
	arm(0, 3 * MS);
	arm(1, MS);
	arm(2, 2 * MS);
	arm(3, 500);
	run_all();
	assert_int_equal(order_n, 4);
	assert_int_equal(order[0], 3);
	assert_int_equal(order[1], 1);
	assert_int_equal(order[2], 2);
	assert_int_equal(order[3], 0);
}

static void test_rearming_moves_a_timer_and_cancelling_removes_it(void **state)
{
	(void)state;
	for (int i = 0; i < 6; i++)
		arm(i, (uint64_t)(i + 1) * MS);
	arm(0, 10 * MS);
	p.env.timer_cancel(&p.env, &timers[3]);
	p.env.timer_cancel(&p.env, &timers[3]);
	run_all();
	assert_int_equal(order_n, 5);
	assert_int_equal(order[0], 1);
	assert_int_equal(order[4], 0);
	assert_false(timers[3].armed);
}

static void test_deferred_tasks_run_at_the_end_of_the_turn_with_those_they_defer(void **state)
{
	(void)state;
	tasks[0].fn = tasks[1].fn = tasks[2].fn = note_task;
	p.env.defer(&p.env, &tasks[0]);
	p.env.defer(&p.env, &tasks[2]);
	p.env.defer(&p.env, &tasks[0]);
	assert_int_equal(order_n, 0);
	run_all();
	assert_int_equal(order_n, 3);
	assert_int_equal(order[0], 100);
	assert_int_equal(order[1], 102);
	assert_int_equal(order[2], 101);
}

static void test_a_paused_process_does_nothing_until_it_goes_on(void **state)
{
	uint64_t until = w.now_ns + 50 * MS;

	(void)state;
	arm(0, MS);
	p.paused_until_ns = until;
	run_all();
	assert_int_equal(order_n, 1);
	assert_true(w.now_ns >= until);
}

static void test_nothing_of_a_dead_process_runs(void **state)
{
	(void)state;
	tasks[0].fn = note_task;
	arm(0, MS);
	p.env.defer(&p.env, &tasks[0]);
	net_proc_died(&net, &p, false);
	proc_stop(&p);
	run_all();
	assert_int_equal(order_n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_timers_fire_in_order_and_never_early, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			test_rearming_moves_a_timer_and_cancelling_removes_it, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_deferred_tasks_run_at_the_end_of_the_turn_with_those_they_defer, setup,
			teardown),
		cmocka_unit_test_setup_teardown(test_a_paused_process_does_nothing_until_it_goes_on,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_of_a_dead_process_runs, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
