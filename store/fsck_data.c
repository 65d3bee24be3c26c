/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <inttypes.h>

#include "lib/crc.h"
#include "store/fsck_priv.h"

/* Who owns which page when replay has ended, and whether each block that a read would return is
 * there. Pages come in the order of the disk: first those the checkpoint owns, then those of ops in
 * the log. */

#define RUN_PAGES (INSPECT_WINDOW_BLOCKS / PAGE_BLOCKS)

/* ---- blocks ---- */

struct block_place {
	const char *what; /* it lies in */
	uint32_t at;      /* page, or block of the log */
	uint64_t offset_bytes;
	uint32_t chain; /* id */
};

static void block_bad(struct fsck *f, const struct block_place *at, const struct block_addr *addr,
		      const char *why)
{
	fsck_found(f,
		   &(struct fsck_finding){.verdict = FSCK_REPAIRABLE,
					  .kind = "data_block",
					  .offset_bytes = at->offset_bytes,
					  .next = FSCK_NEXT_NEIGHBOUR},
		   "data: volume %" PRIu64 ", extent %" PRIu64 ", block %u, chain %u, in %s %u: %s",
		   addr->volume, addr->extent, addr->block, at->chain, at->what, at->at, why);
}

/* What must lie in a page: a bit per block, and their checksums. */
struct page_want {
	struct page_key key;
	uint32_t id, chain, blocks;
	uint32_t crcs[PAGE_BLOCKS];
};

/* @data NULL: the page cannot be read as a whole. */
static uint32_t check_page(struct fsck *f, const struct page_want *w, const uint8_t *data,
			   bool tell)
{
	uint32_t bad = 0;

	for (uint32_t b = 0; b < PAGE_BLOCKS; b++) {
		const struct block_addr addr = {w->key.volume, w->key.extent,
						w->key.slot * PAGE_BLOCKS + b};
		struct block_place at = {.what = "page", .at = w->id, .chain = w->chain};
		const void *block = data ? data + (size_t)b * BLOCK_BYTES : NULL;

		if (!(w->blocks >> b & 1))
			continue;
		at.offset_bytes = inspect_page_offset(&f->in, w->id) + b * (uint64_t)BLOCK_BYTES;
		if (!data)
			block = inspect_read(&f->in, WIN_LOG, at.offset_bytes, 1, 1,
					     inspect_page_offset(&f->in, f->in.super.pages_n));
		f->result.data_blocks++;
		if (block && crc_block(&addr, block) == w->crcs[b])
			continue;
		bad++;
		if (tell)
			block_bad(f, &at, &addr, block ? "wrong checksum" : "cannot be read");
	}
	return bad;
}

/* Pages that lie behind each other, in one read. */
static void check_run(struct fsck *f, const struct page_want *w, uint32_t n)
{
	const uint8_t *data =
		inspect_read(&f->in, WIN_LOG, inspect_page_offset(&f->in, w->id), n * PAGE_BLOCKS,
			     n * PAGE_BLOCKS, inspect_page_offset(&f->in, f->in.super.pages_n));

	for (uint32_t i = 0; i < n; i++)
		check_page(f, &w[i], data ? data + (size_t)i * PAGE_BYTES : NULL, true);
}

static void check_pages(struct fsck *f, const struct page_want *w, uint32_t n)
{
	uint32_t from = 0;

	for (uint32_t i = 1; i <= n; i++) {
		if (i < n && w[i].id == w[i - 1].id + 1 && i - from < RUN_PAGES)
			continue;
		check_run(f, &w[from], i - from);
		from = i;
	}
}

/* ---- owners ---- */

static void two_owners(struct fsck *f, uint32_t id, const struct page_key *key, uint64_t seq)
{
	fsck_found(f,
		   &(struct fsck_finding){.verdict = FSCK_DAMAGED,
					  .kind = "page_owner",
					  .offset_bytes = inspect_page_offset(&f->in, id),
					  .next = FSCK_NEXT_COPY},
		   "page %u: op %" PRIu64 " put volume %" PRIu64 ", extent %" PRIu64
		   ", page %u of it there, but it is another's",
		   id, seq, key->volume, key->extent, key->slot);
}

/* Has another block of the page been seen? */
static bool owns(const struct fsck *f, uint32_t id, const struct page_key *key)
{
	const struct page *p = &f->pages.v[id];

	return p->state == PAGE_RESERVED && pages_volume(&f->pages, p) == key->volume &&
	       p->extent == key->extent && p->slot == key->slot;
}

/* Page @id becomes @key's, through op @seq of the log. */
static bool own(struct fsck *f, uint32_t id, const struct page_key *key, uint64_t seq)
{
	if (pages_reserve_at(&f->pages, id, key, 0))
		return true;
	two_owners(f, id, key, seq);
	return false;
}

static void own_committed(struct fsck *f)
{
	uint64_t told = UINT64_MAX; /* page whose other blocks need no more words */

	for (uint32_t i = f->entries.first; i != INDEX_NONE; i = f->index.v[i].next) {
		const struct index_entry *e = &f->index.v[i];
		const struct page_key key = {e->volume, e->extent, e->block / PAGE_BLOCKS};

		if (!(e->flags & INDEX_PAGE) || e->log_block == told || owns(f, e->log_block, &key))
			continue;
		if (!own(f, e->log_block, &key, e->seq))
			told = e->log_block;
	}
}

static struct page_want op_page(const struct fsck_chain *c, const struct fsck_op *op, uint32_t i)
{
	uint32_t slot = op_pages_of(&op->rec).first + i;
	struct page_want w = {.key = {op->rec.volume, op->rec.extent, slot},
			      .id = op->pages[i],
			      .chain = c->id,
			      .blocks = 0xffff};

	for (uint32_t b = 0; b < PAGE_BLOCKS; b++)
		w.crcs[b] = op->crcs[slot * PAGE_BLOCKS + b - op->rec.block];
	return w;
}

/* Bad blocks among the pages of @op. */
static uint32_t op_pages_bad(struct fsck *f, const struct fsck_chain *c, const struct fsck_op *op,
			     bool tell)
{
	uint32_t bad = 0;

	for (uint32_t i = 0; i < op->pages_n; i++) {
		struct page_want w = op_page(c, op, i);

		bad += check_page(f, &w, NULL, tell);
	}
	return bad;
}

/* PAGES of recovery: the first op above "stable" whose pages are not all there is undone, and what
 * follows it. The others must have theirs. */
static void own_pending(struct fsck *f, struct fsck_chain *c)
{
	for (uint64_t seq = c->committed + 1; seq <= c->appended; seq++) {
		const struct fsck_op *op = fsck_op_at(c, seq);
		bool proved = op->lsn <= f->log.stable;

		if (!proved && op_pages_bad(f, c, op, false)) {
			fsck_found(
				f,
				&(struct fsck_finding){
					.verdict = FSCK_REPAIRABLE,
					.kind = "op_undone",
					.offset_bytes = inspect_page_offset(&f->in, op->pages[0]),
					.next = "nothing: they were never acknowledged; the next "
						"start undoes them"},
				"log: chain %u: the pages of op %" PRIu64
				" are not all there: it and what follows up to op %" PRIu64
				" will be undone",
				c->id, seq, c->appended);
			c->appended = seq - 1;
			return;
		}
		for (uint32_t i = 0; i < op->pages_n; i++) {
			const struct page_want w = op_page(c, op, i);

			own(f, w.id, &w.key, seq);
		}
		if (proved && !f->cfg.quick)
			op_pages_bad(f, c, op, true);
		f->result.ops_pending++;
	}
}

int fsck_owners(struct fsck *f)
{
	if (f->blind) {
		fsck_found(f,
			   &(struct fsck_finding){.verdict = FSCK_DAMAGED,
						  .kind = "not_checked",
						  .offset_bytes = FSCK_NO_PLACE,
						  .next = FSCK_NEXT_COPY},
			   "data: not checked: after what was found nobody can tell what must lie "
			   "where");
		return 0;
	}
	for (uint32_t i = 0; i < f->pages.n; i++)
		if (f->pages.v[i].state == PAGE_OWNED && f->pages.v[i].present == 0)
			pages_drop(&f->pages, &f->pages.v[i]);
	own_committed(f);
	for (uint32_t i = 0; i < f->chains_n; i++)
		own_pending(f, &f->chains[i]);
	/* None of them stood in for another, so each finds its place. */
	CHECK(pages_replayed(&f->pages) == 0);
	pages_check(&f->pages);
	return 0;
}

/* ---- data ---- */

/* Does an op of the log hide this block of a page? */
static bool hidden(const struct fsck *f, const struct page_key *key, uint32_t b)
{
	return index_find(&f->index, &(struct index_key){key->volume, key->extent,
							 key->slot * PAGE_BLOCKS + b}) !=
	       INDEX_NONE;
}

static bool owned_pages(void *arg, const struct inspect_recs_block *b)
{
	struct page_want want[RECS_PAGES];
	struct fsck *f = arg;
	uint32_t n = 0;

	for (uint32_t i = 0; !b->why && i < RECS_PAGES; i++) {
		const struct disk_page_rec *rec = &b->recs->rec[i];
		struct page_want *w = &want[n];
		const struct page *p;

		*w = (struct page_want){.key = {rec->volume, rec->extent, rec->slot},
					.id = b->want.index * RECS_PAGES + i,
					.chain = rec->chain};
		if (!(b->want.used >> i & 1))
			continue;
		p = &f->pages.v[w->id];
		/* Where two claim the same, that was told, and the first has it. */
		if (p->state != PAGE_OWNED || pages_find(&f->pages, &w->key) != p)
			continue;
		for (uint32_t k = 0; k < PAGE_BLOCKS; k++) {
			w->crcs[k] = rec->crcs[k];
			if (p->present >> k & 1 && !hidden(f, &w->key, k))
				w->blocks |= 1u << k;
		}
		n += w->blocks != 0;
	}
	check_pages(f, want, n);
	return true;
}

/* A page that a committed op of the log put there; one that only a pending op did has none. */
static struct page_want log_page(const struct fsck *f, uint32_t id)
{
	const struct page *p = &f->pages.v[id];
	struct page_want w = {.key = {pages_volume(&f->pages, p), p->extent, p->slot}, .id = id};

	for (uint32_t b = 0; b < PAGE_BLOCKS; b++) {
		struct index_key key = {w.key.volume, w.key.extent, w.key.slot * PAGE_BLOCKS + b};
		uint32_t at = index_find(&f->index, &key);
		const struct index_entry *e = &f->index.v[at];

		if (at == INDEX_NONE || !(e->flags & INDEX_PAGE) || e->log_block != id)
			continue;
		w.blocks |= 1u << b;
		w.crcs[b] = e->crc;
		w.chain = f->chains[e->chain_slot].id;
	}
	return w;
}

static int pages_of_log(struct fsck *f)
{
	const struct inspect_disk *d = f->in.disk;
	struct page_want want[RUN_PAGES];
	uint32_t n = 0;

	for (uint32_t id = 0; id < f->pages.n; id++) {
		if (f->pages.v[id].state == PAGE_RESERVED) {
			want[n] = log_page(f, id);
			n += want[n].blocks != 0;
		}
		if (n < RUN_PAGES && id + 1 < f->pages.n)
			continue;
		check_pages(f, want, n);
		n = 0;
		if (d->progress && !d->progress(d->arg, "data of the log", id + 1, f->pages.n))
			return -ECANCELED;
	}
	return 0;
}

/* Blocks whose newest version is in the log, and bad. */
static void blocks_in_log(struct fsck *f)
{
	for (uint32_t i = f->entries.first; f->bad_log_n && i != INDEX_NONE;
	     i = f->index.v[i].next) {
		const struct index_entry *e = &f->index.v[i];
		const struct block_addr addr = {e->volume, e->extent, e->block};
		const struct block_place at = {.what = "block of the log",
					       .at = e->log_block,
					       .chain = f->chains[e->chain_slot].id,
					       .offset_bytes =
						       inspect_log_offset(&f->in, e->log_block)};

		if (!(e->flags & INDEX_PAGE) && fsck_log_is_bad(f, e->log_block))
			block_bad(f, &at, &addr, "wrong checksum, or cannot be read");
	}
}

static void pending_in_log(struct fsck *f, struct fsck_chain *c)
{
	for (uint64_t seq = c->committed + 1; seq <= c->appended; seq++) {
		const struct fsck_op *op = fsck_op_at(c, seq);
		uint32_t n = op->rec.data_bytes / BLOCK_BYTES - op->pages_n * PAGE_BLOCKS;

		for (uint32_t i = 0; i < n; i++) {
			const struct block_addr addr = {op->rec.volume, op->rec.extent,
							op->rec.block};
			const struct block_place at = {
				.what = "block of the log",
				.at = op->log_block + i,
				.chain = c->id,
				.offset_bytes = inspect_log_offset(&f->in, op->log_block + i)};

			if (fsck_log_is_bad(f, at.at))
				block_bad(f, &at, &addr, "payload of a pending op is damaged");
		}
	}
}

int fsck_data(struct fsck *f)
{
	uint64_t findings = f->result.findings[FSCK_REPAIRABLE];
	int res;

	if (!f->blind) {
		blocks_in_log(f);
		for (uint32_t i = 0; i < f->chains_n; i++)
			pending_in_log(f, &f->chains[i]);
	}
	if (f->bad_log_n && findings == f->result.findings[FSCK_REPAIRABLE])
		fsck_found(
			f,
			&(struct fsck_finding){.verdict = FSCK_REPAIRABLE,
					       .kind = "log_dead",
					       .offset_bytes = FSCK_NO_PLACE,
					       .next = "nothing is lost, but look at the device"},
			"log: %" PRIu64 " blocks that nothing needs any more are damaged",
			f->bad_log_n);
	if (f->blind)
		return 0;
	res = inspect_recs(&f->in, "data", owned_pages, f);
	return res ? res : pages_of_log(f);
}
