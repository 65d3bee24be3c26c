/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/bench/store/big.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/format.h"
#include "tests/bench/measure.h"
#include "tests/bench/store/table.h"

#define CHUNK_BLOCKS 256u
#define SEQ 1u /* the one op each chain is taken to have had */

struct big {
	const struct big_config *cfg;
	int fd;
	uint64_t extents;
	struct disk_super *super;
	struct disk_ckpt_recs *entry; /* one per record block in use */
	uint32_t entries_n;
	uint32_t delta[EXTENT_BLOCKS]; /* what a block's number does to the checksum of its zeros */
	uint8_t *chunk;                /* CHUNK_BLOCKS */
};

static void *aligned(size_t bytes)
{
	void *p = NULL;

	if (posix_memalign(&p, BLOCK_BYTES, bytes))
		measure_die("memory", ENOMEM);
	memset(p, 0, bytes);
	return p;
}

static void put(const struct big *b, const void *data, size_t bytes, uint64_t offset)
{
	if (pwrite(b->fd, data, bytes, (off_t)offset) != (ssize_t)bytes)
		measure_die(b->cfg->path, errno ? errno : EIO);
}

static void open_formatted(struct big *b)
{
	const char *why = "";
	off_t size;

	b->fd = open(b->cfg->path, O_RDWR | O_DIRECT | O_CLOEXEC);
	size = b->fd < 0 ? -1 : lseek(b->fd, 0, SEEK_END);
	if (size < 0 || pread(b->fd, b->super, BLOCK_BYTES, 0) != BLOCK_BYTES)
		measure_die(b->cfg->path, errno ? errno : EIO);
	if (super_check(b->super, (uint64_t)size, &why))
		measure_die(why, 0);
	if (b->super->ckpt_generation)
		measure_die("the store was in use: format it first", 0);
	if (b->super->pages_n < b->extents * EXTENT_PAGES)
		measure_die("the store is too small for the volume", ENOSPC);
}

/* ---- checksums of zeros ---- */

static struct block_addr addr_of(const struct big *b, uint64_t extent, uint32_t block)
{
	const struct table whole = {.entries = b->extents * EXTENT_BLOCKS, .stride = 1};

	return table_addr(&whole, extent * EXTENT_BLOCKS + block);
}

static uint32_t zero_crc(const struct big *b, uint64_t extent, uint32_t block)
{
	struct block_addr at = addr_of(b, extent, block);

	return crc_block_zero(&at);
}

/* A CRC is linear in the bits that go in, and the block's number is such bits: what it does to the
 * checksum is the same in every extent. */
static void prepare_crcs(struct big *b)
{
	for (uint32_t i = 0; i < EXTENT_BLOCKS; i++)
		b->delta[i] = zero_crc(b, 0, i) ^ zero_crc(b, 0, 0);
}

/* ---- record blocks ---- */

static void fill_page(const struct big *b, struct disk_page_rec *rec, uint64_t page)
{
	uint64_t extent = page / EXTENT_PAGES;
	uint32_t slot = (uint32_t)(page % EXTENT_PAGES);
	uint32_t first = zero_crc(b, extent, slot * PAGE_BLOCKS);
	const uint32_t *delta = &b->delta[slot * PAGE_BLOCKS];

	*rec = (struct disk_page_rec){.volume = addr_of(b, extent, 0).volume,
				      .extent = extent,
				      .seq = SEQ,
				      .chain = 1 + (uint32_t)(extent % b->cfg->chains),
				      .present = UINT16_MAX,
				      .slot = (uint8_t)slot};
	for (uint32_t i = 0; i < PAGE_BLOCKS; i++)
		rec->crcs[i] = first ^ delta[0] ^ delta[i];
	CHECK(slot || extent % 1000 || rec->crcs[PAGE_BLOCKS - 1] == zero_crc(b, extent, 15));
}

static void fill_recs(struct big *b, struct disk_recs *recs, uint32_t index)
{
	uint64_t page = (uint64_t)index * RECS_PAGES, end = b->extents * EXTENT_PAGES;
	struct disk_ckpt_recs *e = &b->entry[b->entries_n++];

	*recs = (struct disk_recs){.magic = RECS_MAGIC, .index = index, .generation = 1};
	*e = (struct disk_ckpt_recs){.index = index};
	for (uint32_t i = 0; i < RECS_PAGES && page + i < end; i++) {
		fill_page(b, &recs->rec[i], page + i);
		e->used |= 1ull << i;
	}
	recs_seal(recs, b->super->secret);
	e->crc = recs->crc;
}

static void put_recs(struct big *b)
{
	uint32_t n = (uint32_t)format_recs_n(b->extents * EXTENT_PAGES);

	b->entry = calloc(n, sizeof(*b->entry));
	if (!b->entry)
		measure_die("memory", ENOMEM);
	for (uint32_t at = 0, len; at < n; at += len) {
		len = MIN(n - at, CHUNK_BLOCKS);
		for (uint32_t i = 0; i < len; i++)
			fill_recs(b, (void *)(b->chunk + (size_t)i * BLOCK_BYTES), at + i);
		put(b, b->chunk, (size_t)len * BLOCK_BYTES,
		    b->super->recs_offset_bytes + (uint64_t)at * BLOCK_BYTES);
	}
}

/* ---- checkpoint, superblock ---- */

static void put_ckpt_block(struct big *b, struct disk_ckpt_hdr *h, const void *entries,
			   size_t entry_bytes)
{
	h->magic = CKPT_MAGIC;
	h->generation = 1;
	h->index = b->super->ckpt_blocks++;
	memset(h + 1, 0, BLOCK_BYTES - sizeof(*h));
	memcpy(h + 1, entries, h->n * entry_bytes);
	ckpt_seal(h, b->super->secret);
	put(b, h, BLOCK_BYTES, b->super->ckpt_offset_bytes + h->index * BLOCK_BYTES);
}

static void put_ckpt(struct big *b)
{
	struct disk_ckpt_hdr *h = (void *)b->chunk;

	b->super->ckpt_blocks = 0;
	for (uint32_t at = 0; at < b->entries_n; at += h->n) {
		*h = (struct disk_ckpt_hdr){
			.kind = CKPT_RECS,
			.n = MIN((uint32_t)CKPT_RECS_PER_BLOCK, b->entries_n - at)};
		put_ckpt_block(b, h, &b->entry[at], sizeof(*b->entry));
	}
	for (uint32_t i = 1; i <= b->cfg->chains; i++) {
		const struct disk_ckpt_chain chain = {
			.chain = i, .epoch = 1, .history = 1, .known = SEQ, .base = SEQ};

		*h = (struct disk_ckpt_hdr){.kind = CKPT_CHAIN, .n = 1};
		put_ckpt_block(b, h, &chain, sizeof(chain));
	}
}

static void put_super(struct big *b)
{
	b->super->ckpt_slot = 0;
	b->super->ckpt_generation = 1;
	b->super->generation++;
	super_seal(b->super);
	if (fdatasync(b->fd) < 0) /* never a superblock before what it names */
		measure_die(b->cfg->path, errno);
	for (unsigned i = 0; i < SUPER_COPIES; i++)
		put(b, b->super, BLOCK_BYTES, super_offset_bytes(i));
	if (fdatasync(b->fd) < 0)
		measure_die(b->cfg->path, errno);
}

void big_populate(const struct big_config *cfg)
{
	struct big b = {.cfg = cfg, .extents = cfg->volume_bytes / EXTENT_BYTES};

	b.super = aligned(BLOCK_BYTES);
	b.chunk = aligned((size_t)CHUNK_BLOCKS * BLOCK_BYTES);
	open_formatted(&b);
	prepare_crcs(&b);
	put_recs(&b);
	put_ckpt(&b);
	put_super(&b);
	close(b.fd);
	free(b.entry);
	free(b.super);
	free(b.chunk);
}
