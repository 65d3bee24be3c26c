/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* What survives on a virtual disk: K1-K3 of sim/disk.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "sim/disk.h"
#include "sim/net.h"

#define DISK_BYTES (1u << 20)

static struct world w;
static struct net net;
static struct proc p;
static struct sim_disk d;
static uint8_t data[4][BLOCK_BYTES] __attribute__((aligned(BLOCK_BYTES)));
static int done_n, last_res;

static void done(struct disk_io *io, int res)
{
	(void)io;
	done_n++;
	last_res = res;
}

static int setup(void **state)
{
	static uint64_t seed;

	(void)state;
	world_init(&w, ++seed, 0);
	net_init(&net, &w);
	proc_init(&p, &w, "p", "");
	proc_start(&p, 1 << 20);
	disk_init(&d, &w, DISK_BYTES, true);
	disk_own(&d, &p);
	done_n = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	net_fini(&net);
	disk_fini(&d);
	proc_fini(&p);
	world_fini(&w);
	return 0;
}

static void start(struct disk_io *io, enum disk_op op, int block, int fill, bool dsync)
{
	memset(io, 0, sizeof(*io));
	memset(data[fill], 'a' + fill, BLOCK_BYTES);
	io->op = op;
	io->dsync = dsync;
	io->offset_bytes = (uint64_t)block * BLOCK_BYTES;
	io->len_bytes = op == DISK_FLUSH ? 0 : BLOCK_BYTES;
	io->data = data[fill];
	io->done = done;
	d.env.submit(&d.env, io);
}

static void run_all(void)
{
	while (world_step(&w))
		;
}

/* How many sectors of @block hold @fill on the stable image. */
static int sectors(int block, int fill)
{
	int n = 0;

	for (uint32_t s = 0; s < BLOCK_BYTES / SECTOR_BYTES; s++)
		n += d.stable[(size_t)block * BLOCK_BYTES + s * SECTOR_BYTES] == 'a' + fill;
	return n;
}

static void test_nothing_completes_within_the_call(void **state)
{
	struct disk_io io;

	(void)state;
	start(&io, DISK_WRITE, 0, 1, true);
	assert_int_equal(done_n, 0);
	run_all();
	assert_int_equal(done_n, 1);
	assert_int_equal(last_res, 0);
}

static void test_a_dsync_write_survives_a_power_loss(void **state)
{
	struct disk_io io;

	(void)state;
	start(&io, DISK_WRITE, 3, 1, true);
	run_all();
	disk_power_lost(&d);
	assert_int_equal(sectors(3, 1), 8);
}

static void test_a_plain_write_may_be_lost_and_torn_until_it_is_flushed(void **state)
{
	bool lost = false, torn = false, kept = false;

	for (int i = 0; i < 60; i++) {
		struct disk_io io;

		start(&io, DISK_WRITE, 3, 1, false);
		run_all();
		assert_int_equal(d.seen[3 * BLOCK_BYTES], 'b');
		disk_power_lost(&d);
		lost |= sectors(3, 1) == 0;
		kept |= sectors(3, 1) == 8;
		torn |= sectors(3, 1) > 0 && sectors(3, 1) < 8;
		assert_memory_equal(d.seen, d.stable, DISK_BYTES);
		teardown(state);
		setup(state);
	}
	assert_true(lost && torn && kept);
}

static void test_a_flush_covers_what_completed_before_it_was_submitted(void **state)
{
	struct disk_io a, b, flush;

	(void)state;
	start(&a, DISK_WRITE, 1, 1, false);
	run_all();
	start(&flush, DISK_FLUSH, 0, 0, false);
	run_all();
	start(&b, DISK_WRITE, 2, 2, false);
	run_all();
	assert_int_equal(sectors(1, 1), 8);
	assert_int_equal(sectors(2, 2), 0);
	disk_power_lost(&d);
	assert_int_equal(sectors(1, 1), 8);
}

static void test_an_old_version_never_comes_back_over_a_durable_one(void **state)
{
	for (int i = 0; i < 30; i++) {
		struct disk_io a, b;

		start(&a, DISK_WRITE, 1, 1, false);
		run_all();
		start(&b, DISK_WRITE, 1, 2, true);
		run_all();
		disk_power_lost(&d);
		assert_int_equal(sectors(1, 2), 8);
		teardown(state);
		setup(state);
	}
}

static void test_a_killed_process_loses_no_completed_write(void **state)
{
	struct disk_io a, b;

	(void)state;
	start(&a, DISK_WRITE, 1, 1, false);
	run_all();
	start(&b, DISK_WRITE, 2, 2, true);
	disk_proc_died(&d);
	assert_int_equal(d.seen[BLOCK_BYTES], 'b');
	assert_int_equal(done_n, 1);
	run_all();
	assert_int_equal(done_n, 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_nothing_completes_within_the_call),
		T(test_a_dsync_write_survives_a_power_loss),
		T(test_a_plain_write_may_be_lost_and_torn_until_it_is_flushed),
		T(test_a_flush_covers_what_completed_before_it_was_submitted),
		T(test_an_old_version_never_comes_back_over_a_durable_one),
		T(test_a_killed_process_loses_no_completed_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
