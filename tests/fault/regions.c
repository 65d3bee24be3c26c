/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/fault/regions.h"

#include <string.h>

#include "store/format.h"

const struct region_info region_infos[REGIONS] = {
	[REGION_FREE] = {"free", false, true, true},
	[REGION_SUPER] = {"superblock", true, true, true},
	[REGION_LOG_HEADER] = {"log header", true, false, false},
	[REGION_LOG_PAYLOAD] = {"log payload", false, false, false},
	[REGION_CHECKPOINT] = {"checkpoint", true, false, false},
	[REGION_CHECKPOINT_OLD] = {"old checkpoint", true, true, true},
	[REGION_RECORDS] = {"records", true, false, false},
	[REGION_RECORDS_OLD] = {"old records", true, true, true},
	[REGION_PAGE] = {"page", false, true, false},
};

static bool is_zero(const uint8_t *block)
{
	static const uint8_t zeros[BLOCK_BYTES];

	return memcmp(block, zeros, BLOCK_BYTES) == 0;
}

/* Headers are found by what they say of themselves; payload is whatever else was written there. */
static void mark_log(const uint8_t *image, const struct disk_super *sb, uint8_t *regions)
{
	for (uint64_t at = sb->log_offset_bytes; at < sb->log_offset_bytes + sb->log_bytes;
	     at += BLOCK_BYTES) {
		const struct disk_log_hdr *h = (const void *)(image + at);
		uint8_t *r = &regions[at / BLOCK_BYTES];

		if (*r == REGION_LOG_HEADER || is_zero(image + at))
			continue;
		*r = REGION_LOG_PAYLOAD;
		if (h->magic != LOG_MAGIC || h->offset_bytes != at || h->hdr_blocks == 0 ||
		    h->hdr_blocks > LOG_HDR_BLOCKS_MAX)
			continue;
		memset(r, REGION_LOG_HEADER, h->hdr_blocks);
	}
}

static void mark_range(const uint8_t *image, uint64_t from, uint64_t to, enum region as,
		       uint8_t *regions)
{
	for (uint64_t at = from; at < to; at += BLOCK_BYTES)
		if (!is_zero(image + at))
			regions[at / BLOCK_BYTES] = (uint8_t)as;
}

/* Each block of the checkpoint that names record blocks says where they lie. */
static void mark_records(const uint8_t *image, const struct disk_super *sb, uint64_t slot,
			 uint8_t *regions)
{
	uint64_t recs = sb->recs_offset_bytes, bytes = sb->recs_n * BLOCK_BYTES;

	mark_range(image, recs, recs + 2 * bytes, REGION_RECORDS_OLD, regions);
	for (uint64_t b = 0; b < sb->ckpt_blocks; b++) {
		const struct disk_ckpt_hdr *h = (const void *)(image + slot + b * BLOCK_BYTES);
		const struct disk_ckpt_recs *e = (const void *)(h + 1);

		for (uint32_t i = 0; h->kind == CKPT_RECS && i < h->n; i++) {
			uint64_t home = e[i].used & RECS_HOME_B ? recs + bytes : recs;

			regions[home / BLOCK_BYTES + e[i].index] = REGION_RECORDS;
		}
	}
}

void regions_find(const uint8_t *image, uint64_t disk_bytes, uint8_t *ret_regions)
{
	const struct disk_super *sb = (const void *)image;
	uint64_t slot = sb->ckpt_offset_bytes + sb->ckpt_slot * sb->ckpt_bytes;
	uint64_t spare = sb->ckpt_offset_bytes + (1 - sb->ckpt_slot) * sb->ckpt_bytes;

	memset(ret_regions, REGION_FREE, disk_bytes / BLOCK_BYTES);
	for (unsigned i = 0; i < SUPER_COPIES; i++)
		ret_regions[super_offset_bytes(i) / BLOCK_BYTES] = REGION_SUPER;
	mark_log(image, sb, ret_regions);
	/* Blocks of the slot behind its end are of an older, longer one. */
	mark_range(image, slot, slot + sb->ckpt_bytes, REGION_CHECKPOINT_OLD, ret_regions);
	mark_range(image, slot, slot + sb->ckpt_blocks * BLOCK_BYTES, REGION_CHECKPOINT,
		   ret_regions);
	mark_range(image, spare, spare + sb->ckpt_bytes, REGION_CHECKPOINT_OLD, ret_regions);
	mark_records(image, sb, slot, ret_regions);
	mark_range(image, sb->pages_offset_bytes, disk_bytes, REGION_PAGE, ret_regions);
}
