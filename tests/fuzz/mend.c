/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/fuzz/mend.h"

#include <string.h>

#include "store/format.h"

static struct disk_super *super_of(uint8_t *image)
{
	return (struct disk_super *)(void *)image;
}

/* ---- places ---- */

static void find_headers(const uint8_t *image, const struct disk_super *sb, struct mend_places *p)
{
	uint64_t at = sb->replay_block, blocks = sb->log_bytes / BLOCK_BYTES;

	while (p->headers_n < MEND_HEADERS_MAX) {
		uint64_t offset = sb->log_offset_bytes + at * BLOCK_BYTES;
		const struct disk_log_hdr *h = (const void *)(image + offset);

		if (h->magic != LOG_MAGIC || h->offset_bytes != offset || h->lsn <= sb->prev_lsn)
			return;
		p->headers[p->headers_n++] = offset;
		at += h->skip_blocks ? h->skip_blocks : h->hdr_blocks + h->data_blocks;
		at %= blocks;
	}
}

static void find_records(const uint8_t *image, const struct disk_super *sb, struct mend_places *p)
{
	for (uint32_t b = 0; b < p->ckpt_n; b++) {
		const struct disk_ckpt_hdr *h = (const void *)(image + p->ckpt[b]);
		const struct disk_ckpt_recs *e = (const void *)(h + 1);

		for (uint32_t i = 0; h->kind == CKPT_RECS && i < h->n; i++) {
			uint64_t block = e[i].index + (e[i].used & RECS_HOME_B ? sb->recs_n : 0);

			CHECK(p->recs_n < MEND_BLOCKS_MAX);
			p->recs[p->recs_n++] = sb->recs_offset_bytes + block * BLOCK_BYTES;
		}
	}
}

void mend_find(const uint8_t *image, uint64_t disk_bytes, struct mend_places *ret)
{
	const struct disk_super *sb = (const void *)image;

	*ret = (struct mend_places){.disk_bytes = disk_bytes};
	for (uint64_t b = 0; b < sb->ckpt_blocks; b++) {
		CHECK(ret->ckpt_n < MEND_BLOCKS_MAX);
		ret->ckpt[ret->ckpt_n++] =
			sb->ckpt_offset_bytes + sb->ckpt_slot * sb->ckpt_bytes + b * BLOCK_BYTES;
	}
	find_headers(image, sb, ret);
	find_records(image, sb, ret);
}

/* ---- checksums ---- */

void mend_records(uint8_t *image, const struct mend_places *p)
{
	for (uint32_t i = 0; i < p->recs_n; i++)
		recs_seal((void *)(image + p->recs[i]), super_of(image)->secret);
}

/* An entry that names a place gets the checksum of what lies there now. */
static void mend_entry(const uint8_t *image, const struct mend_places *p,
		       const struct disk_super *sb, struct disk_ckpt_recs *e)
{
	uint64_t block = e->index + (e->used & RECS_HOME_B ? sb->recs_n : 0);
	uint64_t at = sb->recs_offset_bytes + block * BLOCK_BYTES;
	const struct disk_recs *r;

	if (sb->recs_offset_bytes > p->disk_bytes || block > p->disk_bytes / BLOCK_BYTES ||
	    at % BLOCK_BYTES || at > p->disk_bytes - BLOCK_BYTES)
		return;
	r = (const void *)(image + at);
	e->crc = r->crc;
}

void mend_checkpoint(uint8_t *image, const struct mend_places *p)
{
	const struct disk_super *sb = super_of(image);

	for (uint32_t b = 0; b < p->ckpt_n; b++) {
		struct disk_ckpt_hdr *h = (void *)(image + p->ckpt[b]);
		struct disk_ckpt_recs *e = (void *)(h + 1);

		for (uint32_t i = 0; h->kind == CKPT_RECS && i < MIN(h->n, CKPT_RECS_PER_BLOCK);
		     i++)
			mend_entry(image, p, sb, &e[i]);
		ckpt_seal(h, sb->secret);
	}
}

void mend_log(uint8_t *image, const struct mend_places *p)
{
	const struct disk_super *sb = super_of(image);
	uint32_t prev = sb->prev_crc;

	for (uint32_t i = 0; i < p->headers_n; i++) {
		struct disk_log_hdr *h = (void *)(image + p->headers[i]);
		uint64_t left = (p->disk_bytes - p->headers[i]) / BLOCK_BYTES;

		/* The checksum goes over as many blocks as it says. */
		h->hdr_blocks = (uint32_t)MIN(h->hdr_blocks, MIN(LOG_HDR_BLOCKS_MAX, left));
		h->hdr_blocks = MAX(h->hdr_blocks, 1u);
		h->prev_crc = prev;
		log_hdr_seal(h, sb->secret);
		prev = h->crc;
	}
}

void mend_super(uint8_t *image)
{
	super_seal(super_of(image));
	for (unsigned i = 1; i < SUPER_COPIES; i++)
		memcpy(image + super_offset_bytes(i), image, BLOCK_BYTES);
}

static_assert(MEND_SUPER_COPIES == SUPER_COPIES, "all of them");

uint64_t mend_super_offset(uint32_t copy)
{
	return super_offset_bytes(copy);
}
