/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* What format.c refuses: fields out of bounds, regions out of place, record blocks other than those
 * named, page numbers that do not fit their op. Everything here has a right checksum. */
#include "tests/unit/format_samples.h"

/* ---- superblock ---- */

static struct disk_super sb;

static void layout_wrong(const char *expect)
{
	const char *why = "none";

	super_seal(&sb);
	assert_int_equal(super_check(&sb, 1ull << 30, &why), -EBADMSG);
	assert_string_equal(why, expect);
}

#define WRONG(change, why)                                                                         \
	do {                                                                                       \
		sb = super();                                                                      \
		change;                                                                            \
		layout_wrong("superblock: " why);                                                  \
	} while (0)

static void test_a_superblock_with_a_region_out_of_place_is_refused(void **state)
{
	(void)state;
	WRONG(sb.recs_offset_bytes += BLOCK_BYTES, "region of page records out of bounds");
	WRONG(sb.recs_n = format_recs_n(sb.pages_n) - 1, "region of page records out of bounds");
	WRONG(sb.recs_n = UINT32_MAX, "a size out of bounds");
	WRONG(sb.recs_n += 16, "page region out of bounds");
	WRONG(sb.pages_n += 1, "page region out of bounds");
	WRONG(sb.ckpt_offset_bytes += PAGE_BYTES, "checkpoint region out of bounds");
	WRONG(sb.ckpt_bytes -= PAGE_BYTES, "checkpoint region out of bounds");
	WRONG(sb.ckpt_blocks = sb.ckpt_bytes / BLOCK_BYTES + 1, "checkpoint out of bounds");
	WRONG(sb.replay_block = (uint64_t)sb.log_bytes / BLOCK_BYTES,
	      "start of replay out of bounds");
	WRONG(sb.scrub_page = sb.pages_n + 1, "place of scrubbing out of bounds");
	WRONG(sb.slice = 4, "slice out of bounds");
	WRONG(sb.slices_n = 0, "slice out of bounds");
	WRONG(sb.slices_n = STORE_SLICES_MAX + 1, "slice out of bounds");
	WRONG(sb.zero[0] = 1, "reserved bytes are set or the disk id is none");
}

/* ---- ops whose data lies in pages ---- */

static void test_a_write_covers_the_pages_it_covers_as_a_whole(void **state)
{
	static const struct {
		uint32_t block, blocks, first, n;
	} tries[] = {{0, 15, 0, 0},  {0, 16, 0, 1},     {1, 16, 1, 0},     {1, 31, 1, 1},
		     {15, 17, 1, 1}, {30, 40, 2, 2},    {1008, 16, 63, 1}, {768, 256, 48, 16},
		     {17, 14, 2, 0}, {1009, 15, 64, 0}, {5, 250, 1, 14}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
		struct op_rec op = {
			.kind = OP_WRITE, .block = tries[i].block, .blocks = tries[i].blocks};
		struct op_pages got = op_pages_of(&op);

		assert_int_equal(got.first, tries[i].first);
		assert_int_equal(got.n, tries[i].n);
		op.kind = OP_UNMAP;
		assert_int_equal(op_pages_of(&op).n, 0);
	}
}

static void test_an_op_in_pages_has_the_rest_of_its_payload_in_the_batch(void **state)
{
	static uint8_t payload[9 * BLOCK_BYTES]; /* block 0 is another op's */
	struct disk_log_hdr *h = header();
	struct op_rec *op = add_paged_op(h, 1);
	uint32_t *crcs = (uint32_t *)(void *)(op + 1);
	struct log_cursor c;
	struct log_item it;
	const char *why;

	(void)state;
	h->data_blocks = 9;
	for (uint32_t i = 0, at = 1; i < 40; i++) {
		const struct block_addr where = {5, 8, 30 + i};

		if (i >= 2 && i < 34)
			continue;
		memset(payload + (size_t)at * BLOCK_BYTES, (int)(at + 1), BLOCK_BYTES);
		crcs[i] = crc_block(&where, payload + (size_t)at++ * BLOCK_BYTES);
	}
	check_header(h, 1);
	log_cursor_init(&c, h);
	assert_int_equal(log_cursor_next(&c, &it, &why), 1);
	assert_ptr_equal(it.crcs, crcs);
	assert_ptr_equal(it.pages, crcs + 40);
	assert_int_equal(it.pages[0], 17);
	assert_int_equal(it.pages[1], 0x00ffffff);
	assert_true(log_item_payload_ok(&it, payload));
	for (uint32_t at = 0; at < 9; at++) {
		payload[at * BLOCK_BYTES + 77] ^= 1;
		assert_int_equal(log_item_payload_ok(&it, payload), at == 0);
		payload[at * BLOCK_BYTES + 77] ^= 1;
	}
}

static const char *first_item_wrong(struct disk_log_hdr *h)
{
	struct log_cursor c;
	struct log_item it;
	const char *why = NULL;
	int res;

	log_cursor_init(&c, h);
	res = log_cursor_next(&c, &it, &why);
	assert_int_equal(res, why ? -EBADMSG : 1);
	return why;
}

static void test_an_op_with_wrong_page_numbers_is_refused(void **state)
{
	struct disk_log_hdr *h = header();
	struct op_rec *op = add_paged_op(h, 3);
	struct disk_log_rec *rec = (struct disk_log_rec *)(void *)op - 1;

	(void)state;
	h->data_blocks = 11;
	assert_null(first_item_wrong(h));
	h->data_blocks = 10;
	assert_string_equal(first_item_wrong(h), "log: payload outside its batch");
	h->data_blocks = 11;
	rec->flags = 0;
	assert_string_equal(first_item_wrong(h), "log: op record of a wrong length");
	rec->flags = LOG_F_PAGES;
	rec->bytes -= 8;
	h->recs_bytes -= 8;
	assert_string_equal(first_item_wrong(h), "log: op record of a wrong length");
	rec->flags = 0;
	assert_string_equal(first_item_wrong(h), "log: payload outside its batch");
	rec->flags = LOG_F_PAGES;
	op->block = 1;
	op->blocks = op->crcs_n = 16;
	op->data_bytes = 16 * BLOCK_BYTES;
	assert_string_equal(first_item_wrong(h), "log: op without whole pages has page numbers");
	rec->flags = 8;
	assert_string_equal(first_item_wrong(h), "log: reserved bits are set");
	h = header();
	*(struct disk_log_commit *)add(h, LOG_COMMIT, 16) =
		(struct disk_log_commit){.chain = 3, .seq = 41};
	((struct disk_log_rec *)(void *)(h + 1))->flags = LOG_F_PAGES;
	assert_string_equal(first_item_wrong(h), "log: flags on a record that has none");
}

/* ---- record blocks ---- */

/* Seals and looks, as if a checkpoint named just these bytes. */
static const char *recs_wrong(struct disk_recs *r, uint64_t used)
{
	struct disk_ckpt_recs want = {.index = 23, .used = used};
	const char *why = NULL;
	int res;

	recs_seal(r, SECRET);
	want.crc = r->crc;
	res = recs_check(r, SECRET, &want, &why);
	assert_int_equal(res, why ? -EBADMSG : 0);
	return why;
}

static void test_a_record_block_counts_only_where_and_as_the_checkpoint_names_it(void **state)
{
	struct disk_recs *r = record_block();
	struct disk_ckpt_recs want = {.index = 23, .used = 1};
	const char *why;

	(void)state;
	recs_seal(r, SECRET);
	want.crc = r->crc;
	assert_int_equal(recs_check(r, SECRET, &want, &why), 0);
	assert_int_equal(recs_check(r, SECRET + 1, &want, &why), -EBADMSG);
	assert_string_equal(why, "page records: bad checksum");
	want.index = 24;
	assert_int_equal(recs_check(r, SECRET, &want, &why), -EBADMSG);
	assert_string_equal(why, "page records: not the block the checkpoint names");
	want.index = 23;
	/* What lay there before: sound, sealed, of the same pages, and not this one (F5). */
	r->generation--;
	recs_seal(r, SECRET);
	assert_int_equal(recs_check(r, SECRET, &want, &why), -EBADMSG);
	assert_string_equal(why, "page records: not the block the checkpoint names");
	r->magic = CKPT_MAGIC;
	assert_string_equal(recs_wrong(r, 1), "page records: block is none");
	for (size_t bit = 0; bit < BLOCK_BYTES * 8; bit++) {
		r = record_block();
		recs_seal(r, SECRET);
		want.crc = r->crc;
		block[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(recs_check(r, SECRET, &want, &why), -EBADMSG);
	}
}

static void test_only_the_records_of_pages_in_use_have_to_make_sense(void **state)
{
	static const char wrong[] = "page records: page out of bounds";
	struct disk_recs *r = record_block();

	(void)state;
	assert_string_equal(recs_wrong(r, 2), wrong); /* page 1 is nobody's */
	r->rec[1] = (struct disk_page_rec){.chain = 3, .present = 1};
	assert_null(recs_wrong(r, 2));
	r->rec[1].present = 0;
	assert_string_equal(recs_wrong(r, 2), wrong);
	assert_null(recs_wrong(r, 1));
	r->rec[0].slot = EXTENT_PAGES;
	assert_string_equal(recs_wrong(r, 1), wrong);
	r->rec[41].extent = EXTENTS_MAX;
	assert_string_equal(recs_wrong(r, 1ull << 41), wrong);
	assert_null(recs_wrong(r, 0));
}

static void test_a_checkpoint_names_no_record_block_outside_the_disk(void **state)
{
	static const struct {
		uint64_t used;
		uint32_t index;
		bool ok;
	} tries[] = {/* 1000 pages: the last block, 23, has pages 966 to 999 */
		     {1, 0, true},
		     {RECS_HOME_B | 1, 0, true},
		     {0, 0, false},
		     {RECS_HOME_B, 0, false},
		     {1ull << 41, 0, true},
		     {1ull << 42, 0, false},
		     {1ull << 62, 0, false},
		     {1ull << 33, 23, true},
		     {1ull << 34, 23, false},
		     {1, 24, false},
		     {1, UINT32_MAX, false}};
	struct disk_ckpt_hdr *h = ckpt(CKPT_RECS, 0);
	const char *why;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
		*(struct disk_ckpt_recs *)(h + 1) =
			(struct disk_ckpt_recs){.index = tries[i].index, .used = tries[i].used};
		ckpt_seal(h, SECRET);
		assert_int_equal(ckpt_check(h, SECRET, 9, 0, 1000, &why),
				 tries[i].ok ? 0 : -EBADMSG);
	}
	h->n = CKPT_RECS_PER_BLOCK + 1;
	ckpt_seal(h, SECRET);
	assert_int_equal(ckpt_check(h, SECRET, 9, 0, 1000, &why), -EBADMSG);
	assert_string_equal(why, "checkpoint: too many entries in a block");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_superblock_with_a_region_out_of_place_is_refused),
		cmocka_unit_test(test_a_write_covers_the_pages_it_covers_as_a_whole),
		cmocka_unit_test(test_an_op_in_pages_has_the_rest_of_its_payload_in_the_batch),
		cmocka_unit_test(test_an_op_with_wrong_page_numbers_is_refused),
		cmocka_unit_test(
			test_a_record_block_counts_only_where_and_as_the_checkpoint_names_it),
		cmocka_unit_test(test_only_the_records_of_pages_in_use_have_to_make_sense),
		cmocka_unit_test(test_a_checkpoint_names_no_record_block_outside_the_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
