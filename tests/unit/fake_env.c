/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/unit/fake_env.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

uint64_t fake_random(struct fake_env *fe, uint64_t below)
{
	uint64_t z = fake_clock_random(&fe->clock);

	return below ? z % below : z;
}

static void log_line(struct env *e, int level, const char *line)
{
	struct fake_env *fe = CONTAINER_OF(e, struct fake_env, clock.env);

	if (level <= ENV_WARN)
		fe->log_lines++;
	snprintf(fe->last_line, sizeof(fe->last_line), "%s", line);
	if (getenv("FAKE_ENV_LOG"))
		fprintf(stderr, "log<%d> %s\n", level, line);
}

void fake_env_init(struct fake_env *fe, uint64_t seed)
{
	*fe = (struct fake_env){0};
	fake_clock_init(&fe->clock, 1, seed);
	fe->clock.env.log = log_line;
	list_init(&fe->disks);
}

void fake_env_crash(struct fake_env *fe)
{
	fake_clock_drop(&fe->clock);
}

void *fake_memory(size_t len_bytes)
{
	void *p = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

void fake_memory_zero(void *p, size_t len_bytes)
{
	CHECK(madvise(p, len_bytes, MADV_DONTNEED) == 0);
}

void fake_memory_free(void *p, size_t len_bytes)
{
	if (p)
		CHECK(munmap(p, len_bytes) == 0);
}

/* ---- disk ---- */

void fake_disk_io_check(const struct env_disk *ed, const struct disk_io *io)
{
	CHECK(io->offset_bytes % BLOCK_BYTES == 0);
	CHECK(io->len_bytes % BLOCK_BYTES == 0);
	CHECK(io->len_bytes <= DISK_IO_BYTES_MAX);
	CHECK((io->op == DISK_FLUSH) == (io->len_bytes == 0));
	CHECK(io->offset_bytes + io->len_bytes <= ed->size_bytes);
	CHECK((uintptr_t)io->data % BLOCK_BYTES == 0);
}

static void submit(struct env_disk *ed, struct disk_io *io)
{
	struct fake_disk *d = CONTAINER_OF(ed, struct fake_disk, disk);

	fake_disk_io_check(ed, io);
	io->env_priv = (void *)(uintptr_t)d->writes; /* a flush covers what completed by now */
	list_add_tail(&d->queue, &io->link);
	d->queue_n++;
}

static size_t dirty_bytes(uint64_t size_bytes)
{
	return size_bytes / SECTOR_BYTES / 8 + 1;
}

void fake_disk_init(struct fake_disk *d, struct fake_env *fe, uint64_t size_bytes)
{
	uint64_t sectors = size_bytes / SECTOR_BYTES;

	*d = (struct fake_disk){
		.fe = fe,
		.disk = {.size_bytes = size_bytes, .volatile_cache = true, .submit = submit}};
	d->seen = fake_memory(size_bytes);
	d->durable = fake_memory(size_bytes);
	d->dirty = fake_memory(dirty_bytes(size_bytes));
	d->dirty_list = fake_memory(sectors * sizeof(uint32_t));
	d->dirty_since = fake_memory(sectors * sizeof(uint64_t));
	list_init(&d->queue);
	list_add_tail(&fe->disks, &d->link);
}

void fake_disk_reset(struct fake_disk *d, struct fake_env *fe)
{
	uint64_t size = d->disk.size_bytes;

	fake_memory_zero(d->seen, size);
	fake_memory_zero(d->durable, size);
	fake_memory_zero(d->dirty, dirty_bytes(size));
	d->dirty_n = d->queue_n = 0;
	list_init(&d->queue);
	d->fe = fe;
	list_add_tail(&fe->disks, &d->link);
}

void fake_disk_fini(struct fake_disk *d)
{
	uint64_t size = d->disk.size_bytes, sectors = size / SECTOR_BYTES;

	list_del(&d->link);
	fake_memory_free(d->seen, size);
	fake_memory_free(d->durable, size);
	fake_memory_free(d->dirty, dirty_bytes(size));
	fake_memory_free(d->dirty_list, sectors * sizeof(uint32_t));
	fake_memory_free(d->dirty_since, sectors * sizeof(uint64_t));
}

static void make_durable(struct fake_disk *d, uint32_t sector)
{
	memcpy(d->durable + (size_t)sector * SECTOR_BYTES, d->seen + (size_t)sector * SECTOR_BYTES,
	       SECTOR_BYTES);
}

static void clean(struct fake_disk *d)
{
	for (uint32_t i = 0; i < d->dirty_n; i++)
		d->dirty[d->dirty_list[i] / 8] = 0;
	d->dirty_n = 0;
}

/* Sectors that became dirty after the flush was submitted stay so. Of one that was written before
 * and after, the newer bytes become durable: a disk may do that, and the older ones are not kept
 * here. */
static void flush_until(struct fake_disk *d, uint64_t writes)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < d->dirty_n; i++) {
		uint32_t sector = d->dirty_list[i];

		if (d->dirty_since[i] > writes) {
			d->dirty_since[kept] = d->dirty_since[i];
			d->dirty_list[kept++] = sector;
			continue;
		}
		make_durable(d, sector);
		d->dirty[sector / 8] &= (uint8_t) ~(1u << (sector % 8));
	}
	d->dirty_n = kept;
}

static void mark_dirty(struct fake_disk *d, uint32_t sector)
{
	if (d->dirty[sector / 8] >> (sector % 8) & 1)
		return;
	d->dirty[sector / 8] |= (uint8_t)(1u << (sector % 8));
	d->dirty_since[d->dirty_n] = d->writes;
	d->dirty_list[d->dirty_n++] = sector;
}

static void write_sector(struct fake_disk *d, const struct disk_io *io, uint32_t i)
{
	uint64_t at = io->offset_bytes + (uint64_t)i * SECTOR_BYTES;

	memcpy(d->seen + at, (const uint8_t *)io->data + (size_t)i * SECTOR_BYTES, SECTOR_BYTES);
	mark_dirty(d, (uint32_t)(at / SECTOR_BYTES));
}

static int do_write(struct fake_disk *d, const struct disk_io *io)
{
	uint32_t n = io->len_bytes / SECTOR_BYTES;

	if (++d->writes == d->fail_write)
		return -EIO;
	for (uint32_t i = 0; i < n; i++)
		write_sector(d, io, i);
	/* Only these sectors: others stay volatile. An older version of them is gone for good. */
	for (uint32_t i = 0; io->dsync && i < n; i++)
		make_durable(d, (uint32_t)(io->offset_bytes / SECTOR_BYTES) + i);
	return 0;
}

static int transfer(struct fake_disk *d, const struct disk_io *io)
{
	d->ios++;
	switch (io->op) {
	case DISK_READ:
		d->read_bytes += io->len_bytes;
		if (++d->reads == d->fail_read)
			return -EIO;
		if (d->bad_block && io->offset_bytes < d->bad_block + BLOCK_BYTES &&
		    d->bad_block < io->offset_bytes + io->len_bytes)
			return -EIO;
		memcpy(io->data, d->seen + io->offset_bytes, io->len_bytes);
		return 0;
	case DISK_WRITE:
		return do_write(d, io);
	case DISK_FLUSH:
		break;
	}
	if (++d->flushes == d->fail_flush)
		return -EIO;
	flush_until(d, (uintptr_t)io->env_priv);
	return 0;
}

/* @it, or what comes next in the queue and is not held up. */
static struct list *unheld(struct fake_disk *d, struct list *it)
{
	for (uint32_t n = 0; d->hold_from && n <= d->queue_n; n++, it = it->next) {
		const struct disk_io *io = CONTAINER_OF(it, struct disk_io, link);

		if (it != &d->queue && (io->op != DISK_WRITE || io->offset_bytes < d->hold_from))
			return it;
	}
	return d->hold_from ? NULL : it;
}

static bool complete_one(struct fake_disk *d)
{
	struct list *it = list_first(&d->queue);
	struct disk_io *io;
	int res;

	if (!it || d->stalled)
		return false;
	if (d->fe->shuffle)
		for (uint64_t n = fake_random(d->fe, MIN(d->queue_n, 8u)); n > 0; n--)
			it = it->next;
	it = unheld(d, it);
	if (!it)
		return false;
	io = CONTAINER_OF(it, struct disk_io, link);
	list_del(it);
	d->queue_n--;
	res = transfer(d, io);
	io->done(io, res);
	return true;
}

void fake_disk_crash(struct fake_disk *d, uint32_t keep_permille)
{
	struct list *it;

	/* What was under way may have got anywhere. */
	while ((it = list_pop(&d->queue))) {
		const struct disk_io *io = CONTAINER_OF(it, struct disk_io, link);

		for (uint32_t i = 0; io->op == DISK_WRITE && i < io->len_bytes / SECTOR_BYTES; i++)
			if (fake_random(d->fe, 1000) < keep_permille)
				write_sector(d, io, i);
	}
	d->queue_n = 0;
	for (uint32_t i = 0; i < d->dirty_n; i++) {
		size_t at = (size_t)d->dirty_list[i] * SECTOR_BYTES;

		if (fake_random(d->fe, 1000) < keep_permille)
			make_durable(d, d->dirty_list[i]);
		else
			memcpy(d->seen + at, d->durable + at, SECTOR_BYTES);
	}
	clean(d);
}

void fake_disk_lose(struct fake_disk *d)
{
	for (uint32_t i = 0; i < d->dirty_n; i++) {
		size_t at = (size_t)d->dirty_list[i] * SECTOR_BYTES;

		memcpy(d->seen + at, d->durable + at, SECTOR_BYTES);
	}
	clean(d);
}

void fake_disk_kill(struct fake_disk *d)
{
	struct list *it;

	while ((it = list_pop(&d->queue))) {
		const struct disk_io *io = CONTAINER_OF(it, struct disk_io, link);

		if (io->op == DISK_WRITE && fake_random(d->fe, 2))
			do_write(d, io);
	}
	d->queue_n = 0;
}

void fake_disk_poke(struct fake_disk *d, uint64_t offset_bytes, const void *bytes, size_t n)
{
	memcpy(d->seen + offset_bytes, bytes, n);
	memcpy(d->durable + offset_bytes, bytes, n);
}

/* ---- the loop ---- */

bool fake_step_now(struct fake_env *fe)
{
	bool did = false;

	LIST_FOR_EACH(it, &fe->disks)
	{
		struct fake_disk *d = CONTAINER_OF(it, struct fake_disk, link);
		uint64_t n = fe->shuffle ? 1 + fake_random(fe, 3) : 1;

		while (n-- && complete_one(d)) {
			did = true;
			fe->clock.now_ns += 1000;
		}
	}
	return fake_clock_tasks(&fe->clock) || did;
}

bool fake_step(struct fake_env *fe)
{
	return fake_step_now(fe) || fake_clock_fire(&fe->clock);
}

void fake_run(struct fake_env *fe, const bool *flag)
{
	for (uint64_t n = 0; !*flag; n++) {
		CHECK(n < 10000000);
		CHECK(fake_step(fe));
	}
}
