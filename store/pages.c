/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "store/pages.h"

#include <errno.h>
#include <string.h>

#include "lib/arena.h"

static uint32_t buckets_for(uint32_t n)
{
	uint32_t b = 64;

	while (b < n && b < 1u << 31)
		b *= 2;
	return b;
}

size_t pages_bytes(uint32_t n)
{
	return arena_cost(((size_t)n + PAGES_VIRTUAL) * sizeof(struct page), ARENA_ALIGN) +
	       arena_cost((size_t)buckets_for(n) * sizeof(uint32_t), ARENA_ALIGN);
}

void pages_init(struct pages *g, uint32_t n, struct arena *a)
{
	uint32_t buckets_n = buckets_for(n);

	*g = (struct pages){.n = n, .mask = buckets_n - 1};
	g->v = arena_alloc(a, ((size_t)n + PAGES_VIRTUAL) * sizeof(g->v[0]), ARENA_ALIGN);
	g->buckets = arena_alloc(a, (size_t)buckets_n * sizeof(uint32_t), ARENA_ALIGN);
	memset(g->buckets, 0xff, (size_t)buckets_n * sizeof(uint32_t));
	g->free_first = g->limbo_new = g->limbo_old = g->virtual_first = PAGE_NONE;
}

static uint32_t *bucket_of(const struct pages *g, const struct page_key *key)
{
	uint64_t h = key->volume * 0x9e3779b97f4a7c15ull + key->extent;

	h = h * 0xff51afd7ed558ccdull + key->slot;
	h ^= h >> 32;
	h *= 0xc4ceb9fe1a85ec53ull;
	return &g->buckets[(uint32_t)(h >> 33) & g->mask];
}

struct page *pages_find(const struct pages *g, const struct page_key *key)
{
	for (uint32_t i = *bucket_of(g, key); i != PAGE_NONE; i = g->v[i].next) {
		struct page *p = &g->v[i];

		if (p->volume == key->volume && p->extent == key->extent && p->slot == key->slot)
			return p;
	}
	return NULL;
}

static struct page *own(struct pages *g, uint32_t id, const struct page_key *key)
{
	uint32_t *bucket = bucket_of(g, key);
	struct page *p = &g->v[id];

	CHECK(key->slot < EXTENT_PAGES);
	*p = (struct page){.volume = key->volume,
			   .extent = key->extent,
			   .slot = (uint8_t)key->slot,
			   .state = PAGE_OWNED,
			   .next = *bucket};
	*bucket = id;
	g->owned_n += id < g->n;
	return p;
}

struct page *pages_claim(struct pages *g, uint32_t page, const struct page_key *key)
{
	CHECK(page < g->n);
	if (g->v[page].state == PAGE_OWNED || pages_find(g, key))
		return NULL;
	return own(g, page, key);
}

void pages_ready(struct pages *g)
{
	for (uint32_t i = g->n; i-- > 0;) {
		if (g->v[i].state != PAGE_FREE)
			continue;
		g->v[i].next = g->free_first;
		g->free_first = i;
		g->free_n++;
	}
}

uint32_t pages_room(const struct pages *g)
{
	return g->free_n + g->virtual_free;
}

struct page *pages_take(struct pages *g, const struct page_key *key)
{
	uint32_t id = g->free_first;

	if (id == PAGE_NONE) {
		id = g->virtual_first;
		if (id == PAGE_NONE)
			return NULL;
		g->virtual_first = g->v[id].next;
		g->virtual_free--;
		return own(g, id, key);
	}
	g->free_first = g->v[id].next;
	g->free_n--;
	return own(g, id, key);
}

static void unhash(struct pages *g, struct page *p)
{
	const struct page_key key = {p->volume, p->extent, p->slot};
	uint32_t *link = bucket_of(g, &key);

	while (*link != pages_id(g, p)) {
		CHECK(*link != PAGE_NONE);
		link = &g->v[*link].next;
	}
	*link = p->next;
}

static void make_free(struct pages *g, struct page *p)
{
	CHECK(p->pins == 0);
	p->state = PAGE_FREE;
	p->next = g->free_first;
	g->free_first = pages_id(g, p);
	g->free_n++;
}

bool pages_drop(struct pages *g, struct page *p)
{
	CHECK(p->state == PAGE_OWNED);
	if (p->present || p->refs)
		return false;
	unhash(g, p);
	if (pages_id(g, p) >= g->n) {
		p->state = PAGE_FREE;
		p->next = g->virtual_first;
		g->virtual_first = pages_id(g, p);
		g->virtual_free++;
		return true;
	}
	g->owned_n--;
	if (!p->in_ckpt && p->pins == 0) {
		/* No checkpoint knows it: whoever replays the log takes any page. */
		make_free(g, p);
		return true;
	}
	p->state = PAGE_LIMBO;
	p->next = g->limbo_new;
	g->limbo_new = pages_id(g, p);
	g->limbo_n++;
	return true;
}

void pages_replay(struct pages *g)
{
	for (uint32_t i = 0; i < PAGES_VIRTUAL; i++) {
		struct page *p = &g->v[g->n + i];

		*p = (struct page){.next = g->virtual_first};
		g->virtual_first = g->n + i;
	}
	g->virtual_free = PAGES_VIRTUAL;
}

int pages_replayed(struct pages *g)
{
	g->virtual_first = PAGE_NONE;
	g->virtual_free = 0;
	for (uint32_t i = 0; i < PAGES_VIRTUAL; i++) {
		struct page *from = &g->v[g->n + i], *to;
		const struct page_key key = {from->volume, from->extent, from->slot};

		if (from->state != PAGE_OWNED)
			continue;
		unhash(g, from);
		to = pages_take(g, &key);
		if (!to)
			return -ENOSPC;
		to->chain = from->chain;
		to->refs = from->refs;
		CHECK(from->present == 0);
	}
	return 0;
}

void pages_ckpt_begin(struct pages *g)
{
	uint32_t *end = &g->limbo_old;

	while (*end != PAGE_NONE)
		end = &g->v[*end].next;
	*end = g->limbo_new;
	g->limbo_new = PAGE_NONE;
}

uint32_t pages_ckpt_end(struct pages *g)
{
	uint32_t id = g->limbo_old, freed = 0;

	g->limbo_old = PAGE_NONE;
	while (id != PAGE_NONE) {
		struct page *p = &g->v[id];
		uint32_t next = p->next;

		if (p->pins) {
			p->next = g->limbo_old;
			g->limbo_old = id;
		} else {
			make_free(g, p);
			g->limbo_n--;
			freed++;
		}
		id = next;
	}
	return freed;
}

void pages_check(const struct pages *g)
{
	uint32_t free_n = 0, owned = 0;

	for (uint32_t i = g->free_first; i != PAGE_NONE; i = g->v[i].next) {
		CHECK(g->v[i].state == PAGE_FREE);
		free_n++;
	}
	for (uint32_t i = 0; i < g->n; i++) {
		const struct page *p = &g->v[i];
		const struct page_key key = {p->volume, p->extent, p->slot};

		if (p->state != PAGE_OWNED)
			continue;
		CHECK(p->present || p->refs);
		CHECK(pages_find(g, &key) == p);
		owned++;
	}
	CHECK(free_n == g->free_n);
	CHECK(owned == g->owned_n);
	CHECK(g->free_n + g->owned_n + g->limbo_n == g->n);
}
