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

bool pending_take_pages(struct store *s, const struct op_rec *rec, bool zero)
{
	struct page_key key = {rec->volume, rec->extent, 0};
	struct slots sl;
	uint32_t missing = 0;

	if (!op_takes_pages(rec, zero))
		return true;
	sl = slots_of(rec);
	for (key.slot = sl.first; key.slot <= sl.last; key.slot++)
		missing += pages_find(&s->pages, &key) == NULL;
	if (missing > pages_room(&s->pages))
		return false;
	for (key.slot = sl.first; key.slot <= sl.last; key.slot++) {
		struct page *p = pages_find(&s->pages, &key);

		if (!p) {
			p = pages_take(&s->pages, &key);
			CHECK(p != NULL);
			p->chain = rec->chain;
		}
		p->refs++;
	}
	return true;
}

void pending_drop_pages(struct store *s, const struct op_rec *rec, bool zero)
{
	struct page_key key = {rec->volume, rec->extent, 0};
	struct slots sl;

	if (!op_takes_pages(rec, zero))
		return;
	sl = slots_of(rec);
	for (key.slot = sl.first; key.slot <= sl.last; key.slot++) {
		struct page *p = pages_find(&s->pages, &key);

		CHECK(p != NULL);
		CHECK(p->refs > 0);
		p->refs--;
		pages_drop(&s->pages, p);
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
	if (!log_has_room(s, log_op_blocks(op)))
		return refuse(s, &s->refused_log, -EAGAIN);
	if (s->cost + op_cost(&op->rec, zero) > s->index.entries_n)
		return refuse(s, &s->refused_log, -EAGAIN);
	if (!pending_take_pages(s, &op->rec, zero))
		return refuse(s, &s->refused_pages, -ENOSPC);
	op->durable = op->committed = op->logged = false;
	op->priv = zero ? OP_PRIV_ZERO : 0;
	op->lsn = op->payload_offset = 0;
	if (op->rec.data_bytes)
		buf_ref(op->data);
	pending_add(c, op);
	s->cost += op_cost(&op->rec, zero);
	log_queue(s, op);
	store_activity(s);
	return 0;
}

/* ---- commit ---- */

void index_drop(struct store *s, struct page *p, uint32_t at)
{
	const struct index_entry *e = &s->index.v[at];

	log_ref_live(s, e->ring, -1);
	index_del(&s->index, &s->chains[e->chain_slot].fifo, at);
	CHECK(p->refs > 0);
	p->refs--;
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

		if (!p)
			continue;
		for (uint32_t b = from; b < to; b++) {
			struct index_key key = {rec->volume, rec->extent, b};
			uint32_t at = p->refs ? index_find(&s->index, &key) : INDEX_NONE;

			if (at != INDEX_NONE)
				index_drop(s, p, at);
			p->present = (uint16_t)(p->present & ~(1u << b % PAGE_BLOCKS));
			p->crcs[b % PAGE_BLOCKS] = 0;
		}
		pages_drop(&s->pages, p);
	}
}

static void commit_write(struct store *s, struct chain *c, const struct op_rec *rec,
			 const uint32_t *crcs, const struct commit_place *at)
{
	bool same = rec->kind == OP_WRITE_SAME;

	for (uint32_t i = 0; i < rec->blocks; i++) {
		struct index_key key = {rec->volume, rec->extent, rec->block + i};
		uint32_t found = index_find(&s->index, &key);
		struct index_entry *e;

		if (found != INDEX_NONE) {
			e = &s->index.v[found];
			log_ref_live(s, e->ring, -1);
			index_touch(&s->index, &s->chains[e->chain_slot].fifo, &c->fifo, found);
		} else {
			const struct page_key pk = {rec->volume, rec->extent,
						    key.block / PAGE_BLOCKS};
			struct page *p = pages_find(&s->pages, &pk);

			CHECK(p != NULL); /* the pending op holds it */
			p->refs++;
			e = index_add(&s->index, &c->fifo, &key);
		}
		e->seq = rec->seq;
		e->log_block = at->log_block + (same ? 0 : i);
		e->ring = at->ring;
		e->crc = crcs[same ? 0 : i];
		e->flags = same ? INDEX_SAME : 0;
		e->chain_slot = c->slot;
		log_ref_live(s, at->ring, 1);
	}
}

void commit_apply(struct store *s, struct chain *c, const struct op_rec *rec, const uint32_t *crcs,
		  const struct commit_place *at)
{
	if (op_takes_pages(rec, at->zero))
		commit_write(s, c, rec, crcs, at);
	else if (op_changes_blocks(rec))
		commit_unmap(s, rec);
}

void commit_one(struct store *s, struct chain *c, struct store_op *op)
{
	bool zero = op->priv & OP_PRIV_ZERO;
	struct commit_place at = {.ring = op_ring(op), .zero = zero};

	CHECK(op->durable);
	at.log_block = (uint32_t)((op->payload_offset - s->log.offset_bytes) / BLOCK_BYTES);
	commit_apply(s, c, &op->rec, op->crcs, &at);
	/* Replay goes over ops whose effect the checkpoint's table already holds. */
	if (op->rec.seq > c->ckpt_known)
		reqtab_apply(&c->reqs, &op->rec);
	pending_drop_pages(s, &op->rec, zero);
	log_ref_live(s, at.ring, -1);
	c->pend[op->rec.seq % PENDING_SLOTS] = NULL;
	c->pend_n--;
	c->pend_crcs -= op->rec.crcs_n;
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
