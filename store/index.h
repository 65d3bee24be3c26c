/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* index - committed blocks whose newest version still lies in the device log.
 *
 *	commit --put--> (volume, extent, block) -> log block --destage--> page, entry removed
 *
 *   X1  at most one entry per block; it is the newest committed version and hides the page's
 *   X2  each chain's entries form a list in the order of their ops: its first entry is the oldest
 *       op of the chain that is not wholly in pages
 *   X3  free entries + used entries == those ever touched <= entries_n
 *
 * Memory is the arena's. One thread. */

#ifndef STORE_INDEX_H
#define STORE_INDEX_H

#include "lib/base.h"

struct arena;

#define INDEX_NONE UINT32_MAX
#define INDEX_SAME 1u /* .crc is the unseeded one of a WRITE_SAME block */
#define INDEX_PAGE 2u /* the content lies in its page already, whose records do not say so yet */

struct index_entry {
	uint64_t volume, extent;
	uint64_t seq;       /* of the op that wrote it */
	uint32_t log_block; /* where it lies, in blocks of the log region; INDEX_PAGE: the page */
	uint32_t ring;      /* the batch it came with (log_ref) */
	uint32_t crc;       /* seeded, unless INDEX_SAME */
	uint16_t block;
	uint16_t flags; /* INDEX_* */
	uint32_t chain_slot;
	uint32_t hash_next, prev, next;
};
static_assert(sizeof(struct index_entry) == 56, "an entry per 4 KiB of log: its size matters");

struct index_fifo {
	uint32_t first, last; /* X2 */
};

struct index {
	struct index_entry *v;
	uint32_t *buckets;
	uint32_t mask, entries_n, used, free_first;
	uint32_t touched; /* entries beyond were never used */
};

struct index_key {
	uint64_t volume, extent;
	uint32_t block;
};

size_t index_bytes(uint32_t entries_n);
void index_init(struct index *ix, uint32_t entries_n, struct arena *a);
void index_fifo_init(struct index_fifo *f);
/* INDEX_NONE when there is none. */
uint32_t index_find(const struct index *ix, const struct index_key *key);
/* Add an entry at the end of @f; the key must be new and an entry free (CHECKed). */
struct index_entry *index_add(struct index *ix, struct index_fifo *f, const struct index_key *key);
void index_del(struct index *ix, struct index_fifo *f, uint32_t at);
/* Move an entry to the end of a list: a newer op wrote the block. */
void index_touch(struct index *ix, struct index_fifo *from, struct index_fifo *to, uint32_t at);
/* CHECK X3. */
void index_check(const struct index *ix);

#endif
