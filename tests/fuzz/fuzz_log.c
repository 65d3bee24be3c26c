/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* A log batch as recovery reads it from a disk. Input: one byte (0x80: seal the header first), then
 * the header blocks. What is accepted is walked to its end, payload checks included. */

#include <stdlib.h>
#include <string.h>

#include "store/format.h"
#include "tests/fuzz/fuzz.h"

#define SEAL 0x80u

/* Page numbers lie inside the record, behind its CRCs, and there is one for each whole page. */
static void walk_pages(const struct disk_log_hdr *h, const struct log_item *item)
{
	struct op_pages whole = op_pages_of(item->op);
	const uint8_t *end = (const uint8_t *)item->rec + item->rec->bytes;

	CHECK(item->rec->flags & LOG_F_PAGES);
	CHECK(whole.n != 0 && whole.n <= OP_BLOCKS_MAX / PAGE_BLOCKS);
	CHECK(whole.first + whole.n <= EXTENT_PAGES);
	CHECK(item->pages >= item->crcs + item->op->crcs_n);
	CHECK((const uint8_t *)(item->pages + whole.n) <= end);
	CHECK(item->rec->payload_block + item->op->data_bytes / BLOCK_BYTES -
		      whole.n * PAGE_BLOCKS <=
	      h->data_blocks);
}

static void walk(const struct disk_log_hdr *h)
{
	static uint8_t payload[LOG_DATA_BLOCKS_MAX * BLOCK_BYTES];
	struct log_cursor cursor;
	struct log_item item;
	const char *why = NULL;
	uint32_t items = 0;
	int res;

	log_cursor_init(&cursor, h);
	while ((res = log_cursor_next(&cursor, &item, &why)) == 1) {
		log_item_payload_ok(&item, payload);
		if (item.pages)
			walk_pages(h, &item);
		items++;
	}
	CHECK(res == 0 ? items == h->recs_n : why != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	struct log_place at = {.secret = 42,
			       .region_offset_bytes = SUPER_REGION_BYTES,
			       .region_blocks = 4096,
			       .block = 7};
	uint32_t blocks = (uint32_t)((len + BLOCK_BYTES - 2) / BLOCK_BYTES), need = 0;
	struct disk_log_hdr *h;

	if (len < 1 + sizeof(*h) || blocks > LOG_HDR_BLOCKS_MAX)
		return 0;
	h = aligned_alloc(BLOCK_BYTES, (size_t)blocks * BLOCK_BYTES);
	memset(h, 0, (size_t)blocks * BLOCK_BYTES);
	memcpy(h, input + 1, len - 1);
	if (input[0] & SEAL) {
		h->magic = LOG_MAGIC;
		h->disk = at.disk;
		h->offset_bytes = at.region_offset_bytes + (uint64_t)at.block * BLOCK_BYTES;
		if (h->hdr_blocks == 0 || h->hdr_blocks > blocks)
			h->hdr_blocks = blocks;
		log_hdr_seal(h, at.secret);
	}
	if (log_hdr_check(h, blocks, &at, &need) == 0 && need <= blocks)
		walk(h);
	free(h);
	return 0;
}
