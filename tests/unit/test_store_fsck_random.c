/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* fsck against recovery: two programs that read the same disks and must think alike. What fsck
 * calls clean or repairable opens, what it calls damaged does not. */
#include "store/format.h"
#include "tests/unit/fsck_look.h"
#include "tests/unit/store_rig.h"

#define CHAINS 3u
#define EXTENTS 2u

static struct fsck_look look;
static uint64_t seeds_n = 12, first_seed = 1;

static enum fsck_verdict fsck(struct rig *r, bool quick)
{
	look = (struct fsck_look){
		.image = r->disk.durable, .image_bytes = r->disk_bytes, .quick = quick};
	return fsck_look(&look);
}

static void some_op(struct rig *r, uint32_t chain)
{
	uint32_t block = (uint32_t)fake_random(&r->fe, EXTENT_BLOCKS);
	uint32_t n = 1 + (uint32_t)fake_random(&r->fe, MIN(EXTENT_BLOCKS - block, 8u));
	uint64_t extent = fake_random(&r->fe, EXTENTS);

	switch (fake_random(&r->fe, 8)) {
	case 0:
		rig_unmap(r, chain, extent, block, n);
		return;
	case 1:
		rig_write_same(r, chain, extent, block, n, fake_random(&r->fe, 3));
		return;
	case 2:
	case 3: /* straight to pages, ends beside them */
		n = 1 + (uint32_t)fake_random(&r->fe, OP_BLOCKS_MAX);
		n = MIN(EXTENT_BLOCKS - block, n);
		break;
	default:
		break;
	}
	rig_write_retry(r, chain, extent, block, n);
}

/* Some ops, some committed, some time; then the power goes. */
static void work(struct rig *r)
{
	unsigned ops = 1 + (unsigned)fake_random(&r->fe, 40);
	unsigned steps = (unsigned)fake_random(&r->fe, 60);

	for (uint32_t c = 1; c <= CHAINS; c++)
		rig_chain(r, c);
	for (unsigned i = 0; i < ops; i++) {
		struct store_chain_info info;
		uint32_t chain = 1 + (uint32_t)fake_random(&r->fe, CHAINS);

		some_op(r, chain);
		for (unsigned k = (unsigned)fake_random(&r->fe, 6); k && fake_step_now(&r->fe); k--)
			;
		assert_int_equal(store_chain_info(r->s, chain, &info), 0);
		if (fake_random(&r->fe, 3))
			store_commit(r->s, chain, info.last);
	}
	if (fake_random(&r->fe, 4) == 0)
		rig_settle(r);
	while (steps-- && fake_step(&r->fe))
		;
	rig_crash(r, (uint32_t)fake_random(&r->fe, 1001));
}

static void test_fsck_finds_every_disk_sound_that_a_power_cut_left(void **state)
{
	uint64_t checked = 0;

	(void)state;
	for (uint64_t seed = first_seed; seed < first_seed + seeds_n; seed++) {
		struct rig *r = rig_new_sized(seed, 32u << 20, 4u << 20);

		for (unsigned life = 0; life < 4; life++) {
			assert_int_equal(rig_open(r), 0);
			work(r);
			if (fsck(r, false) == FSCK_DAMAGED || look.res ||
			    fsck_look_for(&look, "data_block") ||
			    fsck_look_for(&look, "log_dead")) {
				fsck_look_print(&look);
				fail_msg("seed %llu, life %u", (unsigned long long)seed, life);
			}
			checked += look.result.data_blocks;
		}
		assert_int_equal(rig_open(r), 0);
		rig_settle(r);
		rig_close(r);
		if (fsck(r, false) != FSCK_CLEAN) {
			fsck_look_print(&look);
			fail_msg("seed %llu, after a clean stop", (unsigned long long)seed);
		}
		rig_free(r);
	}
	assert_true(checked > 500 * seeds_n);
}

/* A byte of what recovery reads: superblocks, log, checkpoints, record blocks. */
static uint64_t some_place(struct rig *r)
{
	const struct disk_super *sb = (const void *)r->disk.durable;
	uint64_t ckpt = sb->ckpt_offset_bytes + sb->ckpt_slot * sb->ckpt_bytes;

	switch (fake_random(&r->fe, 4)) {
	case 0:
		return super_offset_bytes((unsigned)fake_random(&r->fe, SUPER_COPIES)) +
		       fake_random(&r->fe, BLOCK_BYTES);
	case 1: /* of a small log, most is in use */
		return sb->log_offset_bytes + fake_random(&r->fe, sb->log_bytes);
	case 2:
		return ckpt + fake_random(&r->fe, MAX(sb->ckpt_blocks, 1) * BLOCK_BYTES);
	default:
		return sb->recs_offset_bytes + fake_random(&r->fe, 2 * sb->recs_n * BLOCK_BYTES);
	}
}

/* ... where something was ever written. */
static uint64_t some_metadata(struct rig *r)
{
	static const uint8_t zeros[BLOCK_BYTES];
	uint64_t at;

	do
		at = some_place(r);
	while (memcmp(r->disk.durable + at / BLOCK_BYTES * BLOCK_BYTES, zeros, BLOCK_BYTES) == 0);
	return at;
}

static void test_fsck_and_recovery_agree_about_any_flipped_bit(void **state)
{
	unsigned opened = 0, refused = 0;

	(void)state;
	for (uint64_t seed = first_seed; seed < first_seed + seeds_n; seed++) {
		struct rig *r = rig_new_sized(~seed, 32u << 20, 4u << 20);
		uint8_t *before = malloc(r->disk_bytes);

		assert_int_equal(rig_open(r), 0);
		work(r);
		assert_int_equal(rig_open(r), 0);
		work(r);
		memcpy(before, r->disk.durable, r->disk_bytes);
		for (unsigned i = 0; i < 12; i++) {
			uint64_t at = some_metadata(r);
			uint8_t bad = before[at] ^ (uint8_t)(1u << fake_random(&r->fe, 8));
			enum fsck_verdict v;
			int res;

			fake_disk_poke(&r->disk, at, &bad, 1);
			v = fsck(r, false);
			res = rig_open(r);
			if (res == 0) {
				rig_crash(r, 0);
				fake_disk_poke(&r->disk, 0, before, r->disk_bytes);
			}
			fake_disk_poke(&r->disk, at, &before[at], 1);
			if ((v == FSCK_DAMAGED) != (res == -EBADMSG)) {
				fsck_look_print(&look);
				fail_msg("seed %llu, byte %llu: open says %d %s",
					 (unsigned long long)seed, (unsigned long long)at, res,
					 r->why);
			}
			opened += res == 0;
			refused += res != 0;
		}
		free(before);
		rig_free(r);
	}
	assert_true(opened > 2 * seeds_n);
	assert_true(refused > 2 * seeds_n);
	print_message("%u opened, %u refused\n", opened, refused);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_fsck_finds_every_disk_sound_that_a_power_cut_left),
		RIG_TEST(test_fsck_and_recovery_agree_about_any_flipped_bit),
	};

	if (argc > 1)
		seeds_n = strtoull(argv[1], NULL, 10);
	if (argc > 2)
		first_seed = strtoull(argv[2], NULL, 10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
