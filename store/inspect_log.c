/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* The log, as far as replay would go over it, and what lies behind that. Three times over it: the
 * headers, for the highest "stable" and the length; the batches, for who asked; the rest, for
 * headers that tell a hole from rot (docs/DISK.md, recovery). */
#include <errno.h>

#include "lib/crc.h"
#include "store/inspect.h"

struct log_walk {
	struct inspect *in;
	struct log_place place;
	uint64_t end_bytes; /* of the region */
	uint32_t blocks;    /* of the region */
	uint32_t ahead;
	/* the batch before the place looked at */
	uint64_t lsn, start;
	uint32_t crc;
	uint32_t at; /* block */
	bool unreadable;
};

static struct log_walk walk_begin(struct inspect *in)
{
	const struct disk_super *sb = &in->super;
	struct log_walk w = {.in = in,
			     .end_bytes = sb->log_offset_bytes + sb->log_bytes,
			     .blocks = (uint32_t)(sb->log_bytes / BLOCK_BYTES),
			     .ahead = INSPECT_WINDOW_BLOCKS,
			     .lsn = sb->prev_lsn,
			     .start = sb->prev_start,
			     .crc = sb->prev_crc,
			     .at = (uint32_t)sb->replay_block};

	w.place = (struct log_place){.disk = sb->disk,
				     .secret = sb->secret,
				     .region_offset_bytes = sb->log_offset_bytes,
				     .region_blocks = w.blocks};
	return w;
}

static const void *blocks_at(struct log_walk *w, uint32_t block, uint32_t n)
{
	return inspect_read(w->in, WIN_LOG, inspect_log_offset(w->in, block), n, w->ahead,
			    w->end_bytes);
}

/* A sound header at @block, or NULL. */
static const struct disk_log_hdr *header_at(struct log_walk *w, uint32_t block)
{
	const struct disk_log_hdr *h = blocks_at(w, block, 1);
	uint32_t need;

	w->place.block = block;
	w->unreadable = !h;
	if (!h || log_hdr_check(h, 1, &w->place, &need))
		return NULL;
	if (need == 1)
		return h;
	h = blocks_at(w, block, need);
	w->unreadable = !h;
	if (!h || log_hdr_check(h, need, &w->place, &need))
		return NULL;
	return h;
}

static uint32_t blocks_of(const struct disk_log_hdr *h)
{
	return h->skip_blocks ? h->skip_blocks : h->hdr_blocks + h->data_blocks;
}

static void step(struct log_walk *w, const struct disk_log_hdr *h)
{
	w->lsn = h->lsn;
	w->start = h->start;
	w->crc = h->crc;
	w->at += blocks_of(h);
	if (w->at >= w->blocks)
		w->at = 0;
}

static bool show(const struct log_walk *w, const char *what, uint64_t at)
{
	const struct inspect_disk *d = w->in->disk;

	return !d->progress || d->progress(d->arg, what, MIN(at, w->blocks), w->blocks);
}

static void seen(struct inspect_log *ret, enum inspect_log_end end, const char *why, uint32_t block,
		 uint64_t lsn)
{
	ret->end = end;
	ret->why = why;
	ret->seen_block = block;
	ret->seen_lsn = lsn;
}

/* ---- payload ---- */

uint32_t inspect_payload_n(const struct log_item *it)
{
	uint32_t n = it->op ? it->op->data_bytes / BLOCK_BYTES : 0;

	return it->pages ? n - op_pages_of(it->op).n * PAGE_BLOCKS : n;
}

struct inspect_payload inspect_payload_at(const struct log_item *it, uint32_t i)
{
	const struct op_rec *op = it->op;
	struct inspect_payload p = {.at = it->rec->payload_block + i,
				    .same = op->kind == OP_WRITE_SAME};

	if (it->pages && i >= op_pages_of(op).first * PAGE_BLOCKS - op->block)
		i += op_pages_of(op).n * PAGE_BLOCKS;
	p.block = op->block + i;
	p.crc = it->crcs[i];
	return p;
}

bool inspect_payload_ok(const struct log_item *it, const struct inspect_payload *p,
			const void *block)
{
	const struct block_addr at = {it->op->volume, it->op->extent, p->block};

	return p->crc == (p->same ? crc_block_anywhere(block) : crc_block(&at, block));
}

/* PROVE: is everything there that this header promises? */
static bool proved(const struct disk_log_hdr *h, const uint8_t *payload)
{
	struct log_cursor c;
	struct log_item it;
	const char *why;

	log_cursor_init(&c, h);
	while (log_cursor_next(&c, &it, &why) == 1)
		for (uint32_t i = 0; i < inspect_payload_n(&it); i++) {
			struct inspect_payload p = inspect_payload_at(&it, i);

			if (!inspect_payload_ok(&it, &p, payload + (size_t)p.at * BLOCK_BYTES))
				return false;
		}
	return true;
}

/* ---- the three walks ---- */

static int walk_headers(struct inspect *in, struct inspect_log *ret)
{
	struct log_walk w = walk_begin(in);
	const struct disk_log_hdr *h;

	w.ahead = LOG_HDR_BLOCKS_MAX;
	while ((h = header_at(&w, w.at)) && log_hdr_follows(h, w.lsn, w.start, w.crc)) {
		if (blocks_of(h) > w.blocks - ret->used_blocks) {
			seen(ret, INSPECT_END_ROT, "log: longer than its region", w.at, h->lsn);
			return 0;
		}
		ret->stable = MAX(ret->stable, h->stable);
		ret->used_blocks += blocks_of(h);
		ret->batches++;
		step(&w, h);
		if (!show(&w, "headers of the log", ret->used_blocks))
			return -ECANCELED;
	}
	return 0;
}

static int walk_batches(struct log_walk *w, bool payload, inspect_batch_fn fn, void *arg,
			struct inspect_log *ret)
{
	uint64_t batches = ret->batches;

	w->ahead = payload ? INSPECT_WINDOW_BLOCKS : LOG_HDR_BLOCKS_MAX;
	ret->used_blocks = 0;
	for (ret->batches = 0; ret->batches < batches; ret->batches++) {
		const struct disk_log_hdr *h = header_at(w, w->at);
		struct inspect_batch b = {.block = w->at};
		bool prove;

		if (!h || !log_hdr_follows(h, w->lsn, w->start, w->crc)) {
			seen(ret, INSPECT_END_UNREADABLE, "log: changed while it was read", w->at,
			     w->lsn + 1);
			return 0;
		}
		prove = h->lsn > ret->stable;
		b.hdr = h;
		if (h->data_blocks && (payload || prove)) {
			const void *all = blocks_at(w, w->at, h->hdr_blocks + h->data_blocks);

			if (!all && prove) {
				seen(ret, INSPECT_END_UNREADABLE, "log: cannot be read", w->at,
				     h->lsn);
				return 0;
			}
			b.hdr = all ? all : header_at(w, w->at);
			if (all)
				b.payload = (const uint8_t *)all +
					    (size_t)b.hdr->hdr_blocks * BLOCK_BYTES;
		}
		if (!b.hdr)
			return -EIO;
		if (prove && b.payload && !proved(b.hdr, b.payload)) {
			seen(ret, INSPECT_END_TORN, "log: the last batch is not all there", w->at,
			     b.hdr->lsn);
			return 0;
		}
		if (fn && !fn(arg, &b))
			return -ECANCELED;
		ret->used_blocks += blocks_of(b.hdr);
		step(w, b.hdr);
		if (!show(w, "log", ret->used_blocks))
			return -ECANCELED;
	}
	return 0;
}

/* Could a batch be written if the one behind @w was never acknowledged? At most LOG_INFLIGHT_MAX
 * are under way, and each start begins LOG_START_GAP further on. */
static bool needs_the_next(const struct log_walk *w, const struct disk_log_hdr *h)
{
	uint64_t first = h->start == w->start ? w->lsn + 1 : w->lsn + 1 + LOG_START_GAP;

	return h->stable > w->lsn || h->lsn >= first + LOG_INFLIGHT_MAX;
}

/* A header that is not sound but says that it is newer than all there is: half of it was written.
 */
static bool half_written(const struct log_walk *w, const struct disk_log_hdr *h)
{
	return h->magic == LOG_MAGIC && id128_eq(&h->disk, &w->place.disk) &&
	       h->offset_bytes == inspect_log_offset(w->in, w->at) && h->lsn > w->lsn &&
	       h->start >= w->start;
}

static int walk_rest(struct log_walk *w, struct inspect_log *ret)
{
	uint32_t left = w->blocks - ret->used_blocks, block = w->at;
	const struct disk_log_hdr *h;

	w->ahead = INSPECT_WINDOW_BLOCKS;
	h = left ? blocks_at(w, block, 1) : NULL;
	if (ret->end == INSPECT_END_CLEAN && h && half_written(w, h) && !header_at(w, block))
		seen(ret, INSPECT_END_TORN, "log: half of a batch's header", block, h->lsn);
	for (uint32_t i = 0; i < left; i++) {
		h = header_at(w, block);
		if (!h && w->unreadable) {
			seen(ret, INSPECT_END_UNREADABLE, "log: cannot be read", block, w->lsn + 1);
			return 0;
		}
		if (h && h->lsn > w->lsn && h->start >= w->start) {
			if (needs_the_next(w, h)) {
				seen(ret, INSPECT_END_ROT,
				     "log: a batch is damaged though a later one could only follow "
				     "when it was whole",
				     block, h->lsn);
				return 0;
			}
			if (ret->end == INSPECT_END_CLEAN)
				seen(ret, INSPECT_END_TORN,
				     "log: a later batch is there, the one before it is not", block,
				     h->lsn);
		}
		block = block + 1 == w->blocks ? 0 : block + 1;
		if (i % INSPECT_WINDOW_BLOCKS == 0 && !show(w, "rest of the log", i))
			return -ECANCELED;
	}
	return 0;
}

int inspect_log(struct inspect *in, bool payload, inspect_batch_fn fn, void *arg,
		struct inspect_log *ret)
{
	struct log_walk w = walk_begin(in);
	int res;

	*ret = (struct inspect_log){.end = INSPECT_END_CLEAN};
	res = walk_headers(in, ret);
	if (res == 0) {
		enum inspect_log_end end = ret->end;

		res = walk_batches(&w, payload, fn, arg, ret);
		if (res == 0 && end == INSPECT_END_CLEAN && ret->end != INSPECT_END_UNREADABLE)
			res = walk_rest(&w, ret);
	}
	ret->lsn = w.lsn;
	ret->start = w.start;
	ret->end_block = w.at;
	return res;
}
