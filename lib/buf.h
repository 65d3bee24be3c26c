/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* buf - reference-counted payload buffers from a pool sized at start.
 *
 * Two classes: small (BUF_SMALL_BYTES, most ops) and large (OP_BYTES_MAX). Data is aligned to
 * BLOCK_BYTES so that the bytes received from the network go to the log with O_DIRECT as they are
 * (ARCHITECTURE, copies). The pool's data lies in one contiguous region the shell may register with
 * io_uring.
 *
 *   B1  refs > 0 for every buffer handed out; at 0 it is back on its free list
 *   B2  small_free + large_free + handed out == what init made (I15: nothing leaks)
 *   B3  buf_get(POOL_CLIENT) leaves at least pool->reserve_* buffers of a class for POOL_NODE, so
 *       that client ingress can never starve forwards from a predecessor
 *
 * A small request may be served from the large class when small ones run out. Contents may be
 * written only while refs == 1. One thread. */

#ifndef LIB_BUF_H
#define LIB_BUF_H

#include "lib/limits.h"
#include "lib/list.h"

struct arena;

#define BUF_SMALL_BYTES (16u << 10)

enum buf_use { BUF_NODE, BUF_CLIENT }; /* who asks: see B3 */

struct buf {
	struct list link; /* free list of its class, else unlinked */
	struct buf_pool *pool;
	uint8_t *data;      /* BLOCK_BYTES aligned */
	uint32_t cap_bytes; /* BUF_SMALL_BYTES or OP_BYTES_MAX */
	uint32_t len_bytes; /* valid bytes, set by the filler */
	uint32_t refs;
};

struct buf_pool {
	struct list free_small, free_large;
	uint32_t small_n, large_n;             /* made */
	uint32_t small_free_n, large_free_n;   /* on the free lists now */
	uint32_t reserve_small, reserve_large; /* B3 */
	uint8_t *region;                       /* all data, contiguous */
	size_t region_bytes;
};

struct buf_pool_config {
	uint32_t small_n, large_n;
	uint32_t reserve_small, reserve_large;
};

size_t buf_pool_bytes(const struct buf_pool_config *cfg);
void buf_pool_init(struct buf_pool *p, const struct buf_pool_config *cfg, struct arena *a);
/* NULL when the class (and its fallback) is exhausted for this use. refs = 1, len_bytes =
 * @len_bytes, contents undefined. CHECKs len_bytes <= OP_BYTES_MAX. */
struct buf *buf_get(struct buf_pool *p, uint32_t len_bytes, enum buf_use use);
struct buf *buf_ref(struct buf *b); /* returns @b */
void buf_put(struct buf *b);        /* NULL allowed */
void buf_pool_check(const struct buf_pool *p);

#endif
