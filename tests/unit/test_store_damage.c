/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "store/internal.h"
#include "tests/unit/store_rig.h"

/* A store with 6 batches in its log, all acknowledged; the last one proved by an empty header. */
static struct rig *rig_with_log(uint64_t seed)
{
	struct rig *r = rig_new(NULL, seed);

	rig_open(r);
	rig_chain(r, 1);
	for (unsigned i = 0; i < 6; i++) {
		struct rig_op *op = rig_write(r, 1, 0, i * 8, 4);

		rig_wait(r, &op->is_done);
	}
	store_commit(r->s, 1, 4);
	/* Proof and watermark, but not so long that it is destaged. */
	for (unsigned i = 0; i < 12; i++)
		fake_step(&r->fe);
	rig_crash(r, 0);
	return r;
}

static struct disk_super *super_copy(struct rig *r, unsigned i)
{
	return (void *)(r->disk.durable + super_offset_bytes(i));
}

static void poke_super(struct rig *r, unsigned i, size_t at, uint8_t with)
{
	fake_disk_poke(&r->disk, super_offset_bytes(i) + at, &with, 1);
}

static void test_store_opens_with_any_two_equal_superblocks(void **state)
{
	struct rig *r = rig_with_log(21);

	(void)state;
	for (unsigned a = 0; a < SUPER_COPIES; a++) {
		unsigned b = (a + 1) % SUPER_COPIES;

		poke_super(r, a, 100, 0xee);
		poke_super(r, b, 3000, 0xee);
		assert_int_equal(rig_open(r), 0); /* writes all four anew */
		assert_int_equal(r->last[1], 6);
		rig_crash(r, 0);
	}
	for (unsigned a = 0; a < 3; a++)
		poke_super(r, a, 100, 0xee);
	assert_int_equal(rig_open(r), -EBADMSG);
	assert_non_null(strstr(r->why, "superblock"));
	rig_free(r);
}

/* What is written first is not yet flushed when the power goes: it may not be the pair that is
 * good. Any two can be that. */
static void test_store_open_keeps_the_good_superblocks_until_others_are_durable(void **state)
{
	struct rig *r = rig_with_log(28);

	(void)state;
	for (unsigned a = 0; a < SUPER_COPIES; a++) {
		for (unsigned b = a + 1; b < SUPER_COPIES; b++) {
			poke_super(r, a, 100, 0xee);
			poke_super(r, b, 3000, 0xee);
			/* The open begins with a flush; this is the one after the first two. */
			r->disk.fail_flush = r->disk.flushes + 2;
			assert_int_equal(rig_open(r), -EIO);
			rig_crash(r, 500);
			assert_int_equal(rig_open(r), 0);
			assert_int_equal(r->last[1], 6);
			rig_crash(r, 0);
		}
	}
	rig_free(r);
}

/* A process that was killed may have left a pair that only the device's cache holds. Here it is the
 * newest: the next open reads it, and must not write over the durable one before a flush. */
static void test_store_open_makes_durable_what_it_read_before_it_writes(void **state)
{
	struct rig *r = rig_with_log(29);

	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		/* The last flush of this open does nothing. */
		r->disk.fail_flush = r->disk.flushes + 3;
		assert_int_equal(rig_open(r), -EIO);
		rig_kill(r);
		r->disk.fail_write = r->disk.writes + 1 + i % 2;
		assert_int_equal(rig_open(r), -EIO);
		rig_crash(r, 500);
		assert_int_equal(rig_open(r), 0);
		assert_int_equal(r->last[1], 6);
		rig_crash(r, 0);
	}
	rig_free(r);
}

/* What an earlier start left under way must never pass for this one's. */
static void test_store_start_and_generation_are_above_all_that_was_seen(void **state)
{
	struct rig *r = rig_with_log(30);
	uint64_t start, generation;

	(void)state;
	assert_int_equal(rig_open(r), 0);
	start = r->s->super.start;
	rig_crash(r, 0);
	assert_int_equal(rig_open(r), 0);
	assert_true(r->s->super.start > start);
	start = r->s->super.start;
	rig_crash(r, 0);
	/* The superblocks went back, the log did not; a single copy is newer still. */
	for (unsigned i = 0; i < SUPER_COPIES; i++) {
		struct disk_super sb = *super_copy(r, i);

		sb.start--;
		sb.generation += i == 3 ? 7 : 0;
		super_seal(&sb);
		fake_disk_poke(&r->disk, super_offset_bytes(i), &sb, sizeof(sb));
	}
	generation = super_copy(r, 3)->generation;
	assert_int_equal(rig_open(r), 0);
	assert_true(r->s->super.start > start);
	assert_true(r->s->super.generation > generation);
	rig_free(r);
}

static void test_store_names_what_is_no_store_of_ours(void **state)
{
	struct rig *r = rig_with_log(22);
	uint8_t *before = malloc(r->disk_bytes);
	uint64_t writes;

	(void)state;
	memcpy(before, r->disk.seen, r->disk_bytes);
	writes = r->disk.writes;
	for (unsigned i = 0; i < SUPER_COPIES; i++) {
		super_copy(r, i)->version++;
		super_seal(super_copy(r, i));
		fake_disk_poke(&r->disk, super_offset_bytes(i), super_copy(r, i), BLOCK_BYTES);
	}
	assert_int_equal(rig_open(r), -EPROTONOSUPPORT);
	assert_non_null(strstr(r->why, "(3, this chainblk reads 2)"));
	fake_disk_poke(&r->disk, 0, before, SUPER_REGION_BYTES);
	r->disk.disk.size_bytes -= 1u << 20;
	r->disk_bytes -= 1u << 20;
	assert_int_equal(rig_open(r), -ENOSPC);
	assert_non_null(strstr(r->why, "smaller than when it was formatted (64 MiB, now 63)"));
	r->disk.disk.size_bytes += 1u << 20;
	r->disk_bytes += 1u << 20;
	for (unsigned i = 0; i < SUPER_COPIES; i++)
		poke_super(r, i, 0, 0);
	assert_int_equal(rig_open(r), -ENODEV);
	assert_int_equal(r->disk.writes, writes); /* nothing was written */
	fake_disk_poke(&r->disk, 0, before, SUPER_REGION_BYTES);
	assert_int_equal(rig_format(r, false), -EEXIST);
	assert_int_equal(rig_open(r), 0);
	rig_crash(r, 0);
	assert_int_equal(rig_format(r, true), 0);
	assert_int_equal(rig_open(r), 0);
	assert_int_equal(store_chains_n(r->s), 0); /* the old log is not taken for the new one's */
	free(before);
	rig_free(r);
}

#define OPEN_STEPS                                                                                 \
	16u /* of the small store of rig_with_log(), about; the last write superblocks             \
	     */

static void open_some(struct rig *r, unsigned steps)
{
	rig_open_start(r);
	for (unsigned i = 0; i < steps; i++)
		fake_step(&r->fe);
}

/* The daemon is killed in the middle of an open, the next one too, then the power fails: what they
 * read and relied on was in the device's cache. */
static void test_store_superblocks_read_from_a_cache_are_not_relied_on(void **state)
{
	(void)state;
	for (unsigned seed = 0; seed < 128; seed++) {
		struct rig *r = rig_with_log(300 + seed);

		for (unsigned lives = 0; lives < 4; lives++) {
			if (lives)
				rig_kill(r);
			open_some(r, OPEN_STEPS - 6 + (unsigned)fake_random(&r->fe, 3));
		}
		rig_crash(r, 500);
		if (rig_open(r) != 0)
			fail_msg("seed %u: %s", seed, r->why);
		rig_free(r);
	}
}

/* Where batch @n (from 0) of the log begins. */
static uint64_t batch_offset(struct rig *r, unsigned n)
{
	const struct disk_super *sb = super_copy(r, 0);
	uint64_t at = sb->log_offset_bytes + sb->replay_block * BLOCK_BYTES;

	for (;; n--) {
		const struct disk_log_hdr *h = (void *)(r->disk.durable + at);

		assert_true(h->magic == LOG_MAGIC);
		if (n == 0)
			return at;
		at += (uint64_t)(h->hdr_blocks + h->data_blocks) * BLOCK_BYTES;
	}
}

/* Where the log ends, and the last header before. */
static uint64_t log_end(struct rig *r, const struct disk_log_hdr **ret_last)
{
	uint64_t at = batch_offset(r, 0);

	for (;;) {
		const struct disk_log_hdr *h = (void *)(r->disk.durable + at);

		if (h->magic != LOG_MAGIC)
			return at;
		*ret_last = h;
		at += (uint64_t)(h->hdr_blocks + h->data_blocks) * BLOCK_BYTES;
	}
}

static void test_store_obeys_truncate_records_in_log_order(void **state)
{
	struct rig *r = rig_with_log(30);
	const struct disk_log_hdr *last = NULL;
	uint64_t at = log_end(r, &last);
	struct disk_log_hdr *h = calloc(1, BLOCK_BYTES);
	struct disk_log_rec *rec = (void *)(h + 1);
	struct store_chain_info info;
	struct rig_op *op;

	(void)state;
	*h = (struct disk_log_hdr){.magic = LOG_MAGIC,
				   .prev_crc = last->crc,
				   .disk = last->disk,
				   .lsn = last->lsn + 1,
				   .offset_bytes = at,
				   .stable = last->lsn,
				   .start = last->start,
				   .hdr_blocks = 1,
				   .recs_n = 1,
				   .recs_bytes = sizeof(*rec) + sizeof(struct disk_log_truncate)};
	*rec = (struct disk_log_rec){.kind = LOG_TRUNCATE, .bytes = h->recs_bytes};
	*(struct disk_log_truncate *)(rec + 1) =
		(struct disk_log_truncate){.chain = 1, .to = 5, .epoch = 2};
	log_hdr_seal(h, super_copy(r, 0)->secret);
	fake_disk_poke(&r->disk, at, h, BLOCK_BYTES);
	free(h);
	assert_int_equal(rig_open(r), 0);
	assert_int_equal(store_chain_info(r->s, 1, &info), 0);
	assert_int_equal(info.last, 5);
	rig_expect_zero(r, 1, 0, 40, 4, true); /* the sixth op is undone */
	store_check(r->s);
	/* Its number is used again, and the log has both. */
	op = rig_write(r, 1, 0, 40, 1);
	assert_int_equal(op->op.rec.seq, 6);
	rig_wait(r, &op->is_done);
	rig_crash(r, 0);
	assert_int_equal(rig_open(r), 0);
	assert_int_equal(r->last[1], 6);
	rig_expect(r, 1, 0, 40, 1, true, op);
	rig_expect_zero(r, 1, 0, 41, 3, true);
	rig_free(r);
}

static void test_store_rot_in_the_log_is_not_taken_for_a_torn_end(void **state)
{
	static const size_t where[] = {0, 8, 33, 41, 96, 200, 4095};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(where); i++) {
		for (unsigned n = 0; n < 6; n++) {
			struct rig *r = rig_with_log(23);
			uint64_t at = batch_offset(r, n) + where[i];
			uint8_t bad = r->disk.durable[at] ^ 0x10;

			fake_disk_poke(&r->disk, at, &bad, 1);
			assert_int_equal(rig_open(r), -EBADMSG);
			assert_non_null(strstr(r->why, "rot"));
			rig_free(r);
		}
	}
}

static void test_store_cuts_a_torn_end_and_finds_the_same_twice(void **state)
{
	struct rig *r = rig_with_log(24);
	struct store_chain_info info;
	struct rig_op *op;
	uint8_t zeros[SECTOR_BYTES] = {0};

	(void)state;
	assert_int_equal(rig_open(r), 0);
	rig_write(r, 1, 0, 100, 2); /* under way when power goes */
	fake_step_now(&r->fe);
	rig_crash(r, 1000);
	for (int pass = 0; pass < 2; pass++) {
		assert_int_equal(rig_open(r), 0);
		assert_int_equal(store_chain_info(r->s, 1, &info), 0);
		assert_true(info.last == 6 || info.last == 7);
		assert_int_equal(info.committed, 4);
		rig_crash(r, 0);
	}
	/* The same with the payload torn. */
	assert_int_equal(rig_open(r), 0);
	op = rig_write(r, 1, 0, 120, 2);
	fake_step_now(&r->fe);
	fake_step_now(&r->fe);
	rig_crash(r, 1000);
	for (uint64_t b = 0; b < r->disk_bytes; b += BLOCK_BYTES) {
		uint8_t want[BLOCK_BYTES];

		rig_fill(want, op->stamp, 121);
		if (memcmp(r->disk.durable + b, want, BLOCK_BYTES) == 0)
			fake_disk_poke(&r->disk, b + 512, zeros, sizeof(zeros));
	}
	for (int pass = 0; pass < 2; pass++) {
		assert_int_equal(rig_open(r), 0);
		assert_int_equal(store_chain_info(r->s, 1, &info), 0);
		assert_true(info.last == 6 || info.last == 7);
		rig_crash(r, 0);
	}
	rig_free(r);
}

static void test_store_image_of_a_log_in_a_payload_is_only_a_payload(void **state)
{
	struct rig *r = rig_with_log(25);
	struct rig_op *op;
	struct store_chain_info info;

	(void)state;
	/* A client that knows everything but the secret: right place, right LSN, sealed with 0. */
	assert_int_equal(rig_open(r), 0);
	op = rig_write(r, 1, 0, 200, 1);
	rig_wait(r, &op->is_done);
	{
		const struct disk_super *sb = super_copy(r, 0);
		struct disk_log_hdr *forged = calloc(1, BLOCK_BYTES);
		uint64_t at = op->op.payload_offset + 4096;

		*forged = (struct disk_log_hdr){.magic = LOG_MAGIC,
						.disk = sb->disk,
						.lsn = op->op.lsn + 40,
						.stable = op->op.lsn + 39,
						.offset_bytes = at,
						.start = sb->start,
						.hdr_blocks = 1};
		log_hdr_seal(forged, 0);
		rig_crash(r, 0);
		fake_disk_poke(&r->disk, at, forged, BLOCK_BYTES);
		free(forged);
	}
	assert_int_equal(rig_open(r), 0);
	assert_int_equal(store_chain_info(r->s, 1, &info), 0);
	assert_int_equal(info.last, 7);
	rig_free(r);
}

static void test_store_bad_checkpoint_is_named(void **state)
{
	struct rig *r = rig_with_log(26);
	const struct disk_super *sb;
	uint64_t at;
	uint8_t bad;

	(void)state;
	rig_open(r);
	store_commit(r->s, 1, 6);
	rig_settle(r);
	rig_crash(r, 0);
	sb = super_copy(r, 0);
	assert_true(sb->ckpt_generation > 0);
	at = sb->ckpt_offset_bytes + sb->ckpt_slot * sb->ckpt_bytes + 70;
	bad = r->disk.durable[at] ^ 1;
	fake_disk_poke(&r->disk, at, &bad, 1);
	assert_int_equal(rig_open(r), -EBADMSG);
	assert_non_null(strstr(r->why, "checkpoint"));
	rig_free(r);
}

static void test_store_rotten_block_is_an_error_and_never_data(void **state)
{
	struct rig *r = rig_with_log(27);
	static uint8_t got[16 * BLOCK_BYTES];
	uint8_t want[BLOCK_BYTES], bad;
	unsigned found = 0;

	(void)state;
	rig_open(r);
	store_commit(r->s, 1, 6);
	rig_settle(r);
	rig_fill(want, r->ops[1]->stamp, 9); /* second op: blocks 8 to 11 */
	for (uint64_t b = super_copy(r, 0)->pages_offset_bytes; b < r->disk_bytes;
	     b += BLOCK_BYTES) {
		if (memcmp(r->disk.seen + b, want, BLOCK_BYTES) != 0)
			continue;
		bad = r->disk.seen[b + 77] ^ 4;
		fake_disk_poke(&r->disk, b + 77, &bad, 1);
		found++;
	}
	assert_int_equal(found, 1);
	assert_int_equal(rig_read(r, 1, 0, 8, 4, false, got), -EBADMSG);
	assert_int_equal(rig_read(r, 1, 0, 9, 1, false, got), -EBADMSG);
	rig_expect_part(r, 1, 0, 8, 1, r->ops[1]);
	rig_expect_part(r, 1, 0, 10, 2, r->ops[1]);
	/* Overwriting it makes it good again. */
	{
		struct rig_op *op = rig_write(r, 1, 0, 9, 1);

		rig_wait(r, &op->is_done);
		store_commit(r->s, 1, 7);
		rig_expect_part(r, 1, 0, 9, 1, op);
		rig_settle(r);
		rig_expect_part(r, 1, 0, 9, 1, op);
	}
	rig_free(r);
}

static void test_store_fails_for_good_after_a_write_error(void **state)
{
	struct rig *r = rig_new(NULL, 28);
	struct rig_op *a, *b, *c;
	static uint8_t got[BLOCK_BYTES];
	struct store_stats st;

	(void)state;
	rig_open(r);
	rig_chain(r, 1);
	a = rig_write(r, 1, 0, 0, 1);
	rig_wait(r, &a->is_done);
	r->disk.fail_write = r->disk.writes + 1;
	b = rig_write(r, 1, 0, 1, 1);
	rig_wait(r, &b->is_done);
	assert_int_equal(b->res, -EIO);
	assert_int_equal(rig_try_write(r, 1, 0, 2, 1, &c), -EIO);
	assert_int_equal(rig_read(r, 1, 0, 0, 1, true, got), -EIO);
	store_stats(r->s, &st);
	assert_true(st.failed);
	assert_int_equal(r->bufs.small_free_n, r->bufs.small_n); /* nothing stays referenced */
	rig_close(r);
	r->s = NULL;
	rig_free(r);
}

static const struct rig_op *newest_writer(struct rig_op *const *op, unsigned n, uint32_t block)
{
	while (n-- > 0)
		if (block >= op[n]->op.rec.block &&
		    block - op[n]->op.rec.block < op[n]->op.rec.blocks)
			return op[n];
	return NULL;
}

/* The Nth write, flush or read of a little life fails, N = 1, 2, 3 ... until it has none: nothing
 * that was acknowledged is lost, every op ends exactly once, and the store can be opened
 * afterwards. */
static bool life_with_error(unsigned which, uint64_t n)
{
	struct rig *r = rig_new(NULL, 29);
	struct rig_op *op[40];
	unsigned ops = 0;
	struct store_chain_info info = {0};
	uint64_t acked = 0;
	bool hit;

	r->disk.fail_write = which == 0 ? r->disk.writes + n : 0;
	r->disk.fail_flush = which == 1 ? r->disk.flushes + n : 0;
	r->disk.fail_read = which == 2 ? r->disk.reads + n : 0;
	if (rig_open(r) == 0) {
		rig_chain(r, 1);
		for (unsigned i = 0; i < 40; i++) {
			if (rig_try_write(r, 1, 0, i * 5 % 64, 1 + i % 5, &op[ops]))
				break;
			ops++;
			for (unsigned k = 0; k < i % 5; k++)
				fake_step(&r->fe);
			if (op[i / 2]->is_done && op[i / 2]->res == 0)
				store_commit(r->s, 1, i / 2 + 1);
		}
		rig_settle(r);
		for (unsigned i = 0; i < ops; i++) {
			assert_true(op[i]->is_done);
			if (op[i]->res == 0)
				assert_int_equal(++acked, i + 1);
		}
		rig_crash(r, 300);
	}
	hit = r->disk.writes >= r->disk.fail_write && r->disk.flushes >= r->disk.fail_flush &&
	      r->disk.reads >= r->disk.fail_read;
	r->disk.fail_write = r->disk.fail_flush = r->disk.fail_read = 0;
	assert_int_equal(rig_open(r), 0);
	if (acked) {
		assert_int_equal(store_chain_info(r->s, 1, &info), 0);
		assert_true(info.last >= acked);
		store_commit(r->s, 1, info.last);
		for (uint32_t b = 0; b < 68; b++) {
			const struct rig_op *newest = newest_writer(op, (unsigned)info.last, b);

			if (newest)
				rig_expect(r, 1, 0, b, 1, false, newest);
		}
		store_check(r->s);
	}
	rig_free(r);
	return hit;
}

static void test_store_survives_an_error_of_every_transfer(void **state)
{
	unsigned points = 0;

	(void)state;
	for (unsigned which = 0; which < 3; which++)
		for (uint64_t n = 1; life_with_error(which, n); n++)
			points++;
	assert_true(points > 40);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_store_opens_with_any_two_equal_superblocks),
		RIG_TEST(test_store_open_keeps_the_good_superblocks_until_others_are_durable),
		RIG_TEST(test_store_start_and_generation_are_above_all_that_was_seen),
		RIG_TEST(test_store_open_makes_durable_what_it_read_before_it_writes),
		RIG_TEST(test_store_names_what_is_no_store_of_ours),
		RIG_TEST(test_store_superblocks_read_from_a_cache_are_not_relied_on),
		RIG_TEST(test_store_rot_in_the_log_is_not_taken_for_a_torn_end),
		RIG_TEST(test_store_obeys_truncate_records_in_log_order),
		RIG_TEST(test_store_cuts_a_torn_end_and_finds_the_same_twice),
		RIG_TEST(test_store_image_of_a_log_in_a_payload_is_only_a_payload),
		RIG_TEST(test_store_bad_checkpoint_is_named),
		RIG_TEST(test_store_rotten_block_is_an_error_and_never_data),
		RIG_TEST(test_store_fails_for_good_after_a_write_error),
		RIG_TEST(test_store_survives_an_error_of_every_transfer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
