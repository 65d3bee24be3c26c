/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>

#include "lib/buf.h"
#include "store/internal.h"

/* A write that covers whole pages sends them straight to fresh ones while its record goes to the
 * log: each byte is written once, and sequential writing costs what the disk costs. The op is
 * durable when its header and its pages are; a header may be acknowledged before, which is why
 * "stable" stops below such an op (L5) and recovery looks at the pages of what comes after.
 *
 * In place would save the fresh page, but a torn write would then destroy what was committed. */

/* New pages draw on what is free for everybody, overwrites on the reserve (pages.h, G5): without it
 * they would take what another chain was promised. Without fresh pages a write goes through the
 * log, which needs none. */
bool direct_wanted(const struct store *s, const struct op_rec *rec)
{
	const struct pages *g = &s->pages;
	struct op_pages whole = op_pages_of(rec);
	struct page_key key = {rec->volume, rec->extent, rec->block / PAGE_BLOCKS};
	uint32_t last = (rec->block + rec->blocks - 1) / PAGE_BLOCKS, fresh = 0, spare = 0;

	if (whole.n == 0 || s->direct_free_n < whole.n)
		return false;
	/* All that it touches: its ends may need new pages, too. */
	for (; key.slot <= last; key.slot++) {
		if (!pages_find(g, &key))
			fresh++;
		else if (key.slot >= whole.first && key.slot - whole.first < whole.n)
			spare++;
	}
	/* The first two leave enough free pages, but for an op that took the last ones (W8). */
	return fresh <= pages_room(g) && g->spare_used + spare <= direct_spare(s) &&
	       fresh + spare <= g->free_n;
}

/* While there is plenty, half of what nobody was promised is lent to overwrites, too: a checkpoint
 * gives it back. */
uint32_t direct_spare(const struct store *s)
{
	const struct pages *g = &s->pages;
	uint32_t kept = s->reserved_n + g->n / 16, lent = pages_lent(g);
	uint32_t room = pages_room(g) + lent;

	return g->spare_max + (room > kept ? (room - kept) / 2 : 0);
}

static void pages_written(struct disk_io *io, int res)
{
	struct direct_io *d = CONTAINER_OF(io, struct direct_io, io);
	struct store *s = d->s;
	struct store_op *op = d->op;
	struct chain *c = chain_find(s, op->rec.chain);

	s->ios--;
	buf_put(d->data);
	list_add_tail(&s->direct_free, &d->link);
	s->direct_free_n++;
	CHECK(op->writes > 0);
	op->writes--;
	if (res)
		store_fail(s, "page: write failed", res);
	if (s->failed) {
		store_turn(s);
		return;
	}
	log_advance(s, c);
	log_tell(s);
	log_prove_later(s);
	store_turn(s);
}

static void submit_run(struct store *s, struct store_op *op, uint32_t first, uint32_t n)
{
	struct list *it = list_pop(&s->direct_free);
	struct direct_io *d;
	uint32_t at = (op_pages_of(&op->rec).first + first) * PAGE_BLOCKS - op->rec.block;

	CHECK(it != NULL);
	s->direct_free_n--;
	d = CONTAINER_OF(it, struct direct_io, link);
	d->op = op;
	d->data = buf_ref(op->data);
	d->io = (struct disk_io){.op = DISK_WRITE,
				 .dsync = s->disk->volatile_cache,
				 .offset_bytes = page_offset(s, op->pages[first]),
				 .len_bytes = n * PAGE_BYTES,
				 .data = op->data->data + (size_t)at * BLOCK_BYTES,
				 .done = pages_written};
#ifdef CRASH_PLANT_DIRECT_NO_DSYNC
	d->io.dsync = false;
#endif
	op->writes++;
	store_submit(s, &d->io);
}

void direct_submit(struct store *s, struct store_op *op)
{
	uint32_t first = 0;

	for (uint32_t i = 1; i <= op->pages_n; i++) {
		if (i < op->pages_n && op->pages[i] == op->pages[i - 1] + 1)
			continue;
		submit_run(s, op, first, i - first);
		first = i;
	}
	s->stats.direct_blocks += op->pages_n * PAGE_BLOCKS;
}

size_t direct_bytes(void)
{
	return arena_cost(DIRECT_IOS * sizeof(struct direct_io), ARENA_ALIGN);
}

void direct_init(struct store *s, struct arena *a)
{
	s->direct_ios = arena_alloc(a, DIRECT_IOS * sizeof(struct direct_io), ARENA_ALIGN);
	list_init(&s->direct_free);
	s->direct_free_n = DIRECT_IOS;
	for (unsigned i = 0; i < DIRECT_IOS; i++) {
		s->direct_ios[i].s = s;
		list_add_tail(&s->direct_free, &s->direct_ios[i].link);
	}
}
