/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* fsck of damage planted in the log and in data: torn ends and rot, ops that cannot be, pages of
 * two owners, bad blocks. */
#include "tests/unit/fsck_disk.h"

/* ---- the end of the log ---- */

static void test_fsck_a_bad_header_in_the_middle_of_the_log_is_rot(void **state)
{
	struct rig *r = furnished(21);
	struct found_op op = find_op(r, 3);
	uint64_t at = (uint64_t)((uint8_t *)op.hdr - r->disk.durable);

	(void)state;
	flip(r, at + 200);
	finds(r, FSCK_DAMAGED, "log_rot", "a batch is damaged though a later one");
	/* Later ops are not seen, what they hide is not judged. */
	assert_non_null(fsck_look_for(&look, "not_checked"));
	assert_int_equal(look.findings_n, 2);
	assert_int_equal(rig_open(r), -EBADMSG);
	flip(r, at + 200);
	look.bad_block = at;
	finds(r, FSCK_DAMAGED, "log_unreadable", "cannot be read");
	look.bad_block = 0;
	opens(r, 0);
}

static void test_fsck_a_torn_end_is_cut_off_by_the_next_start(void **state)
{
	struct rig *r = furnished(22);
	struct rig_op *op;
	struct found_op found;

	(void)state;
	assert_int_equal(rig_open(r), 0);
	op = done(r, rig_write(r, 1, 0, 200, 3));
	rig_crash(r, 0);
	is_clean(r); /* acknowledged, and all there */
	found = find_op(r, op->op.rec.seq);
	flip(r, found.payload_offset + BLOCK_BYTES);
	finds(r, FSCK_REPAIRABLE, "log_torn", "the last batch is not all there");
	flip(r, found.payload_offset + BLOCK_BYTES);
	flip(r, (uint64_t)((uint8_t *)found.hdr - r->disk.durable) + 200);
	finds(r, FSCK_REPAIRABLE, "log_torn", "half of a batch's header");
	look.bad_block = found.payload_offset;
	finds(r, FSCK_DAMAGED, "log_unreadable", "cannot be read");
	look.bad_block = 0;
	opens(r, 0);
}

static void test_fsck_a_large_write_whose_pages_did_not_arrive_is_undone(void **state)
{
	struct rig *r = furnished(23);
	const struct fsck_look_finding *f;
	struct rig_op *large, *other;

	(void)state;
	assert_int_equal(rig_open(r), 0);
	large = rig_write(r, 1, 0, 512, 64);
	rig_write(r, 1, 0, 600, 1);
	other = rig_write(r, 2, 0, 0, 1);
	r->disk.hold_from = super(r)->pages_offset_bytes;
	rig_wait(r, &other->is_done);
	assert_false(large->is_done);
	rig_crash(r, 0);
	r->disk.hold_from = 0;
	f = finds(r, FSCK_REPAIRABLE, "op_undone",
		  "the pages of op 5 are not all there: it and what follows up to op 6");
	assert_true(f->offset_bytes >= super(r)->pages_offset_bytes);
	assert_int_equal(look.result.ops_pending, 2); /* op 4 of chain 1, and chain 2's */
	opens(r, 0);
}

/* ---- ops that cannot be ---- */

static void test_fsck_no_op_is_there_twice_or_undone_when_committed(void **state)
{
	struct rig *r = furnished(24);
	struct op_rec again = {.seq = 4, .epoch = 1, .chain = 1, .kind = OP_NOP};
	struct disk_log_truncate undo = {.chain = 1, .to = 2};

	(void)state;
	append_record(r, LOG_OP, LOG_F_AGAIN, &again, sizeof(again));
	is_clean(r);
	append_record(r, LOG_OP, 0, &again, sizeof(again));
	finds(r, FSCK_DAMAGED, "log_record", "chain 1: there twice is op 4");
	assert_int_equal(rig_open(r), -EBADMSG);
	rig_free(r);
	r = furnished(24);
	append_record(r, LOG_TRUNCATE, 0, &undo, sizeof(undo));
	finds(r, FSCK_DAMAGED, "log_record", "chain 1: undone are committed ops after 2");
	assert_int_equal(rig_open(r), -EBADMSG);
	rig_free(r);
	r = furnished(24);
	undo.to = 3;
	append_record(r, LOG_TRUNCATE, 0, &undo, sizeof(undo));
	append_record(r, LOG_OP, 0, &again, sizeof(again));
	is_clean(r);
	assert_int_equal(look.result.ops_pending, 1);
	opens(r, 0);
}

static void test_fsck_a_truncate_undoes_nothing_that_the_checkpoint_holds(void **state)
{
	struct disk_log_truncate old = {.chain = 2, .to = 0};
	struct rig *r = furnished(33);

	(void)state;
	append_record(r, LOG_TRUNCATE, 0, &old, sizeof(old));
	is_clean(r);
	opens(r, 0);
}

static void test_fsck_what_the_checkpoint_knows_is_committed(void **state)
{
	struct rig *r = furnished(34);
	struct disk_ckpt_hdr *h = ckpt_block(r, 1);
	struct disk_ckpt_chain *chain = (void *)(h + 1);

	(void)state;
	assert_int_equal(h->kind, CKPT_CHAIN);
	assert_int_equal(chain->chain, 1);
	chain->known = 4;
	ckpt_seal(h, super(r)->secret);
	put(r, h, h, BLOCK_BYTES);
	is_clean(r);
	assert_int_equal(look.result.ops_pending, 0);
	chain->known = 5;
	ckpt_seal(h, super(r)->secret);
	put(r, h, h, BLOCK_BYTES);
	finds(r, FSCK_DAMAGED, "log_gap", "chain 1: ends at op 4, but 5 was committed");
	opens(r, -EBADMSG);
}

static void test_fsck_no_op_is_missing(void **state)
{
	struct rig *r = furnished(25);
	struct op_rec next = {.seq = 6, .epoch = 1, .chain = 1, .kind = OP_NOP};
	struct disk_log_commit known = {.chain = 1, .seq = 5};

	(void)state;
	append_record(r, LOG_OP, 0, &next, sizeof(next));
	finds(r, FSCK_DAMAGED, "log_gap", "chain 1: op 5 is missing, 6 is there");
	assert_int_equal(rig_open(r), -EBADMSG);
	rig_free(r);
	r = furnished(25);
	append_record(r, LOG_COMMIT, 0, &known, sizeof(known));
	finds(r, FSCK_DAMAGED, "log_gap", "chain 1: ends at op 4, but 5 was committed");
	opens(r, -EBADMSG);
}

static void test_fsck_a_record_that_makes_no_sense_is_damage(void **state)
{
	struct rig *r = furnished(26);
	struct op_rec op = {.seq = 5, .epoch = 1, .chain = 1, .kind = OP_KIND_END};

	(void)state;
	append_record(r, LOG_OP, 0, &op, sizeof(op));
	finds(r, FSCK_DAMAGED, "log_record", "log: batch");
	opens(r, -EBADMSG);
}

/* ---- pages of large writes ---- */

/* Chain 1 writes page 0 of extent 3 as a whole, and it lies in @page, whatever is there. */
static void append_paged_op(struct rig *r, uint32_t page)
{
	struct {
		struct op_rec rec;
		uint32_t crcs[PAGE_BLOCKS];
		uint32_t page, pad;
	} op = {.rec = {.seq = 5,
			.epoch = 1,
			.volume = 1,
			.extent = 3,
			.chain = 1,
			.kind = OP_WRITE,
			.blocks = PAGE_BLOCKS,
			.data_bytes = PAGE_BYTES,
			.crcs_n = PAGE_BLOCKS},
		.page = page};
	uint64_t at = page < super(r)->pages_n ? page_at(r, page) : 0;

	for (uint32_t i = 0; i < PAGE_BLOCKS; i++) {
		const struct block_addr addr = {1, 3, i};

		op.crcs[i] = crc_block(&addr, r->disk.durable + at + (size_t)i * BLOCK_BYTES);
	}
	append_record(r, LOG_OP, LOG_F_PAGES, &op, sizeof(op));
}

static void test_fsck_a_page_named_by_an_op_is_nobody_elses(void **state)
{
	struct disk_log_commit known = {.chain = 1, .seq = 5};
	struct rig *r = furnished(27);
	struct disk_page_rec *rec;
	uint32_t page = page_in_use(r, 2, &rec);

	(void)state;
	append_paged_op(r, page);
	finds(r, FSCK_DAMAGED, "page_owner", "op 5 put volume 1, extent 3, page 0 of it there");
	assert_int_equal(fsck_look_for(&look, "page_owner")->offset_bytes, page_at(r, page));
	assert_int_equal(rig_open(r), -EBADMSG);
	append_record(r, LOG_COMMIT, 0, &known, sizeof(known));
	finds(r, FSCK_DAMAGED, "page_owner", "but it is another's");
	rig_free(r);
	/* One that another op of the log has. */
	r = furnished(27);
	append_paged_op(r, find_op(r, 4).it.pages[1]);
	finds(r, FSCK_DAMAGED, "page_owner", "op 5 put volume 1, extent 3, page 0 of it there");
	rig_free(r);
}

static void test_fsck_a_page_beyond_the_end_is_damage(void **state)
{
	struct rig *r = furnished(28);

	(void)state;
	append_paged_op(r, (uint32_t)super(r)->pages_n);
	finds(r, FSCK_DAMAGED, "log_record", "a page beyond the end is named by op 5");
	assert_int_equal(rig_open(r), -EBADMSG);
	rig_free(r);
	r = furnished(28);
	append_paged_op(r, (uint32_t)super(r)->pages_n - 1);
	is_clean(r);
	assert_int_equal(look.result.pages_in_log, 5);
	opens(r, 0);
}

/* ---- data ---- */

static void test_fsck_a_bad_block_of_a_page_is_named(void **state)
{
	struct rig *r = furnished(29);
	const struct fsck_look_finding *f;
	struct disk_page_rec *rec;
	uint64_t at = page_at(r, page_in_use(r, 2, &rec)) + 5 * BLOCK_BYTES;

	(void)state;
	flip(r, at + 4000);
	f = finds(r, FSCK_REPAIRABLE, "data_block",
		  "data: volume 2, extent 0, block 5, chain 2, in page");
	assert_int_equal(f->offset_bytes, at);
	assert_int_equal(look.findings_n, 1);
	look.quick = true;
	is_clean(r);
	look.quick = false;
	flip(r, at + 4000);
	/* Only what cannot be read is bad, not what is read with it. */
	look.bad_block = at;
	finds(r, FSCK_REPAIRABLE, "data_block", "block 5, chain 2, in page");
	assert_non_null(strstr(look.finding[0].text, "cannot be read"));
	assert_int_equal(look.findings_n, 1);
	look.bad_block = 0;
	flip(r, at + BLOCK_BYTES); /* absent */
	is_clean(r);
	opens(r, 0);
}

static void test_fsck_a_block_that_the_log_has_newer_may_be_anything_in_its_page(void **state)
{
	struct rig *r = furnished(30);
	struct disk_page_rec *rec;
	uint32_t first;

	(void)state;
	for (first = 0; first < RECS_PAGES; first++) {
		rec = &records(r, false)->rec[first];
		if (entry(r)->used >> first & 1 && rec->chain == 1 && rec->slot == 0)
			break;
	}
	assert_true(first < RECS_PAGES);
	for (uint32_t b = 0; b < PAGE_BLOCKS; b++) {
		uint64_t at = page_at(r, first) + b * (uint64_t)BLOCK_BYTES;

		flip(r, at);
		if (b >= 8 && b < 12)
			is_clean(r);
		else
			finds(r, FSCK_REPAIRABLE, "data_block", "volume 1, extent 0, block");
		flip(r, at);
	}
	opens(r, 0);
}

static void test_fsck_a_block_that_was_unmapped_may_be_anything_in_its_page(void **state)
{
	struct op_rec unmap = {.seq = 5,
			       .epoch = 1,
			       .chain = 1,
			       .volume = 1,
			       .kind = OP_UNMAP,
			       .block = 30,
			       .blocks = 500};
	struct disk_log_commit known = {.chain = 1, .seq = 5};
	struct rig *r = furnished(35);
	uint64_t at[2] = {0, 0};

	(void)state;
	for (uint32_t i = 0; i < RECS_PAGES; i++) {
		const struct disk_page_rec *rec = &records(r, false)->rec[i];

		if (entry(r)->used >> i & 1 && rec->chain == 1 && rec->slot > 0)
			at[rec->slot - 1] = page_at(r, i);
	}
	append_record(r, LOG_OP, 0, &unmap, sizeof(unmap));
	flip(r, at[0] + 14 * BLOCK_BYTES);
	flip(r, at[1] + 3 * BLOCK_BYTES);
	finds(r, FSCK_REPAIRABLE, "data_block", "volume 1, extent 0, block 30, chain 1");
	assert_int_equal(look.findings_n, 2);
	append_record(r, LOG_COMMIT, 0, &known, sizeof(known));
	is_clean(r);
	assert_int_equal(look.result.pages_owned, 3);
	assert_int_equal(look.result.pages_given_up, 1);
	flip(r, at[0] + 13 * BLOCK_BYTES);
	finds(r, FSCK_REPAIRABLE, "data_block", "volume 1, extent 0, block 29, chain 1");
	flip(r, at[0] + 13 * BLOCK_BYTES);
	opens(r, 0);
}

static void test_fsck_bad_blocks_in_the_log_count_while_they_are_needed(void **state)
{
	struct rig *r = furnished(31);
	struct found_op small = find_op(r, 2), large = find_op(r, 3), pending = find_op(r, 4);
	const struct fsck_look_finding *f;

	(void)state;
	flip(r, small.payload_offset + 2 * BLOCK_BYTES);
	f = finds(r, FSCK_REPAIRABLE, "data_block",
		  "volume 1, extent 0, block 10, chain 1, in block of the log");
	assert_int_equal(f->offset_bytes, small.payload_offset + 2 * BLOCK_BYTES);
	flip(r, small.payload_offset + 2 * BLOCK_BYTES);
	/* The blocks beside its pages, in the log, and its second page. */
	flip(r, large.payload_offset + 3 * BLOCK_BYTES);
	finds(r, FSCK_REPAIRABLE, "data_block", "volume 1, extent 1, block 49, chain 1");
	flip(r, large.payload_offset + 3 * BLOCK_BYTES);
	flip(r, page_at(r, large.it.pages[1]) + 4 * BLOCK_BYTES);
	finds(r, FSCK_REPAIRABLE, "data_block", "volume 1, extent 1, block 36, chain 1, in page");
	flip(r, page_at(r, large.it.pages[1]) + 4 * BLOCK_BYTES);
	flip(r, page_at(r, pending.it.pages[0]) + BLOCK_BYTES);
	finds(r, FSCK_REPAIRABLE, "data_block", "volume 1, extent 2, block 1, chain 1, in page");
	flip(r, page_at(r, pending.it.pages[0]) + BLOCK_BYTES);
	look.bad_block = small.payload_offset + BLOCK_BYTES;
	finds(r, FSCK_REPAIRABLE, "data_block", "block 9, chain 1, in block of the log");
	assert_int_equal(look.findings_n, 1);
	look.bad_block = 0;
	opens(r, 0);
}

static void test_fsck_what_was_overwritten_or_unmapped_in_the_log_is_not_missed(void **state)
{
	struct rig *r = furnished(32);
	struct disk_log_commit known = {.chain = 1, .seq = 6};
	uint64_t old, page;

	(void)state;
	assert_int_equal(rig_open(r), 0);
	done(r, rig_write(r, 1, 0, 8, 4));
	done(r, rig_unmap(r, 1, 1, 0, 64));
	store_commit(r->s, 1, 5);
	time_for_a_proof(r);
	rig_crash(r, 0);
	is_clean(r);
	old = find_op(r, 2).payload_offset;
	flip(r, old);
	finds(r, FSCK_REPAIRABLE, "log_dead", "1 blocks that nothing needs any more");
	flip(r, old);
	page = page_at(r, find_op(r, 3).it.pages[0]);
	flip(r, page);
	finds(r, FSCK_REPAIRABLE, "data_block", "volume 1, extent 1, block 16");
	append_record(r, LOG_COMMIT, 0, &known, sizeof(known));
	is_clean(r);
	opens(r, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_fsck_a_bad_header_in_the_middle_of_the_log_is_rot),
		RIG_TEST(test_fsck_a_torn_end_is_cut_off_by_the_next_start),
		RIG_TEST(test_fsck_a_large_write_whose_pages_did_not_arrive_is_undone),
		RIG_TEST(test_fsck_no_op_is_there_twice_or_undone_when_committed),
		RIG_TEST(test_fsck_a_truncate_undoes_nothing_that_the_checkpoint_holds),
		RIG_TEST(test_fsck_what_the_checkpoint_knows_is_committed),
		RIG_TEST(test_fsck_no_op_is_missing),
		RIG_TEST(test_fsck_a_record_that_makes_no_sense_is_damage),
		RIG_TEST(test_fsck_a_page_named_by_an_op_is_nobody_elses),
		RIG_TEST(test_fsck_a_page_beyond_the_end_is_damage),
		RIG_TEST(test_fsck_a_bad_block_of_a_page_is_named),
		RIG_TEST(test_fsck_a_block_that_the_log_has_newer_may_be_anything_in_its_page),
		RIG_TEST(test_fsck_a_block_that_was_unmapped_may_be_anything_in_its_page),
		RIG_TEST(test_fsck_bad_blocks_in_the_log_count_while_they_are_needed),
		RIG_TEST(test_fsck_what_was_overwritten_or_unmapped_in_the_log_is_not_missed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
