/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* The pace of scrubbing: neither in a burst nor late, and off when told so. What it finds:
 * test_store_repair.c. */
#include "store/internal.h"
#include "tests/unit/store_rig.h"

#define DISK (320u << 20)
#define LOG (16u << 20)

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_store_scrub_keeps_to_its_pace),
		RIG_TEST(test_store_scrub_has_no_burst_after_a_pause),
		RIG_TEST(test_store_scrub_is_off_when_told_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
