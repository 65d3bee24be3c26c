/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "store/fsck_priv.h"

/* The log, replayed as recovery would (replay.c), but into the end state of fsck_priv.h: E1 to E3.
 * Payloads are looked at on the way, where they lie, and only what is still needed at the end is
 * told one by one. */

/* ---- findings ---- */

static const struct fsck_finding damaged_record = {.verdict = FSCK_DAMAGED,
						   .kind = "log_record",
						   .offset_bytes = FSCK_NO_PLACE,
						   .next = FSCK_NEXT_COPY};

struct place { /* of a record */
	const struct disk_log_hdr *hdr;
	uint32_t block; /* of the region: where the header lies */
};

/* What is wrong with a record of @chain; @of: with which number. */
static void record_wrong(struct fsck *f, const struct place *at, uint32_t chain, const char *why,
			 uint64_t of)
{
	struct fsck_finding what = damaged_record;

	f->blind = true;
	what.offset_bytes = inspect_log_offset(&f->in, at->block);
	fsck_found(f, &what, "log: batch %" PRIu64 ", chain %u: %s %" PRIu64, at->hdr->lsn, chain,
		   why, of);
}

/* ---- commit: E1, E2 ---- */

static struct index_key key_of(const struct op_rec *rec, uint32_t i)
{
	return (struct index_key){rec->volume, rec->extent, rec->block + i};
}

static void put(struct fsck *f, const struct index_key *key, const struct index_entry *e)
{
	uint32_t at = index_find(&f->index, key);
	struct index_entry *to;

	if (at == INDEX_NONE && f->index.used == f->index.entries_n) {
		f->index_full = true;
		return;
	}
	to = at == INDEX_NONE ? index_add(&f->index, &f->entries, key) : &f->index.v[at];
	to->seq = e->seq;
	to->log_block = e->log_block;
	to->crc = e->crc;
	to->flags = e->flags;
	to->chain_slot = e->chain_slot;
}

/* Blocks [@from, @to) of the extent are not in the page any more. */
static void uncover(struct fsck *f, const struct op_rec *rec, uint32_t from, uint32_t to)
{
	while (from < to) {
		uint32_t slot = from / PAGE_BLOCKS;
		uint32_t end = MIN(to, (slot + 1) * PAGE_BLOCKS);
		uint32_t gone = ((1u << (end - from)) - 1) << from % PAGE_BLOCKS;
		struct page *p =
			pages_find(&f->pages, &(struct page_key){rec->volume, rec->extent, slot});

		if (p)
			p->present = (p->present & ~gone) & 0xffffu;
		from = end;
	}
}

static void unmap(struct fsck *f, const struct op_rec *rec)
{
	for (uint32_t i = 0; i < rec->blocks; i++) {
		struct index_key key = key_of(rec, i);
		uint32_t at = index_find(&f->index, &key);

		if (at != INDEX_NONE)
			index_del(&f->index, &f->entries, at);
	}
	uncover(f, rec, rec->block, rec->block + rec->blocks);
}

static void write_op(struct fsck *f, struct fsck_chain *c, const struct fsck_op *op)
{
	const struct op_rec *rec = &op->rec;
	bool same = rec->kind == OP_WRITE_SAME;
	struct op_pages whole = op_pages_of(rec);
	uint32_t log_block = op->log_block;

	for (uint32_t i = 0; i < rec->blocks; i++) {
		uint32_t slot = (rec->block + i) / PAGE_BLOCKS;
		struct index_key key = key_of(rec, i);
		struct index_entry e = {.seq = rec->seq,
					.log_block = log_block,
					.crc = op->crcs[same ? 0 : i],
					.flags = same ? INDEX_SAME : 0,
					.chain_slot = c->slot};

		if (op->pages_n && slot >= whole.first && slot - whole.first < whole.n) {
			e.log_block = op->pages[slot - whole.first];
			e.flags = INDEX_PAGE;
		} else if (!same) {
			log_block++;
		}
		put(f, &key, &e);
	}
	if (op->pages_n)
		uncover(f, rec, whole.first * PAGE_BLOCKS, (whole.first + whole.n) * PAGE_BLOCKS);
}

static void commit_known(struct fsck *f, struct fsck_chain *c, uint64_t known)
{
	c->known = MAX(c->known, known);
	while (c->committed < c->known && c->committed < c->appended) {
		const struct fsck_op *op = fsck_op_at(c, ++c->committed);

		if (op->rec.kind == OP_UNMAP || op->zero)
			unmap(f, &op->rec);
		else if (op_changes_blocks(&op->rec))
			write_op(f, c, op);
		c->pend_crcs -= op->rec.crcs_n;
	}
}

/* ---- records ---- */

static const uint32_t *keep_crcs(struct fsck_chain *c, const struct log_item *it)
{
	uint32_t n = it->op->crcs_n, *to;

	/* Pending ones take at most half of the ring. */
	if (n > REC_CRCS - c->crcs_at)
		c->crcs_at = 0;
	to = c->crcs + c->crcs_at;
	c->crcs_at += n;
	c->pend_crcs += n;
	if (n)
		memcpy(to, it->crcs, n * sizeof(*to));
	return to;
}

static bool pages_inside(const struct fsck *f, const struct log_item *it)
{
	for (uint32_t i = 0; it->pages && i < op_pages_of(it->op).n; i++)
		if (it->pages[i] >= f->in.super.pages_n)
			return false;
	return true;
}

static void add_op(struct fsck *f, struct fsck_chain *c, const struct log_item *it,
		   const struct place *at)
{
	struct fsck_op *op = fsck_op_at(c, it->op->seq);

	if (c->appended - c->committed == PENDING_SLOTS ||
	    c->pend_crcs + it->op->crcs_n > PENDING_CRCS_MAX) {
		record_wrong(f, at, c->id, "more ops are pending than its window takes, at op",
			     it->op->seq);
		return;
	}
	if (!pages_inside(f, it)) {
		record_wrong(f, at, c->id, "a page beyond the end is named by op", it->op->seq);
		return;
	}
	*op = (struct fsck_op){.rec = *it->op,
			       .lsn = at->hdr->lsn,
			       .crcs = keep_crcs(c, it),
			       .log_block =
				       at->block + at->hdr->hdr_blocks + it->rec->payload_block,
			       .zero = it->rec->flags & LOG_F_ZERO};
	if (it->pages) {
		op->pages_n = (uint8_t)op_pages_of(it->op).n;
		memcpy(op->pages, it->pages, op->pages_n * sizeof(op->pages[0]));
	}
	c->appended++;
	commit_known(f, c, 0);
}

static void replay_op(struct fsck *f, const struct log_item *it, const struct place *at)
{
	struct fsck_chain *c = fsck_chain_make(f, it->op->chain);

	if (!c)
		return;
	commit_known(f, c, it->op->known);
	if (it->op->seq <= c->appended) {
		if (it->op->seq > c->base && !(it->rec->flags & LOG_F_AGAIN))
			record_wrong(f, at, c->id, "there twice is op", it->op->seq);
	} else if (it->op->seq > c->appended + 1) {
		c->skipped = MAX(c->skipped, it->op->seq); /* copies of those before follow */
	} else {
		add_op(f, c, it, at);
	}
}

static void replay_truncate(struct fsck *f, const struct disk_log_truncate *t,
			    const struct place *at)
{
	struct fsck_chain *c = fsck_chain_find(f, t->chain);
	uint64_t to;

	if (!c)
		return;
	/* What the checkpoint holds under these numbers came later. */
	to = MAX(t->to, c->base);
	c->skipped = MIN(c->skipped, to);
	if (to < c->committed) {
		record_wrong(f, at, c->id, "undone are committed ops after", to);
		return;
	}
	for (; c->appended > to; c->appended--)
		c->pend_crcs -= fsck_op_at(c, c->appended)->rec.crcs_n;
}

static void replay_item(struct fsck *f, const struct log_item *it, const struct place *at)
{
	struct fsck_chain *c;

	if (it->op) {
		f->result.log_ops++;
		replay_op(f, it, at);
		return;
	}
	if (it->truncate) {
		replay_truncate(f, it->truncate, at);
		return;
	}
	c = fsck_chain_make(f, it->epoch ? it->epoch->chain : it->commit->chain);
	if (c && it->commit)
		commit_known(f, c, it->commit->seq);
}

/* ---- payload ---- */

static void look_at_payload(struct fsck *f, const struct inspect_batch *b,
			    const struct log_item *it)
{
	uint32_t first = b->block + b->hdr->hdr_blocks;

	for (uint32_t i = 0; i < inspect_payload_n(it); i++) {
		struct inspect_payload p = inspect_payload_at(it, i);
		const void *data = b->payload + (size_t)p.at * BLOCK_BYTES;
		uint32_t block = first + p.at;

		/* Where the whole cannot be read, block by block. */
		if (!b->payload)
			data = inspect_read(&f->in, WIN_CKPT, inspect_log_offset(&f->in, block), 1,
					    1, f->in.super.ckpt_offset_bytes);
		f->result.data_blocks++;
		if ((data && inspect_payload_ok(it, &p, data)) || fsck_log_is_bad(f, block))
			continue;
		f->bad_log[block / 64] |= 1ull << block % 64;
		f->bad_log_n++;
	}
}

static bool batch(void *arg, const struct inspect_batch *b)
{
	struct fsck *f = arg;
	const struct place at = {b->hdr, b->block};
	struct log_cursor c;
	struct log_item it;
	const char *why = NULL;
	int more;

	f->result.log_batches++;
	log_cursor_init(&c, b->hdr);
	while ((more = log_cursor_next(&c, &it, &why)) == 1) {
		if (!f->cfg.quick)
			look_at_payload(f, b, &it);
		if (!f->blind)
			replay_item(f, &it, &at);
	}
	if (more < 0) {
		struct fsck_finding what = damaged_record;

		f->blind = true;
		what.offset_bytes = inspect_log_offset(&f->in, b->block);
		fsck_found(f, &what, "log: batch %" PRIu64 ": %s", b->hdr->lsn, why);
	}
	return true;
}

/* ---- the end ---- */

static void tell_end(struct fsck *f)
{
	const struct inspect_log *l = &f->log;
	struct fsck_finding what = {
		.verdict = FSCK_REPAIRABLE,
		.kind = "log_torn",
		.offset_bytes = inspect_log_offset(&f->in, l->seen_block),
		.next = "nothing: it was never acknowledged; the next start cuts "
			"it off"};

	if (l->end == INSPECT_END_CLEAN)
		return;
	if (l->end != INSPECT_END_TORN) {
		f->blind = true;
		what.verdict = FSCK_DAMAGED;
		what.kind = l->end == INSPECT_END_ROT ? "log_rot" : "log_unreadable";
		what.next = FSCK_NEXT_COPY;
	}
	fsck_found(f, &what, "%s: behind batch %" PRIu64 ", block %u of the log says %" PRIu64,
		   l->why, l->lsn, l->seen_block, l->seen_lsn);
}

/* Nothing may be missing. */
static void finish_chain(struct fsck *f, struct fsck_chain *c)
{
	struct fsck_finding what = damaged_record;

	what.kind = "log_gap";
	commit_known(f, c, c->ckpt_known);
	if (c->appended < c->skipped)
		fsck_found(f, &what,
			   "log: chain %u: op %" PRIu64 " is missing, %" PRIu64 " is there", c->id,
			   c->appended + 1, c->skipped);
	else if (c->committed < c->known)
		fsck_found(f, &what,
			   "log: chain %u: ends at op %" PRIu64 ", but %" PRIu64 " was committed",
			   c->id, c->appended, c->known);
	else
		return;
	f->blind = true;
}

int fsck_log(struct fsck *f)
{
	int res = inspect_log(&f->in, !f->cfg.quick, batch, f, &f->log);

	if (res)
		return res;
	tell_end(f);
	for (uint32_t i = 0; !f->blind && i < f->chains_n; i++)
		finish_chain(f, &f->chains[i]);
	if (f->index_full)
		fsck_found(f, &damaged_record, "log: holds more blocks than it has");
	f->blind = f->blind || f->index_full;
	return 0;
}
