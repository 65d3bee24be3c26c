/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "store/pages.h"

#include <errno.h>
#include <string.h>

#include "lib/arena.h"

#define GROUP 4096u /* pages that share a count of free ones */
#define GROUP_WORDS (GROUP / 64)
#define SPARE_MAX 4096u /* 256 MiB: overwrites between two checkpoints */
#define SPARE_SHARE 32u
#define SPARE_MIN 64u /* a small disk still has room for a few large writes */

static uint32_t buckets_for(uint32_t n)
{
	uint32_t b = 64;

	/* Two pages a bucket: chains stay short, and this is memory per page. */
	while (b < n / 2 && b < 1u << 31)
		b *= 2;
	return b;
}

static uint32_t groups_for(uint32_t n)
{
	return n / GROUP + 1;
}

size_t pages_bytes(uint32_t n, uint32_t virtual_n)
{
	return arena_cost(((size_t)n + virtual_n) * sizeof(struct page), ARENA_ALIGN) +
	       arena_cost((size_t)buckets_for(n) * sizeof(uint32_t), ARENA_ALIGN) +
	       arena_cost((size_t)groups_for(n) * GROUP_WORDS * sizeof(uint64_t), ARENA_ALIGN) +
	       arena_cost(groups_for(n) * sizeof(uint16_t), ARENA_ALIGN);
}

void pages_init(struct pages *g, uint32_t n, uint32_t virtual_n, struct arena *a)
{
	uint32_t buckets_n = buckets_for(n);

	memset(g, 0, sizeof(*g));
	g->mask = buckets_n - 1;
	g->virtual_n = virtual_n;
	g->v = arena_alloc(a, ((size_t)n + virtual_n) * sizeof(g->v[0]), ARENA_ALIGN);
	g->buckets = arena_alloc(a, (size_t)buckets_n * sizeof(uint32_t), ARENA_ALIGN);
	memset(g->buckets, 0xff, (size_t)buckets_n * sizeof(uint32_t));
	g->free_bits =
		arena_alloc(a, (size_t)groups_for(n) * GROUP_WORDS * sizeof(uint64_t), ARENA_ALIGN);
	g->free_groups = arena_alloc(a, groups_for(n) * sizeof(uint16_t), ARENA_ALIGN);
	g->limbo_new = g->limbo_old = g->virtual_first = PAGE_NONE;
	memset(g->volume_buckets, 0xff, sizeof(g->volume_buckets));
	for (uint32_t i = 0; i < PAGES_VOLUMES_MAX; i++)
		g->volumes[i].next = i + 1 < PAGES_VOLUMES_MAX ? i + 1 : PAGE_NONE;
	pages_limit(g, n);
}

void pages_limit(struct pages *g, uint32_t n)
{
	g->n = n;
	g->spare_max = MIN(MAX(n / SPARE_SHARE, MIN(n / 8, SPARE_MIN)), SPARE_MAX);
}

/* ---- volumes: ten bits in a page's record instead of 64 ---- */

static uint32_t *volume_bucket(const struct pages *g, uint64_t id)
{
	uint64_t h = id * 0x9e3779b97f4a7c15ull;

	return (uint32_t *)&g->volume_buckets[(h >> 40) % PAGES_VOLUMES_MAX];
}

static uint32_t volume_find(const struct pages *g, uint64_t id)
{
	uint32_t i = *volume_bucket(g, id);

	while (i != PAGE_NONE && g->volumes[i].id != id)
		i = g->volumes[i].next;
	return i;
}

bool pages_can_name(const struct pages *g, uint64_t volume)
{
	return g->volumes_free != PAGE_NONE || volume_find(g, volume) != PAGE_NONE;
}

static bool volume_hold(struct pages *g, uint64_t id, struct page *p)
{
	uint32_t i = volume_find(g, id);
	uint32_t *bucket = volume_bucket(g, id);

	if (i == PAGE_NONE) {
		i = g->volumes_free;
		if (i == PAGE_NONE)
			return false;
		g->volumes_free = g->volumes[i].next;
		g->volumes[i] = (struct pages_volume){.id = id, .next = *bucket};
		*bucket = i;
	}
	g->volumes[i].pages++;
	p->volume = i & (PAGES_VOLUMES_MAX - 1);
	return true;
}

static void volume_release(struct pages *g, const struct page *p)
{
	uint32_t i = p->volume;
	uint32_t *link = volume_bucket(g, g->volumes[i].id);

	CHECK(g->volumes[i].pages > 0);
	if (--g->volumes[i].pages)
		return;
	while (*link != i)
		link = &g->volumes[*link].next;
	*link = g->volumes[i].next;
	g->volumes[i].next = g->volumes_free;
	g->volumes_free = i;
}

/* ---- by key ---- */

static uint32_t *bucket_of(const struct pages *g, uint32_t volume, uint32_t extent, uint32_t slot)
{
	uint64_t h = (uint64_t)volume * 0x9e3779b97f4a7c15ull + extent;

	h = h * 0xff51afd7ed558ccdull + slot;
	h ^= h >> 32;
	h *= 0xc4ceb9fe1a85ec53ull;
	return &g->buckets[(uint32_t)(h >> 33) & g->mask];
}

struct page *pages_find(const struct pages *g, const struct page_key *key)
{
	uint32_t volume = volume_find(g, key->volume);

	if (volume == PAGE_NONE)
		return NULL;
	for (uint32_t i = *bucket_of(g, volume, (uint32_t)key->extent, key->slot); i != PAGE_NONE;
	     i = g->v[i].next) {
		struct page *p = &g->v[i];

		if (p->volume == volume && p->extent == key->extent && p->slot == key->slot)
			return p;
	}
	return NULL;
}

static void hash(struct pages *g, struct page *p)
{
	uint32_t *bucket = bucket_of(g, p->volume, p->extent, p->slot);

	p->state = PAGE_OWNED;
	p->next = *bucket;
	*bucket = pages_id(g, p);
	g->owned_n += pages_id(g, p) < g->n;
}

static void unhash(struct pages *g, struct page *p)
{
	uint32_t *link = bucket_of(g, p->volume, p->extent, p->slot);

	while (*link != pages_id(g, p)) {
		CHECK(*link != PAGE_NONE);
		link = &g->v[*link].next;
	}
	*link = p->next;
	g->owned_n -= pages_id(g, p) < g->n;
}

/* Gives record @id its key; false when there are too many volumes. */
static bool name(struct pages *g, uint32_t id, const struct page_key *key, uint32_t chain_slot)
{
	struct page *p = &g->v[id];

	CHECK(key->slot < EXTENT_PAGES);
	CHECK(key->extent < EXTENTS_MAX);
	*p = (struct page){.slot = key->slot & (EXTENT_PAGES - 1),
			   .extent = (uint32_t)key->extent & (uint32_t)(EXTENTS_MAX - 1),
			   .chain = (uint8_t)chain_slot};
	return volume_hold(g, key->volume, p);
}

/* ---- free pages ---- */

static void mark_free(struct pages *g, uint32_t id)
{
	g->v[id] = (struct page){.state = PAGE_FREE};
	g->free_bits[id / 64] |= 1ull << id % 64;
	g->free_groups[id / GROUP]++;
	g->free_n++;
}

static void mark_taken(struct pages *g, uint32_t id)
{
	CHECK(g->free_bits[id / 64] >> id % 64 & 1);
	g->free_bits[id / 64] &= ~(1ull << id % 64);
	g->free_groups[id / GROUP]--;
	g->free_n--;
}

/* The first free page at or after @from, around the end; one is free. */
static uint32_t next_free(const struct pages *g, uint32_t from)
{
	uint32_t words = groups_for(g->n) * GROUP_WORDS, w = from / 64;
	uint64_t bits = g->free_bits[w] & UINT64_MAX << from % 64;

	while (bits == 0) {
		w = w + 1 == words ? 0 : w + 1;
		while (w % GROUP_WORDS == 0 && g->free_groups[w / GROUP_WORDS] == 0)
			w = w + GROUP_WORDS >= words ? 0 : w + GROUP_WORDS;
		bits = g->free_bits[w];
	}
	return w * 64 + (uint32_t)__builtin_ctzll(bits);
}

static uint32_t take_free(struct pages *g)
{
	uint32_t id;

	if (g->free_n == 0)
		return PAGE_NONE;
	id = next_free(g, g->cursor < g->n ? g->cursor : 0);
	mark_taken(g, id);
	g->cursor = id + 1;
	return id;
}

struct page *pages_claim(struct pages *g, uint32_t page, const struct page_key *key,
			 uint32_t chain_slot)
{
	CHECK(page < g->n);
	if (g->v[page].state != PAGE_FREE || pages_find(g, key) || !name(g, page, key, chain_slot))
		return NULL;
	g->v[page].in_ckpt = 1;
	hash(g, &g->v[page]);
	return &g->v[page];
}

void pages_ready(struct pages *g)
{
	for (uint32_t i = 0; i < g->n; i++)
		if (g->v[i].state == PAGE_FREE)
			mark_free(g, i);
	g->replaying = true;
}

uint32_t pages_room(const struct pages *g)
{
	uint32_t kept = g->spare_max - MIN(g->spare_used, g->spare_max);

	if (g->replaying)
		return UINT32_MAX;
	return g->free_n > kept ? g->free_n - kept : 0;
}

static uint32_t take_virtual(struct pages *g)
{
	uint32_t id = g->virtual_first;

	if (id != PAGE_NONE) {
		g->virtual_first = g->v[id].next;
		return id;
	}
	return g->virtual_next < g->virtual_n ? g->n + g->virtual_next++ : PAGE_NONE;
}

static void put_back(struct pages *g, uint32_t id)
{
	if (id < g->n) {
		mark_free(g, id);
		return;
	}
	g->v[id] = (struct page){.next = g->virtual_first};
	g->virtual_first = id;
}

struct page *pages_take(struct pages *g, const struct page_key *key, uint32_t chain_slot)
{
	uint32_t id = g->replaying ? take_virtual(g) : take_free(g);

	if (id == PAGE_NONE)
		return NULL;
	if (!name(g, id, key, chain_slot)) {
		put_back(g, id);
		return NULL;
	}
	hash(g, &g->v[id]);
	return &g->v[id];
}

/* ---- reserved pages ---- */

static void reserved(struct pages *g, uint32_t id)
{
	g->v[id].state = PAGE_RESERVED;
	g->reserved_n++;
}

uint32_t pages_reserve(struct pages *g, const struct page_key *key, uint32_t chain_slot, bool spare)
{
	uint32_t id;

	if (!spare && pages_room(g) == 0)
		return PAGE_NONE;
	id = take_free(g);
	if (id == PAGE_NONE)
		return PAGE_NONE;
	if (!name(g, id, key, chain_slot)) {
		put_back(g, id);
		return PAGE_NONE;
	}
	reserved(g, id);
	g->v[id].spare = spare;
	g->spare_used += spare;
	return id;
}

bool pages_reserve_at(struct pages *g, uint32_t id, const struct page_key *key, uint32_t chain_slot)
{
	struct page *p = &g->v[id];
	bool in_ckpt = p->in_ckpt;

	CHECK(g->replaying);
	CHECK(id < g->n);
	if (p->state == PAGE_LIMBO) {
		volume_release(g, p);
		g->limbo_n--;
	} else if (p->state == PAGE_FREE) {
		mark_taken(g, id);
	} else {
		return false;
	}
	if (!name(g, id, key, chain_slot)) {
		put_back(g, id); /* too many volumes: recovery ends with that */
		return false;
	}
	reserved(g, id);
	p->in_ckpt = in_ckpt;
	return true;
}

static void spare_done(struct pages *g, struct page *p)
{
	g->spare_used -= p->spare;
	p->spare = 0;
}

static void limbo(struct pages *g, struct page *p)
{
	p->state = PAGE_LIMBO;
	p->present = 0;
	g->limbo_n++;
	if (g->replaying)
		return; /* may be named again: gathered at the end, and keeps its name until then */
	volume_release(g, p);
	p->next = g->limbo_new;
	g->limbo_new = pages_id(g, p);
}

/* Not in the hash any more. */
static void give_up(struct pages *g, struct page *p)
{
	uint32_t id = pages_id(g, p);

	p->refs = 0;
	if (id >= g->n) {
		volume_release(g, p);
		put_back(g, id);
		return;
	}
#ifdef CRASH_PLANT_PAGES_AT_ONCE
	if (!p->pins && !g->replaying) {
		spare_done(g, p);
		volume_release(g, p);
		mark_free(g, id);
		return;
	}
#endif
	limbo(g, p);
}

struct page *pages_switch(struct pages *g, uint32_t id, uint32_t *ret_old)
{
	struct page *p = &g->v[id], *old;
	const struct page_key key = {pages_volume(g, p), p->extent, p->slot};

	CHECK(p->state == PAGE_RESERVED);
	old = pages_find(g, &key);
	g->reserved_n--;
	*ret_old = old ? pages_id(g, old) : PAGE_NONE;
	if (old) {
		p->refs = old->refs;
		unhash(g, old);
		/* The reserve is whole again when the old one is free. */
		if (p->spare && *ret_old < g->n) {
			old->spare = 1;
			p->spare = 0;
		}
		give_up(g, old);
	}
	spare_done(g, p);
	hash(g, p);
	return p;
}

void pages_unreserve(struct pages *g, uint32_t id)
{
	CHECK(g->v[id].state == PAGE_RESERVED);
	g->reserved_n--;
	limbo(g, &g->v[id]);
}

bool pages_drop(struct pages *g, struct page *p)
{
	CHECK(p->state == PAGE_OWNED);
	if (p->present || p->refs)
		return false;
	unhash(g, p);
	give_up(g, p);
	return true;
}

/* @to takes the place of @from. */
static void move(struct pages *g, struct page *from, uint32_t to)
{
	unhash(g, from);
	g->v[to] = *from;
	hash(g, &g->v[to]);
	*from = (struct page){.state = PAGE_FREE};
}

/* What replay gave up. A page the checkpoint does not name was free in it, was taken and given up
 * by ops that are proved committed or undone for good, and may have been taken again before the
 * cut: it is free. One that it names may have its owner back: older ops than the checkpoint took
 * its place for a while. */
static void settle_limbo(struct pages *g, uint32_t id)
{
	struct page *p = &g->v[id], *owner;
	const struct page_key key = {pages_volume(g, p), p->extent, p->slot};

	owner = p->in_ckpt ? pages_find(g, &key) : NULL;
	volume_release(g, p);
	if (p->in_ckpt && (!owner || pages_id(g, owner) < g->n)) {
		p->next = g->limbo_new;
		g->limbo_new = id;
		return;
	}
	g->limbo_n--;
	if (owner)
		move(g, owner, id);
	else
		mark_free(g, id);
}

int pages_replayed(struct pages *g)
{
	g->replaying = false;
	for (uint32_t i = 0; i < g->n; i++)
		if (g->v[i].state == PAGE_LIMBO)
			settle_limbo(g, i);
	for (uint32_t i = 0; i < g->virtual_next; i++) {
		struct page *from = &g->v[g->n + i];
		uint32_t id;

		if (from->state != PAGE_OWNED)
			continue;
		id = take_free(g);
		if (id == PAGE_NONE)
			return -ENOSPC;
		CHECK(from->present == 0);
		move(g, from, id);
	}
	g->virtual_first = PAGE_NONE;
	g->virtual_next = 0;
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
	uint32_t id, freed = 0;

#ifdef CRASH_PLANT_LIMBO_TOO_SHORT
	pages_ckpt_begin(g);
#endif
	id = g->limbo_old;
	g->limbo_old = PAGE_NONE;
	while (id != PAGE_NONE) {
		struct page *p = &g->v[id];
		uint32_t next = p->next;

		if (p->pins) {
			p->next = g->limbo_old;
			g->limbo_old = id;
		} else {
			spare_done(g, p);
			mark_free(g, id);
			g->limbo_n--;
			freed++;
		}
		id = next;
	}
	return freed;
}

void pages_check(const struct pages *g)
{
	uint32_t states[4] = {0}, spare = 0, named = 0;

	for (uint32_t i = 0; i < g->n; i++) {
		const struct page *p = &g->v[i];
		bool is_free = g->free_bits[i / 64] >> i % 64 & 1;

		states[p->state]++;
		spare += p->spare;
		CHECK(is_free == (p->state == PAGE_FREE));
		if (p->state == PAGE_OWNED) {
			const struct page_key key = {pages_volume(g, p), p->extent, p->slot};

			CHECK(p->present || p->refs);
			CHECK(pages_find(g, &key) == p);
		}
	}
	for (uint32_t i = 0; i < PAGES_VOLUMES_MAX; i++)
		named += g->volumes[i].pages;
	CHECK(states[PAGE_FREE] == g->free_n);
	CHECK(states[PAGE_OWNED] == g->owned_n);
	CHECK(states[PAGE_LIMBO] == g->limbo_n);
	CHECK(states[PAGE_RESERVED] == g->reserved_n);
	CHECK(spare == g->spare_used);
	CHECK(named == g->owned_n + g->reserved_n);
	CHECK(g->free_n + g->owned_n + g->reserved_n + g->limbo_n == g->n);
}
