/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "store/internal.h"

/* Blocks that were written straight to their page have an entry in the index from their commit
 * until the page's record holds their checksums: landing. It moves no data; it waits for a record
 * block at most. Until then the entry keeps the op's record in the log, and replay lands it again.
 *
 * A committed op may land before a watermark proves that it is committed: only memory changes, and
 * the checkpoint that writes it down holds a watermark that is newer still. */

#define LAND_PAGES 128u /* in one turn */

static void waited(struct recs_wait *w, int res)
{
	struct store *s = CONTAINER_OF(w, struct store, land_wait);

	s->land_waiting = false;
	if (res)
		store_fail(s, "page records: cannot be read", res);
	store_turn(s);
}

/* All of a page; false when its record block is not at hand, or too many have changed already. */
static bool land_page(struct store *s, const struct index_entry *first)
{
	uint32_t id = first->log_block, slot;
	struct index_key key = {first->volume, first->extent, 0};
	uint32_t block0 = first->block / PAGE_BLOCKS * PAGE_BLOCKS;
	struct page *p = &s->pages.v[id];
	struct disk_page_rec *rec;

	s->land_wait.fn = waited;
	slot = recs_get(s, recs_block_of(id), &s->land_wait);
	if (slot == RECS_NONE) {
		s->land_waiting = true;
		return false;
	}
	if (!s->recs.slots[slot].fresh && recs_crowded(s, 1))
		return false;
	rec = recs_rec(s, slot, id);
	for (uint32_t i = 0; i < PAGE_BLOCKS; i++) {
		const struct index_entry *e;
		uint32_t at;

		key.block = block0 + i;
		at = index_find(&s->index, &key);
		e = at == INDEX_NONE ? NULL : &s->index.v[at];
		if (!e || !(e->flags & INDEX_PAGE))
			continue;
		CHECK(e->log_block == id);
		rec->crcs[i] = e->crc;
		rec->seq = MAX(rec->seq, e->seq);
		p->present = (uint16_t)(p->present | 1u << i) & 0xffffu;
		index_drop(s, p, at);
	}
	recs_fresh(s, slot, id);
	return true;
}

void land_pump(struct store *s)
{
	uint32_t budget = LAND_PAGES;

	if (s->failed || s->land_waiting)
		return;
	for (uint32_t i = 0; s->fresh_n && i < s->chains_n; i++) {
		const struct index_fifo *f = &s->chains[i].fresh;

		while (f->first != INDEX_NONE) {
			if (budget-- == 0) {
				store_turn(s);
				return;
			}
			if (!land_page(s, &s->index.v[f->first]))
				return;
		}
	}
	log_settle(s);
}
