/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* What the store does beside its work: a scrub that keeps to its pace, an open that reads the log
 * and not the past, and says how far it is. Checkpoints: test_store_ckpt.c. */
#include "store/internal.h"
#include "tests/unit/store_rig.h"

#define DISK (320u << 20)
#define LOG (16u << 20)

static struct rig_op *write_one(struct rig *r, uint32_t i)
{
	struct rig_op *op = rig_write_retry(r, 1, i / EXTENT_BLOCKS, i % EXTENT_BLOCKS, 1);

	rig_wait(r, &op->is_done);
	assert_int_equal(op->res, 0);
	store_commit(r->s, 1, r->last[1]);
	return op;
}

/* ---- scrub ---- */

#define SCRUB_PAGES 100u
#define SECOND 1000000000ull
#define PASS (1000 * SECOND)

static uint64_t scrubbed(const struct rig *r)
{
	struct store_stats st;

	store_stats(r->s, &st);
	return st.scrub_passes * SCRUB_PAGES + st.scrub_pages;
}

static void run_for(struct rig *r, uint64_t ns)
{
	uint64_t end_ns = r->fe.clock.now_ns + ns;

	while (r->fe.clock.now_ns < end_ns)
		assert_true(fake_step(&r->fe));
}

static struct rig *rig_to_scrub(uint64_t seed)
{
	struct rig *r = rig_new_sized(seed, DISK, LOG);
	struct rig_op *op = NULL;

	rig_open(r);
	rig_chain(r, 1);
	for (uint32_t i = 0; i < SCRUB_PAGES; i++) {
		op = rig_write(r, 1, 0, i % EXTENT_PAGES * PAGE_BLOCKS, PAGE_BLOCKS);
		if (i >= EXTENT_PAGES)
			op = rig_write(r, 1, 1, (i - EXTENT_PAGES) * PAGE_BLOCKS, PAGE_BLOCKS);
		rig_wait(r, &op->is_done);
		store_commit(r->s, 1, r->last[1]);
	}
	rig_settle(r);
	assert_int_equal(r->s->pages.owned_n, SCRUB_PAGES);
	r->scrub_ns = PASS;
	rig_crash(r, 1000);
	assert_int_equal(rig_open(r), 0);
	return r;
}

/* As much of the store as of the time, neither in a burst nor late; and a page at a time. */
static void test_store_scrub_keeps_to_its_pace(void **state)
{
	struct rig *r = rig_to_scrub(81);
	uint64_t read, n;

	(void)state;
	read = r->disk.read_bytes;
	for (unsigned i = 1; i <= 20; i++) {
		run_for(r, PASS / 10);
		assert_in_range(scrubbed(r), i * SCRUB_PAGES / 10 - 2 - i / 10,
				i * SCRUB_PAGES / 10 + 1);
	}
	n = scrubbed(r);
	assert_true(n >= 2 * SCRUB_PAGES - 4);
	/* Pages and, at most once each, the record blocks they need. */
	assert_true(r->disk.read_bytes - read <=
		    n * PAGE_BYTES + (uint64_t)r->s->recs.blocks_n * BLOCK_BYTES);
	rig_free(r);
}

/* A machine that slept, or one page that was busy, is not made up for. */
static void test_store_scrub_has_no_burst_after_a_pause(void **state)
{
	struct rig *r = rig_to_scrub(82);
	uint64_t before;

	(void)state;
	run_for(r, PASS / 10);
	before = scrubbed(r);
	r->fe.clock.now_ns += PASS / 2;
	run_for(r, PASS / 10);
	assert_in_range(scrubbed(r), before + 1, before + SCRUB_PAGES / 10 + 2);
	rig_free(r);
}

static void test_store_scrub_is_off_when_told_so(void **state)
{
	struct rig *r = rig_to_scrub(83);

	(void)state;
	r->scrub_ns = 0;
	rig_crash(r, 1000);
	assert_int_equal(rig_open(r), 0);
	rig_settle(r);
	assert_int_equal(scrubbed(r), 0);
	rig_free(r);
}

/* ---- opening ---- */

/* Bytes read by an open after @ops ops more, the power cut in the middle of them. */
static uint64_t open_reads(struct rig *r, uint32_t ops)
{
	uint64_t before;

	for (uint32_t i = 0; i < ops; i++)
		write_one(r, i * 37 % (4 * EXTENT_BLOCKS));
	rig_crash(r, 500);
	before = r->disk.read_bytes;
	assert_int_equal(rig_open(r), 0);
	return r->disk.read_bytes - before;
}

/* The log once to find its end, the part in use once more to replay it, each a window that may
 * overlap the one before; the checkpoint and the record blocks it names. However long it all went
 * on before. */
static void test_store_open_is_bounded_by_the_log(void **state)
{
	struct rig *r = rig_new_sized(91, DISK, LOG);
	uint64_t bound = 4 * (uint64_t)LOG + 2 * (uint64_t)SUPER_REGION_BYTES, most = 0;

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	bound += r->s->super.ckpt_bytes + 2 * r->s->super.recs_n * BLOCK_BYTES;
	for (unsigned lives = 0; lives < 6; lives++)
		most = MAX(most, open_reads(r, 700));
	assert_true(most > LOG); /* it was the log that was read */
	assert_true(most <= bound);
	rig_free(r);
}

struct told {
	unsigned lines, log_lines;
	unsigned percent; /* of the device log, last */
};

static void on_line(void *arg, int level, const char *line)
{
	struct told *t = arg;
	const char *opening = strstr(line, "store: opening: "), *log = strstr(line, "device log: ");
	unsigned percent;

	if (!opening)
		return;
	assert_int_equal(level, ENV_INFO);
	t->lines++;
	if (!log || strstr(line, "replaying"))
		return;
	percent = (unsigned)strtoul(log + strlen("device log: "), NULL, 10);
	assert_in_range(percent, t->percent, 100);
	t->percent = percent;
	t->log_lines++;
}

/* A disk of a read a second: an open that takes long says how far it is. */
static void test_store_open_shows_progress(void **state)
{
	struct rig *r = rig_new_sized(92, DISK, LOG);
	struct told told = {0};

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	for (uint32_t i = 0; i < 800; i++)
		write_one(r, i);
	rig_crash(r, 500);
	r->disk.io_ns = SECOND;
	r->fe.on_line = on_line;
	r->fe.on_line_arg = &told;
	assert_int_equal(rig_open(r), 0);
	assert_true(told.log_lines >= 8);
	assert_true(told.percent >= 80);
	/* A fast one says nothing. */
	told = (struct told){0};
	rig_crash(r, 500);
	r->disk.io_ns = 0;
	assert_int_equal(rig_open(r), 0);
	assert_int_equal(told.lines, 0);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_store_scrub_keeps_to_its_pace),
		RIG_TEST(test_store_scrub_has_no_burst_after_a_pause),
		RIG_TEST(test_store_scrub_is_off_when_told_so),
		RIG_TEST(test_store_open_is_bounded_by_the_log),
		RIG_TEST(test_store_open_shows_progress),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
