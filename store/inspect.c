/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "store/inspect.h"

#include <errno.h>
#include <string.h>

#include "lib/arena.h"

#define RECS_AHEAD 256u

size_t inspect_bytes(void)
{
	return WIN_N * arena_cost(INSPECT_WINDOW_BLOCKS * BLOCK_BYTES, BLOCK_BYTES);
}

void inspect_init(struct inspect *in, const struct inspect_disk *disk, struct arena *a)
{
	*in = (struct inspect){.disk = disk};
	for (unsigned i = 0; i < WIN_N; i++)
		in->win[i].buf = arena_alloc(a, INSPECT_WINDOW_BLOCKS * BLOCK_BYTES, BLOCK_BYTES);
}

const void *inspect_read(struct inspect *in, enum inspect_window_use use, uint64_t offset_bytes,
			 uint32_t n, uint32_t ahead, uint64_t end_bytes)
{
	struct inspect_window *w = &in->win[use];
	uint64_t at = (offset_bytes - w->offset_bytes) / BLOCK_BYTES;
	uint64_t left = (end_bytes - offset_bytes) / BLOCK_BYTES;
	uint32_t tries[2] = {(uint32_t)MIN(left, MAX(n, ahead)), n};

	CHECK(n <= INSPECT_WINDOW_BLOCKS && ahead <= INSPECT_WINDOW_BLOCKS);
	if (offset_bytes >= w->offset_bytes && at < w->n && n <= w->n - at)
		return w->buf + at * BLOCK_BYTES;
	if (end_bytes > in->disk->size_bytes || offset_bytes > end_bytes || n > left)
		return NULL;
	/* What lies ahead may be the part that cannot be read. */
	for (unsigned i = tries[0] == tries[1]; i < 2; i++) {
		w->offset_bytes = offset_bytes;
		w->n = 0;
		if (in->disk->read(in->disk->arg, offset_bytes, w->buf, tries[i] * BLOCK_BYTES))
			continue;
		w->n = tries[i];
		return w->buf;
	}
	return NULL;
}

static bool go_on(const struct inspect *in, const char *what, uint64_t at, uint64_t of)
{
	return !in->disk->progress || in->disk->progress(in->disk->arg, what, at, of);
}

/* ---- superblock ---- */

static void read_copy(struct inspect *in, unsigned i, struct inspect_super_copy *c)
{
	const void *sb;

	*c = (struct inspect_super_copy){.res = -ENODEV,
					 .why = "superblock: too short to be a chainblk store"};
	if (in->disk->size_bytes < SUPER_REGION_BYTES)
		return;
	sb = inspect_read(in, WIN_CKPT, super_offset_bytes(i), 1, 1, SUPER_REGION_BYTES);
	c->res = -EIO;
	c->why = "superblock: cannot be read";
	if (!sb)
		return;
	memcpy(&c->sb, sb, sizeof(c->sb));
	c->why = NULL;
	c->res = super_check(&c->sb, in->disk->size_bytes, &c->why);
}

static bool twins(const struct inspect_super_copy *a, const struct inspect_super_copy *b)
{
	return a->res == 0 && b->res == 0 && memcmp(&a->sb, &b->sb, sizeof(a->sb)) == 0;
}

/* The copy that says most about why there is none in force. */
static int best_error(struct inspect_supers *s)
{
	int res = -ENODEV;

	s->why = s->copy[0].why;
	for (unsigned i = 0; i < SUPER_COPIES; i++) {
		const struct inspect_super_copy *c = &s->copy[i];

		if (c->res == 0) {
			s->why = "superblock: no two copies agree";
			return -EBADMSG;
		}
		if (res == -ENODEV || ((res == -EBADMSG || res == -EIO) && c->res != -ENODEV)) {
			res = c->res;
			s->why = c->why;
		}
	}
	return res;
}

int inspect_supers(struct inspect *in, struct inspect_supers *ret)
{
	ret->chosen = -1;
	ret->why = NULL;
	for (unsigned i = 0; i < SUPER_COPIES; i++)
		read_copy(in, i, &ret->copy[i]);
	for (unsigned i = 0; i < SUPER_COPIES; i++)
		for (unsigned k = i + 1; k < SUPER_COPIES; k++)
			if (twins(&ret->copy[i], &ret->copy[k]) &&
			    (ret->chosen < 0 ||
			     ret->copy[i].sb.generation > ret->copy[ret->chosen].sb.generation))
				ret->chosen = (int)i;
	if (ret->chosen < 0)
		return best_error(ret);
	in->super = ret->copy[ret->chosen].sb;
	return 0;
}

struct inspect_slices inspect_slices(const struct inspect_supers *first, uint64_t size_bytes)
{
	struct inspect_slices s = {.n = 1, .each_bytes = size_bytes};
	uint64_t newest = 0;

	for (unsigned i = 0; i < SUPER_COPIES; i++) {
		const struct disk_super *sb = &first->copy[i].sb;
		const char *why;

		/* Whether the disk is long enough is for each slice to say. */
		if (super_check(sb, UINT64_MAX, &why) || sb->generation < newest ||
		    sb->slices_n == 1)
			continue;
		newest = sb->generation;
		s = (struct inspect_slices){.n = sb->slices_n, .each_bytes = sb->disk_bytes};
	}
	return s;
}

/* ---- checkpoint ---- */

static int walk_ckpt(struct inspect *in, inspect_ckpt_fn fn, void *arg)
{
	const struct disk_super *sb = &in->super;
	uint64_t slot = sb->ckpt_offset_bytes + sb->ckpt_slot * sb->ckpt_bytes;
	uint64_t end = slot + sb->ckpt_blocks * BLOCK_BYTES;

	for (uint64_t i = 0; i < sb->ckpt_blocks; i++) {
		struct inspect_ckpt_block b = {.index = i, .offset_bytes = slot + i * BLOCK_BYTES};

		b.hdr = inspect_read(in, WIN_CKPT, b.offset_bytes, 1, INSPECT_WINDOW_BLOCKS, end);
		if (!b.hdr)
			b.why = "checkpoint: cannot be read";
		else if (ckpt_check(b.hdr, sb->secret, sb->ckpt_generation, i, sb->pages_n,
				    &b.why) == 0)
			b.why = NULL;
		if (!fn(arg, &b))
			return -ECANCELED;
	}
	return 0;
}

struct ckpt_walk {
	struct inspect *in;
	inspect_ckpt_fn fn;
	void *arg;
};

static bool shown(void *arg, const struct inspect_ckpt_block *b)
{
	struct ckpt_walk *w = arg;

	return w->fn(w->arg, b) &&
	       go_on(w->in, "checkpoint", b->index + 1, w->in->super.ckpt_blocks);
}

int inspect_ckpt(struct inspect *in, inspect_ckpt_fn fn, void *arg)
{
	struct ckpt_walk w = {.in = in, .fn = fn, .arg = arg};

	return walk_ckpt(in, shown, &w);
}

/* ---- record blocks ---- */

struct recs_walk {
	struct inspect *in;
	const char *what;
	inspect_recs_fn fn;
	void *arg;
};

static bool one_recs(struct recs_walk *w, const struct disk_ckpt_recs *want)
{
	struct inspect *in = w->in;
	const struct disk_super *sb = &in->super;
	bool home_b = want->used & RECS_HOME_B;
	uint64_t home = sb->recs_offset_bytes + (home_b ? sb->recs_n : 0) * BLOCK_BYTES;
	struct inspect_recs_block b = {.want = *want,
				       .offset_bytes = home + (uint64_t)want->index * BLOCK_BYTES};

	b.recs = inspect_read(in, home_b ? WIN_HOME_B : WIN_HOME_A, b.offset_bytes, 1, RECS_AHEAD,
			      home + sb->recs_n * BLOCK_BYTES);
	if (!b.recs)
		b.why = "page records: cannot be read";
	else if (recs_check(b.recs, sb->secret, want, &b.why) == 0)
		b.why = NULL;
	return w->fn(w->arg, &b) && go_on(in, w->what, want->index + 1, sb->recs_n);
}

static bool recs_of_block(void *arg, const struct inspect_ckpt_block *b)
{
	struct recs_walk *w = arg;
	const struct disk_ckpt_recs *recs;

	if (b->why || b->hdr->kind != CKPT_RECS)
		return true;
	recs = (const void *)(b->hdr + 1);
	for (uint32_t i = 0; i < b->hdr->n; i++)
		if (!one_recs(w, &recs[i]))
			return false;
	return true;
}

int inspect_recs(struct inspect *in, const char *what, inspect_recs_fn fn, void *arg)
{
	struct recs_walk w = {.in = in, .what = what, .fn = fn, .arg = arg};

	return walk_ckpt(in, recs_of_block, &w);
}
