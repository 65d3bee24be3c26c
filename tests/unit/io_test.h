/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* io_test - a reactor for tests, with a watchdog instead of sleeps, and pools for frames. One
 * thread. */

#ifndef TESTS_UNIT_IO_TEST_H
#define TESTS_UNIT_IO_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/reactor.h"
#include "lib/arena.h"
#include "lib/frame.h"

#define TEST_SECONDS_MAX 20ull

struct io_test {
	struct reactor *r;
	struct env *env;
	struct env_timer watchdog;
	struct frame_pool frames;
	struct buf_pool bufs;
	struct frame_source src;
	void *memory;
	size_t memory_bytes;
};

static inline void io_test_hung(struct env_timer *t)
{
	(void)t;
	fail_msg("nothing happened for %llu seconds", TEST_SECONDS_MAX);
}

static inline void io_test_open(struct io_test *t, uint32_t frames_n,
				const struct buf_pool_config *bufs)
{
	struct reactor_config cfg = {0};
	char err[IO_ERR_BYTES] = "";
	struct arena a;

	memset(t, 0, sizeof(*t));
	if (reactor_open(&cfg, &t->r, err) < 0)
		fail_msg("%s", err);
	t->env = reactor_env(t->r);
	t->watchdog.fn = io_test_hung;
	t->env->timer_arm(t->env, &t->watchdog,
			  t->env->now_ns(t->env) + TEST_SECONDS_MAX * 1000000000ull);
	t->memory_bytes = frame_pool_bytes(frames_n) + buf_pool_bytes(bufs) + 4096;
	t->memory = reactor_memory(t->memory_bytes);
	assert_non_null(t->memory);
	arena_init(&a, t->memory, t->memory_bytes);
	frame_pool_init(&t->frames, frames_n, &a);
	buf_pool_init(&t->bufs, bufs, &a);
	t->src = (struct frame_source){.frames = &t->frames, .bufs = &t->bufs};
}

static inline void io_test_close(struct io_test *t)
{
	t->env->timer_cancel(t->env, &t->watchdog);
	reactor_close(t->r);
	/* F1, B2: nothing leaked. */
	assert_int_equal(t->frames.free_n, t->frames.made_n);
	assert_int_equal(t->bufs.small_free_n, t->bufs.small_n);
	assert_int_equal(t->bufs.large_free_n, t->bufs.large_n);
	reactor_memory_free(t->memory, t->memory_bytes);
}

static inline void io_test_run(struct io_test *t)
{
	assert_int_equal(reactor_run(t->r), 0);
}

#endif
