/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "lib/buf.h"
#include "store/internal.h"

/* Group commit: ops wait in a queue until the end of the loop's turn; then they go out in batches
 * of one write each, at most LOG_INFLIGHT_MAX at once. While those fly the queue grows, and so
 * batches grow with load by themselves. */

void log_init(struct store *s, struct arena *a, uint32_t ring_n)
{
	struct log *l = &s->log;

	l->ring_n = ring_n;
	l->ring = arena_alloc(a, (size_t)ring_n * sizeof(l->ring[0]), ARENA_ALIGN);
	list_init(&l->queue);
	list_init(&l->epochs);
	list_init(&l->headed);
	list_init(&l->told);
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
	return op_log_blocks(op) + 1;
}

bool log_room(const struct store *s, uint32_t blocks, uint32_t keep)
{
	const struct log *l = &s->log;

	return l->blocks - l->used >= l->queue_blocks + blocks + keep &&
	       l->ring_n - l->count > l->queue_n + 16;
}

bool log_has_room(const struct store *s, uint32_t blocks)
{
	uint32_t copies = 0;

	/* Whichever chain gets stuck, its pending ops can be copied to the head. In a log of less
	 * than eight windows that is not always so: going on comes first. But copying that has
	 * begun counted on what was there. */
	for (uint32_t i = 0; i < s->chains_n; i++)
		copies = MAX(copies, again_blocks(&s->chains[i]));
	copies = MIN(copies + blocks, s->log.blocks / 8);
	if (s->again.chain)
		copies = MAX(copies, again_blocks(s->again.chain));
	return log_room(s, blocks, LOG_FILLER_BLOCKS + LOG_CONTROL_BLOCKS + copies);
}

bool log_has_room_again(const struct store *s, uint32_t blocks)
{
	return log_room(s, blocks, LOG_FILLER_BLOCKS + LOG_HEADER_BLOCKS);
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
		l->dead_cost += ref->cost;
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
		l->dead_cost -= ref->cost;
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

/* ---- durable ---- */

/* One watermark of a chain at a time: if each batch replaced the last, none would ever be durable
 * under load. */
bool log_watermark_due(const struct chain *c)
{
	return c->known_lsn == 0 && c->committed > c->known_durable;
}

/* L5 */
uint64_t log_stable(const struct log *l)
{
#ifdef CRASH_PLANT_STABLE_BEFORE_PAGES
	return l->durable;
#endif
	LIST_FOR_EACH(it, &l->headed)
	{
		const struct store_op *op = CONTAINER_OF(it, struct store_op, link);

		if (op->writes)
			return MIN(l->durable, op->lsn - 1);
	}
	return l->durable;
}

static void batch_mark(struct store *s, struct batch *b)
{
	struct log *l = &s->log;
	struct list *it;

	l->durable = b->lsn;
	l->stable = b->stable;
	for (uint32_t i = 0; i < s->chains_n; i++) {
		struct chain *c = &s->chains[i];

		if (c->known_lsn == 0 || c->known_lsn > b->lsn)
			continue;
		c->known_durable = MAX(c->known_durable, c->known_logged);
		c->known_lsn = 0;
	}
	while ((it = list_pop(&b->ops))) {
		struct store_op *op = CONTAINER_OF(it, struct store_op, link);

		if (op->priv & OP_PRIV_AGAIN) {
			list_add_tail(&l->told, it);
			continue;
		}
		op->headed = true;
		list_add_tail(&l->headed, it);
		log_advance(s, chain_find(s, op->rec.chain));
	}
}

void log_advance(struct store *s, struct chain *c)
{
	while (c->durable < c->appended) {
		struct store_op *op = c->pend[(c->durable + 1) % PENDING_SLOTS];

		if (!op->headed)
			return;
#ifndef CRASH_PLANT_ACK_BEFORE_PAGES
		if (op->writes)
			return;
#endif
		c->durable++;
		CHECK(op->rec.seq == c->durable);
		op->durable = op->logged = true;
		list_del(&op->link);
		list_add_tail(&s->log.told, &op->link);
		/* From here on the disk has it (W7). */
		if (op->rec.data_bytes)
			buf_put(op->data);
	}
}

void log_tell(struct store *s)
{
	struct list ops, *it;

	list_init(&ops);
	while ((it = list_pop(&s->log.told)))
		list_add_tail(&ops, it);
	while ((it = list_pop(&ops))) {
		struct store_op *op = CONTAINER_OF(it, struct store_op, link);

		op->done(op, 0);
	}
}

static void batch_tell(struct batch *b)
{
	struct list epochs, *it;

	list_init(&epochs);
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
	log_tell(b->s);
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

	for (unsigned i = 0; i < LOG_INFLIGHT_MAX; i++) {
#ifdef CRASH_PLANT_ACK_ANY_ORDER
		if (l->batch[i].busy && l->batch[i].complete)
			return &l->batch[i];
#endif
		if (l->batch[i].busy && (!old || l->batch[i].lsn < old->lsn))
			old = &l->batch[i];
	}
	return old;
}

static bool something_to_prove(const struct store *s)
{
	if (s->log.stable < MIN(s->log.last_work, log_stable(&s->log)))
		return true;
	for (uint32_t i = 0; i < s->chains_n; i++)
		if (log_watermark_due(&s->chains[i]))
			return true;
	return false;
}

static void idle_fired(struct env_timer *t)
{
	struct log *l = CONTAINER_OF(t, struct log, idle);
	struct store *s = CONTAINER_OF(l, struct store, log);

	if (s->failed || !something_to_prove(s))
		return;
	/* Under load the next batch carries it. */
	if (s->env->now_ns(s->env) < l->built_ns + LOG_IDLE_NS) {
		s->env->timer_arm(s->env, t, l->built_ns + LOG_IDLE_NS);
		return;
	}
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

void log_prove_later(struct store *s)
{
	if (something_to_prove(s))
		log_watermark_moved(s);
}

void log_batch_done(struct disk_io *io, int res)
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
		if (s->recovery && l->inflight == 0)
			recovery_started(s);
		return;
	}
	while ((b = oldest(l)) && b->complete) {
		batch_mark(s, b);
		l->inflight--;
		batch_tell(b);
	}
	log_settle(s);
	log_prove_later(s);
	store_turn(s);
	if (s->recovery && l->inflight == 0)
		recovery_started(s);
}
