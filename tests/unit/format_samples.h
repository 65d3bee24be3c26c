/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* format_samples - one of each block a store keeps on its disk, sealed or ready to be.
 *
 * All are made in `block`, one at a time, but super(), which is returned. The bytes are those of
 * tests/golden/disk: who changes one here makes the golden files anew. Included by
 * test_store_format.c and test_store_format_check.c only. One thread. */

#ifndef TESTS_UNIT_FORMAT_SAMPLES_H
#define TESTS_UNIT_FORMAT_SAMPLES_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/crc.h"
#include "store/format.h"

#define SECRET 0x1122334455667788ull

static uint8_t block[BLOCK_BYTES] __attribute__((aligned(BLOCK_BYTES)));
static const struct id128 disk_id = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};

static inline struct disk_super super(void)
{
	struct store_layout l;
	const char *why;

	assert_int_equal(format_layout(1ull << 30, 64u << 20, 32, &l, &why), 0);
	return (struct disk_super){.magic = SUPER_MAGIC,
				   .version = STORE_VERSION,
				   .disk = disk_id,
				   .cluster = {{0xc1}},
				   .incarnation = {{0x11}},
				   .previous = {{0x10}},
				   .generation = 77,
				   .secret = SECRET,
				   .start = 5,
				   .disk_bytes = 1ull << 30,
				   .log_offset_bytes = l.log_offset_bytes,
				   .log_bytes = l.log_bytes,
				   .ckpt_offset_bytes = l.ckpt_offset_bytes,
				   .ckpt_bytes = l.ckpt_bytes,
				   .recs_offset_bytes = l.recs_offset_bytes,
				   .recs_n = l.recs_n,
				   .slice = 1,
				   .slices_n = 4,
				   .scrub_page = 321,
				   .scrub_passes = 2,
				   .pages_offset_bytes = l.pages_offset_bytes,
				   .pages_n = l.pages_n,
				   .chains_max = l.chains_max,
				   .ckpt_slot = 1,
				   .ckpt_generation = 9,
				   .ckpt_blocks = 33,
				   .replay_block = 1234,
				   .prev_lsn = 999,
				   .prev_start = 4,
				   .prev_crc = 0xabcdef01,
				   .registered = 1,
				   .doubtful = {{{0x0f}}}};
}

static inline void *add(struct disk_log_hdr *h, enum log_rec_kind kind, uint32_t body_bytes)
{
	struct disk_log_rec *rec = (void *)(block + sizeof(*h) + h->recs_bytes);

	*rec = (struct disk_log_rec){.kind = (uint16_t)kind,
				     .bytes = (uint32_t)sizeof(*rec) + body_bytes};
	h->recs_bytes += rec->bytes;
	h->recs_n++;
	return rec + 1;
}

static inline struct log_place place(void)
{
	return (struct log_place){.disk = disk_id,
				  .secret = SECRET,
				  .region_offset_bytes = SUPER_REGION_BYTES,
				  .region_blocks = 16384,
				  .block = 1234};
}

static inline struct disk_log_hdr *header(void)
{
	struct disk_log_hdr *h = (void *)block;

	memset(block, 0, sizeof(block));
	*h = (struct disk_log_hdr){.magic = LOG_MAGIC,
				   .prev_crc = 0xabcdef01,
				   .disk = disk_id,
				   .lsn = 1008,
				   .offset_bytes = SUPER_REGION_BYTES + 1234 * BLOCK_BYTES,
				   .stable = 1005,
				   .start = 5,
				   .hdr_blocks = 1};
	return h;
}

/* Blocks 30 to 69: pages 2 and 3 as a whole, and 8 blocks beside them. */
static inline struct op_rec *add_paged_op(struct disk_log_hdr *h, uint32_t payload_block)
{
	struct op_rec *op = add(h, LOG_OP, sizeof(*op) + 40 * 4 + 2 * 4);
	struct disk_log_rec *rec = (struct disk_log_rec *)(void *)op - 1;
	uint32_t *crcs = (uint32_t *)(void *)(op + 1);

	rec->flags = LOG_F_PAGES;
	rec->payload_block = payload_block;
	*op = (struct op_rec){.seq = 43,
			      .epoch = 6,
			      .volume = 5,
			      .extent = 8,
			      .chain = 3,
			      .kind = OP_WRITE,
			      .block = 30,
			      .blocks = 40,
			      .data_bytes = 40 * BLOCK_BYTES,
			      .session = 1,
			      .client = {{0xaa}},
			      .generation = 1,
			      .req_no = 13,
			      .low = 10,
			      .known = 42,
			      .crcs_n = 40};
	for (uint32_t i = 0; i < 40; i++)
		crcs[i] = 0xc0000000 + i;
	crcs[40] = 17;
	crcs[41] = 0x00ffffff;
	return op;
}

static inline struct disk_ckpt_hdr *ckpt(enum ckpt_kind kind, uint64_t index)
{
	struct disk_ckpt_hdr *h = (void *)block;

	memset(block, 0, sizeof(block));
	*h = (struct disk_ckpt_hdr){
		.magic = CKPT_MAGIC, .kind = kind, .generation = 9, .index = index, .n = 1};
	return h;
}

static inline struct disk_recs *record_block(void)
{
	struct disk_recs *r = (void *)block;

	memset(block, 0, sizeof(block));
	*r = (struct disk_recs){.magic = RECS_MAGIC, .index = 23, .generation = 9};
	r->rec[0] = (struct disk_page_rec){.volume = 5,
					   .extent = 7,
					   .seq = 42,
					   .chain = 3,
					   .present = 0x8001,
					   .slot = 63,
					   .crcs = {1, [15] = 2}};
	r->rec[41] = (struct disk_page_rec){
		.volume = 6, .extent = EXTENTS_MAX - 1, .chain = 4, .present = 2, .crcs = {0, 3}};
	return r;
}

static inline void check_header(struct disk_log_hdr *h, uint32_t records)
{
	struct log_place at = place();
	struct log_cursor c;
	struct log_item it;
	const char *why;
	uint32_t need;

	log_hdr_seal(h, SECRET);
	assert_int_equal(log_hdr_check(h, 1, &at, &need), 0);
	assert_true(log_hdr_follows(h, 999, 4, 0xabcdef01));
	assert_false(log_hdr_follows(h, 998, 4, 0xabcdef01));
	assert_false(log_hdr_follows(h, 999, 5, 0xabcdef01));
	assert_true(log_hdr_follows(h, 1007, 5, 0xabcdef01));
	assert_false(log_hdr_follows(h, 1007, 5, 0xabcdef02));
	log_cursor_init(&c, h);
	for (uint32_t i = 0; i < records; i++)
		assert_int_equal(log_cursor_next(&c, &it, &why), 1);
	assert_int_equal(log_cursor_next(&c, &it, &why), 0);
	at.block++;
	assert_int_equal(log_hdr_check(h, 1, &at, &need), -EBADMSG);
	at = place();
	at.secret++;
	assert_int_equal(log_hdr_check(h, 1, &at, &need), -EBADMSG);
}

#endif
