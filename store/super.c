/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>

#include "store/internal.h"

/* Two copies, flush, the other two, flush: at any moment two equal copies of one generation are
 * durable, and open takes the newest generation that has two. So what is written first must not be
 * the only pair that is good: after a power cut that is found out when the store is opened
 * (super_good_pair). And what a process reads that was killed may be in the device's cache only: an
 * open flushes before it writes. Later ones look at what is there: a checkpoint must not wipe out
 * the trace of a daemon that has opened this store. */

enum {
	STEP_LOOK,
	STEP_FLUSH,
	STEP_FIRST,
	STEP_FLUSH_FIRST,
	STEP_SECOND,
	STEP_FLUSH_SECOND,
	STEP_END
};

static void step(struct store *s);

/* The lock holds for one device; the disk behind it may be seen through two. Whoever opens a store
 * writes its incarnation: another than ours was written by a later start, or by an earlier one that
 * has not noticed us. A copy that is being written just now fails its check: next time. */
static void look_for_another(struct store *s, const struct disk_super *sb)
{
	const char *why;

	if (super_check(sb, s->disk->size_bytes, &why) == 0 &&
	    (!id128_eq(&sb->disk, &s->super.disk) ||
	     !id128_eq(&sb->incarnation, &s->super.incarnation)))
		store_fail(s, "superblock: another daemon has opened this store", -EBUSY);
}

static void transfer_done(struct super_writer *w, int res)
{
	struct store *s = CONTAINER_OF(w, struct store, sw);

	s->ios--;
	if (res)
		store_fail(s, "superblock: write failed", res);
	if (--w->ios == 0)
		step(s);
}

static void done_0(struct disk_io *io, int res)
{
	transfer_done(CONTAINER_OF(io, struct super_writer, io[0]), res);
}

static void done_1(struct disk_io *io, int res)
{
	transfer_done(CONTAINER_OF(io, struct super_writer, io[1]), res);
}

static void looked(struct disk_io *io, int res)
{
	struct super_writer *w = CONTAINER_OF(io, struct super_writer, io[0]);
	struct store *s = CONTAINER_OF(w, struct store, sw);

	s->ios--;
	w->ios--;
	if (res)
		store_fail(s, "superblock: read failed", res);
	else
		look_for_another(s, w->seen);
	step(s);
}

static void look(struct store *s)
{
	struct super_writer *w = &s->sw;

	w->ios = 1;
	w->io[0] = (struct disk_io){.op = DISK_READ,
				    .offset_bytes = super_offset_bytes(0),
				    .len_bytes = BLOCK_BYTES,
				    .data = w->seen,
				    .done = looked};
	store_submit(s, &w->io[0]);
}

static void write_pair(struct store *s, const uint8_t copies[2])
{
	struct super_writer *w = &s->sw;

	w->ios = 2;
	for (unsigned i = 0; i < 2; i++) {
		w->io[i] = (struct disk_io){.op = DISK_WRITE,
					    .offset_bytes = super_offset_bytes(copies[i]),
					    .len_bytes = BLOCK_BYTES,
					    .data = w->block,
					    .done = i ? done_1 : done_0};
		store_submit(s, &w->io[i]);
	}
}

static void flush(struct store *s)
{
	struct super_writer *w = &s->sw;

	w->ios = 1;
	w->io[0] = (struct disk_io){.op = DISK_FLUSH, .done = done_0};
	store_submit(s, &w->io[0]);
}

void super_good_pair(struct store *s, unsigned a, unsigned b)
{
	struct super_writer *w = &s->sw;
	unsigned n = 0;

	for (unsigned i = 0; i < SUPER_COPIES; i++)
		if (i != a && i != b)
			w->order[n++] = (uint8_t)i;
	w->order[n++] = (uint8_t)a;
	w->order[n++] = (uint8_t)b;
	w->unflushed = true;
}

static void start(struct store *s)
{
	struct super_writer *w = &s->sw;
	struct list *it;

	w->busy = true;
	while ((it = list_pop(&w->waiting)))
		list_add_tail(&w->running, it);
	s->super.generation++;
	super_seal(&s->super);
	*w->block = s->super;
	w->step = w->unflushed ? STEP_FLUSH : s->opened ? STEP_LOOK : STEP_FIRST;
	w->unflushed = false;
	step(s);
}

static void finish(struct store *s)
{
	struct super_writer *w = &s->sw;
	struct list told, *it;

	list_init(&told);
	while ((it = list_pop(&w->running)))
		list_add_tail(&told, it);
	w->busy = false;
	while ((it = list_pop(&told))) {
		struct super_wait *wait = CONTAINER_OF(it, struct super_wait, link);

		wait->done(wait, s->failed ? -EIO : 0);
	}
	if (!list_empty(&w->waiting) && !w->busy)
		start(s);
	store_turn(s);
}

static void step(struct store *s)
{
	struct super_writer *w = &s->sw;

	if (s->failed)
		w->step = STEP_END;
	switch (w->step++) {
	case STEP_LOOK:
		w->step = STEP_FIRST;
		look(s);
		break;
	case STEP_FIRST:
		write_pair(s, &w->order[0]);
		break;
	case STEP_SECOND:
		write_pair(s, &w->order[2]);
		break;
	case STEP_FLUSH:
		flush(s);
		break;
	case STEP_FLUSH_FIRST:
#ifdef CRASH_PLANT_SUPER_NO_FIRST_FLUSH
		step(s);
		break;
#endif
		flush(s);
		break;
	case STEP_FLUSH_SECOND:
#ifdef CRASH_PLANT_SUPER_NO_LAST_FLUSH
		step(s);
		break;
#endif
		flush(s);
		break;
	default:
		finish(s);
	}
}

void super_write(struct store *s, struct super_wait *wait)
{
	list_add_tail(&s->sw.waiting, &wait->link);
	if (!s->sw.busy)
		start(s);
}

/* ---- has another daemon opened this store? ---- */

static void watched(struct disk_io *io, int res)
{
	struct watch *w = CONTAINER_OF(io, struct watch, io);
	struct store *s = CONTAINER_OF(w, struct store, watch);

	s->ios--;
	if (res == 0 && !s->failed)
		look_for_another(s, w->block);
	if (!s->failed && !s->closing)
		s->env->timer_arm(s->env, &w->timer, s->env->now_ns(s->env) + w->every_ns);
	store_turn(s);
}

static void watch_fired(struct env_timer *t)
{
	struct watch *w = CONTAINER_OF(t, struct watch, timer);
	struct store *s = CONTAINER_OF(w, struct store, watch);

	if (s->failed || s->closing)
		return;
	w->io = (struct disk_io){.op = DISK_READ,
				 .offset_bytes = super_offset_bytes(0),
				 .len_bytes = BLOCK_BYTES,
				 .data = w->block,
				 .done = watched};
	store_submit(s, &w->io);
}

void watch_start(struct store *s)
{
	struct watch *w = &s->watch;

	if (w->every_ns == 0)
		return;
	w->timer.fn = watch_fired;
	s->env->timer_arm(s->env, &w->timer, s->env->now_ns(s->env) + w->every_ns);
}

void super_init(struct store *s, struct arena *a)
{
	s->watch.block = arena_alloc(a, BLOCK_BYTES, BLOCK_BYTES);
	s->sw.block = arena_alloc(a, BLOCK_BYTES, BLOCK_BYTES);
	s->sw.seen = arena_alloc(a, BLOCK_BYTES, BLOCK_BYTES);
	list_init(&s->sw.waiting);
	list_init(&s->sw.running);
}
