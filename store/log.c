/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "lib/buf.h"
#include "store/internal.h"

/* Group commit: ops wait in a queue until the end of the loop's turn; then they go out in batches
 * of one write each, at most LOG_INFLIGHT_MAX at once. While those fly the queue grows, and so
 * batches grow with load by themselves. */

static uint32_t div_up(uint32_t n, uint32_t by)
{
	return (n + by - 1) / by;
}

void log_init(struct store *s, struct arena *a, uint32_t ring_n)
{
	struct log *l = &s->log;

	l->ring_n = ring_n;
	l->ring = arena_alloc(a, (size_t)ring_n * sizeof(l->ring[0]), ARENA_ALIGN);
	list_init(&l->queue);
	list_init(&l->epochs);
	for (unsigned i = 0; i < LOG_INFLIGHT_MAX; i++) {
		l->batch[i].s = s;
		l->batch[i].buf = arena_alloc(a, LOG_BATCH_BLOCKS_MAX * BLOCK_BYTES, BLOCK_BYTES);
		list_init(&l->batch[i].ops);
		list_init(&l->batch[i].epochs);
	}
}

uint64_t log_block_offset(const struct store *s, uint32_t block)
{
	return s->log.offset_bytes + (uint64_t)block * BLOCK_BYTES;
}

/* At most: with BATCH_COMMITS_MAX and BATCH_EPOCHS_MAX one header block holds one op of any size,
 * and each further op adds less than a block. */
uint32_t log_op_blocks(const struct store_op *op)
{
	return op->rec.data_bytes / BLOCK_BYTES + 1;
}

static bool room_for(const struct store *s, uint32_t blocks, uint32_t keep)
{
	const struct log *l = &s->log;

	return l->blocks - l->used >= l->queue_blocks + blocks + keep &&
	       l->ring_n - l->count > l->queue_n + 16;
}

bool log_has_room(const struct store *s, uint32_t blocks)
{
	uint32_t copies = 0;

	/* Whichever chain gets stuck, its pending ops can be copied to the head. In a log of less
	 * than eight windows that is not always so: going on comes first. */
	for (uint32_t i = 0; i < s->chains_n; i++)
		copies = MAX(copies, again_blocks(&s->chains[i]));
	copies = MIN(copies + blocks, s->log.blocks / 8);
	return room_for(s, blocks, LOG_FILLER_BLOCKS + LOG_CONTROL_BLOCKS + copies);
}

bool log_has_room_again(const struct store *s, uint32_t blocks)
{
	return room_for(s, blocks, LOG_FILLER_BLOCKS + LOG_HEADER_BLOCKS);
}

void log_queue(struct store *s, struct store_op *op)
{
	list_add_tail(&s->log.queue, &op->link);
	s->log.queue_blocks += log_op_blocks(op);
	s->log.queue_n++;
	store_turn(s);
}

/* ---- the ring of batches ---- */

struct log_ref *log_push(struct store *s, const struct log_ref *ref)
{
	struct log *l = &s->log;
	struct log_ref *at = &l->ring[(l->first + l->count) % l->ring_n];

	CHECK(l->count < l->ring_n);
	CHECK(l->blocks - l->used >= ref->blocks);
	*at = *ref;
	l->count++;
	l->used += ref->blocks;
	l->live_blocks += ref->blocks;
	l->head = ref->block + ref->blocks;
	if (l->head == l->blocks)
		l->head = 0;
	l->lsn = ref->lsn;
	l->start = ref->start;
	l->crc = ref->crc;
	return at;
}

void log_ref_live(struct store *s, uint32_t ring, int by)
{
	struct log_ref *ref = &s->log.ring[ring];

	CHECK(by > 0 || ref->live > 0);
	ref->live += (uint32_t)by;
}

void log_settle(struct store *s)
{
	struct log *l = &s->log;

	while (l->live_at < l->count) {
		const struct log_ref *ref = &l->ring[(l->first + l->live_at) % l->ring_n];

		if (ref->live || ref->lsn > l->durable)
			return;
		l->live_at++;
		l->live_blocks -= ref->blocks;
	}
}

uint32_t log_trim(struct store *s, uint64_t lsn)
{
	struct log *l = &s->log;
	uint32_t n = 0;

	while (l->count) {
		struct log_ref *ref = &l->ring[l->first];

		if (ref->lsn >= lsn || ref->pins)
			break;
		CHECK(ref->live == 0);
		CHECK(l->live_at > 0);
		l->before = *ref;
		l->used -= ref->blocks;
		s->cost -= ref->cost;
		l->first = (l->first + 1) % l->ring_n;
		l->count--;
		l->live_at--;
		n++;
	}
	return n;
}

void log_cut(struct store *s, uint32_t keep)
{
	struct log *l = &s->log;

	while (l->count > keep) {
		uint32_t last = (l->first + l->count - 1) % l->ring_n;
		const struct log_ref *ref = &l->ring[last];
		const struct log_ref *prev =
			l->count > 1 ? &l->ring[(last + l->ring_n - 1) % l->ring_n] : &l->before;

		CHECK(l->live_at == 0);
		l->head = ref->block;
		l->used -= ref->blocks;
		l->live_blocks -= ref->blocks;
		l->lsn = prev->lsn;
		l->start = prev->start;
		l->crc = prev->crc;
		l->count--;
	}
}

/* ---- building a batch ---- */

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
	       div_up(op->rec.crcs_n, 2) * 8;
}

/* One watermark of a chain at a time: if each batch replaced the last, none would ever be durable
 * under load. */
static bool watermark_due(const struct chain *c)
{
	return c->known_lsn == 0 && c->committed > c->known_durable;
}

static void put_commits(struct store *s, struct writer *w, uint64_t lsn)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->chains_n && n < BATCH_COMMITS_MAX; i++) {
		struct chain *c = &s->chains[i];
		struct disk_log_commit *rec;

		if (!watermark_due(c))
			continue;
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

static void put_op(struct store *s, struct batch *b, struct writer *w, struct store_op *op,
		   uint32_t payload_block)
{
	struct chain *c = chain_find(s, op->rec.chain);
	uint32_t crcs_bytes = div_up(op->rec.crcs_n, 2) * 8;
	struct op_rec *rec = put_rec(w, LOG_OP, (uint32_t)sizeof(*rec) + crcs_bytes);
	struct disk_log_rec *head = (struct disk_log_rec *)(void *)rec - 1;

	*rec = op->rec;
	rec->known = MAX(rec->known, c->committed);
	memset(rec + 1, 0, crcs_bytes);
	if (op->rec.crcs_n)
		memcpy(rec + 1, op->crcs, op->rec.crcs_n * sizeof(uint32_t));
	head->payload_block = payload_block;
	head->flags = (uint16_t)((op->priv & OP_PRIV_ZERO ? LOG_F_ZERO : 0) |
				 (op->priv & OP_PRIV_AGAIN ? LOG_F_AGAIN : 0));
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
	uint32_t commits = 0, epochs = 0;

	for (uint32_t i = 0; i < s->chains_n && commits < BATCH_COMMITS_MAX; i++)
		commits += watermark_due(&s->chains[i]);
	LIST_FOR_EACH(it, &s->log.epochs)
	epochs++;
	return commits * 32 + MIN(epochs, BATCH_EPOCHS_MAX) * 40;
}

static struct plan plan_batch(const struct store *s)
{
	const struct log *l = &s->log;
	uint32_t room = l->blocks - l->head;
	uint32_t hdr = (uint32_t)sizeof(struct disk_log_hdr) + control_bytes(s);
	struct plan p = {.hdr_blocks = 1};

	LIST_FOR_EACH(it, &l->queue)
	{
		const struct store_op *op = CONTAINER_OF(it, struct store_op, link);
		uint32_t data = p.data_blocks + op->rec.data_bytes / BLOCK_BYTES;
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
	b->stable = l->durable;
	b->ring = (l->first + l->count) % l->ring_n;
	*h = (struct disk_log_hdr){.magic = LOG_MAGIC,
				   .prev_crc = l->crc,
				   .disk = s->super.disk,
				   .lsn = b->lsn,
				   .offset_bytes = log_block_offset(s, l->head),
				   .stable = l->durable,
				   .start = s->super.start,
				   .hdr_blocks = 1};
	return h;
}

static void batch_done(struct disk_io *io, int res);

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
				 .done = batch_done};
#ifdef PLANT_NO_DSYNC
	b->io.dsync = false;
#endif
	log_push(s, &ref);
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

static void build_batch(struct store *s, struct batch *b, const struct plan *p)
{
	struct log *l = &s->log;
	struct disk_log_hdr *h = batch_begin(s, b);
	struct writer w = {.hdr = h, .at_bytes = sizeof(*h)};
	uint8_t *payload = b->buf + (size_t)p->hdr_blocks * BLOCK_BYTES;
	uint32_t block = 0, live = 0, cost = 0;

	put_commits(s, &w, b->lsn);
	put_epochs(s, b, &w);
	for (uint32_t i = 0; i < p->ops_n; i++) {
		struct store_op *op = CONTAINER_OF(list_pop(&l->queue), struct store_op, link);

		l->queue_blocks -= log_op_blocks(op);
		l->queue_n--;
		put_op(s, b, &w, op, block);
		op->payload_offset =
			h->offset_bytes + (uint64_t)(p->hdr_blocks + block) * BLOCK_BYTES;
		/* The only copy of a payload on its way to the disk: one write per batch is worth
		 * more than the copy costs. */
		if (op->rec.data_bytes)
			memcpy(payload + (size_t)block * BLOCK_BYTES, op->data->data,
			       op->rec.data_bytes);
		block += op->rec.data_bytes / BLOCK_BYTES;
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
		/* Ops took their room when they were accepted; a bare header has to ask. */
		if (list_empty(&l->queue) && !room_for(s, 1, s->recovery ? 0 : LOG_HEADER_BLOCKS))
			return;
		p = plan_batch(s);
		if (p.ops_n == 0 && !list_empty(&l->queue)) {
			build_filler(s, b);
			continue;
		}
		l->want_header = false;
		build_batch(s, b, &p);
	}
}

/* ---- durable ---- */

static void batch_mark(struct store *s, struct batch *b)
{
	struct log *l = &s->log;

	l->durable = b->lsn;
	l->stable = b->stable;
	for (uint32_t i = 0; i < s->chains_n; i++) {
		struct chain *c = &s->chains[i];

		if (c->known_lsn == 0 || c->known_lsn > b->lsn)
			continue;
		c->known_durable = MAX(c->known_durable, c->known_logged);
		c->known_lsn = 0;
	}
	LIST_FOR_EACH(it, &b->ops)
	{
		struct store_op *op = CONTAINER_OF(it, struct store_op, link);
		struct chain *c = chain_find(s, op->rec.chain);

		if (op->priv & OP_PRIV_AGAIN)
			continue;
		CHECK(op->rec.seq == c->durable + 1);
		c->durable = op->rec.seq;
		op->durable = op->logged = true;
		/* From here on the log has it (W7). */
		if (op->rec.data_bytes)
			buf_put(op->data);
	}
}

static void batch_tell(struct batch *b)
{
	struct list ops, epochs, *it;

	list_init(&ops);
	list_init(&epochs);
	while ((it = list_pop(&b->ops)))
		list_add_tail(&ops, it);
	while ((it = list_pop(&b->epochs)))
		list_add_tail(&epochs, it);
	b->busy = false;
	while ((it = list_pop(&epochs))) {
		struct epoch_change *ch = CONTAINER_OF(it, struct epoch_change, link);

		ch->chain->epoch = ch->epoch;
		ch->chain->history = ch->history;
		ch->busy = false;
		if (ch->done)
			ch->done(ch->arg, 0);
	}
	while ((it = list_pop(&ops))) {
		struct store_op *op = CONTAINER_OF(it, struct store_op, link);

		op->done(op, 0);
	}
}

static void batch_fail(struct store *s, struct batch *b)
{
	struct list *it;

	while ((it = list_pop(&b->ops)))
		list_add_tail(&s->failed_ops, it);
	while ((it = list_pop(&b->epochs)))
		list_add_tail(&s->failed_epochs, it);
	b->busy = false;
	s->log.inflight--;
}

/* Batches that ended well but behind one that did not were not acknowledged either. */
static void fail_ended(struct store *s)
{
	for (unsigned i = 0; i < LOG_INFLIGHT_MAX; i++)
		if (s->log.batch[i].busy && s->log.batch[i].complete)
			batch_fail(s, &s->log.batch[i]);
	store_turn(s);
}

static struct batch *oldest(struct log *l)
{
	struct batch *old = NULL;

	for (unsigned i = 0; i < LOG_INFLIGHT_MAX; i++)
		if (l->batch[i].busy && (!old || l->batch[i].lsn < old->lsn))
			old = &l->batch[i];
	return old;
}

static bool something_to_prove(const struct store *s)
{
	if (s->log.stable < s->log.last_work)
		return true;
	for (uint32_t i = 0; i < s->chains_n; i++)
		if (watermark_due(&s->chains[i]))
			return true;
	return false;
}

static void idle_fired(struct env_timer *t)
{
	struct log *l = CONTAINER_OF(t, struct log, idle);
	struct store *s = CONTAINER_OF(l, struct store, log);

	if (s->failed || !something_to_prove(s))
		return;
	l->want_header = true;
	store_turn(s);
}

/* A watermark that only waits for company is written alone after a moment, and so is the proof that
 * the last batch was durable. */
void log_watermark_moved(struct store *s)
{
	if (s->log.idle.armed || s->failed || s->closing)
		return;
	s->log.idle.fn = idle_fired;
	s->env->timer_arm(s->env, &s->log.idle, s->env->now_ns(s->env) + LOG_IDLE_NS);
}

static void batch_done(struct disk_io *io, int res)
{
	struct batch *b = CONTAINER_OF(io, struct batch, io);
	struct store *s = b->s;
	struct log *l = &s->log;

	s->ios--;
	b->complete = true;
	if (res)
		store_fail(s, "device log: write failed", res);
	if (s->failed) {
		fail_ended(s);
		if (s->recovery)
			recovery_started(s);
		return;
	}
	while ((b = oldest(l)) && b->complete) {
		batch_mark(s, b);
		l->inflight--;
		batch_tell(b);
	}
	log_settle(s);
	if (something_to_prove(s))
		log_watermark_moved(s);
	store_turn(s);
	if (s->recovery)
		recovery_started(s);
}
