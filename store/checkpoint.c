/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "store/internal.h"

/* A checkpoint is written while everything goes on. It names the place X in the log where replay
 * starts: the first live batch when the checkpoint began. What lies before X is committed and in
 * pages. What lies after is replayed over what is written here, which may be newer than X: replay
 * ends at the same state, because it goes over every op after X in order, and the index hides the
 * pages.
 *
 *	record blocks that changed      (plain writes to their spare homes, recs.c)
 *	where each record block lies and which of its pages count, then per chain watermark and
 *	request table                   (plain writes to the spare slot)
 *	flush: those, and every page write they speak of
 *	superblock: slot, X             (then the log is trimmed to X)
 *
 * Only what changed is written, but for 16 bytes per 42 pages in use. Chains come last: so the
 * watermark written covers every op whose effect is in a record, and what it names stays committed
 * whatever the torn end of the log loses. */

#define RUN_BLOCKS (IO_BUF_BYTES / BLOCK_BYTES)

static struct disk_ckpt_hdr *block_begin(struct store *s, uint32_t i, enum ckpt_kind kind)
{
	struct disk_ckpt_hdr *h = (void *)(s->ckpt.buf + (size_t)i * BLOCK_BYTES);

	memset(h, 0, BLOCK_BYTES);
	*h = (struct disk_ckpt_hdr){.magic = CKPT_MAGIC,
				    .kind = kind,
				    .generation = s->ckpt.generation,
				    .index = s->ckpt.blocks + i};
	return h;
}

/* One block of places of record blocks; false when none was left. */
static bool put_recs(struct store *s, uint32_t i)
{
	const struct recs *r = &s->recs;
	struct disk_ckpt_hdr *h = block_begin(s, i, CKPT_RECS);
	struct disk_ckpt_recs *to = (void *)(h + 1);

	for (; s->ckpt.cursor < r->blocks_n && h->n < CKPT_RECS_PER_BLOCK; s->ckpt.cursor++) {
		uint32_t block = s->ckpt.cursor;

		if ((r->used[block] & ~RECS_HOME_B) == 0)
			continue;
		*to++ = (struct disk_ckpt_recs){
			.index = block, .crc = r->crc[block], .used = r->used[block]};
		h->n++;
	}
	if (h->n == 0)
		return false;
	ckpt_seal(h, s->super.secret);
	return true;
}

/* A chain with its whole request table, in one go: both as of the same seq. Returns blocks used. */
static uint32_t put_chain(struct store *s, uint32_t i, struct chain *c)
{
	struct disk_ckpt_hdr *h = block_begin(s, i, CKPT_CHAIN);
	uint32_t n = 1;

	h->n = 1;
	c->ckpt_written = c->committed;
	*(struct disk_ckpt_chain *)(void *)(h + 1) =
		(struct disk_ckpt_chain){.chain = c->id,
					 .clients_n = c->reqs.clients_n,
					 .epoch = c->epoch,
					 .history = c->history,
					 .known = c->committed,
					 .base = c->base};
	ckpt_seal(h, s->super.secret);
	for (uint32_t k = 0; k < REQTAB_CLIENTS_MAX; k++) {
		if (id128_is_none(&c->reqs.clients[k].client))
			continue;
		h = block_begin(s, i + n++, CKPT_CLIENT);
		h->n = 1;
		*(struct req_client *)(void *)(h + 1) = c->reqs.clients[k];
		ckpt_seal(h, s->super.secret);
	}
	CHECK(n == 1 + c->reqs.clients_n);
	return n;
}

static void write_more(struct store *s);
static void step_done(struct disk_io *io, int res);

/* The last moment at which the checkpoint may still be abandoned. */
static void abandon(struct store *s)
{
	s->ckpt.state = CKPT_IDLE;
	store_turn(s);
}

static void flush(struct store *s)
{
	s->ckpt.state = CKPT_FLUSHING;
	s->ckpt.io = (struct disk_io){.op = DISK_FLUSH, .done = step_done};
#ifdef CRASH_PLANT_CKPT_NO_FLUSH
	s->ckpt.io = (struct disk_io){
		.op = DISK_READ, .len_bytes = BLOCK_BYTES, .data = s->ckpt.buf, .done = step_done};
#endif
	store_submit(s, &s->ckpt.io);
}

static void super_done(struct super_wait *w, int res)
{
	struct store *s = CONTAINER_OF(w, struct store, ckpt_wait);
	struct ckpt *k = &s->ckpt;
	uint32_t room;

	k->state = CKPT_IDLE;
	if (res)
		return;
	s->stats.checkpoints++;
	for (uint32_t i = 0; i < s->chains_n; i++)
		s->chains[i].known_durable =
			MAX(s->chains[i].known_durable, s->chains[i].ckpt_written);
	recs_committed(s);
	k->trim_lsn = k->prev.lsn + 1;
	room = pages_room(&s->pages);
	pages_ckpt_end(&s->pages);
	if (log_trim(s, k->trim_lsn) || pages_room(&s->pages) > room)
		store_space_back(s);
	store_turn(s);
}

static void name_it(struct store *s)
{
	struct ckpt *k = &s->ckpt;

	k->state = CKPT_SUPER;
	s->super.ckpt_slot = k->slot;
	s->super.ckpt_generation = k->generation;
	s->super.ckpt_blocks = k->blocks;
	s->super.replay_block = k->replay_block;
	s->super.prev_lsn = k->prev.lsn;
	s->super.prev_start = k->prev.start;
	s->super.prev_crc = k->prev.crc;
	s->ckpt_wait.done = super_done;
	super_write(s, &s->ckpt_wait);
}

static void step_done(struct disk_io *io, int res)
{
	struct ckpt *k = CONTAINER_OF(io, struct ckpt, io);
	struct store *s = CONTAINER_OF(k, struct store, ckpt);

	s->ios--;
	if (res)
		store_fail(s, "checkpoint: write failed", res);
	if (s->failed)
		abandon(s);
	else if (k->state == CKPT_WRITING)
		write_more(s);
	else
		name_it(s);
}

static void write_more(struct store *s)
{
	struct ckpt *k = &s->ckpt;
	uint32_t n = 0;

	while (k->cursor < s->recs.blocks_n && n < RUN_BLOCKS)
		n += put_recs(s, n);
	while (k->cursor == s->recs.blocks_n && k->chain < s->chains_n &&
	       n + 1 + REQTAB_CLIENTS_MAX <= RUN_BLOCKS)
		n += put_chain(s, n, &s->chains[k->chain++]);
	if (n == 0) {
		flush(s);
		return;
	}
	CHECK((k->blocks + n) * BLOCK_BYTES <= s->super.ckpt_bytes);
	k->io = (struct disk_io){.op = DISK_WRITE,
				 .offset_bytes = s->super.ckpt_offset_bytes +
						 k->slot * s->super.ckpt_bytes +
						 k->blocks * BLOCK_BYTES,
				 .len_bytes = n * BLOCK_BYTES,
				 .data = k->buf,
				 .done = step_done};
	k->blocks += n;
	store_submit(s, &k->io);
}

/* X, the batch before it, and per chain the seq up to which nothing needs replay (L3). */
static void fix_start(struct store *s)
{
	struct ckpt *k = &s->ckpt;
	const struct log *l = &s->log;

	log_settle(s);
	k->prev = l->live_at ? l->ring[(l->first + l->live_at - 1) % l->ring_n] : l->before;
	k->replay_block = l->live_at < l->count ? l->ring[(l->first + l->live_at) % l->ring_n].block
						: l->head;
	for (uint32_t i = 0; i < s->chains_n; i++) {
		struct chain *c = &s->chains[i];

		c->base = c->committed;
		if (c->fifo.first != INDEX_NONE)
			c->base = s->index.v[c->fifo.first].seq - 1;
		if (c->fresh.first != INDEX_NONE)
			c->base = MIN(c->base, s->index.v[c->fresh.first].seq - 1);
	}
}

bool ckpt_freezes(const struct store *s)
{
	return s->ckpt.state > CKPT_RECORDS;
}

/* Record blocks first, a round at a time; then the rest (Y3: from here on they stay). */
static void write_records(struct store *s)
{
	struct ckpt *k = &s->ckpt;

	if (k->waiting || recs_writing(s))
		return;
	if (!recs_write(s, &k->cursor, &k->wait)) {
		k->waiting = !recs_writing(s);
		return;
	}
	if (recs_writing(s))
		return;
	k->state = CKPT_WRITING;
	k->cursor = 0;
	write_more(s);
}

static void record_ready(struct recs_wait *w, int res)
{
	struct store *s = CONTAINER_OF(w, struct store, ckpt.wait);

	s->ckpt.waiting = false;
	if (res)
		store_fail(s, "page records: cannot be read", res);
	store_turn(s);
}

static void begin(struct store *s)
{
	struct ckpt *k = &s->ckpt;

	fix_start(s);
	pages_ckpt_begin(&s->pages);
	k->state = CKPT_RECORDS;
	k->wait.fn = record_ready;
	k->waiting = false;
	k->generation = s->super.ckpt_generation + 1;
	k->slot = s->super.ckpt_generation ? 1 - s->super.ckpt_slot : 0;
	k->blocks = 0;
	k->cursor = k->chain = 0;
	k->done_ops = s->commits;
}

/* Blocks that a checkpoint would free. */
static uint32_t dead_blocks(const struct store *s)
{
	return s->log.used - s->log.live_blocks;
}

static bool wanted(const struct store *s)
{
	uint32_t dead = dead_blocks(s);
	bool limbo = s->pages.limbo_n != 0;

	/* What waits to be part of the reserve again gives no room. */
	if (s->refused_pages && s->pages.limbo_n > s->pages.spare_used)
		return true;
	/* Not for every block: each checkpoint writes every record block that changed since the
	 * last, and a log jammed by one chain must not turn into a row of them. But when nothing is
	 * on its way from the log to pages, no more will come. */
	if (s->refused_log && dead &&
	    (dead >= s->log.blocks / 8 || s->log.dead_cost >= s->index.entries_n / 8 ||
	     destage_idle(s)))
		return true;
	/* Entries that replay would need: writes straight to pages take few blocks of the log. */
	if (s->log.dead_cost >= s->index.entries_n / 4)
		return true;
	if (s->pages.spare_used > direct_spare(s) / 2 && limbo)
		return true;
	/* So that the next open has little to replay. */
	if (s->idle && s->index.used == 0 && dead >= s->log.blocks / 64 + 4)
		return true;
	if (dead >= s->log.blocks / 4 || s->pages.limbo_n > s->pages.n / 16 + 16)
		return true;
	return s->idle && s->index.used == 0 && s->commits != s->ckpt.done_ops;
}

void ckpt_pump(struct store *s)
{
	/* A reader may have held the tail when the last checkpoint ended. */
	if (log_trim(s, s->ckpt.trim_lsn))
		store_space_back(s);
	if (s->failed && s->ckpt.state == CKPT_RECORDS && !recs_writing(s))
		abandon(s);
	if (s->failed || s->closing)
		return;
	if (s->ckpt.state == CKPT_IDLE && wanted(s))
		begin(s);
	if (s->ckpt.state == CKPT_RECORDS)
		write_records(s);
}

size_t ckpt_bytes(void)
{
	return arena_cost(IO_BUF_BYTES, BLOCK_BYTES);
}

void ckpt_init(struct store *s, struct arena *a)
{
	s->ckpt.buf = arena_alloc(a, IO_BUF_BYTES, BLOCK_BYTES);
}
