/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* pages - the 64 KiB pages of a store: who owns each, which of its blocks are present.
 *
 * A volume is thin: a page is taken when an op first touches its 16 blocks, before that op gets its
 * place in the log, so that nothing that was accepted can run out of space later. A large write
 * reserves fresh pages for what it covers as a whole; when it is committed they take the place of
 * the old ones. Checksums are elsewhere (recs.h): 16 bytes a page are what stays in memory, however
 * sparse the volumes are.
 *
 *	FREE --take--> OWNED --nothing in it, nobody needs it--> LIMBO --checkpoint--> FREE
 *	FREE --reserve--> RESERVED --switch--> OWNED; undone --> LIMBO
 *
 *   G1  free + owned + reserved + limbo == n (the ledger)
 *   G2  an owned page is found under (volume, extent, slot), one page per key
 *   G3  refs = index entries and pending ops on it; an owned page with refs 0 has a block present
 *   G4  a page is reused only after a checkpoint that began after it was given up is durable: until
 *       then a power cut may bring its owner back, because the op that took it away is not proved
 *       committed, or because a checkpoint or a record in the log names it. None is reused while a
 *       transfer on it runs (pins)
 *   G5  overwrites in fresh pages draw on a reserve of spare_max pages that new data never takes
 *       (and, by direct.c, on pages nobody was promised): what was promised of pages_room() is
 *       there whatever is overwritten meanwhile
 *
 * Memory is the arena's. One thread. */

#ifndef STORE_PAGES_H
#define STORE_PAGES_H

#include "lib/base.h"
#include "lib/limits.h"

struct arena;

#define PAGE_NONE UINT32_MAX
#define PAGES_VOLUMES_MAX 1024u /* volumes with pages on one store */

enum page_state { PAGE_FREE, PAGE_OWNED, PAGE_LIMBO, PAGE_RESERVED };

struct page {
	uint32_t volume : 10;  /* index in pages.volumes */
	uint32_t slot : 6;     /* page of the extent */
	uint32_t present : 16; /* bit per block: its content lies here, unless the index says newer
				*/
	uint32_t extent : 28;
	uint32_t state : 2;   /* enum page_state */
	uint32_t in_ckpt : 1; /* the checkpoint that was opened names it: for replay */
	uint32_t spare : 1;   /* G5: counts against the reserve */
	uint32_t next;        /* hash chain or limbo list */
	uint16_t refs;        /* G3 */
	uint8_t pins;         /* transfers running on it */
	uint8_t chain;        /* slot of its chain */
};
static_assert(sizeof(struct page) == 16, "a record per 64 KiB of disk: its size matters");
static_assert(NODE_CHAINS_MAX <= 256, "page.chain");
static_assert(EXTENTS_MAX <= 1ull << 28, "page.extent");
static_assert(PAGES_VOLUMES_MAX <= 1u << 10, "page.volume");
static_assert(PAGE_BLOCKS == 16 && EXTENT_PAGES == 64, "page.present, page.slot");

struct pages_volume {
	uint64_t id;
	uint32_t pages; /* that name it; 0: the entry is free */
	uint32_t next;  /* hash chain or free list */
};

struct pages {
	struct page *v; /* n real ones, then virtual_n that stand in during replay */
	uint32_t *buckets;
	uint64_t *free_bits;   /* of real pages */
	uint16_t *free_groups; /* free pages among each PAGES_GROUP */
	uint32_t mask, n, virtual_n;
	uint32_t cursor; /* where the last page was taken */
	uint32_t free_n, owned_n, reserved_n, limbo_n;
	uint32_t spare_max, spare_used;
	uint32_t virtual_next; /* virtual records never used so far */
	uint32_t virtual_first;
	uint32_t limbo_new; /* given up since the last checkpoint began */
	uint32_t limbo_old; /* given up before that */
	bool replaying;
	struct pages_volume volumes[PAGES_VOLUMES_MAX];
	uint32_t volume_buckets[PAGES_VOLUMES_MAX];
	uint32_t volumes_free;
};

struct page_key {
	uint64_t volume, extent;
	uint32_t slot;
};

size_t pages_bytes(uint32_t n, uint32_t virtual_n);
/* No page is owned; call pages_claim() for those a checkpoint names, then pages_ready(). */
void pages_init(struct pages *g, uint32_t n, uint32_t virtual_n, struct arena *a);
/* The disk has @n pages, at most as many as at init. */
void pages_limit(struct pages *g, uint32_t n);
/* NULL when @page or the key is owned already, or there are too many volumes: the bytes came from a
 * disk. */
struct page *pages_claim(struct pages *g, uint32_t page, const struct page_key *key,
			 uint32_t chain_slot);
/* Every page that was not claimed is free. Replay begins: pages_take() gives virtual records, since
 * any free page may be one that a later record of the log names; nothing becomes free. */
void pages_ready(struct pages *g);
/* Replay is over: real pages for the virtual records that remain; -ENOSPC when there are none. */
MUST_CHECK int pages_replayed(struct pages *g);
struct page *pages_find(const struct pages *g, const struct page_key *key);
static inline uint32_t pages_id(const struct pages *g, const struct page *p)
{
	return (uint32_t)(p - g->v);
}
/* The volume of an owned or reserved page. */
static inline uint64_t pages_volume(const struct pages *g, const struct page *p)
{
	return g->volumes[p->volume].id;
}
/* How many pages pages_take() can give (G5). */
uint32_t pages_room(const struct pages *g);
/* Is there a name for one more page of @volume? */
bool pages_can_name(const struct pages *g, uint64_t volume);
/* Pages that overwrites have under way beyond the reserve (G5). */
static inline uint32_t pages_lent(const struct pages *g)
{
	return g->spare_used > g->spare_max ? g->spare_used - g->spare_max : 0;
}
/* Own a free page under a new key; NULL when none is free or there are too many volumes. */
struct page *pages_take(struct pages *g, const struct page_key *key, uint32_t chain_slot);
/* Reserve a free page for @key, after the one taken last if that can be; @spare: it is to take the
 * place of another. PAGE_NONE when there is none. */
uint32_t pages_reserve(struct pages *g, const struct page_key *key, uint32_t chain_slot,
		       bool spare);
/* Replay: reserve page @id, which a record names. False when somebody has it. */
bool pages_reserve_at(struct pages *g, uint32_t id, const struct page_key *key,
		      uint32_t chain_slot);
/* Reserved page @id becomes its key's; refs go over from the old page, which is given up.
 * @ret_old: it, or PAGE_NONE. */
struct page *pages_switch(struct pages *g, uint32_t id, uint32_t *ret_old);
/* Give a reserved page up. */
void pages_unreserve(struct pages *g, uint32_t id);
/* Give @p up if nothing is in it and nobody needs it. Returns whether it was. */
bool pages_drop(struct pages *g, struct page *p);
/* A checkpoint begins; one that began is durable (returns pages that became free). */
void pages_ckpt_begin(struct pages *g);
uint32_t pages_ckpt_end(struct pages *g);
/* CHECK G1-G3, G5. */
void pages_check(const struct pages *g);

#endif
