/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* A checkpoint pauses nothing. Each step of one in turn gets no answer from the disk, while all
 * else on that disk is answered: appends are acknowledged, commits, reads and epochs go on, large
 * writes go to their pages, what is in the log is destaged; not one batch waits. In the end the log
 * is full, which is another limit; the answer comes, and the log has room again. */
#include "store/internal.h"
#include "tests/unit/store_await.h"
#include "tests/unit/store_rig.h"

#define ROUNDS 8u
#define PREPARED 40u /* extents, a page each */

/* What a checkpoint asks of the disk, in order. */
enum step {
	STEP_RECORDS,
	STEP_SLOT,
	STEP_FLUSH,
	STEP_SUPER_LOOK,
	STEP_SUPER_FIRST,
	STEP_SUPER_FLUSH_FIRST,
	STEP_SUPER_SECOND,
	STEP_SUPER_FLUSH_SECOND,
	STEPS,
	STEP_NONE = STEPS
};
static const char *const step_name[] = {
	"record blocks",         "checkpoint slot", "flush",         "look at the superblock",
	"first two superblocks", "their flush",     "the other two", "their flush"};

static struct gate {
	struct rig *r;
	void (*submit)(struct env_disk *d, struct disk_io *io);
	enum step step; /* gets no answer; STEP_NONE: all do */
	struct disk_io *held[RECS_WRITE_IOS];
	unsigned held_n;
	bool second; /* the other two superblocks of this checkpoint were written */
} gate;

static enum step super_step(const struct store *s, const struct disk_io *io)
{
	const uint8_t *order = s->sw.order;

	if (io->op == DISK_READ)
		return io->offset_bytes == 0 ? STEP_SUPER_LOOK : STEP_NONE;
	if (io->op == DISK_FLUSH)
		return gate.second ? STEP_SUPER_FLUSH_SECOND : STEP_SUPER_FLUSH_FIRST;
	if (io->offset_bytes >= SUPER_REGION_BYTES)
		return STEP_NONE;
	gate.second = io->offset_bytes != order[0] * SUPER_STRIDE_BYTES &&
		      io->offset_bytes != order[1] * SUPER_STRIDE_BYTES;
	return gate.second ? STEP_SUPER_SECOND : STEP_SUPER_FIRST;
}

static enum step step_of(const struct store *s, const struct disk_io *io)
{
	uint64_t at = io->offset_bytes;
	bool write = io->op == DISK_WRITE;

	switch (s->ckpt.state) {
	case CKPT_IDLE:
		return STEP_NONE;
	case CKPT_RECORDS:
		return write && at >= s->super.recs_offset_bytes && at < s->super.pages_offset_bytes
			       ? STEP_RECORDS
			       : STEP_NONE;
	case CKPT_WRITING:
		gate.second = false;
		return write && at >= s->super.ckpt_offset_bytes && at < s->super.recs_offset_bytes
			       ? STEP_SLOT
			       : STEP_NONE;
	case CKPT_FLUSHING:
		return io->op == DISK_FLUSH ? STEP_FLUSH : STEP_NONE;
	case CKPT_SUPER:
		return super_step(s, io);
	}
	return STEP_NONE;
}

static void submit(struct env_disk *d, struct disk_io *io)
{
	const struct store *s = gate.r->s;
	uint64_t at = io->offset_bytes;

	/* Y3: the slot says where each record block lies and what it holds. */
	if (s && ckpt_freezes(s) && io->op == DISK_WRITE && at >= s->super.recs_offset_bytes &&
	    at < s->super.pages_offset_bytes)
		fail_msg("a record block is written while a checkpoint is");
	if (gate.step == STEP_NONE || !s || step_of(s, io) != gate.step) {
		gate.submit(d, io);
		return;
	}
	assert_true(gate.held_n < ARRAY_LEN(gate.held));
	gate.held[gate.held_n++] = io;
}

static void gate_open(void)
{
	gate.step = STEP_NONE;
	for (unsigned i = 0; i < gate.held_n; i++)
		gate.submit(&gate.r->disk.disk, gate.held[i]);
	gate.held_n = 0;
}

/* A store whose next checkpoint has everything to do, and stops at @step. */
static struct rig *held_at(enum step step, uint32_t cache_slots, uint32_t extents)
{
	struct rig *r = rig_new(NULL, 71 + step);
	struct rig_op *op;

	gate = (struct gate){.r = r, .submit = r->disk.disk.submit, .step = STEP_NONE};
	r->disk.disk.submit = submit;
	r->cache_slots = cache_slots;
	assert_int_equal(rig_open(r), 0);
	for (uint32_t c = 1; c <= 3; c++)
		rig_chain(r, c);
	for (uint32_t i = 0; i < extents; i++) {
		op = rig_write(r, 3, i, 0, 16);
		rig_wait(r, &op->is_done);
		store_commit(r->s, 3, op->op.rec.seq);
	}
	gate.step = step;
	while (gate.held_n == 0)
		assert_true(fake_step(&r->fe));
	assert_int_not_equal(r->s->ckpt.state, CKPT_IDLE);
	return r;
}

/* Acknowledged while time stands still, and committed. */
static void goes_on(struct rig *r, struct rig_op *op)
{
	uint32_t chain = op->op.rec.chain;

	while (!op->is_done)
		if (!fake_step_now(&r->fe))
			fail_msg("an append waits for a checkpoint: %s", step_name[gate.step]);
	assert_int_equal(op->res, 0);
	store_commit(r->s, chain, op->op.rec.seq);
}

static void everything_goes_on(struct rig *r)
{
	for (uint32_t i = 0; i < ROUNDS; i++) {
		uint64_t since = r->fe.clock.now_ns;
		struct rig_op *small = rig_write(r, 1, 0, i * 20 + 1, 2), *large, *gone;

		goes_on(r, small);
		large = rig_write(r, 2, i % 4, 32, 48);
		goes_on(r, large);
		gone = rig_unmap(r, 1, 1, i, 1);
		goes_on(r, gone);
		rig_expect(r, 1, 0, i * 20 + 1, 2, false, small);
		rig_expect(r, 2, i % 4, 32, 48, false, large);
		rig_expect_block(r, 3, i, 3, r->ops[i]);
		rig_set_epoch(r, 2, i + 1, 7);
		/* No timer had to help. */
		assert_true(r->fe.clock.now_ns - since < LOG_IDLE_NS);
		store_check(r->s);
	}
}

/* Writes until the log refuses for good: what destaging makes room for is written, too. Returns how
 * many it took. */
static unsigned fill_log(struct rig *r)
{
	struct rig_op *op;
	unsigned n = 0;

	for (;;) {
		r->space_called = false;
		if (rig_try_write(r, 1, 0, n * 20 % 1000, 5 + n % 9, &op) == 0) {
			goes_on(r, op);
			n++;
			continue;
		}
		while (!r->space_called && fake_step_now(&r->fe))
			;
		if (!r->space_called)
			return n;
	}
}

static void pauses_nothing(enum step step)
{
	struct rig *r = held_at(step, 0, PREPARED);
	struct store_stats before, st;
	struct rig_op *op;
	unsigned n;

	store_stats(r->s, &before);
	everything_goes_on(r);
	n = fill_log(r);
	store_stats(r->s, &st);
	assert_true(st.batches - before.batches >= 3 * ROUNDS + n);
	assert_true(n > ROUNDS);
	/* Nothing but the log's end stopped it. */
	assert_true(st.log_used_bytes > st.log_bytes / 4 * 3);
	/* Destaging does not wait either: all of it. */
	while (fake_step(&r->fe))
		;
	assert_int_equal(r->s->index.used, 0);
	store_stats(r->s, &st);
	assert_true(st.destaged_blocks > before.destaged_blocks);
	assert_int_equal(st.checkpoints, before.checkpoints);
	assert_true(gate.held_n > 0);
	assert_int_equal(rig_try_write(r, 1, 0, 1000, 16, &op), -EAGAIN);
	r->space_called = false;
	gate_open();
	rig_wait(r, &r->space_called);
	op = rig_write(r, 1, 0, 1000, 24);
	goes_on(r, op);
	store_stats(r->s, &st);
	assert_true(st.checkpoints > before.checkpoints);
	rig_settle(r);
	store_check(r->s);
	rig_crash(r, 500);
	assert_int_equal(rig_open(r), 0);
	rig_expect(r, 1, 0, 1000, 24, false, op);
	rig_free(r);
}

static void test_store_ckpt_pauses_nothing_while_record_blocks_are_written(void **state)
{
	(void)state;
	pauses_nothing(STEP_RECORDS);
}

static void test_store_ckpt_pauses_nothing_while_its_slot_is_written(void **state)
{
	(void)state;
	pauses_nothing(STEP_SLOT);
}

static void test_store_ckpt_pauses_nothing_while_it_is_flushed(void **state)
{
	(void)state;
	pauses_nothing(STEP_FLUSH);
}

static void test_store_ckpt_pauses_nothing_while_the_superblock_names_it(void **state)
{
	(void)state;
	for (enum step step = STEP_SUPER_LOOK; step < STEPS; step++)
		pauses_nothing(step);
}

/* A process that dies at any step of a checkpoint with all that on top loses nothing. */
static void test_store_ckpt_held_at_any_step_may_be_cut_by_a_power_loss(void **state)
{
	(void)state;
	for (enum step step = 0; step < STEPS; step++) {
		struct rig *r = held_at(step, 0, PREPARED);
		struct rig_op *op;

		everything_goes_on(r);
		op = rig_write(r, 1, 0, 3, 20);
		goes_on(r, op);
		gate.step = STEP_NONE;
		rig_crash(r, 500);
		assert_int_equal(rig_open(r), 0);
		assert_int_equal(r->last[1], op->op.rec.seq);
		store_commit(r->s, 1, r->last[1]);
		rig_expect(r, 1, 0, 3, 20, false, op);
		rig_expect_block(r, 3, PREPARED - 1, 3, r->ops[PREPARED - 1]);
		store_check(r->s);
		rig_free(r);
	}
}

static void read_goes_on(struct rig *r, uint32_t chain, uint64_t extent)
{
	struct await_read a = {.read = {.chain = chain,
					.volume = chain,
					.extent = extent,
					.block = 3,
					.blocks = 1}};

	await_read(r->s, &a);
	while (!a.done)
		if (!fake_step_now(&r->fe))
			fail_msg("a read waits for a checkpoint: %s", step_name[gate.step]);
	assert_int_equal(a.res, 0);
	buf_put(a.read.data);
}

/* Few record blocks in memory: while a checkpoint is under way those that changed cannot leave, and
 * neither destaging nor unmaps may take all that reads need. */
static void few_cached(enum step step)
{
	const uint32_t extents = 300;
	struct rig *r = held_at(step, 6, extents);
	struct rig_op *op;

	assert_true(r->s->recs.blocks_n >= 8);
	for (uint32_t i = 0; i < extents; i++) {
		if (rig_try_write(r, 3, i, 1, 1, &op))
			break;
		goes_on(r, op);
		goes_on(r, rig_unmap(r, 3, i, 5, 1));
	}
	while (fake_step(&r->fe)) /* long idle: all that can be destaged is */
		;
	for (uint32_t i = 0; i < extents; i++) {
		read_goes_on(r, 3, i);
		rig_expect_block(r, 3, i, 3, r->ops[i]);
	}
	assert_true(gate.held_n > 0);
	gate_open();
	rig_settle(r);
	assert_int_equal(r->s->index.used, 0);
	store_check(r->s);
	rig_free(r);
}

static void test_store_ckpt_leaves_reads_the_record_blocks_they_need(void **state)
{
	(void)state;
	for (enum step step = 0; step < STEPS; step++)
		few_cached(step);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_store_ckpt_pauses_nothing_while_record_blocks_are_written),
		RIG_TEST(test_store_ckpt_pauses_nothing_while_its_slot_is_written),
		RIG_TEST(test_store_ckpt_pauses_nothing_while_it_is_flushed),
		RIG_TEST(test_store_ckpt_pauses_nothing_while_the_superblock_names_it),
		RIG_TEST(test_store_ckpt_held_at_any_step_may_be_cut_by_a_power_loss),
		RIG_TEST(test_store_ckpt_leaves_reads_the_record_blocks_they_need),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
