/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "sim/disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLOW_FACTOR 100u

struct disk_req {
	struct sim_event ev;
	struct list link;
	struct sim_disk *d;
	struct disk_io *io;
	uint64_t covers; /* FLUSH: plain writes completed before it was submitted */
};

struct disk_cached { /* a plain write that is only in the cache */
	struct list link;
	uint64_t number, offset_bytes;
	uint32_t len_bytes;
	uint8_t *dead; /* per sector: superseded by a durable write */
	uint8_t *data;
};

static void cached_free(struct disk_cached *c)
{
	list_del(&c->link);
	free(c);
}

/* A durable write of this range: older cached versions of its sectors can not come back (the
 * device's cache is coherent). */
static void cache_supersede(struct sim_disk *d, uint64_t offset, uint32_t len)
{
	LIST_FOR_EACH_SAFE(it, &d->cache)
	{
		struct disk_cached *c = CONTAINER_OF(it, struct disk_cached, link);

		if (c->offset_bytes >= offset + len || offset >= c->offset_bytes + c->len_bytes)
			continue;
		for (uint32_t s = 0; s < c->len_bytes / SECTOR_BYTES; s++) {
			uint64_t at = c->offset_bytes + s * SECTOR_BYTES;

			if (at >= offset && at < offset + len)
				c->dead[s] = 1;
		}
	}
}

static void cache_add(struct sim_disk *d, const struct disk_io *io)
{
	uint32_t sectors = io->len_bytes / SECTOR_BYTES;
	struct disk_cached *c = calloc(1, sizeof(*c) + sectors + io->len_bytes);

	CHECK(c);
	c->number = ++d->completed;
	c->offset_bytes = io->offset_bytes;
	c->len_bytes = io->len_bytes;
	c->dead = (uint8_t *)(c + 1);
	c->data = c->dead + sectors;
	memcpy(c->data, io->data, io->len_bytes);
	list_add_tail(&d->cache, &c->link);
}

static void cache_flush(struct sim_disk *d, uint64_t covers)
{
	LIST_FOR_EACH_SAFE(it, &d->cache)
	{
		struct disk_cached *c = CONTAINER_OF(it, struct disk_cached, link);

		if (c->number > covers)
			continue;
		for (uint32_t s = 0; s < c->len_bytes / SECTOR_BYTES; s++)
			if (!c->dead[s])
				memcpy(d->stable + c->offset_bytes + s * SECTOR_BYTES,
				       c->data + s * SECTOR_BYTES, SECTOR_BYTES);
		cached_free(c);
	}
}

static void apply(struct sim_disk *d, const struct disk_io *io)
{
	memcpy(d->seen + io->offset_bytes, io->data, io->len_bytes);
	if (io->dsync || !d->env.volatile_cache) {
		memcpy(d->stable + io->offset_bytes, io->data, io->len_bytes);
		cache_supersede(d, io->offset_bytes, io->len_bytes);
	} else {
		cache_add(d, io);
	}
}

static int perform(struct sim_disk *d, struct disk_req *req)
{
	struct disk_io *io = req->io;

	switch (io->op) {
	case DISK_READ:
		d->reads++;
		if (d->eio_reads) {
			d->eio_reads--;
			return -EIO;
		}
		memcpy(io->data, d->seen + io->offset_bytes, io->len_bytes);
		return 0;
	case DISK_WRITE:
		d->writes++;
		if (d->eio_writes) {
			d->eio_writes--;
			return -EIO;
		}
		apply(d, io);
		return 0;
	case DISK_FLUSH:
		d->flushes++;
		if (d->eio_writes) {
			d->eio_writes--;
			return -EIO;
		}
		cache_flush(d, req->covers);
		return 0;
	}
	return -EINVAL;
}

static void req_fire(struct sim_event *ev)
{
	struct disk_req *req = CONTAINER_OF(ev, struct disk_req, ev);
	struct sim_disk *d = req->d;
	struct disk_io *io = req->io;
	struct proc *p = d->owner;
	int res;

	if (proc_hold(p, ev))
		return;
	res = perform(d, req);
	list_del(&req->link);
	free(req);
	io->done(io, res);
	proc_ran(p);
}

static void submit(struct env_disk *env, struct disk_io *io)
{
	struct sim_disk *d = CONTAINER_OF(env, struct sim_disk, env);
	struct rng *r = &d->w->rng;
	bool read = io->op == DISK_READ;
	struct disk_req *req = calloc(1, sizeof(*req));
	uint64_t delay;

	CHECK(req);
	CHECK(d->owner);
	CHECK(d->owner->up);
	if (io->op != DISK_FLUSH) {
		CHECK(io->len_bytes > 0);
		CHECK(io->len_bytes <= DISK_IO_BYTES_MAX);
		CHECK(io->offset_bytes % BLOCK_BYTES == 0);
		CHECK(io->len_bytes % BLOCK_BYTES == 0);
		CHECK((uintptr_t)io->data % BLOCK_BYTES == 0);
		CHECK(io->offset_bytes + io->len_bytes <= d->env.size_bytes);
	}
	req->d = d;
	req->io = io;
	req->covers = d->completed;
	req->ev.fire = req_fire;
	io->env_priv = req;
	list_add_tail(&d->inflight, &req->link);
	delay = read ? rng_skewed(r, d->read_lo_ns, d->read_hi_ns)
		     : rng_skewed(r, d->write_lo_ns, d->write_hi_ns);
	if (d->slow_until_ns > d->w->now_ns)
		delay *= SLOW_FACTOR;
	world_at(d->w, &req->ev, d->w->now_ns + delay);
}

/* An unfinished write: happened whole, not at all, or sector by sector. */
static void settle(struct sim_disk *d, struct disk_io *io)
{
	struct rng *r = &d->w->rng;
	uint64_t how = rng_below(r, 4);

	for (uint32_t s = 0; s < io->len_bytes / SECTOR_BYTES; s++) {
		uint64_t at = io->offset_bytes + s * SECTOR_BYTES;
		const uint8_t *from = (const uint8_t *)io->data + s * SECTOR_BYTES;

		if (how == 0 || (how > 1 && rng_chance(r, 500000)))
			continue;
		memcpy(d->seen + at, from, SECTOR_BYTES);
		memcpy(d->stable + at, from, SECTOR_BYTES);
		cache_supersede(d, at, SECTOR_BYTES);
	}
}

void disk_proc_died(struct sim_disk *d)
{
	/* Those submitted together end in any order: take from either side. */
	while (!list_empty(&d->inflight)) {
		struct list *it =
			rng_chance(&d->w->rng, 500000) ? d->inflight.next : d->inflight.prev;
		struct disk_req *req = CONTAINER_OF(it, struct disk_req, link);

		if (req->io->op == DISK_WRITE)
			settle(d, req->io);
		world_cancel(d->w, &req->ev);
		list_del(&req->link);
		free(req);
	}
}

void disk_power_lost(struct sim_disk *d)
{
	struct rng *r = &d->w->rng;
	uint64_t how = rng_below(r, 4); /* nothing survives, everything, or each by its own throw */
	uint32_t keep_ppm = (uint32_t)rng_below(r, 1000000);

	disk_proc_died(d);
	LIST_FOR_EACH(it, &d->cache)
	{
		struct disk_cached *c = CONTAINER_OF(it, struct disk_cached, link);

		for (uint32_t s = 0; s < c->len_bytes / SECTOR_BYTES; s++) {
			uint64_t at = c->offset_bytes + s * SECTOR_BYTES;

			if (c->dead[s])
				continue;
			if (how != 0 && (how == 1 || rng_chance(r, keep_ppm)))
				memcpy(d->stable + at, c->data + s * SECTOR_BYTES, SECTOR_BYTES);
			else
				d->lost_sectors++;
		}
	}
	while (!list_empty(&d->cache)) {
		struct disk_cached *c = CONTAINER_OF(d->cache.next, struct disk_cached, link);

		memcpy(d->seen + c->offset_bytes, d->stable + c->offset_bytes, c->len_bytes);
		cached_free(c);
	}
}

void disk_own(struct sim_disk *d, struct proc *owner)
{
	CHECK(list_empty(&d->inflight));
	d->owner = owner;
}

void disk_init(struct sim_disk *d, struct world *w, uint64_t size_bytes, bool volatile_cache)
{
	memset(d, 0, sizeof(*d));
	d->w = w;
	d->env.size_bytes = size_bytes;
	d->env.volatile_cache = volatile_cache;
	d->env.submit = submit;
	list_init(&d->inflight);
	list_init(&d->cache);
	d->write_lo_ns = 20 * US;
	d->write_hi_ns = MS;
	d->read_lo_ns = 10 * US;
	d->read_hi_ns = 500 * US;
	d->seen = sim_map(size_bytes);
	d->stable = sim_map(size_bytes);
}

void disk_fini(struct sim_disk *d)
{
	LIST_FOR_EACH_SAFE(it, &d->cache)
	cached_free(CONTAINER_OF(it, struct disk_cached, link));
	LIST_FOR_EACH_SAFE(it, &d->inflight)
	{
		struct disk_req *req = CONTAINER_OF(it, struct disk_req, link);

		world_cancel(d->w, &req->ev);
		free(req);
	}
	list_init(&d->inflight);
	sim_unmap(d->seen, d->env.size_bytes);
	sim_unmap(d->stable, d->env.size_bytes);
	d->seen = d->stable = NULL;
}
