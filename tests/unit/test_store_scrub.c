/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* The pace of scrubbing on a clock that is the test's: its share and no more, no burst after time
 * that was lost, no page skipped or begun again by a restart. Reads of pages are counted; nobody
 * else reads. */
#include "store/internal.h"
#include "tests/unit/store_rig.h"

#define PAGES 300u
#define NS_PER_S 1000000000ull
#define PERIOD_NS (4 * 3600 * NS_PER_S) /* 48 s a page */
#define EACH_NS (PERIOD_NS / PAGES)
#define SAVED_NS (600 * NS_PER_S) /* what a power cut may take back: scrub.c */

static struct spy {
	struct rig *r;
	void (*submit)(struct env_disk *d, struct disk_io *io);
	uint64_t reads;
	uint16_t of_page[RIG_DISK_BYTES / PAGE_BYTES];
	bool hold;
	struct disk_io *held;
} spy;

static void submit(struct env_disk *d, struct disk_io *io)
{
	const struct disk_super *sb = (const void *)spy.r->disk.seen;

	if (io->op == DISK_READ && io->offset_bytes >= sb->pages_offset_bytes) {
		assert_int_equal(io->len_bytes, PAGE_BYTES);
		spy.reads++;
		spy.of_page[(io->offset_bytes - sb->pages_offset_bytes) / PAGE_BYTES]++;
		if (spy.hold) {
			assert_null(spy.held); /* one at a time */
			spy.held = io;
			return;
		}
	}
	spy.submit(d, io);
}

/* A store with PAGES pages, all in their place, that scrubs in @scrub_ns; nobody uses it. */
static struct rig *idle_store(uint64_t seed, uint64_t scrub_ns)
{
	struct rig *r = rig_new(NULL, seed);
	struct rig_op *op;

	spy = (struct spy){.r = r, .submit = r->disk.disk.submit};
	assert_int_equal(rig_open(r), 0);
	rig_chain(r, 1);
	for (uint32_t i = 0; i < PAGES; i++) {
		op = rig_write(r, 1, i, 0, 16);
		rig_wait(r, &op->is_done);
		store_commit(r->s, 1, op->op.rec.seq);
	}
	rig_settle(r);
	rig_close(r);
	r->scrub_ns = scrub_ns;
	r->disk.disk.submit = submit;
	assert_int_equal(rig_open(r), 0);
	assert_int_equal(r->s->pages.owned_n, PAGES);
	return r;
}

/* Everything that happens until @to, and not later: the clock is there in the end. */
static void run_until(struct rig *r, uint64_t to)
{
	struct env_timer *next;

	for (;;) {
		while (fake_step_now(&r->fe))
			;
		next = NULL;
		LIST_FOR_EACH(it, &r->fe.clock.timers)
		{
			struct env_timer *t = CONTAINER_OF(it, struct env_timer, link);

			if (!next || t->at_ns < next->at_ns)
				next = t;
		}
		if (!next || next->at_ns > to)
			break;
		assert_true(fake_step(&r->fe));
	}
	r->fe.clock.now_ns = MAX(r->fe.clock.now_ns, to);
}

static uint64_t passes(const struct rig *r)
{
	struct store_stats st;

	store_stats(r->s, &st);
	return st.scrub_passes;
}

static void test_store_scrub_reads_its_share_and_no_more(void **state)
{
	struct rig *r = idle_store(91, PERIOD_NS);
	uint64_t from = r->fe.clock.now_ns, before;

	(void)state;
	/* In any part of the period its part of the pages. */
	for (unsigned part = 1; part <= 40; part++) {
		before = spy.reads;
		run_until(r, from + part * PERIOD_NS / 20);
		assert_true(spy.reads - before <= PAGES / 20 + 1);
		assert_true(spy.reads - before + 2 >= PAGES / 20);
	}
	/* Twice the period: each page twice, but for the end of a pass. */
	assert_true(spy.reads <= 2 * PAGES);
	assert_true(spy.reads + 4 >= 2 * PAGES);
	assert_true(passes(r) >= 1);
	rig_free(r);
}

/* However short the period: 100 pages a second. However long: a page a minute. */
static void test_store_scrub_has_a_highest_and_a_lowest_rate(void **state)
{
	struct rig *r = idle_store(92, 1);

	(void)state;
	run_until(r, r->fe.clock.now_ns + 10 * NS_PER_S);
	assert_true(spy.reads <= 10 * 100);
	assert_true(spy.reads > 900);
	rig_free(r);
	r = idle_store(92, 1000 * PERIOD_NS);
	run_until(r, r->fe.clock.now_ns + 3600 * NS_PER_S);
	assert_true(spy.reads <= 60);
	assert_true(spy.reads >= 58);
	rig_free(r);
}

static void test_store_scrub_does_not_make_up_for_lost_time(void **state)
{
	struct rig *r = idle_store(93, PERIOD_NS);
	uint64_t before;

	(void)state;
	run_until(r, r->fe.clock.now_ns + 10 * EACH_NS);
	/* The clock jumps, as after a suspension: one page is due, not all that were. */
	r->fe.clock.now_ns += 30 * PERIOD_NS;
	before = spy.reads;
	run_until(r, r->fe.clock.now_ns + 10 * EACH_NS);
	assert_true(spy.reads - before <= 11);
	assert_true(spy.reads - before >= 9);
	/* The disk takes two hours for one page. */
	spy.hold = true;
	before = spy.reads;
	run_until(r, r->fe.clock.now_ns + PERIOD_NS / 2);
	assert_int_equal(spy.reads - before, 1);
	spy.hold = false;
	spy.submit(&r->disk.disk, spy.held);
	run_until(r, r->fe.clock.now_ns + 10 * EACH_NS);
	assert_true(spy.reads - before <= 11);
	assert_true(spy.reads - before >= 9);
	rig_free(r);
}

/* Nobody writes, so there is no checkpoint that would note the place. */
static void test_store_scrub_of_an_idle_store_survives_restarts(void **state)
{
	struct rig *r = idle_store(94, PERIOD_NS);
	uint64_t before = 0, first = passes(r), cuts = 0;

	(void)state;
	for (unsigned start = 0; passes(r) == first; start++) {
		uint64_t place;

		assert_true(start < 30);
		run_until(r, r->fe.clock.now_ns + PERIOD_NS / 12);
		place = r->s->super.scrub_page;
		assert_true(spy.reads > before); /* each start gets somewhere */
		before = spy.reads;
		if (passes(r) != first)
			break;
		if (start % 2) {
			rig_close(r);
			assert_int_equal(rig_open(r), 0);
			assert_int_equal(r->s->super.scrub_page, place);
		} else {
			cuts++;
			rig_crash(r, 500);
			assert_int_equal(rig_open(r), 0);
			assert_true(r->s->super.scrub_page + SAVED_NS / EACH_NS + 2 >= place);
		}
	}
	/* All of them, and again only what the power cuts took back and the begin of the next pass.
	 */
	for (uint32_t i = 0; i < r->s->pages.n; i++)
		assert_true(spy.of_page[i] || r->s->pages.v[i].state != PAGE_OWNED);
	assert_true(cuts > 3);
	assert_true(spy.reads <= PAGES + PAGES / 12 + 1 + cuts * (SAVED_NS / EACH_NS + 2));
	rig_free(r);
}

static void test_store_scrub_writes_its_place_seldom(void **state)
{
	struct rig *r = idle_store(95, PERIOD_NS);
	uint64_t from, generation = r->s->super.generation;

	(void)state;
	from = r->fe.clock.now_ns;
	run_until(r, from + PERIOD_NS);
	assert_true(r->s->super.generation > generation);
	assert_true(r->s->super.generation - generation <= PERIOD_NS / SAVED_NS);
	rig_free(r);
}

static void test_store_scrub_that_is_off_reads_nothing(void **state)
{
	struct rig *r = idle_store(96, 0);

	(void)state;
	run_until(r, r->fe.clock.now_ns + 30 * PERIOD_NS);
	assert_int_equal(spy.reads, 0);
	assert_true(list_empty(&r->fe.clock.timers));
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_store_scrub_reads_its_share_and_no_more),
		RIG_TEST(test_store_scrub_has_a_highest_and_a_lowest_rate),
		RIG_TEST(test_store_scrub_does_not_make_up_for_lost_time),
		RIG_TEST(test_store_scrub_of_an_idle_store_survives_restarts),
		RIG_TEST(test_store_scrub_writes_its_place_seldom),
		RIG_TEST(test_store_scrub_that_is_off_reads_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
