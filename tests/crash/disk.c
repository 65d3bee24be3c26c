/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/crash/disk.h"

#include <string.h>

#define SHUFFLE_AMONG 8u

static bool planted(const struct disk *d, enum plant_what what, enum region region)
{
	return d->plant && d->plant->what == what && d->plant->region == region;
}

static void begin_write(struct disk *d, struct disk_io *io)
{
	struct write w = {.block = (uint32_t)(io->offset_bytes / BLOCK_BYTES),
			  .blocks = io->len_bytes / BLOCK_BYTES,
			  .region = region_of(&d->regions, io->offset_bytes)};

	w.durable = !d->disk.volatile_cache || (io->dsync && !planted(d, PLANT_DSYNC, w.region));
	w.forgotten = planted(d, PLANT_FORGET, w.region);
	io->env_priv = (void *)(uintptr_t)record_write(d->rec, d->heap, &w, io->data);
}

static void begin_flush(struct disk *d, struct disk_io *io)
{
	bool lies =
		d->plant && d->plant->what == PLANT_FLUSH && (d->awaited >> d->plant->region & 1);

	io->env_priv = (void *)(uintptr_t)(lies ? RECORD_NEVER : d->rec->events_n);
	record_event(d->rec, EVENT_FLUSH, 0);
}

static void submit(struct env_disk *ed, struct disk_io *io)
{
	struct disk *d = CONTAINER_OF(ed, struct disk, disk);

	fake_disk_io_check(ed, io);
	if (io->op == DISK_WRITE && region_of(&d->regions, io->offset_bytes) == REGION_LOG)
		d->log_end_bytes = io->offset_bytes + io->len_bytes;
	if (d->rec && io->op == DISK_WRITE)
		begin_write(d, io);
	if (d->rec && io->op == DISK_FLUSH)
		begin_flush(d, io);
	list_add_tail(&d->queue, &io->link);
	d->queue_n++;
}

void disk_init(struct disk *d, struct fake_env *fe, struct heap *heap)
{
	*d = (struct disk){
		.fe = fe, .heap = heap, .disk = {.volatile_cache = true, .submit = submit}};
	list_init(&d->queue);
}

/* ---- ends ---- */

static void end_recorded_write(struct disk *d, const struct disk_io *io)
{
	uint32_t index = (uint32_t)(uintptr_t)io->env_priv;
	struct write *w = &d->rec->write[index];

	CHECK(memcmp(w->data, io->data, io->len_bytes) == 0); /* N2 */
	for (uint32_t i = 0; i < w->blocks; i++)
		image_set(&d->now, w->block + i, w->data + (size_t)i * BLOCK_BYTES, w->sums[i]);
	w->ended = d->rec->events_n;
	if (!w->durable)
		d->awaited |= 1u << w->region;
	record_event(d->rec, EVENT_WRITTEN, index);
}

static void end_write(struct disk *d, const struct disk_io *io)
{
	uint32_t block = (uint32_t)(io->offset_bytes / BLOCK_BYTES);
	uint32_t n = io->len_bytes / BLOCK_BYTES;
	uint8_t *to;

	if (d->rec) {
		end_recorded_write(d, io);
		return;
	}
	to = heap_blocks(d->heap, n);
	memcpy(to, io->data, io->len_bytes);
	for (uint32_t i = 0; i < n; i++)
		image_set(&d->now, block + i, to + (size_t)i * BLOCK_BYTES, 0);
}

static void end_flush(struct disk *d, const struct disk_io *io)
{
	uint32_t began = (uint32_t)(uintptr_t)io->env_priv;

	if (!d->rec)
		return;
	record_event(d->rec, began == RECORD_NEVER ? EVENT_NO_FLUSH : EVENT_FLUSHED, began);
	d->awaited = 0;
}

static void transfer(struct disk *d, const struct disk_io *io)
{
	switch (io->op) {
	case DISK_READ:
		image_read(&d->now, io->offset_bytes, io->len_bytes, io->data);
		break;
	case DISK_WRITE:
		end_write(d, io);
		break;
	case DISK_FLUSH:
		end_flush(d, io);
		break;
	}
}

static void end_one(struct disk *d)
{
	struct list *it = list_first(&d->queue);
	struct disk_io *io;

	if (d->shuffle)
		for (uint64_t n = fake_random(d->fe, MIN(d->queue_n, SHUFFLE_AMONG)); n > 0; n--)
			it = it->next;
	io = CONTAINER_OF(it, struct disk_io, link);
	list_del(it);
	d->queue_n--;
	transfer(d, io);
	d->fe->clock.now_ns += 1000;
	io->done(io, 0);
}

bool disk_step(struct disk *d)
{
	uint64_t n = d->shuffle ? 1 + fake_random(d->fe, 3) : 1;
	bool did = d->queue_n > 0;

	while (n-- > 0 && d->queue_n > 0)
		end_one(d);
	return did;
}

void disk_power_off(struct disk *d)
{
	while (list_pop(&d->queue))
		;
	d->queue_n = 0;
}

void disk_kill(struct disk *d)
{
	struct list *it;

	while ((it = list_pop(&d->queue))) {
		struct disk_io *io = CONTAINER_OF(it, struct disk_io, link);

		if (io->op != DISK_WRITE)
			continue;
		if (fake_random(d->fe, 2))
			end_write(d, io);
		else if (d->rec)
			record_event(d->rec, EVENT_DROPPED, (uint32_t)(uintptr_t)io->env_priv);
	}
	d->queue_n = 0;
}
