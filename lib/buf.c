/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "lib/buf.h"

#include "lib/arena.h"

static size_t region_bytes(const struct buf_pool_config *cfg)
{
	return (size_t)cfg->small_n * BUF_SMALL_BYTES + (size_t)cfg->large_n * OP_BYTES_MAX;
}

size_t buf_pool_bytes(const struct buf_pool_config *cfg)
{
	size_t headers = ((size_t)cfg->small_n + cfg->large_n) * sizeof(struct buf);

	return arena_cost(headers, ARENA_ALIGN) + arena_cost(region_bytes(cfg), BLOCK_BYTES);
}

static struct list *free_list(struct buf *b)
{
	return b->cap_bytes == BUF_SMALL_BYTES ? &b->pool->free_small : &b->pool->free_large;
}

void buf_pool_init(struct buf_pool *p, const struct buf_pool_config *cfg, struct arena *a)
{
	uint32_t n = cfg->small_n + cfg->large_n;
	struct buf *bufs = arena_alloc(a, n * sizeof(*bufs), ARENA_ALIGN);
	uint8_t *data;

	*p = (struct buf_pool){
		.small_n = cfg->small_n,
		.large_n = cfg->large_n,
		.small_free_n = cfg->small_n,
		.large_free_n = cfg->large_n,
		.reserve_small = cfg->reserve_small,
		.reserve_large = cfg->reserve_large,
		.region_bytes = region_bytes(cfg),
	};
	p->region = arena_alloc(a, p->region_bytes, BLOCK_BYTES);
	list_init(&p->free_small);
	list_init(&p->free_large);
	data = p->region;
	for (uint32_t i = 0; i < n; i++) {
		struct buf *b = &bufs[i];

		b->pool = p;
		b->cap_bytes = i < cfg->small_n ? BUF_SMALL_BYTES : OP_BYTES_MAX;
		b->data = data;
		data += b->cap_bytes;
		list_add_tail(free_list(b), &b->link);
	}
	buf_pool_check(p);
}

struct buf *buf_get(struct buf_pool *p, uint32_t len_bytes, enum buf_use use)
{
	uint32_t keep_small = use == BUF_CLIENT ? p->reserve_small : 0;
	uint32_t keep_large = use == BUF_CLIENT ? p->reserve_large : 0;
	struct list *item;
	struct buf *b;

	CHECK(len_bytes <= OP_BYTES_MAX);
	if (len_bytes <= BUF_SMALL_BYTES && p->small_free_n > keep_small) {
		item = list_pop(&p->free_small);
		p->small_free_n--;
	} else if (p->large_free_n > keep_large) {
		item = list_pop(&p->free_large);
		p->large_free_n--;
	} else {
		return NULL;
	}
	CHECK(item != NULL);
	b = CONTAINER_OF(item, struct buf, link);
	CHECK(b->refs == 0);
	b->refs = 1;
	b->len_bytes = len_bytes;
	return b;
}

struct buf *buf_ref(struct buf *b)
{
	CHECK(b->refs > 0);
	b->refs++;
	return b;
}

void buf_put(struct buf *b)
{
	if (!b)
		return;
	CHECK(b->refs > 0);
	if (--b->refs > 0)
		return;
	/* At the head: the next user finds it warm in the cache. */
	list_add_head(free_list(b), &b->link);
	if (b->cap_bytes == BUF_SMALL_BYTES)
		b->pool->small_free_n++;
	else
		b->pool->large_free_n++;
}

static uint32_t list_count(const struct list *head)
{
	uint32_t n = 0;

	LIST_FOR_EACH(it, head)
	n++;
	return n;
}

void buf_pool_check(const struct buf_pool *p)
{
	CHECK(list_count(&p->free_small) == p->small_free_n);
	CHECK(list_count(&p->free_large) == p->large_free_n);
	CHECK(p->small_free_n <= p->small_n);
	CHECK(p->large_free_n <= p->large_n);
}
