/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* arena - memory taken once at start and never given back.
 *
 * The shell maps one region, the pure core carves its tables and pools out of it in init
 * functions; after start nothing allocates. Init functions come with a *_bytes() function that says
 * how much they take, so that the shell can size and print the region. Memory comes back zeroed
 * (the shell hands in zeroed memory and nothing is reused). One thread. */

#ifndef LIB_ARENA_H
#define LIB_ARENA_H

#include "lib/base.h"

#define ARENA_ALIGN 64u /* default alignment: a cache line */

struct arena {
	uint8_t *base;
	size_t len_bytes, used_bytes;
};

void arena_init(struct arena *a, void *base, size_t len_bytes);
/* @align_bytes is a power of two. Running out is our own sizing bug: CHECKed. */
void *arena_alloc(struct arena *a, size_t len_bytes, size_t align_bytes);
/* What arena_alloc(len, align) may take at most: for *_bytes() functions. */
static inline size_t arena_cost(size_t len_bytes, size_t align_bytes)
{
	return len_bytes + align_bytes;
}

#endif
