/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* pages - the 64 KiB pages of a store: who owns each, which of its blocks are present, their CRCs.
 *
 * A volume is thin: a page is taken when an op first touches its 16 blocks, before that op gets its
 * place in the log, so that nothing that was accepted can run out of space later. Records are kept
 * per page and not per extent: memory is then bounded by the disk however sparse its volumes are.
 *
 *	FREE --take--> OWNED --nothing in it, nobody needs it--> LIMBO --checkpoint--> FREE
 *
 *   G1  free + owned + limbo == n (the ledger)
 *   G2  an owned page is found under (volume, extent, slot), one page per key
 *   G3  refs = index entries and pending ops on it; an owned page with refs 0 has a block present
 *   G4  a page that a checkpoint may name is reused only after a checkpoint that began after it was
 *       given up is durable; none is reused while a transfer on it runs (pins)
 *
 * Memory is the arena's. One thread. */

#ifndef STORE_PAGES_H
#define STORE_PAGES_H

#include "lib/base.h"
#include "lib/limits.h"

struct arena;

#define PAGE_NONE UINT32_MAX

enum page_state { PAGE_FREE, PAGE_OWNED, PAGE_LIMBO };

struct page {
	uint64_t volume, extent;
	uint64_t seq;        /* last op destaged into it */
	uint32_t chain;      /* id */
	uint32_t next;       /* hash chain, free list or limbo list */
	uint16_t present;    /* bit per block: its content lies here, unless the index says newer */
	uint16_t refs;       /* G3 */
	uint16_t pins;       /* transfers running on it */
	uint8_t slot;        /* page of the extent */
	uint8_t state : 2;   /* enum page_state */
	uint8_t in_ckpt : 1; /* a checkpoint written since it was taken may name it */
	uint32_t crcs[PAGE_BLOCKS];
};
static_assert(sizeof(struct page) == 104, "a record per 64 KiB of disk: its size matters");

struct pages {
	struct page *v;
	uint32_t *buckets;
	uint32_t mask, n;
	uint32_t free_first, free_n, owned_n, limbo_n;
	uint32_t virtual_first,
		virtual_free; /* records n .. n + PAGES_VIRTUAL - 1, during replay */
	uint32_t limbo_new;   /* given up since the last checkpoint began */
	uint32_t limbo_old;   /* given up before that */
};

struct page_key {
	uint64_t volume, extent;
	uint32_t slot;
};

size_t pages_bytes(uint32_t n);
/* No page is owned; call pages_claim() for those a checkpoint names, then pages_ready(). */
void pages_init(struct pages *g, uint32_t n, struct arena *a);
/* NULL when @page or the key is owned already: the bytes came from a disk. */
struct page *pages_claim(struct pages *g, uint32_t page, const struct page_key *key);
void pages_ready(struct pages *g);
struct page *pages_find(const struct pages *g, const struct page_key *key);
static inline uint32_t pages_id(const struct pages *g, const struct page *p)
{
	return (uint32_t)(p - g->v);
}
/* How many pages pages_take() can give. */
uint32_t pages_room(const struct pages *g);
/* While the log is replayed over a checkpoint that is newer than parts of it, keys may be owned for
 * a moment that no longer are: records without a page behind them stand in, PAGES_VIRTUAL of them.
 * pages_replayed() gives real pages to those that remain; -ENOSPC when there are none. */
#define PAGES_VIRTUAL 1024u
void pages_replay(struct pages *g);
MUST_CHECK int pages_replayed(struct pages *g);
/* Own a free page under a new key; NULL when none is free. */
struct page *pages_take(struct pages *g, const struct page_key *key);
/* Give @p up if nothing is in it and nobody needs it. Returns whether it was. */
bool pages_drop(struct pages *g, struct page *p);
/* A checkpoint begins; one that began is durable (returns pages that became free). */
void pages_ckpt_begin(struct pages *g);
uint32_t pages_ckpt_end(struct pages *g);
/* CHECK G1-G3. */
void pages_check(const struct pages *g);

#endif
