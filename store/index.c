/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "store/index.h"

#include <string.h>

#include "lib/arena.h"

static uint32_t buckets_for(uint32_t n)
{
	uint32_t b = 64;

	while (b < n && b < 1u << 31)
		b *= 2;
	return b;
}

size_t index_bytes(uint32_t entries_n)
{
	return arena_cost((size_t)entries_n * sizeof(struct index_entry), ARENA_ALIGN) +
	       arena_cost((size_t)buckets_for(entries_n) * sizeof(uint32_t), ARENA_ALIGN);
}

void index_init(struct index *ix, uint32_t entries_n, struct arena *a)
{
	uint32_t buckets_n = buckets_for(entries_n);

	*ix = (struct index){.entries_n = entries_n, .mask = buckets_n - 1};
	ix->v = arena_alloc(a, (size_t)entries_n * sizeof(ix->v[0]), ARENA_ALIGN);
	ix->buckets = arena_alloc(a, (size_t)buckets_n * sizeof(uint32_t), ARENA_ALIGN);
	memset(ix->buckets, 0xff, (size_t)buckets_n * sizeof(uint32_t));
	ix->free_first = INDEX_NONE;
}

void index_fifo_init(struct index_fifo *f)
{
	f->first = f->last = INDEX_NONE;
}

static uint32_t bucket_of(const struct index *ix, uint64_t volume, uint64_t extent, uint32_t block)
{
	uint64_t h = volume * 0x9e3779b97f4a7c15ull + extent;

	h = h * 0xff51afd7ed558ccdull + block;
	h ^= h >> 32;
	h *= 0xc4ceb9fe1a85ec53ull;
	return (uint32_t)(h >> 33) & ix->mask;
}

uint32_t index_find(const struct index *ix, const struct index_key *key)
{
	uint32_t i = ix->buckets[bucket_of(ix, key->volume, key->extent, key->block)];

	while (i != INDEX_NONE) {
		const struct index_entry *e = &ix->v[i];

		if (e->volume == key->volume && e->extent == key->extent && e->block == key->block)
			return i;
		i = e->hash_next;
	}
	return INDEX_NONE;
}

static void fifo_push(struct index *ix, struct index_fifo *f, uint32_t at)
{
	struct index_entry *e = &ix->v[at];

	e->next = INDEX_NONE;
	e->prev = f->last;
	if (f->last == INDEX_NONE)
		f->first = at;
	else
		ix->v[f->last].next = at;
	f->last = at;
}

static void fifo_cut(struct index *ix, struct index_fifo *f, uint32_t at)
{
	struct index_entry *e = &ix->v[at];

	if (e->prev == INDEX_NONE)
		f->first = e->next;
	else
		ix->v[e->prev].next = e->next;
	if (e->next == INDEX_NONE)
		f->last = e->prev;
	else
		ix->v[e->next].prev = e->prev;
}

struct index_entry *index_add(struct index *ix, struct index_fifo *f, const struct index_key *key)
{
	bool fresh = ix->free_first == INDEX_NONE;
	uint32_t at = fresh ? ix->touched : ix->free_first;
	uint32_t *bucket = &ix->buckets[bucket_of(ix, key->volume, key->extent, key->block)];
	struct index_entry *e;

	CHECK(at < ix->entries_n);
	CHECK(key->block <= UINT16_MAX);
	e = &ix->v[at];
	if (fresh)
		ix->touched++;
	else
		ix->free_first = e->hash_next;
	*e = (struct index_entry){.volume = key->volume,
				  .extent = key->extent,
				  .block = (uint16_t)key->block,
				  .hash_next = *bucket};
	*bucket = at;
	fifo_push(ix, f, at);
	ix->used++;
	return e;
}

void index_del(struct index *ix, struct index_fifo *f, uint32_t at)
{
	struct index_entry *e = &ix->v[at];
	uint32_t *link = &ix->buckets[bucket_of(ix, e->volume, e->extent, e->block)];

	while (*link != at) {
		CHECK(*link != INDEX_NONE);
		link = &ix->v[*link].hash_next;
	}
	*link = e->hash_next;
	fifo_cut(ix, f, at);
	e->hash_next = ix->free_first;
	ix->free_first = at;
	CHECK(ix->used > 0);
	ix->used--;
}

void index_touch(struct index *ix, struct index_fifo *from, struct index_fifo *to, uint32_t at)
{
	fifo_cut(ix, from, at);
	fifo_push(ix, to, at);
}

void index_check(const struct index *ix)
{
	uint32_t n = 0;

	for (uint32_t i = ix->free_first; i != INDEX_NONE; i = ix->v[i].hash_next)
		n++;
	CHECK(n + ix->used == ix->touched);
	CHECK(ix->touched <= ix->entries_n);
}
