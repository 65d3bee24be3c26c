/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* recs - the record blocks of the pages (disk_recs): a cache of them, and their way to the disk.
 *
 *	destage, landing --change--> slot --write out--> spare home --checkpoint names it--> in
 *	force read --want--> slot <--load-- home in force or last written
 *
 * Owners and present bits live in pages.h; a cached block adds the CRCs. What is written is put
 * together from both.
 *
 *   Y1  recs.used and recs.crc say what was written last of each block, and in which home; a
 *       checkpoint is a copy of them. A page given up leaves used at once
 *   Y2  a block is dirty when memory knows more than what was written last; a dirty block that has
 *       a CRC nobody else has is in the cache
 *   Y3  what the checkpoint in force names is never overwritten: the first write after it goes to
 *       the other home, later ones to the same; none while a checkpoint is being written
 *   Y4  a pinned, fresh or moving slot is not given to another block
 *   Y5  fresh slots are never all of them: who makes more waits for recs_crowded() (destaging and
 *       landing, background both), so that a read always finds a slot, while a checkpoint lets none
 *       be written, too
 *
 * Memory is the arena's. One thread; part of struct store (internal.h). */

#ifndef STORE_RECS_H
#define STORE_RECS_H

#include "lib/env.h"
#include "lib/list.h"
#include "store/format.h"

struct arena;
struct store;

#define RECS_NONE UINT32_MAX
#define RECS_WRITE_BLOCKS 256u /* of one round of write-outs */
#define RECS_WRITE_IOS 64u

struct recs_wait { /* embedded by who waits for a block */
	struct list link;
	/* From the loop: 0: ask again; -EBADMSG, -EIO: the block cannot be read. */
	void (*fn)(struct recs_wait *w, int res);
};

struct recs_slot {
	struct disk_io io;
	struct store *s;
	struct list waits; /* recs_wait, while it is loaded */
	uint32_t block;    /* RECS_NONE: empty */
	uint16_t pins;
	bool loading, writing, recent;
	bool fresh; /* has CRCs that nobody else has */
};

struct recs_io {
	struct disk_io io;
	struct store *s;
	uint32_t first, n; /* in recs.written */
};

struct recs {
	uint32_t blocks_n, slots_n;
	uint64_t *used;    /* per block: pages written as owned; RECS_HOME_B (Y1) */
	uint32_t *crc;     /* per block */
	uint32_t *slot_of; /* per block, or RECS_NONE */
	uint64_t *dirty;   /* bit per block (Y2) */
	uint64_t *moved;   /* bit per block: its home is not the one in force (Y3) */
	uint32_t dirty_n;
	struct recs_slot *slots;
	uint32_t fresh_n;    /* slots */
	uint8_t *data;       /* BLOCK_BYTES per slot */
	uint32_t hand;       /* of the clock */
	struct list starved; /* recs_wait: no slot could be had */
	/* One round of write-outs at a time. */
	uint8_t *stage;
	uint32_t written[RECS_WRITE_BLOCKS]; /* slots */
	struct recs_io ios[RECS_WRITE_IOS];
	uint32_t written_n, ios_n, evict_at;
	uint64_t loads, hits;
};

uint32_t recs_slots_for(uint64_t disk_bytes);
size_t recs_bytes(uint64_t disk_bytes, uint32_t slots_n);
void recs_init(struct store *s, struct arena *a, uint64_t disk_bytes, uint32_t slots_n);
/* The slot of @block, or RECS_NONE: @w is told. Pin it before anything else happens. */
uint32_t recs_get(struct store *s, uint32_t block, struct recs_wait *w);
/* The same without waiting: RECS_NONE when it is not at hand. */
uint32_t recs_peek(const struct store *s, uint32_t block);
void recs_pin(struct store *s, uint32_t slot, int by);
static inline uint32_t recs_block_of(uint32_t page)
{
	return page / RECS_PAGES;
}
/* The record of owned page @page in its @slot; a leftover of an earlier owner is wiped. */
struct disk_page_rec *recs_rec(struct store *s, uint32_t slot, uint32_t page);
/* CRC of one block of it. */
uint32_t recs_crc(const struct store *s, uint32_t slot, uint32_t page, uint32_t block);
void recs_dirty(struct store *s, uint32_t page);                /* its blocks present changed */
void recs_fresh(struct store *s, uint32_t slot, uint32_t page); /* its CRCs in @slot did */
/* With @more slots about to become fresh: would that leave too few (Y5)? */
bool recs_crowded(const struct store *s, uint32_t more);
/* @page was given up. */
void recs_unuse(struct store *s, uint32_t page);
/* Recovery: @data is what lies at the home of @block. */
void recs_seed(struct store *s, uint32_t block, const void *data);
/* Write dirty blocks out, from *@cursor on: true when all from there on are written or under way.
 * False: called again when something changed (recs_pump()). For a checkpoint every one counts,
 * those not cached are loaded. */
bool recs_write(struct store *s, uint32_t *cursor, struct recs_wait *w);
/* A checkpoint is durable: what was written is in force. */
void recs_committed(struct store *s);
void recs_pump(struct store *s);
bool recs_writing(const struct store *s);
uint64_t recs_home_offset(const struct store *s, uint32_t block, bool home_b);
void recs_check_all(const struct store *s);

#endif
