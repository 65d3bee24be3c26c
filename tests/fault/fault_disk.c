/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/fault/fault_disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LATE_ROUNDS 100u

/* Same point, same damage. */
static uint64_t pick(const struct fault_disk *d, uint64_t salt, uint64_t below)
{
	uint64_t z =
		d->plan->n * 0x9e3779b97f4a7c15ull + d->plan->fired + salt * 0x94d049bb133111ebull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return (z ^ z >> 31) % below;
}

/* ---- blocks that went bad (D3) ---- */

static bool covers(const struct disk_io *io, uint64_t offset_bytes)
{
	return offset_bytes >= io->offset_bytes && offset_bytes - io->offset_bytes < io->len_bytes;
}

static void block_goes_bad(struct fault_disk *d, uint64_t offset_bytes, uint32_t bit)
{
	CHECK(d->blocks_n < FAULT_BLOCKS);
	d->blocks[d->blocks_n++] = (struct fault_block){offset_bytes, bit};
}

static void blocks_written(struct fault_disk *d, const struct disk_io *io)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < d->blocks_n; i++)
		if (!covers(io, d->blocks[i].offset_bytes))
			d->blocks[kept++] = d->blocks[i];
	d->blocks_n = kept;
}

static void flip_bit(const struct disk_io *io, uint64_t bit)
{
	((uint8_t *)io->data)[bit / 8] ^= (uint8_t)(1u << bit % 8);
}

static int blocks_read(struct fault_disk *d, const struct disk_io *io)
{
	for (uint32_t i = 0; i < d->blocks_n; i++) {
		const struct fault_block *b = &d->blocks[i];

		if (!covers(io, b->offset_bytes))
			continue;
		if (b->bit == UINT32_MAX)
			return -EIO;
		flip_bit(io, (b->offset_bytes - io->offset_bytes) * 8 + b->bit);
	}
	return 0;
}

/* ---- one transfer ---- */

/* Instead of what was asked for: a read of the same place that nobody sees, so that it takes its
 * time like any other. */
static void redirect(struct fault_io *f)
{
	uint32_t len = f->io.len_bytes ? f->io.len_bytes : BLOCK_BYTES;

	f->scratch = aligned_alloc(BLOCK_BYTES, len);
	CHECK(f->scratch != NULL);
	f->io.op = DISK_READ;
	f->io.dsync = false;
	f->io.len_bytes = len;
	f->io.data = f->scratch;
}

static void spoil(struct fault_disk *d, struct fault_io *f)
{
	enum fault_kind kind = d->plan->kind;
	uint32_t block;

	f->res = kind == FAULT_FLIP || kind == FAULT_ROT ? 0 : -EIO;
	f->tear = kind == FAULT_TORN;
	f->lose = kind == FAULT_GONE;
	f->flip = kind == FAULT_FLIP;
	if (kind == FAULT_TORN || kind == FAULT_GONE || kind == FAULT_EIO)
		redirect(f);
	if (kind == FAULT_SECTOR)
		block_goes_bad(d, f->io.offset_bytes, UINT32_MAX);
	if (kind == FAULT_ROT) {
		block = (uint32_t)pick(d, 1, f->io.len_bytes / BLOCK_BYTES);
		block_goes_bad(d, f->io.offset_bytes + (uint64_t)block * BLOCK_BYTES,
			       (uint32_t)pick(d, 2, BLOCK_BYTES * 8));
	}
}

/* The old content is in scratch: put some of the new sectors over it, but not all. */
static void tear(struct fault_disk *d, struct fault_io *f)
{
	const struct disk_io *outer = f->outer;
	uint32_t n = outer->len_bytes / SECTOR_BYTES;
	uint32_t cut = 1 + (uint32_t)pick(d, 3, n - 1);
	bool prefix = d->plan->n % 2 == 0;

	for (uint32_t i = 0; i < n; i++)
		if (prefix ? i < cut : i != cut && pick(d, 4 + i, 2) == 0)
			memcpy(f->scratch + (size_t)i * SECTOR_BYTES,
			       (const uint8_t *)outer->data + (size_t)i * SECTOR_BYTES,
			       SECTOR_BYTES);
	f->tear = false;
	f->io.op = DISK_WRITE;
	f->io.dsync = outer->dsync;
	d->below->submit(d->below, &f->io);
}

static void below_done(struct disk_io *io, int res)
{
	struct fault_io *f = CONTAINER_OF(io, struct fault_io, io);
	struct fault_disk *d = f->d;
	struct disk_io *outer = f->outer;

	if (f->tear && res == 0) {
		tear(d, f);
		return;
	}
	/* At every other point: what is read when a write fails comes long after everything else.
	 */
	if (d->write_failed && outer->op == DISK_READ && d->plan->n % 2 == 0 &&
	    f->rounds++ < LATE_ROUNDS) {
		d->below->submit(d->below, &f->io);
		return;
	}
	if (f->lose)
		d->lose(d->arg);
	if (io->op == DISK_WRITE)
		blocks_written(d, io);
	if (io->op == DISK_READ && res == 0 && !f->scratch) {
		res = blocks_read(d, io);
		if (res == 0 && f->flip)
			flip_bit(io, pick(d, 5, (uint64_t)io->len_bytes * 8));
	}
	if (f->res)
		res = f->res;
	if (res && outer->op != DISK_READ)
		d->write_failed = true;
	free(f->scratch);
	list_add_tail(&d->free, &f->link);
	d->inflight--;
	outer->done(outer, res);
}

static enum fault_class class_of(enum disk_op op)
{
	return op == DISK_READ ? FAULT_READ : op == DISK_WRITE ? FAULT_WRITE : FAULT_FLUSH;
}

static void submit(struct env_disk *ed, struct disk_io *outer)
{
	struct fault_disk *d = CONTAINER_OF(ed, struct fault_disk, disk);
	struct list *it = list_pop(&d->free);
	struct fault_io *f;

	CHECK(it != NULL);
	f = CONTAINER_OF(it, struct fault_io, link);
	*f = (struct fault_io){.d = d, .outer = outer};
	f->io = (struct disk_io){.op = outer->op,
				 .dsync = outer->dsync,
				 .offset_bytes = outer->offset_bytes,
				 .len_bytes = outer->len_bytes,
				 .data = outer->data,
				 .done = below_done};
	if (outer->op != DISK_READ && (d->write_failed || (d->may_write && !d->may_write(d->arg))))
		d->writes_after++;
	if (outer->op == DISK_WRITE && d->wrote)
		d->wrote(d->arg, outer->offset_bytes, outer->len_bytes);
	if (fault_due(d->plan, class_of(outer->op)))
		spoil(d, f);
	d->inflight++;
	d->below->submit(d->below, &f->io);
}

void fault_disk_heal(struct fault_disk *d)
{
	CHECK(d->inflight == 0);
	d->blocks_n = 0;
	d->write_failed = false;
	d->plan->armed = false;
}

void fault_disk_init(struct fault_disk *d, struct env_disk *below, struct fault_plan *plan)
{
	*d = (struct fault_disk){.below = below, .plan = plan, .disk = *below};
	d->disk.submit = submit;
	list_init(&d->free);
	for (unsigned i = 0; i < FAULT_IOS; i++)
		list_add_tail(&d->free, &d->ios[i].link);
}
