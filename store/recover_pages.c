/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "lib/crc.h"
#include "store/recover.h"

/* The two phases of recovery that are about pages: RECORDS and PAGES. */

/* ---- RECORDS ---- */

static void record_window_read(struct recovery *r, uint32_t block, bool home_b)
{
	struct record_window *w = &r->home[home_b];

	w->at = block;
	w->n = MIN(LOG_BATCH_BLOCKS_MAX, r->s->recs.blocks_n - block);
	r->io = (struct disk_io){.op = DISK_READ,
				 .offset_bytes = recs_home_offset(r->s, block, home_b),
				 .len_bytes = w->n * BLOCK_BYTES,
				 .data = w->buf,
				 .done = recovery_window_read};
	store_submit(r->s, &r->io);
}

int recovery_records(struct recovery *r, bool *ret_wait)
{
	struct recs *t = &r->s->recs;

	*ret_wait = false;
	for (; r->rec_at < t->blocks_n; r->rec_at++) {
		bool home_b = t->used[r->rec_at] & RECS_HOME_B;
		const struct record_window *w = &r->home[home_b];
		int res;

		if ((t->used[r->rec_at] & ~RECS_HOME_B) == 0)
			continue;
		if (r->rec_at < w->at || r->rec_at - w->at >= w->n) {
			recovery_progress(r, r->rec_at, t->blocks_n);
			record_window_read(r, r->rec_at, home_b);
			*ret_wait = true;
			return 0;
		}
		res = replay_recs(
			r, r->rec_at,
			(const void *)(w->buf + (size_t)(r->rec_at - w->at) * BLOCK_BYTES));
		if (res)
			return res;
	}
	pages_ready(&r->s->pages);
	return 0;
}

/* ---- PAGES ---- */

static bool page_ok(const struct store_op *op, uint32_t i, const uint8_t *data)
{
	uint32_t first = (op_pages_of(&op->rec).first + i) * PAGE_BLOCKS;

	for (uint32_t b = 0; b < PAGE_BLOCKS; b++) {
		const struct block_addr at = {op->rec.volume, op->rec.extent, first + b};

#ifdef CRASH_PLANT_PROVE_FIRST_BLOCK
		if (b > 0)
			return true;
#endif
		if (crc_block(&at, data + (size_t)b * BLOCK_BYTES) !=
		    op->crcs[at.block - op->rec.block])
			return false;
	}
	return true;
}

int recovery_prove_pages(struct recovery *r, bool *ret_wait)
{
	struct store_op *op;

	*ret_wait = false;
	while ((op = replay_unproven(r))) {
		uint32_t i = r->prove_page;

		if (r->win_n) { /* page i - 1 was read */
			r->win_n = 0;
			if (!page_ok(op, i - 1, r->buf)) {
				replay_disproved(r);
				r->prove_page = 0;
				continue;
			}
		}
		if (i == op->pages_n) {
			r->prove_page = 0;
			r->prove_seq++;
			continue;
		}
		r->prove_page++;
		recovery_progress(r, r->prove_chain, r->s->chains_n);
		recovery_read_window(r, page_offset(r->s, op->pages[i]), 0, PAGE_BLOCKS);
		*ret_wait = true;
		return 0;
	}
	return replay_end(r);
}
