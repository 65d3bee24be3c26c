/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/unit/io_test.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static struct io_test t;
static const struct buf_pool_config no_bufs = {.small_n = 1, .large_n = 1};

static int setup(void **state)
{
	(void)state;
	io_test_open(&t, 4, &no_bufs);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	io_test_close(&t);
	return 0;
}

static int order[1000], order_n;

struct numbered {
	struct env_timer timer;
	int number;
};

static void note(struct env_timer *timer)
{
	order[order_n++] = CONTAINER_OF(timer, struct numbered, timer)->number;
	if (CONTAINER_OF(timer, struct numbered, timer)->number == 999)
		reactor_stop(t.r);
}

static void test_reactor_timers_fire_in_the_order_of_their_times(void **state)
{
	static struct numbered n[1000];
	uint64_t now_ns = t.env->now_ns(t.env);

	(void)state;
	order_n = 0;
	for (int i = 0; i < 1000; i++) {
		int k = i * 617 % 1000; /* every number once, mixed */

		n[k] = (struct numbered){.timer.fn = note, .number = k};
		t.env->timer_arm(t.env, &n[k].timer, now_ns + 1000000 + (uint64_t)k * 1000);
	}
	for (int i = 0; i < 999; i += 3)
		t.env->timer_cancel(t.env, &n[i].timer);
	t.env->timer_arm(t.env, &n[1].timer, now_ns + 1000000 + 998500); /* re-arming moves it */
	io_test_run(&t);
	assert_int_equal(order_n, 1000 - 333);
	assert_int_equal(order[0], 2);
	assert_int_equal(order[order_n - 2], 1);
	assert_int_equal(order[order_n - 1], 999);
	for (int i = 1; i < order_n - 2; i++)
		assert_true(order[i - 1] < order[i]);
}

struct chain_task {
	struct env_task task;
	int runs;
};

static void again(struct env_task *task)
{
	struct chain_task *c = CONTAINER_OF(task, struct chain_task, task);

	if (++c->runs == 5)
		reactor_stop(t.r);
	else
		t.env->defer(t.env, task);
}

static void test_reactor_runs_deferred_tasks_before_it_blocks(void **state)
{
	struct chain_task c = {.task.fn = again};

	(void)state;
	t.env->timer_cancel(t.env, &t.watchdog); /* nothing else could wake it */
	t.env->defer(t.env, &c.task);
	t.env->defer(t.env, &c.task); /* queued already: once */
	io_test_run(&t);
	assert_int_equal(c.runs, 5);
}

static int wakes;
static pthread_t main_thread;

static void on_wake(void *arg)
{
	(void)arg;
	wakes++;
	assert_true(pthread_equal(pthread_self(), main_thread));
	reactor_stop(t.r);
}

static void *waker(void *arg)
{
	(void)arg;
	reactor_wake(t.r);
	return NULL;
}

static void test_reactor_is_woken_from_another_thread(void **state)
{
	pthread_t thread;

	(void)state;
	main_thread = pthread_self();
	reactor_on_wake(t.r, on_wake, NULL);
	for (int i = 1; i <= 3; i++) {
		assert_int_equal(pthread_create(&thread, NULL, waker, NULL), 0);
		io_test_run(&t);
		pthread_join(thread, NULL);
		assert_true(wakes >= i);
	}
}

static int signal_seen;

static void on_signal(void *arg, int signo)
{
	assert_ptr_equal(arg, &t);
	signal_seen = signo;
	reactor_stop(t.r);
}

static void test_reactor_hands_signals_to_the_loop(void **state)
{
	char err[IO_ERR_BYTES];

	(void)state;
	assert_int_equal(reactor_signals(t.r, on_signal, &t, err), 0);
	kill(getpid(), SIGTERM);
	io_test_run(&t);
	assert_int_equal(signal_seen, SIGTERM);
	kill(getpid(), SIGINT);
	io_test_run(&t);
	assert_int_equal(signal_seen, SIGINT);
}

static void test_reactor_random_numbers_differ(void **state)
{
	uint64_t a[100];

	(void)state;
	for (int i = 0; i < 100; i++) {
		a[i] = t.env->random_u64(t.env);
		for (int k = 0; k < i; k++)
			assert_true(a[i] != a[k]);
	}
}

static int ticks;

static void tick(struct env_timer *timer)
{
	if (++ticks == 50)
		reactor_stop(t.r);
	else
		t.env->timer_arm(t.env, timer, t.env->now_ns(t.env) + 200000);
}

static void test_reactor_enters_the_kernel_once_a_turn(void **state)
{
	struct env_timer timer = {.fn = tick};
	struct reactor_stats s;

	(void)state;
	ticks = 0;
	t.env->timer_arm(t.env, &timer, t.env->now_ns(t.env) + 200000);
	io_test_run(&t);
	s = reactor_get_stats(t.r);
	assert_true(s.submits <= s.turns);
	assert_true(s.turns < 200); /* 50 ticks, and no busy loop between them */
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_reactor_timers_fire_in_the_order_of_their_times),
		T(test_reactor_runs_deferred_tasks_before_it_blocks),
		T(test_reactor_is_woken_from_another_thread),
		T(test_reactor_hands_signals_to_the_loop),
		T(test_reactor_random_numbers_differ),
		T(test_reactor_enters_the_kernel_once_a_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
