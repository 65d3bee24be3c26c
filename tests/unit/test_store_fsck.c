/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* fsck of sound disks, and of damage planted in superblocks, checkpoint and record blocks: each
 * class has its verdict, its word, and names its place. */
#include "tests/unit/fsck_disk.h"

/* ---- clean ---- */

static void test_fsck_of_a_new_store_is_clean(void **state)
{
	struct rig *r = rig_new_sized(1, 32u << 20, 4u << 20);

	(void)state;
	is_clean(r);
	assert_int_equal(look.result.log_batches, 0);
	assert_int_equal(look.result.pages_free, look.result.pages_n);
	assert_int_equal(rig_open(r), 0);
	rig_close(r);
	is_clean(r);
	assert_true(look.result.log_batches > 0);
	rig_free(r);
}

static void test_fsck_looks_at_every_block_and_every_page(void **state)
{
	struct rig *r = furnished(2);
	const struct fsck_result *got = &look.result;

	(void)state;
	is_clean(r);
	assert_int_equal(got->chains, 2);
	assert_int_equal(got->volumes, 2);
	assert_int_equal(got->log_ops, 3);
	assert_int_equal(got->ops_pending, 1);
	assert_int_equal(got->recs_blocks, 1);
	/* Three pages of chain 1 and one of chain 2; two in the log, two pending. */
	assert_int_equal(got->pages_owned, 4);
	assert_int_equal(got->pages_in_log, 4);
	assert_int_equal(got->pages_owned + got->pages_in_log + got->pages_given_up +
				 got->pages_free,
			 got->pages_n);
	/* Pages of the checkpoint 48 + 1 - 4 hidden; the log 4 + 4; pages of the log 32 + 32. */
	assert_int_equal(got->data_blocks, 45 + 8 + 64);
	look.quick = true;
	is_clean(r);
	assert_int_equal(got->data_blocks, 0);
	assert_int_equal(got->ops_pending, 1);
	look.quick = false;
	opens(r, 0);
}

/* A disk of zeros behind the superblocks. */
static int read_zeros(void *arg, uint64_t offset_bytes, void *to, uint32_t len_bytes)
{
	memset(to, 0, len_bytes);
	if (offset_bytes < SUPER_REGION_BYTES)
		memcpy(to, arg, BLOCK_BYTES);
	return 0;
}

static void test_fsck_of_a_terabyte_needs_less_than_400_mib(void **state)
{
	static struct disk_super sb;
	const struct inspect_disk disk = {.read = read_zeros, .arg = &sb, .size_bytes = 1ull << 40};
	const struct fsck_config cfg = {.disk = &disk};
	void *memory = fake_memory(fsck_begin_bytes());
	struct store_layout l;
	struct fsck *f;
	struct arena a;
	const char *why;

	(void)state;
	assert_int_equal(format_layout(disk.size_bytes, 0, 0, &l, &why), 0);
	sb = (struct disk_super){.magic = SUPER_MAGIC,
				 .version = STORE_VERSION,
				 .disk = {{1}},
				 .generation = 1,
				 .disk_bytes = disk.size_bytes,
				 .slices_n = 1};
	super_lay_out(&sb, &l);
	super_seal(&sb);
	arena_init(&a, memory, fsck_begin_bytes());
	assert_int_equal(fsck_begin(&cfg, &a, &f, &why), 0);
	assert_true(fsck_begin_bytes() + fsck_run_bytes(f) < 400ull << 20);
	fake_memory_free(memory, fsck_begin_bytes());
}

static void test_fsck_stops_when_it_is_told_to(void **state)
{
	struct rig *r = furnished(3);
	uint64_t calls;

	(void)state;
	is_clean(r);
	calls = look.progress_n;
	assert_true(calls > 4);
	for (look.stop_at = 1; look.stop_at <= calls; look.stop_at++) {
		assert_int_equal(fsck(r), FSCK_CLEAN);
		assert_int_equal(look.res, -ECANCELED);
		assert_int_equal(look.progress_n, look.stop_at);
	}
	look.stop_at = 0;
	rig_free(r);
}

/* ---- superblocks ---- */

static void test_fsck_one_superblock_copy_may_differ(void **state)
{
	struct rig *r = furnished(4);
	const struct fsck_look_finding *f;

	(void)state;
	flip(r, super_offset_bytes(1) + 100);
	f = finds(r, FSCK_REPAIRABLE, "superblock_copy", "copy 2: superblock: bad checksum");
	assert_int_equal(f->offset_bytes, super_offset_bytes(1));
	assert_int_equal(look.findings_n, 1);
	look.bad_block = super_offset_bytes(3);
	finds(r, FSCK_REPAIRABLE, "superblock_copy", "copy 2");
	assert_int_equal(look.findings_n, 2);
	assert_non_null(strstr(look.finding[1].text, "copy 4: superblock: cannot be read"));
	look.bad_block = 0;
	opens(r, 0);
}

static void test_fsck_an_interrupted_superblock_write_is_repairable(void **state)
{
	struct rig *r = furnished(5);
	struct disk_super *sb = malloc(sizeof(*sb));

	(void)state;
	*sb = *super(r);
	sb->generation++;
	super_seal(sb);
	fake_disk_poke(&r->disk, super_offset_bytes(0), sb, sizeof(*sb));
	finds(r, FSCK_REPAIRABLE, "superblock_copy", "copy 1: is of generation");
	fake_disk_poke(&r->disk, super_offset_bytes(1), sb, sizeof(*sb));
	finds(r, FSCK_REPAIRABLE, "superblock_copy", "copy 3: is of generation");
	free(sb);
	opens(r, 0);
}

static void test_fsck_without_two_superblocks_there_is_nothing_to_go_by(void **state)
{
	struct rig *r = furnished(6);

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		flip(r, super_offset_bytes(i) + 100);
	finds(r, FSCK_DAMAGED, "superblock", "no two copies agree");
	assert_int_equal(look.res, -EBADMSG);
	assert_int_equal(rig_open(r), -EBADMSG);
	for (unsigned i = 0; i < SUPER_COPIES; i++)
		flip(r, super_offset_bytes(i));
	assert_int_equal(fsck(r), FSCK_CLEAN); /* no verdict */
	assert_int_equal(look.res, -ENODEV);
	assert_non_null(strstr(look.why, "not a chainblk store"));
	assert_int_equal(look.findings_n, 0);
	opens(r, -ENODEV);
}

static void test_fsck_names_another_version_and_a_shrunk_disk(void **state)
{
	struct rig *r = furnished(7);
	uint64_t bytes = r->disk_bytes;

	(void)state;
	r->disk_bytes -= PAGE_BYTES;
	finds(r, FSCK_DAMAGED, "superblock", "smaller");
	assert_int_equal(look.res, -ENOSPC);
	r->disk_bytes = SUPER_REGION_BYTES - BLOCK_BYTES;
	fsck(r);
	assert_int_equal(look.res, -ENODEV);
	assert_non_null(strstr(look.why, "too short"));
	r->disk_bytes = bytes;
	for (unsigned i = 0; i < SUPER_COPIES; i++) {
		struct disk_super *sb = (void *)(r->disk.durable + super_offset_bytes(i));

		sb->version++;
		super_seal(sb);
		put(r, sb, sb, sizeof(*sb));
	}
	fsck(r);
	assert_int_equal(look.res, -EPROTONOSUPPORT);
	assert_non_null(strstr(look.why, "another format version"));
	opens(r, -EPROTONOSUPPORT);
}

/* ---- checkpoint, records ---- */

static void test_fsck_a_bad_checkpoint_block_is_damage(void **state)
{
	struct rig *r = furnished(8);
	struct disk_ckpt_hdr *h = ckpt_block(r, 1);
	const struct fsck_look_finding *f;

	(void)state;
	flip(r, (uint64_t)((uint8_t *)h - r->disk.durable) + 70);
	f = finds(r, FSCK_DAMAGED, "checkpoint", "block 1: checkpoint: bad checksum");
	assert_int_equal(f->offset_bytes, (uint8_t *)h - r->disk.durable);
	/* Whose ops those in the log are cannot be told. */
	assert_non_null(fsck_look_for(&look, "not_checked"));
	assert_null(fsck_look_for(&look, "data_block"));
	flip(r, f->offset_bytes + 70);
	look.bad_block = f->offset_bytes;
	finds(r, FSCK_DAMAGED, "checkpoint", "block 1: checkpoint: cannot be read");
	look.bad_block = 0;
	is_clean(r);
	opens(r, 0);
}

static void test_fsck_a_checkpoint_that_misses_a_client_or_has_a_chain_twice_is_damage(void **state)
{
	struct rig *r = furnished(9);
	struct disk_ckpt_hdr *a = ckpt_block(r, 1), *b = ckpt_block(r, 2);
	struct disk_ckpt_chain *chain = (void *)(b + 1);
	struct disk_ckpt_chain was = *chain;

	(void)state;
	chain->clients_n = 1;
	ckpt_seal(b, super(r)->secret);
	put(r, b, b, BLOCK_BYTES);
	finds(r, FSCK_DAMAGED, "checkpoint", "the last clients are missing");
	assert_int_equal(rig_open(r), -EBADMSG);
	*chain = was;
	chain->chain = ((struct disk_ckpt_chain *)(a + 1))->chain;
	ckpt_seal(b, super(r)->secret);
	put(r, b, b, BLOCK_BYTES);
	finds(r, FSCK_DAMAGED, "checkpoint", "a chain is there twice");
	opens(r, -EBADMSG);
}

static void test_fsck_a_bad_record_block_is_damage_in_the_home_that_counts(void **state)
{
	struct rig *r = furnished(10);
	uint64_t at = (uint64_t)((uint8_t *)records(r, false) - r->disk.durable);
	const struct fsck_look_finding *f;

	(void)state;
	flip(r, (uint64_t)((uint8_t *)records(r, true) - r->disk.durable) + 70);
	is_clean(r);
	flip(r, at + 70);
	f = finds(r, FSCK_DAMAGED, "record_block", "of pages 0 to 41: page records: bad checksum");
	assert_int_equal(f->offset_bytes, at);
	assert_int_equal(rig_open(r), -EBADMSG);
	flip(r, at + 70);
	/* Sound in itself, and not what the checkpoint names: the write was lost. */
	records(r, false)->generation--;
	recs_seal(records(r, false), super(r)->secret);
	put(r, records(r, false), records(r, false), BLOCK_BYTES);
	finds(r, FSCK_DAMAGED, "record_block", "not the block the checkpoint names");
	opens(r, -EBADMSG);
}

static void test_fsck_nothing_has_two_owners(void **state)
{
	struct rig *r = furnished(11);
	struct disk_page_rec *one, *two, was;

	(void)state;
	page_in_use(r, 1, &one);
	page_in_use(r, 2, &two);
	was = *two;
	*two = *one;
	reseal_records(r);
	finds(r, FSCK_DAMAGED, "page_record", "the same is in page");
	assert_int_equal(rig_open(r), -EBADMSG);
	*two = was;
	two->chain = 77;
	reseal_records(r);
	finds(r, FSCK_DAMAGED, "page_record", "no such chain in checkpoint");
	assert_int_equal(rig_open(r), -EBADMSG);
	*two = was;
	reseal_records(r);
	is_clean(r);
	opens(r, 0);
}

static void test_fsck_a_record_holds_what_was_committed_and_nothing_of_absent_blocks(void **state)
{
	struct rig *r = furnished(12);
	struct disk_page_rec *rec, was;

	(void)state;
	page_in_use(r, 2, &rec);
	was = *rec;
	rec->seq = 2;
	reseal_records(r);
	finds(r, FSCK_DAMAGED, "page_record", "holds more than was committed: 2");
	*rec = was;
	rec->crcs[6] = 1;
	reseal_records(r);
	finds(r, FSCK_DAMAGED, "page_record", "has a checksum of a block that is not there: 6");
	*rec = was;
	records(r, false)->generation = super(r)->ckpt_generation + 1;
	reseal_records(r);
	finds(r, FSCK_DAMAGED, "record_block", "is of checkpoint");
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_fsck_of_a_new_store_is_clean),
		RIG_TEST(test_fsck_looks_at_every_block_and_every_page),
		RIG_TEST(test_fsck_of_a_terabyte_needs_less_than_400_mib),
		RIG_TEST(test_fsck_stops_when_it_is_told_to),
		RIG_TEST(test_fsck_one_superblock_copy_may_differ),
		RIG_TEST(test_fsck_an_interrupted_superblock_write_is_repairable),
		RIG_TEST(test_fsck_without_two_superblocks_there_is_nothing_to_go_by),
		RIG_TEST(test_fsck_names_another_version_and_a_shrunk_disk),
		RIG_TEST(test_fsck_a_bad_checkpoint_block_is_damage),
		RIG_TEST(
			test_fsck_a_checkpoint_that_misses_a_client_or_has_a_chain_twice_is_damage),
		RIG_TEST(test_fsck_a_bad_record_block_is_damage_in_the_home_that_counts),
		RIG_TEST(test_fsck_nothing_has_two_owners),
		RIG_TEST(test_fsck_a_record_holds_what_was_committed_and_nothing_of_absent_blocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
