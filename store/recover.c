/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "store/recover.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void step(struct recovery *r);

int recovery_fail(struct recovery *r, int res, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->why, sizeof(r->why), fmt, ap);
	va_end(ap);
	return res;
}

struct store_opened recovery_found(const struct recovery *r)
{
	const struct store *s = r->s;
	struct store_opened found = {.disk = s->super.disk,
				     .cluster = s->super.cluster,
				     .previous = s->super.previous,
				     .bytes_total = (uint64_t)(s->pages.n - s->pages.spare_max) *
						    PAGE_BYTES,
				     .bytes_free = (uint64_t)pages_room(&s->pages) * PAGE_BYTES,
				     .slice = s->super.slice,
				     .slices_n = s->super.slices_n};

	memcpy(found.doubtful, s->super.doubtful, sizeof(found.doubtful));
	return found;
}

static void end(struct recovery *r, int res)
{
	const struct store_opened found = recovery_found(r);
	struct store *s = r->s;

	s->recovery = NULL;
	s->opened = res == 0;
	if (s->opened) {
		watch_start(s);
		scrub_start(s);
	}
	r->done(r->arg, res, res ? r->why : "", &found);
	if (s->opened)
		store_turn(s);
}

/* ---- windows ---- */

void recovery_window_read(struct disk_io *io, int res)
{
	struct recovery *r = CONTAINER_OF(io, struct recovery, io);

	r->s->ios--;
	if (res) {
		end(r,
		    recovery_fail(r, -EIO, "store: reading the disk failed: %s: check the device",
				  strerror(-res)));
		return;
	}
	step(r);
}

void recovery_read_window(struct recovery *r, uint64_t offset_bytes, uint32_t block, uint32_t n)
{
	r->win_block = block;
	r->win_n = n;
	r->io = (struct disk_io){.op = DISK_READ,
				 .offset_bytes = offset_bytes,
				 .len_bytes = n * BLOCK_BYTES,
				 .data = r->buf,
				 .done = recovery_window_read};
	store_submit(r->s, &r->io);
}

/* Blocks [block, block + n) of the log, or NULL: a read was started and step() will run again. */
static const void *log_window(struct recovery *r, uint32_t block, uint32_t n)
{
	const struct log *l = &r->s->log;

	if (r->win_n && block >= r->win_block && block - r->win_block + n <= r->win_n)
		return r->buf + (size_t)(block - r->win_block) * BLOCK_BYTES;
	CHECK(block + n <= l->blocks);
	CHECK(n <= LOG_BATCH_BLOCKS_MAX);
	recovery_log_progress(r);
	recovery_read_window(r, log_block_offset(r->s, block), block,
			     MIN(LOG_BATCH_BLOCKS_MAX, l->blocks - block));
	return NULL;
}

enum look { LOOK_WAIT, LOOK_BAD, LOOK_OK };

/* Is there a header at @block, as far as its own bytes tell? */
static enum look log_header(struct recovery *r, uint32_t block, const struct disk_log_hdr **ret)
{
	const struct disk_log_hdr *h = log_window(r, block, 1);
	uint32_t avail, need;

	if (!h)
		return LOOK_WAIT;
	r->place.block = block;
	avail = r->win_block + r->win_n - block;
	if (log_hdr_check(h, avail, &r->place, &need))
		return LOOK_BAD;
	if (need > avail && !(h = log_window(r, block, need)))
		return LOOK_WAIT;
	if (need > avail && log_hdr_check(h, need, &r->place, &need))
		return LOOK_BAD;
	*ret = h;
	return LOOK_OK;
}

static struct log_ref *batch_at(const struct log *l, uint32_t i)
{
	return &l->ring[(l->first + i) % l->ring_n];
}

static uint32_t block_after(const struct log *l, const struct log_ref *ref)
{
	uint32_t next = ref->block + ref->blocks;

	return next == l->blocks ? 0 : next;
}

/* ---- CKPT ---- */

static int read_ckpt(struct recovery *r, bool *ret_wait)
{
	struct store *s = r->s;
	const struct disk_super *sb = &s->super;
	uint64_t slot = sb->ckpt_offset_bytes + sb->ckpt_slot * sb->ckpt_bytes;

	*ret_wait = false;
	for (; r->ckpt_at < sb->ckpt_blocks; r->ckpt_at++) {
		uint32_t at = (uint32_t)r->ckpt_at;
		const char *why;
		int res;

		if (r->win_n == 0 || at - r->win_block >= r->win_n) {
			recovery_progress(r, at, sb->ckpt_blocks);
			recovery_read_window(
				r, slot + r->ckpt_at * BLOCK_BYTES, at,
				(uint32_t)MIN(sb->ckpt_blocks - at, LOG_BATCH_BLOCKS_MAX));
			*ret_wait = true;
			return 0;
		}
		{
			const void *h = r->buf + (size_t)(at - r->win_block) * BLOCK_BYTES;

			res = ckpt_check(h, sb->secret, sb->ckpt_generation, at, sb->pages_n, &why);
			if (res)
				return recovery_fail(r, res,
						     "%s (block %u): the checkpoint is damaged",
						     why, at);
			res = replay_ckpt(r, h);
			if (res)
				return res;
		}
	}
	if (r->ckpt_clients)
		return recovery_fail(r, -EBADMSG, "checkpoint: clients are missing");
	r->win_n = 0;
	return 0;
}

/* ---- WALK ---- */

static int walk(struct recovery *r, bool *ret_wait)
{
	struct log *l = &r->s->log;

	for (;;) {
		const struct disk_log_hdr *h;
		enum look look = log_header(r, r->at, &h);
		struct log_ref ref;
		int res;

		*ret_wait = look == LOOK_WAIT;
		if (look == LOOK_WAIT)
			return 0;
		if (look == LOOK_BAD || !log_hdr_follows(h, l->lsn, l->start, l->crc))
			return 0;
		ref = (struct log_ref){.lsn = h->lsn,
				       .start = h->start,
				       .crc = h->crc,
				       .block = r->at,
				       .blocks = h->skip_blocks ? h->skip_blocks
								: h->hdr_blocks + h->data_blocks};
		if (l->count == l->ring_n || ref.blocks > l->blocks - l->used)
			return recovery_fail(r, -EBADMSG, "device log: longer than its region");
		r->stable = MAX(r->stable, h->stable);
		res = replay_marks(r, h);
		if (res)
			return res;
		log_push(r->s, &ref);
		r->at = l->head;
	}
}

/* ---- PROVE ---- */

static bool payload_ok(const struct disk_log_hdr *h)
{
	const uint8_t *payload = (const uint8_t *)h + (size_t)h->hdr_blocks * BLOCK_BYTES;
	struct log_cursor c;
	struct log_item it;
	const char *why;

	log_cursor_init(&c, h);
	while (log_cursor_next(&c, &it, &why) == 1)
		if (!log_item_payload_ok(&it, payload))
			return false;
	return true;
}

static int prove(struct recovery *r, bool *ret_wait)
{
	struct log *l = &r->s->log;

	*ret_wait = false;
	for (; r->at < l->count; r->at++) {
		const struct log_ref *ref = batch_at(l, r->at);
		const struct disk_log_hdr *h;

		/* A filler was written as one block. */
		if (ref->lsn <= r->stable || ref->blocks > LOG_BATCH_BLOCKS_MAX)
			continue;
		h = log_window(r, ref->block, ref->blocks);
		if (!h) {
			*ret_wait = true;
			return 0;
		}
		if (!payload_ok(h)) {
			env_logf(r->s->env, ENV_INFO,
				 "store: the device log is torn at batch %" PRIu64
				 ": it was not acknowledged, and the log ends before it",
				 ref->lsn);
			log_cut(r->s, r->at);
			r->marks_due = true;
			return 0;
		}
	}
	return 0;
}

/* ---- SCAN ---- */

/* Could @h have been written if the batch after the last good one was never acknowledged? At most
 * LOG_INFLIGHT_MAX batches are under way, and each start begins LOG_START_GAP further on. */
static bool is_rot(const struct log *l, const struct disk_log_hdr *h)
{
	uint64_t first = h->start == l->start ? l->lsn + 1 : l->lsn + 1 + LOG_START_GAP;

	if (h->lsn <= l->lsn || h->start < l->start)
		return false;
	return h->stable > l->lsn || h->lsn >= first + LOG_INFLIGHT_MAX;
}

static int scan(struct recovery *r, bool *ret_wait)
{
	struct log *l = &r->s->log;

	for (; r->left; r->left--) {
		const struct disk_log_hdr *h;
		enum look look = log_header(r, r->at, &h);

		*ret_wait = look == LOOK_WAIT;
		if (look == LOOK_WAIT)
			return 0;
		if (look == LOOK_OK && is_rot(l, h))
			return recovery_fail(
				r, -EBADMSG,
				"device log: batch %" PRIu64 " is damaged though %" PRIu64
				" was written after it: rot, not a torn end; this replica "
				"must be copied anew (OPERATIONS.md)",
				l->lsn + 1, h->lsn);
		r->at = r->at + 1 == l->blocks ? 0 : r->at + 1;
	}
	*ret_wait = false;
	return 0;
}

/* ---- MARKS, REPLAY ---- */

/* Batch r->at of those that are kept, or NULL: @ret_res says an error, or it is being read. */
static const struct disk_log_hdr *kept_batch(struct recovery *r, bool *ret_wait, int *ret_res)
{
	struct log *l = &r->s->log;
	const struct log_ref *ref = batch_at(l, r->at);
	const struct disk_log_hdr *h;
	enum look look = log_header(r, ref->block, &h);

	*ret_wait = look == LOOK_WAIT;
	*ret_res = 0;
	if (look == LOOK_WAIT)
		return NULL;
	if (look == LOOK_OK && h->lsn == ref->lsn)
		return h;
	*ret_res = recovery_fail(r, -EBADMSG,
				 "device log: batch %" PRIu64
				 " changed while it was read: check the device",
				 ref->lsn);
	return NULL;
}

static int marks(struct recovery *r, bool *ret_wait)
{
	int res = 0;

	*ret_wait = false;
	for (; r->marks_due && r->at < r->s->log.count; r->at++) {
		const struct disk_log_hdr *h = kept_batch(r, ret_wait, &res);

		if (h)
			res = replay_marks(r, h);
		if (!h || res)
			return res;
	}
	return 0;
}

static int replay(struct recovery *r, bool *ret_wait)
{
	struct log *l = &r->s->log;
	int res = 0;

	*ret_wait = false;
	for (; r->at < l->count; r->at++) {
		const struct disk_log_hdr *h = kept_batch(r, ret_wait, &res);

		if (h)
			res = replay_batch(r, h, (l->first + r->at) % l->ring_n);
		if (!h || res)
			return res;
	}
	return replay_finish(r);
}

static_assert(SUPER_DOUBTFUL_MAX == STORE_DOUBTFUL_MAX, "handed over as they are");

/* ---- WRITE ---- */

static void opened(struct super_wait *w, int res)
{
	struct store *s = CONTAINER_OF(w, struct store, open_wait);
	struct recovery *r = s->recovery;

	if (res) {
		end(r, recovery_fail(r, -EIO, "superblock: write failed: check the device"));
		return;
	}
	/* A header of this start takes the place behind the last good batch before anybody is told
	 * where the log ends. A batch cut off there could come back otherwise: a later write to
	 * that place, torn itself, may complete the cut one's sectors. Found by tests/crash. */
	s->log.want_header = true;
	log_pump(s);
	if (s->log.inflight == 0)
		end(r, 0); /* not even room for that: nothing will be written there either */
}

void recovery_started(struct store *s)
{
	struct recovery *r = s->recovery;

	if (s->failed)
		end(r, recovery_fail(r, -EIO, "device log: write failed: check the device"));
	else
		end(r, 0);
}

static void write_super(struct recovery *r)
{
	r->s->open_wait.done = opened;
	super_write(r->s, &r->s->open_wait);
}

/* ---- order ---- */

static int run_phase(struct recovery *r, bool *ret_wait)
{
	*ret_wait = false;
	switch (r->phase) {
	case REC_SUPER:
		return recovery_take_super(r);
	case REC_CKPT:
		return read_ckpt(r, ret_wait);
	case REC_RECORDS:
		return recovery_records(r, ret_wait);
	case REC_WALK:
		return walk(r, ret_wait);
	case REC_PROVE:
		return prove(r, ret_wait);
	case REC_SCAN:
		return scan(r, ret_wait);
	case REC_MARKS:
		return marks(r, ret_wait);
	case REC_REPLAY:
		return replay(r, ret_wait);
	case REC_PAGES:
		return recovery_prove_pages(r, ret_wait);
	case REC_ASK:
		return recovery_ask(r, ret_wait);
	case REC_LOOK:
		return recovery_look_again(r, ret_wait);
	case REC_WRITE:
		break;
	}
	write_super(r);
	*ret_wait = true;
	return 0;
}

static void next_phase(struct recovery *r)
{
	const struct log *l = &r->s->log;

	recovery_progress_end(r);
	r->phase++;
	r->win_n = 0;
	if (r->phase == REC_WALK)
		r->at = l->head;
	if (r->phase == REC_PROVE || r->phase == REC_MARKS || r->phase == REC_REPLAY)
		r->at = 0;
	if (r->phase == REC_MARKS && r->marks_due)
		replay_forget_marks(r);
	if (r->phase == REC_SCAN) {
		r->at = l->count ? block_after(l, batch_at(l, l->count - 1)) : l->head;
		r->left = l->blocks - l->used;
	}
}

static void step(struct recovery *r)
{
	for (;;) {
		bool wait;
		int res = run_phase(r, &wait);

		if (res) {
			end(r, res);
			return;
		}
		if (wait)
			return;
		next_phase(r);
	}
}

void recovery_go_on(struct recovery *r)
{
	next_phase(r);
	step(r);
}

size_t recovery_bytes(void)
{
	return arena_cost(sizeof(struct recovery), ARENA_ALIGN) +
	       arena_cost(RECOVERY_CUTS * sizeof(struct recovery_cut), ARENA_ALIGN);
}

void recovery_start(struct store *s, struct arena *a, const struct store_config *cfg,
		    void (*done)(void *arg, int res, const char *why,
				 const struct store_opened *found),
		    void *arg)
{
	struct recovery *r = arena_alloc(a, sizeof(*r), ARENA_ALIGN);

	*r = (struct recovery){.s = s,
			       .buf = s->log.batch[0].buf,
			       .home = {{.buf = s->log.batch[0].buf}, {.buf = s->log.batch[1].buf}},
			       .told_ns = s->env->now_ns(s->env),
			       .incarnation = cfg->incarnation,
			       .validated = cfg->validated,
			       .done = done,
			       .arg = arg};
	r->cuts = arena_alloc(a, RECOVERY_CUTS * sizeof(r->cuts[0]), ARENA_ALIGN);
	s->recovery = r;
	recovery_read_window(r, 0, 0, SUPER_REGION_BYTES / BLOCK_BYTES);
}
