/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <string.h>

#include "store/internal.h"

/* What goes into a batch and how it is put together (format.h, disk_log_hdr). When it is durable is
 * log.c's. */

static uint32_t div_up(uint32_t n, uint32_t by)
{
	return (n + by - 1) / by;
}

struct writer { /* fills a batch's header with records */
	struct disk_log_hdr *hdr;
	uint32_t at_bytes;
};

static void *put_rec(struct writer *w, enum log_rec_kind kind, uint32_t body_bytes)
{
	struct disk_log_rec *rec = (void *)((uint8_t *)w->hdr + w->at_bytes);

	*rec = (struct disk_log_rec){.kind = (uint16_t)kind,
				     .bytes = (uint32_t)sizeof(*rec) + body_bytes};
	w->at_bytes += rec->bytes;
	w->hdr->recs_n++;
	return rec + 1;
}

static uint32_t op_rec_bytes(const struct store_op *op)
{
	return (uint32_t)(sizeof(struct disk_log_rec) + sizeof(struct op_rec)) +
	       div_up(op->rec.crcs_n, 2) * 8 + div_up(op->pages_n, 2) * 8;
}

static void put_commits(struct store *s, struct writer *w, uint64_t lsn)
{
	uint32_t n = 0, from = s->log.commits_from;

	/* Where the last batch stopped: with many chains each has its turn. */
	for (uint32_t i = 0; i < s->chains_n && n < BATCH_COMMITS_MAX; i++) {
		struct chain *c = &s->chains[(from + i) % s->chains_n];
		struct disk_log_commit *rec;

		if (!log_watermark_due(c))
			continue;
		s->log.commits_from = c->slot + 1;
		rec = put_rec(w, LOG_COMMIT, sizeof(*rec));
		*rec = (struct disk_log_commit){.chain = c->id, .seq = c->committed};
		c->known_logged = c->committed;
		c->known_lsn = lsn;
		n++;
	}
}

static void put_epochs(struct store *s, struct batch *b, struct writer *w)
{
	for (uint32_t n = 0; n < BATCH_EPOCHS_MAX; n++) {
		struct list *it = list_pop(&s->log.epochs);
		struct epoch_change *ch;
		struct disk_log_epoch *rec;

		if (!it)
			return;
		ch = CONTAINER_OF(it, struct epoch_change, link);
		rec = put_rec(w, LOG_EPOCH, sizeof(*rec));
		*rec = (struct disk_log_epoch){
			.chain = ch->chain->id, .epoch = ch->epoch, .history = ch->history};
		list_add_tail(&b->epochs, &ch->link);
	}
}

/* What recovery undid (C7), or a new configuration (undo.c). */
static void put_truncates(struct store *s, struct writer *w)
{
	for (uint32_t i = 0; i < s->chains_n; i++) {
		struct chain *c = &s->chains[i];
		struct disk_log_truncate *rec;

		if (c->undo_to == UINT64_MAX)
			continue;
#ifdef CRASH_PLANT_NO_TRUNCATE
		c->undo_to = UINT64_MAX;
		continue;
#endif
		rec = put_rec(w, LOG_TRUNCATE, sizeof(*rec));
		*rec = (struct disk_log_truncate){.chain = c->id,
						  .to = c->undo_to,
						  .epoch = c->epoch,
						  .incarnation = s->super.incarnation};
		c->undo_to = UINT64_MAX;
	}
}

static void put_op(struct store *s, struct batch *b, struct writer *w, struct store_op *op,
		   uint32_t payload_block)
{
	struct chain *c = chain_find(s, op->rec.chain);
	uint32_t crcs_bytes = div_up(op->rec.crcs_n, 2) * 8;
	uint32_t pages_bytes = div_up(op->pages_n, 2) * 8;
	struct op_rec *rec = put_rec(w, LOG_OP, (uint32_t)sizeof(*rec) + crcs_bytes + pages_bytes);
	struct disk_log_rec *head = (struct disk_log_rec *)(void *)rec - 1;

	*rec = op->rec;
	rec->known = MAX(rec->known, c->committed);
	memset(rec + 1, 0, crcs_bytes + pages_bytes);
	if (op->pages_n)
		memcpy((uint8_t *)(rec + 1) + crcs_bytes, op->pages,
		       op->pages_n * sizeof(uint32_t));
	if (op->rec.crcs_n)
		memcpy(rec + 1, op->crcs, op->rec.crcs_n * sizeof(uint32_t));
	head->payload_block = payload_block;
	head->flags = (uint16_t)((op->priv & OP_PRIV_ZERO ? LOG_F_ZERO : 0) |
				 (op->priv & OP_PRIV_AGAIN ? LOG_F_AGAIN : 0) |
				 (op->pages_n ? LOG_F_PAGES : 0));
	op->lsn = b->lsn;
	op->priv = (op->priv & ~OP_PRIV_RING) | b->ring;
	list_add_tail(&b->ops, &op->link);
}

struct plan { /* which ops of the queue go into the next batch */
	uint32_t ops_n, data_blocks, hdr_blocks;
};

/* What watermarks and epochs will take at most. */
static uint32_t control_bytes(const struct store *s)
{
	uint32_t commits = 0, epochs = 0, truncates = 0;

	for (uint32_t i = 0; i < s->chains_n; i++)
		truncates += s->chains[i].undo_to != UINT64_MAX;
	for (uint32_t i = 0; i < s->chains_n && commits < BATCH_COMMITS_MAX; i++)
		commits += log_watermark_due(&s->chains[i]);
	LIST_FOR_EACH(it, &s->log.epochs)
	epochs++;
	return commits * 32 + MIN(epochs, BATCH_EPOCHS_MAX) * 40 + truncates * 56;
}

static struct plan plan_batch(const struct store *s)
{
	const struct log *l = &s->log;
	uint32_t room = l->blocks - l->head;
	uint32_t hdr = (uint32_t)sizeof(struct disk_log_hdr) + control_bytes(s);
	struct plan p = {.hdr_blocks = div_up(hdr, BLOCK_BYTES)};

	LIST_FOR_EACH(it, &l->queue)
	{
		const struct store_op *op = CONTAINER_OF(it, struct store_op, link);
		uint32_t data = p.data_blocks + op_log_blocks(op);
		uint32_t blocks;

		hdr += op_rec_bytes(op);
		blocks = div_up(hdr, BLOCK_BYTES);
		if (data > LOG_DATA_BLOCKS_MAX || blocks > LOG_HDR_BLOCKS_MAX ||
		    blocks + data > room)
			break;
		p.data_blocks = data;
		p.hdr_blocks = blocks;
		p.ops_n++;
	}
	return p;
}

static struct disk_log_hdr *batch_begin(struct store *s, struct batch *b)
{
	struct log *l = &s->log;
	struct disk_log_hdr *h = (void *)b->buf;

	b->busy = true;
	b->complete = false;
	b->lsn = l->start == s->super.start ? l->lsn + 1 : l->lsn + 1 + LOG_START_GAP;
	b->stable = log_stable(l);
	b->ring = (l->first + l->count) % l->ring_n;
	*h = (struct disk_log_hdr){.magic = LOG_MAGIC,
				   .prev_crc = l->crc,
				   .disk = s->super.disk,
				   .lsn = b->lsn,
				   .offset_bytes = log_block_offset(s, l->head),
				   .stable = b->stable,
				   .start = s->super.start,
				   .hdr_blocks = 1};
	return h;
}

static void batch_submit(struct store *s, struct batch *b, struct disk_log_hdr *h, uint32_t end)
{
	struct log *l = &s->log;
	uint32_t used = (uint32_t)sizeof(*h) + h->recs_bytes;
	struct log_ref ref = {.lsn = h->lsn, .start = h->start, .block = l->head};

	memset(b->buf + used, 0, (size_t)h->hdr_blocks * BLOCK_BYTES - used);
	log_hdr_seal(h, s->super.secret);
	ref.crc = h->crc;
	ref.blocks = h->skip_blocks ? h->skip_blocks : end;
	b->io = (struct disk_io){.op = DISK_WRITE,
				 .dsync = s->disk->volatile_cache,
				 .offset_bytes = h->offset_bytes,
				 .len_bytes = end * BLOCK_BYTES,
				 .data = b->buf,
				 .done = log_batch_done};
#ifdef PLANT_NO_DSYNC
	b->io.dsync = false;
#endif
	log_push(s, &ref);
	l->built_ns = s->env->now_ns(s->env);
	l->inflight++;
	s->stats.batches++;
	store_submit(s, &b->io);
}

static void build_filler(struct store *s, struct batch *b)
{
	struct disk_log_hdr *h = batch_begin(s, b);

	h->skip_blocks = s->log.blocks - s->log.head;
	batch_submit(s, b, h, 1);
}

/* The only copy of a payload on its way to the log: one write per batch is worth more than the copy
 * costs. Returns blocks copied. */
static uint32_t copy_payload(const struct store_op *op, uint8_t *to)
{
	uint32_t n = op_log_blocks(op), head, skip;

	if (n == 0)
		return 0;
	/* The copy of an op that is written again has nothing but those blocks. */
	if (op->pages_n == 0 || op->priv & OP_PRIV_AGAIN) {
		memcpy(to, op->data->data, (size_t)n * BLOCK_BYTES);
		return n;
	}
	head = op_pages_of(&op->rec).first * PAGE_BLOCKS - op->rec.block;
	skip = op->pages_n * PAGE_BLOCKS;
	memcpy(to, op->data->data, (size_t)head * BLOCK_BYTES);
	memcpy(to + (size_t)head * BLOCK_BYTES,
	       op->data->data + (size_t)(head + skip) * BLOCK_BYTES,
	       (size_t)(n - head) * BLOCK_BYTES);
	return n;
}

static void build_batch(struct store *s, struct batch *b, const struct plan *p)
{
	struct log *l = &s->log;
	struct disk_log_hdr *h = batch_begin(s, b);
	struct writer w = {.hdr = h, .at_bytes = sizeof(*h)};
	uint8_t *payload = b->buf + (size_t)p->hdr_blocks * BLOCK_BYTES;
	uint32_t block = 0, live = 0, cost = 0;

	put_truncates(s, &w);
	put_commits(s, &w, b->lsn);
	put_epochs(s, b, &w);
	for (uint32_t i = 0; i < p->ops_n; i++) {
		struct store_op *op = CONTAINER_OF(list_pop(&l->queue), struct store_op, link);

		l->queue_blocks -= log_op_blocks(op);
		l->queue_n--;
		put_op(s, b, &w, op, block);
		op->payload_offset =
			h->offset_bytes + (uint64_t)(p->hdr_blocks + block) * BLOCK_BYTES;
		block += copy_payload(op, payload + (size_t)block * BLOCK_BYTES);
		cost += op_cost(&op->rec, op->priv & OP_PRIV_ZERO);
		live++;
	}
	CHECK(block == p->data_blocks);
	CHECK(w.at_bytes <= p->hdr_blocks * BLOCK_BYTES);
	h->hdr_blocks = p->hdr_blocks;
	h->data_blocks = p->data_blocks;
	h->recs_bytes = w.at_bytes - (uint32_t)sizeof(*h);
	s->stats.ops += p->ops_n;
	if (live || !list_empty(&b->epochs))
		l->last_work = b->lsn;
	batch_submit(s, b, h, p->hdr_blocks + p->data_blocks);
	l->ring[b->ring].live = live;
	l->ring[b->ring].cost = cost;
}

static struct batch *free_batch(struct log *l)
{
	for (unsigned i = 0; i < LOG_INFLIGHT_MAX; i++)
		if (!l->batch[i].busy)
			return &l->batch[i];
	return NULL;
}

void log_pump(struct store *s)
{
	struct log *l = &s->log;

	while (!s->failed && l->inflight < LOG_INFLIGHT_MAX) {
		bool header = l->want_header || !list_empty(&l->epochs);
		struct batch *b = free_batch(l);
		struct plan p;

		CHECK(b != NULL);
		if (list_empty(&l->queue) && !header)
			return;
		p = plan_batch(s);
		/* Ops took their room when they were accepted; a bare header has to ask. */
		if (list_empty(&l->queue) &&
		    !log_room(s, p.hdr_blocks, s->recovery ? 0 : LOG_HEADER_BLOCKS))
			return;
		if (p.hdr_blocks > l->blocks - l->head ||
		    (p.ops_n == 0 && !list_empty(&l->queue))) {
			build_filler(s, b);
			continue;
		}
		l->want_header = false;
		build_batch(s, b, &p);
	}
}
