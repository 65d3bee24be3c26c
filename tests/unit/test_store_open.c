/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* What an open reads is bounded by the log and the record blocks, not by what was ever written, and
 * an open that takes long says how far it is. Transfers are counted; the clock is the test's. */
#include <stdio.h>

#include "store/recover.h"
#include "tests/unit/store_rig.h"

#define DISK (64u << 20)
#define LOG (8u << 20)
#define LOG_BLOCKS (LOG / BLOCK_BYTES)
#define SPAN 24u /* extents in use */

struct reads {
	uint64_t bytes, ios;
};
#define LINES 256u

static struct spy {
	struct rig *r;
	void (*submit)(struct env_disk *d, struct disk_io *io);
	void (*log)(struct env *e, int level, const char *line);
	uint64_t slow_ns; /* each transfer takes that long */
	struct reads dev_log, ckpt, recs, pages;
	char line[LINES][128]; /* progress */
	unsigned lines;
} spy;

static void count(struct reads *to, const struct disk_io *io)
{
	to->bytes += io->len_bytes;
	to->ios++;
}

static void submit(struct env_disk *d, struct disk_io *io)
{
	const struct disk_super *sb = (const void *)spy.r->disk.seen;
	uint64_t at = io->offset_bytes;

	spy.r->fe.clock.now_ns += spy.slow_ns;
	if (io->op == DISK_READ && at >= sb->pages_offset_bytes)
		count(&spy.pages, io);
	else if (io->op == DISK_READ && at >= sb->recs_offset_bytes)
		count(&spy.recs, io);
	else if (io->op == DISK_READ && at >= sb->ckpt_offset_bytes)
		count(&spy.ckpt, io);
	else if (io->op == DISK_READ && at >= sb->log_offset_bytes)
		count(&spy.dev_log, io);
	spy.submit(d, io);
}

static void log_line(struct env *e, int level, const char *line)
{
	if (spy.lines < LINES && strncmp(line, "store: opening", 14) == 0)
		snprintf(spy.line[spy.lines++], sizeof(spy.line[0]), "%s", line);
	spy.log(e, level, line);
}

static struct rig *new_rig(uint64_t seed)
{
	struct rig *r = rig_new_sized(seed, DISK, LOG);

	spy = (struct spy){.r = r, .submit = r->disk.disk.submit, .log = r->fe.clock.env.log};
	r->disk.disk.submit = submit;
	r->fe.clock.env.log = log_line;
	assert_int_equal(rig_open(r), 0);
	for (uint32_t c = 1; c <= 3; c++)
		rig_chain(r, c);
	return r;
}

/* Opens what is there after a power cut and counts. */
static void reopen(struct rig *r)
{
	rig_crash(r, 500);
	spy.dev_log = spy.ckpt = spy.recs = spy.pages = (struct reads){0};
	spy.lines = 0;
	assert_int_equal(rig_open(r), 0);
}

static void check_bounds(const struct rig *r, unsigned log_reads)
{
	const struct disk_super *sb = (const void *)r->disk.seen;
	/* A window shorter than the longest one is at the end of the log, or ends a phase. */
	uint64_t window = LOG_BLOCKS / (LOG_BATCH_BLOCKS_MAX - LOG_HDR_BLOCKS_MAX) + 3;

	assert_true(spy.dev_log.bytes <= (uint64_t)log_reads * LOG);
	assert_true(spy.dev_log.ios <= log_reads * window);
	assert_int_equal(spy.ckpt.bytes, sb->ckpt_blocks * BLOCK_BYTES);
	assert_true(spy.ckpt.ios <= sb->ckpt_blocks / LOG_BATCH_BLOCKS_MAX + 1);
	assert_true(spy.recs.bytes <= 2 * sb->recs_n * BLOCK_BYTES);
	assert_true(spy.recs.ios <= 2 * (sb->recs_n / LOG_BATCH_BLOCKS_MAX + 1));
	assert_true(spy.pages.bytes <= sb->pages_n * PAGE_BYTES);
}

static void write_and_commit(struct rig *r, uint32_t chain, uint64_t extent, uint32_t block,
			     uint32_t n)
{
	struct rig_op *op = rig_write_retry(r, chain, extent, block, n);

	rig_wait(r, &op->is_done);
	assert_int_equal(op->res, 0);
	store_commit(r->s, chain, op->op.rec.seq);
}

/* One lap of the log at least. */
static void live(struct rig *r)
{
	uint64_t from = r->s->stats.written_bytes;

	for (uint32_t i = 0; r->s->stats.written_bytes < from + LOG; i++) {
		write_and_commit(r, 1 + i % 2, i % SPAN, i * 5 % 100, 1 + i % 15);
		if (i % 7 == 0)
			write_and_commit(r, 3, i % SPAN, 16, 64);
	}
}

static void test_store_open_reads_no_more_however_old_the_store_is(void **state)
{
	struct rig *r = new_rig(81);
	unsigned lap = 0;

	(void)state;
	for (unsigned age = 1; age <= 32; age *= 2) {
		for (; lap < age; lap++)
			live(r);
		reopen(r);
		/* Found once, replayed once; the last few batches proved. */
		check_bounds(r, 3);
		/* It is not trivially so: something was replayed. */
		assert_true(spy.dev_log.bytes > LOG);
		assert_true(r->s->log.count > 1);
		for (uint32_t c = 1; c <= 3; c++)
			store_commit(r->s, c, r->last[c]);
	}
	assert_true(r->s->super.ckpt_generation > 32);
	rig_free(r);
}

static void test_store_open_of_an_empty_store_reads_its_log_once(void **state)
{
	struct rig *r = new_rig(82);

	(void)state;
	reopen(r);
	check_bounds(r, 2);
	assert_int_equal(spy.ckpt.ios + spy.recs.ios + spy.pages.ios, 0);
	rig_free(r);
}

/* Half of the log in batches of @ops_n ops that no header vouches for, since a page does not
 * arrive. Ten are a bit more than half a window, which is the worst. */
static void unproved_half(struct rig *r, unsigned ops_n)
{
	struct rig_op *hung, *op = NULL;
	unsigned n = 0;

	r->disk.hold_from = r->s->super.pages_offset_bytes;
	hung = rig_write(r, 3, 0, 0, 64);
	while (r->s->log.used < LOG_BLOCKS / 2) {
		for (unsigned i = 0; i < ops_n; i++, n++)
			op = rig_write(r, 1, n % SPAN, 1 + n % 9, 14);
		while (!op->is_done)
			assert_true(fake_step_now(&r->fe));
	}
	assert_false(hung->is_done);
	r->disk.hold_from = 0;
}

/* A power cut, and the last batch was torn: there is something for each phase to do. */
static void cut_end(struct rig *r)
{
	const struct log *l = &r->s->log;
	const struct log_ref *ref = &l->ring[(l->first + l->count - 1) % l->ring_n];
	uint64_t at = log_block_offset(r->s, ref->block + 3);
	const uint8_t junk[64] = {1, 2, 3};

	assert_true(ref->live && ref->blocks > 3);
	rig_crash(r, 1000);
	fake_disk_poke(&r->disk, at, junk, sizeof(junk));
	spy.dev_log = spy.ckpt = spy.recs = spy.pages = (struct reads){0};
	spy.lines = 0;
}

/* A page that never arrived keeps every later batch unproved; the torn end cuts some of them. */
static void test_store_open_reads_a_log_that_proves_nothing_a_few_times_at_most(void **state)
{
	(void)state;
	for (unsigned ops_n = 1; ops_n <= 10; ops_n += 9) {
		struct rig *r = new_rig(83);

		live(r);
		rig_settle(r);
		unproved_half(r, ops_n);
		cut_end(r);
		assert_int_equal(rig_open(r), 0);
		/* Of half a log: the length is the whole one's. */
		check_bounds(r, RECOVERY_LOG_READS / 2 + 1);
		/* Found, proved, searched for watermarks, replayed. */
		assert_true(spy.dev_log.bytes > 2 * (uint64_t)LOG);
		assert_true(spy.pages.ios > 0);
		rig_free(r);
	}
}

/* The same pages written again and again are the same checkpoint and record blocks. */
static void test_store_open_reads_records_for_what_there_is_only(void **state)
{
	struct rig *r = new_rig(84);
	uint64_t few;

	(void)state;
	for (uint32_t i = 0; i < 10; i++)
		write_and_commit(r, 1, i, 0, 16);
	rig_settle(r);
	reopen(r);
	check_bounds(r, 3);
	few = spy.ckpt.bytes;
	assert_true(spy.recs.ios >= 1);
	assert_true(spy.recs.ios <= 2);
	for (unsigned lap = 0; lap < 40; lap++) {
		for (uint32_t i = 0; i < 10; i++)
			write_and_commit(r, 1, i, 0, 16);
		rig_settle(r);
	}
	reopen(r);
	check_bounds(r, 3);
	assert_int_equal(spy.ckpt.bytes, few);
	assert_true(r->s->super.ckpt_generation > 10);
	rig_free(r);
}

/* ---- progress ---- */

/* "store: opening, step N of M: NAME: P %": in order, of steps that exist, each rising to 100.
 * Returns which of them there were. */
static unsigned check_progress(void)
{
	int step = 0, percent = 100, steps = 0;
	unsigned bits = 0;

	for (unsigned i = 0; i < spy.lines; i++) {
		int at, of, p, end = 0;
		char name[64];

		assert_int_equal(sscanf(spy.line[i],
					"store: opening, step %d of %d: %63[^:]: %d %%%n", &at, &of,
					name, &p, &end),
				 4);
		assert_int_equal(end, (int)strlen(spy.line[i]));
		assert_true(steps == 0 || of == steps);
		steps = of;
		if (at == step) {
			assert_true(p >= percent);
		} else {
			assert_true(at > step);
			assert_int_equal(percent, 100); /* the last one ended */
		}
		assert_true(p >= 0 && p <= 100);
		step = at;
		percent = p;
		bits |= 1u << at;
	}
	assert_int_equal(percent, 100);
	assert_true(step <= steps);
	return bits;
}

static struct rig *long_open(uint64_t seed, uint64_t slow_ns)
{
	struct rig *r = new_rig(seed);

	live(r);
	rig_settle(r);
	unproved_half(r, 10);
	cut_end(r);
	spy.slow_ns = slow_ns;
	return r;
}

static void test_store_open_that_takes_long_says_how_far_it_is(void **state)
{
	struct rig *r = long_open(85, 1500000000);
	const unsigned want = 1u << REC_CKPT | 1u << REC_RECORDS | 1u << REC_WALK |
			      1u << REC_PROVE | 1u << REC_SCAN | 1u << REC_MARKS |
			      1u << REC_REPLAY | 1u << REC_PAGES;

	(void)state;
	assert_int_equal(rig_open(r), 0);
	assert_int_equal(check_progress(), want);
	assert_true(spy.lines > 20); /* one a transfer, nearly */
	rig_free(r);
}

/* About one line a second, and none from one that takes less. */
static void test_store_open_says_so_once_a_second(void **state)
{
	struct rig *r = long_open(86, 400000000);
	uint64_t since = r->fe.clock.now_ns, took_s;

	(void)state;
	assert_int_equal(rig_open(r), 0);
	check_progress();
	took_s = (r->fe.clock.now_ns - since) / 1000000000;
	assert_true(took_s > 3);
	assert_true(spy.lines > 0);
	assert_true(spy.lines <= took_s + REC_PAGES); /* and the end of each phase */
	rig_free(r);
	r = long_open(86, 1000000);
	assert_int_equal(rig_open(r), 0);
	assert_int_equal(spy.lines, 0);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_store_open_reads_no_more_however_old_the_store_is),
		RIG_TEST(test_store_open_of_an_empty_store_reads_its_log_once),
		RIG_TEST(test_store_open_reads_a_log_that_proves_nothing_a_few_times_at_most),
		RIG_TEST(test_store_open_reads_records_for_what_there_is_only),
		RIG_TEST(test_store_open_that_takes_long_says_how_far_it_is),
		RIG_TEST(test_store_open_says_so_once_a_second),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
