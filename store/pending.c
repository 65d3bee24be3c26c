/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/crc.h"
#include "store/internal.h"

/* ---- chains ---- */

static uint32_t chain_bucket(uint32_t id)
{
	return (id * 2654435761u) >> 16 & (CHAIN_BUCKETS - 1);
}
static_assert(CHAIN_BUCKETS >= 2 * NODE_CHAINS_MAX, "open addressing needs free buckets");

struct chain *chain_find(const struct store *s, uint32_t id)
{
	for (uint32_t b = chain_bucket(id); s->chain_buckets[b]; b = (b + 1) % CHAIN_BUCKETS) {
		struct chain *c = &s->chains[s->chain_buckets[b] - 1];

		if (c->id == id)
			return c;
	}
	return NULL;
}

struct chain *chain_make(struct store *s, uint32_t id)
{
	struct chain *c = chain_find(s, id);
	uint32_t b = chain_bucket(id);

	if (c)
		return c;
	if (s->chains_n == s->chains_max)
		return NULL;
	while (s->chain_buckets[b])
		b = (b + 1) % CHAIN_BUCKETS;
	c = &s->chains[s->chains_n++];
	s->chain_buckets[b] = s->chains_n;
	c->id = id;
	c->next = 1;
	c->undo_to = UINT64_MAX;
	return c;
}

size_t chain_bytes(void)
{
	return arena_cost(sizeof(struct chain), ARENA_ALIGN) +
	       arena_cost(PENDING_SLOTS * sizeof(struct store_op *), ARENA_ALIGN) +
	       arena_cost(REC_CRCS * sizeof(uint32_t), ARENA_ALIGN) +
	       arena_cost(REQTAB_CLIENTS_MAX * sizeof(struct req_client), ARENA_ALIGN);
}

void chain_init(struct store *s, struct chain *c, struct arena *a)
{
	c->slot = (uint32_t)(c - s->chains);
	c->pend = arena_alloc(a, PENDING_SLOTS * sizeof(struct store_op *), ARENA_ALIGN);
	c->rec_crcs = arena_alloc(a, REC_CRCS * sizeof(uint32_t), ARENA_ALIGN);
	c->reqs.clients =
		arena_alloc(a, REQTAB_CLIENTS_MAX * sizeof(struct req_client), ARENA_ALIGN);
	c->reqs.clients_max = s->reqtab_clients;
	index_fifo_init(&c->fifo);
	index_fifo_init(&c->fresh);
	for (unsigned i = 0; i < EPOCH_CHANGES_PER_CHAIN; i++)
		c->changes[i].chain = c;
}

int store_chain_add(struct store *s, uint32_t chain)
{
	CHECK(chain != 0);
	return chain_make(s, chain) ? 0 : -ENOSPC;
}

unsigned store_chains_n(const struct store *s)
{
	return s->chains_n;
}

void store_chain_at(const struct store *s, unsigned i, struct store_chain_info *ret_info)
{
	const struct chain *c = &s->chains[i];

	CHECK(i < s->chains_n);
	*ret_info = (struct store_chain_info){.chain = c->id,
					      .epoch = c->epoch,
					      .history = c->history,
					      .last = c->durable,
					      .committed = c->committed};
}

int store_chain_info(const struct store *s, uint32_t chain, struct store_chain_info *ret_info)
{
	const struct chain *c = chain_find(s, chain);

	if (!c)
		return -ENOENT;
	store_chain_at(s, c->slot, ret_info);
	return 0;
}

void store_set_epoch(struct store *s, uint32_t chain, uint64_t epoch, uint64_t history,
		     void (*done)(void *arg, int res), void *arg)
{
	struct chain *c = chain_find(s, chain);
	struct epoch_change *ch = NULL;

	CHECK(c != NULL);
	for (unsigned i = 0; i < EPOCH_CHANGES_PER_CHAIN && !ch; i++)
		if (!c->changes[i].busy)
			ch = &c->changes[i];
	/* A chain installs one configuration at a time; a few more may overtake each other. */
	CHECK(ch != NULL);
	*ch = (struct epoch_change){.epoch = epoch,
				    .history = history,
				    .done = done,
				    .arg = arg,
				    .chain = c,
				    .busy = true};
	list_add_tail(s->failed ? &s->failed_epochs : &s->log.epochs, &ch->link);
	store_turn(s);
}

/* ---- pages of an op ---- */

struct slots { /* the pages a range touches */
	uint32_t first, last;
};

static struct slots slots_of(const struct op_rec *rec)
{
	return (struct slots){rec->block / PAGE_BLOCKS,
			      (rec->block + rec->blocks - 1) / PAGE_BLOCKS};
}

/* Is slot @slot one of those @op fills with fresh pages? */
static bool is_whole(const struct store_op *op, uint32_t slot)
{
	struct op_pages whole = op_pages_of(&op->rec);

	return op->pages_n && slot >= whole.first && slot - whole.first < whole.n;
}

static bool op_is_zero(const struct store_op *op)
{
	return op->priv & OP_PRIV_ZERO;
}

/* New pages that @op may take. */
static uint32_t room_for(const struct store *s, const struct chain *c, const struct store_op *op)
{
	uint32_t others = s->reserved_n - c->reserved, room = pages_room(&s->pages);

	if (op->numbered && !s->recovery)
		return s->pages.free_n;
	return room > others ? room - others : 0;
}

/* A chain's share is a window of large writes, or of a small or nearly full store what is there for
 * each. One that has more than that keeps it. */
#define SHARE_MAX (2u * WINDOW_BYTES_MAX / PAGE_BYTES)
#define SHARE_MIN (OP_BLOCKS_MAX / PAGE_BLOCKS + 1)

uint32_t store_credit(struct store *s, uint32_t chain)
{
	struct chain *c = chain_find(s, chain);
	uint32_t room = pages_room(&s->pages), share, more;

	CHECK(c != NULL);
	if (s->failed || !s->opened)
		return 0;
	share = MIN(MAX(s->pages.n / (32 * s->chains_n), SHARE_MIN), SHARE_MAX);
	more = share > c->reserved ? share - c->reserved : 0;
	if (more > room - MIN(room, s->reserved_n) && s->pages.limbo_n > s->pages.spare_used) {
		s->refused_pages = true; /* a checkpoint gives some back */
		store_turn(s);
	}
	more = MIN(more, room > s->reserved_n ? room - s->reserved_n : 0);
	c->reserved += more;
	s->reserved_n += more;
	return c->reserved;
}

bool pending_take_pages(struct store *s, struct store_op *op)
{
	const struct op_rec *rec = &op->rec;
	struct page_key key = {rec->volume, rec->extent, 0};
	struct chain *c = chain_find(s, rec->chain);
	uint32_t chain_slot = c->slot, own;
	struct op_pages whole = op_pages_of(rec);
	struct slots sl;
	uint32_t missing = 0;

	if (!op_takes_pages(rec, op_is_zero(op)))
		return true;
	sl = slots_of(rec);
	for (key.slot = sl.first; key.slot <= sl.last; key.slot++)
		missing += pages_find(&s->pages, &key) == NULL;
	if (missing > room_for(s, c, op) || !pages_can_name(&s->pages, rec->volume))
		return false;
	own = MIN(missing, c->reserved);
	c->reserved -= own;
	s->reserved_n -= own;
	for (key.slot = sl.first; key.slot <= sl.last; key.slot++) {
		struct page *p = pages_find(&s->pages, &key);

		if (is_whole(op, key.slot)) {
			uint32_t *id = &op->pages[key.slot - whole.first];

			/* In replay another may have it, if the checkpoint is newer than the op:
			 * then what took it away follows in the log. */
			if (s->recovery) {
				pages_reserve_at(&s->pages, *id, &key, chain_slot);
				continue;
			}
			*id = pages_reserve(&s->pages, &key, chain_slot, p != NULL);
			CHECK(*id != PAGE_NONE);
			continue;
		}
		if (!p) {
			p = pages_take(&s->pages, &key, chain_slot);
			if (!p && s->recovery)
				return false;
			CHECK(p != NULL);
		}
		p->refs++;
	}
	return true;
}

void page_drop(struct store *s, struct page *p)
{
	uint32_t id = pages_id(&s->pages, p);

	if (pages_drop(&s->pages, p))
		recs_unuse(s, id);
}

/* Is page @id reserved for the page of @rec's extent at @slot? Always, except in replay. */
static bool is_reserved(const struct store *s, uint32_t id, const struct op_rec *rec, uint32_t slot)
{
	const struct page *p = &s->pages.v[id];

	return p->state == PAGE_RESERVED && p->slot == slot && p->extent == rec->extent &&
	       pages_volume(&s->pages, p) == rec->volume;
}

bool pending_holds(const struct store *s, const struct store_op *op, uint32_t i)
{
	return is_reserved(s, op->pages[i], &op->rec, op_pages_of(&op->rec).first + i);
}

void pending_drop_pages(struct store *s, struct store_op *op)
{
	const struct op_rec *rec = &op->rec;
	struct page_key key = {rec->volume, rec->extent, 0};
	struct slots sl;

	if (!op_takes_pages(rec, op_is_zero(op)))
		return;
	sl = slots_of(rec);
	for (key.slot = sl.first; key.slot <= sl.last; key.slot++) {
		struct page *p;

		if (is_whole(op, key.slot)) {
			uint32_t id = op->pages[key.slot - op_pages_of(rec).first];

			if (is_reserved(s, id, rec, key.slot))
				pages_unreserve(&s->pages, id); /* undone */
			continue;
		}
		p = pages_find(&s->pages, &key);
		CHECK(p != NULL);
		CHECK(p->refs > 0);
		p->refs--;
		page_drop(s, p);
	}
}

/* ---- append ---- */

struct store_op *chain_op(const struct chain *c, uint64_t seq)
{
	if (seq <= c->committed || seq > c->appended)
		return NULL;
	return c->pend[seq % PENDING_SLOTS];
}

bool pending_is_zero(const struct store_op *op)
{
	static const uint8_t zeros[BLOCK_BYTES];

	return op->rec.kind == OP_WRITE_SAME && memcmp(op->data->data, zeros, BLOCK_BYTES) == 0;
}

void pending_add(struct chain *c, struct store_op *op)
{
	CHECK(op->rec.seq == c->appended + 1);
	c->appended = op->rec.seq;
	c->pend[op->rec.seq % PENDING_SLOTS] = op;
	c->pend_n++;
	c->pend_crcs += op->rec.crcs_n;
	c->pend_blocks += op_log_blocks(op);
	c->pend_cost += op_cost(&op->rec, op_is_zero(op));
}

static void pending_remove(struct chain *c, const struct store_op *op)
{
	c->pend[op->rec.seq % PENDING_SLOTS] = NULL;
	c->pend_n--;
	c->pend_crcs -= op->rec.crcs_n;
	c->pend_blocks -= op_log_blocks(op);
	c->pend_cost -= op_cost(&op->rec, op_is_zero(op));
}

/* Whichever chain gets stuck, what is pending there can be copied to the head of the log (again.c):
 * replay needs entries for both. Where that is much, going on comes first, unless copying has
 * begun.
 */
static bool index_has_room(const struct store *s, uint32_t cost)
{
	uint32_t copies = 0;

	for (uint32_t i = 0; i < s->chains_n; i++)
		copies = MAX(copies, s->chains[i].pend_cost);
	copies = MIN(copies + cost, s->index.entries_n / 4);
	if (s->again.chain)
		copies = MAX(copies, s->again.chain->pend_cost);
	return s->cost + cost + copies <= s->index.entries_n;
}

void pending_undo(struct store *s, struct chain *c)
{
	struct store_op *op = chain_op(c, c->appended);

	CHECK(op != NULL);
	pending_drop_pages(s, op);
	log_ref_live(s, op_ring(op), -1);
	pending_remove(c, op);
	list_add_tail(op->released ? &s->released : &s->rec_free, &op->link);
	c->appended--;
	c->durable = MIN(c->durable, c->appended);
	c->next = c->appended + 1;
}

/* @flag says what was lacking; somebody will make it, and then the caller is told. */
static int refuse(struct store *s, bool *flag, int res)
{
	*flag = true;
	store_turn(s);
	return res;
}

int store_append(struct store *s, struct store_op *op)
{
	struct chain *c = chain_find(s, op->rec.chain);
	const char *why = NULL;
	bool zero;

	CHECK(c != NULL);
	CHECK(op_rec_check(&op->rec, &why) == 0);
	CHECK(op->rec.seq == c->appended + 1);
	CHECK(op->rec.data_bytes == 0 || op->data != NULL);
	if (s->failed || s->closing)
		return -EIO;
	zero = pending_is_zero(op);
	if (s->again.chain == c)
		return refuse(s, &s->refused_window, -EAGAIN);
	if (c->pend_n >= PENDING_OPS_MAX || c->pend_crcs + op->rec.crcs_n > PENDING_CRCS_MAX)
		return refuse(s, &s->refused_window, -EAGAIN);
	op->priv = zero ? OP_PRIV_ZERO : 0;
	op->pages_n = direct_wanted(s, &op->rec) ? (uint8_t)op_pages_of(&op->rec).n : 0;
	op->writes = 0;
	if (!log_has_room(s, log_op_blocks(op)))
		return refuse(s, &s->refused_log, -EAGAIN);
	if (destage_paces(s) || !index_has_room(s, op_cost(&op->rec, zero)))
		return refuse(s, &s->refused_log, -EAGAIN);
	if (!pending_take_pages(s, op))
		return refuse(s, &s->refused_pages, -ENOSPC);
	op->durable = op->committed = op->logged = op->headed = false;
	op->lsn = op->payload_offset = 0;
	if (op->rec.data_bytes)
		buf_ref(op->data);
	pending_add(c, op);
	s->cost += op_cost(&op->rec, zero);
	log_queue(s, op);
	direct_submit(s, op);
	store_activity(s);
	return 0;
}

/* ---- commit ---- */

static struct index_fifo *fifo_of(struct store *s, const struct index_entry *e)
{
	struct chain *c = &s->chains[e->chain_slot];

	return e->flags & INDEX_PAGE ? &c->fresh : &c->fifo;
}

void index_drop(struct store *s, struct page *p, uint32_t at)
{
	const struct index_entry *e = &s->index.v[at];

	log_ref_live(s, e->ring, -1);
	s->fresh_n -= (e->flags & INDEX_PAGE) != 0;
	index_del(&s->index, fifo_of(s, e), at);
	CHECK(p->refs > 0);
	p->refs--;
}

/* Entries of blocks [@from, @to) of the extent, all on @p. */
static void drop_entries(struct store *s, struct page *p, struct index_key key, uint32_t to)
{
	for (; p->refs && key.block < to; key.block++) {
		uint32_t at = index_find(&s->index, &key);

		if (at != INDEX_NONE)
			index_drop(s, p, at);
	}
}

static void commit_unmap(struct store *s, const struct op_rec *rec)
{
	struct slots sl = slots_of(rec);
	struct page_key pk = {rec->volume, rec->extent, 0};
	uint32_t end = rec->block + rec->blocks;

	for (pk.slot = sl.first; pk.slot <= sl.last; pk.slot++) {
		struct page *p = pages_find(&s->pages, &pk);
		uint32_t from = MAX(rec->block, pk.slot * PAGE_BLOCKS);
		uint32_t to = MIN(end, (pk.slot + 1) * PAGE_BLOCKS);
		uint32_t gone = ((1u << (to - from)) - 1) << from % PAGE_BLOCKS;

		if (!p)
			continue;
		drop_entries(s, p, (struct index_key){rec->volume, rec->extent, from}, to);
		if (p->present & gone)
			recs_dirty(s, pages_id(&s->pages, p));
		p->present = (p->present & ~gone) & 0xffffu;
		page_drop(s, p);
	}
}

/* Where block @i of an op came to lie, for the index. */
struct place {
	uint32_t log_block, ring, crc;
	uint16_t flags;
};

static void put_entry(struct store *s, struct chain *c, const struct op_rec *rec, uint32_t i,
		      const struct place *at)
{
	struct index_fifo *to = at->flags & INDEX_PAGE ? &c->fresh : &c->fifo;
	struct index_key key = {rec->volume, rec->extent, rec->block + i};
	uint32_t found = index_find(&s->index, &key);
	struct index_entry *e;

	if (found != INDEX_NONE) {
		e = &s->index.v[found];
		log_ref_live(s, e->ring, -1);
		s->fresh_n -= (e->flags & INDEX_PAGE) != 0;
		index_touch(&s->index, fifo_of(s, e), to, found);
	} else {
		const struct page_key pk = {rec->volume, rec->extent, key.block / PAGE_BLOCKS};
		struct page *p = pages_find(&s->pages, &pk);

		CHECK(p != NULL); /* the pending op holds it, or has just put it there */
		p->refs++;
		e = index_add(&s->index, to, &key);
	}
	e->seq = rec->seq;
	e->log_block = at->log_block;
	e->ring = at->ring;
	e->crc = at->crc;
	e->flags = at->flags;
	e->chain_slot = c->slot;
	s->fresh_n += (at->flags & INDEX_PAGE) != 0;
	log_ref_live(s, at->ring, 1);
}

/* Page @id, whole and written, takes the place of what was at @slot. In replay it may be another's:
 * the checkpoint is newer than this op, and what took the page away follows in the log. Or it was
 * its own until an older op, replayed just now, put its own page there. */
static void commit_page(struct store *s, struct chain *c, const struct store_op *op, uint32_t slot,
			uint32_t id)
{
	const struct op_rec *rec = &op->rec;
	const struct page_key pk = {rec->volume, rec->extent, slot};
	struct page *old = pages_find(&s->pages, &pk);
	uint32_t first = slot * PAGE_BLOCKS, gone = PAGE_NONE;

	if (old)
		drop_entries(s, old, (struct index_key){rec->volume, rec->extent, first},
			     first + PAGE_BLOCKS);
	if (s->recovery && !is_reserved(s, id, rec, slot))
		pages_reserve_at(&s->pages, id, &pk, c->slot);
	if (is_reserved(s, id, rec, slot)) {
		pages_switch(&s->pages, id, &gone);
		if (gone != PAGE_NONE)
			recs_unuse(s, gone);
	} else {
		CHECK(s->recovery != NULL);
		if (old != &s->pages.v[id]) {
			if (old)
				page_drop(s, old);
			return;
		}
	}
	for (uint32_t b = first; b < first + PAGE_BLOCKS; b++) {
		uint32_t i = b - rec->block;
		const struct place at = {.log_block = id,
					 .ring = op_ring(op),
					 .crc = op->crcs[i],
					 .flags = INDEX_PAGE};

		put_entry(s, c, rec, i, &at);
	}
}

static void commit_write(struct store *s, struct chain *c, const struct store_op *op)
{
	const struct op_rec *rec = &op->rec;
	bool same = rec->kind == OP_WRITE_SAME;
	uint32_t log_block = (uint32_t)((op->payload_offset - s->log.offset_bytes) / BLOCK_BYTES);
	struct op_pages whole = op_pages_of(rec);

	for (uint32_t i = 0; i < rec->blocks; i++) {
		uint32_t slot = (rec->block + i) / PAGE_BLOCKS;
		struct place at = {.ring = op_ring(op), .crc = op->crcs[same ? 0 : i]};

		if (is_whole(op, slot)) {
			commit_page(s, c, op, slot, op->pages[slot - whole.first]);
			i += PAGE_BLOCKS - 1;
			continue;
		}
		at.log_block = log_block + (same ? 0 : op_log_block(op, i));
		at.flags = same ? INDEX_SAME : 0;
		put_entry(s, c, rec, i, &at);
	}
}

void commit_one(struct store *s, struct chain *c, struct store_op *op)
{
	CHECK(op->durable);
	if (op_takes_pages(&op->rec, op_is_zero(op)))
		commit_write(s, c, op);
	else if (op_changes_blocks(&op->rec))
		commit_unmap(s, &op->rec);
	/* Replay goes over ops whose effect the checkpoint's table already holds. */
	if (op->rec.seq > c->ckpt_known)
		reqtab_apply(&c->reqs, &op->rec);
	pending_drop_pages(s, op);
	log_ref_live(s, op_ring(op), -1);
	pending_remove(c, op);
	c->committed = op->rec.seq;
	s->commits++;
	op->committed = true;
	list_add_tail(op->released ? &s->released : &s->rec_free, &op->link);
}

void store_commit(struct store *s, uint32_t chain, uint64_t seq)
{
	struct chain *c = chain_find(s, chain);

	CHECK(c != NULL);
	if (s->failed || seq <= c->committed)
		return;
	CHECK(seq <= c->durable);
	while (c->committed < seq)
		commit_one(s, c, chain_op(c, c->committed + 1));
	log_settle(s);
	log_watermark_moved(s);
	/* Room in the chain's window, and perhaps work for destaging. */
	if (s->refused_window || s->refused_log)
		store_space_back(s);
	store_activity(s);
	store_turn(s);
}

/* ---- request tables ---- */

void store_req_lookup(const struct store *s, uint32_t chain, const struct id128 *client,
		      uint64_t req_no, uint64_t low, uint32_t session, unsigned kind,
		      struct store_req_answer *ret)
{
	const struct chain *c = chain_find(s, chain);
	struct req_view v;

	CHECK(c != NULL);
	req_view_init(&v, &c->reqs, client, req_no);
	/* After recovery the table is ahead of what is committed again. */
	for (uint64_t seq = MAX(c->committed, c->ckpt_known) + 1; seq <= c->appended; seq++) {
		if (s->failed)
			break; /* what failed is its caller's again; nothing is numbered any more */
		req_view_overlay(&v, &c->pend[seq % PENDING_SLOTS]->rec);
	}
	req_view_answer(&v, low, session, kind, ret);
}
