/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "store/recs.h"

#include <errno.h>
#include <string.h>

#include "store/internal.h"

#define SLOTS_MIN 1024u
#define SLOTS_MAX 16384u /* 64 MiB */

static uint32_t blocks_for(uint64_t disk_bytes)
{
	return (uint32_t)format_recs_n(disk_bytes / PAGE_BYTES);
}

static size_t words_for(uint32_t blocks)
{
	return (size_t)(blocks + 63) / 64;
}

/* All of a small disk; of a large one what keeps its resident memory in bounds (03-storage). */
uint32_t recs_slots_for(uint64_t disk_bytes)
{
	uint32_t blocks = blocks_for(disk_bytes);

	return MIN(blocks, MIN(MAX(blocks / 4, SLOTS_MIN), SLOTS_MAX));
}

size_t recs_bytes(uint64_t disk_bytes, uint32_t slots_n)
{
	uint32_t blocks = blocks_for(disk_bytes);

	return arena_cost(blocks * sizeof(uint64_t), ARENA_ALIGN) +
	       2 * arena_cost(blocks * sizeof(uint32_t), ARENA_ALIGN) +
	       2 * arena_cost(words_for(blocks) * sizeof(uint64_t), ARENA_ALIGN) +
	       arena_cost(slots_n * sizeof(struct recs_slot), ARENA_ALIGN) +
	       arena_cost((size_t)slots_n * BLOCK_BYTES, BLOCK_BYTES) +
	       arena_cost(RECS_WRITE_BLOCKS * BLOCK_BYTES, BLOCK_BYTES);
}

void recs_init(struct store *s, struct arena *a, uint64_t disk_bytes, uint32_t slots_n)
{
	struct recs *r = &s->recs;
	uint32_t blocks = blocks_for(disk_bytes);

	*r = (struct recs){.blocks_n = blocks, .slots_n = slots_n};
	r->used = arena_alloc(a, blocks * sizeof(uint64_t), ARENA_ALIGN);
	r->crc = arena_alloc(a, blocks * sizeof(uint32_t), ARENA_ALIGN);
	r->slot_of = arena_alloc(a, blocks * sizeof(uint32_t), ARENA_ALIGN);
	memset(r->slot_of, 0xff, blocks * sizeof(uint32_t));
	r->dirty = arena_alloc(a, words_for(blocks) * sizeof(uint64_t), ARENA_ALIGN);
	r->moved = arena_alloc(a, words_for(blocks) * sizeof(uint64_t), ARENA_ALIGN);
	r->slots = arena_alloc(a, slots_n * sizeof(struct recs_slot), ARENA_ALIGN);
	r->data = arena_alloc(a, (size_t)slots_n * BLOCK_BYTES, BLOCK_BYTES);
	r->stage = arena_alloc(a, RECS_WRITE_BLOCKS * BLOCK_BYTES, BLOCK_BYTES);
	list_init(&r->starved);
	for (uint32_t i = 0; i < slots_n; i++) {
		r->slots[i].s = s;
		r->slots[i].block = RECS_NONE;
		list_init(&r->slots[i].waits);
	}
}

uint64_t recs_home_offset(const struct store *s, uint32_t block, bool home_b)
{
	return s->super.recs_offset_bytes +
	       (block + (home_b ? s->super.recs_n : 0)) * (uint64_t)BLOCK_BYTES;
}

static bool bit(const uint64_t *bits, uint32_t i)
{
	return bits[i / 64] >> i % 64 & 1;
}

static struct disk_recs *content(const struct recs *r, uint32_t slot)
{
	return (void *)(r->data + (size_t)slot * BLOCK_BYTES);
}

/* ---- getting a block ---- */

static bool evictable(const struct recs_slot *c)
{
	return c->pins == 0 && !c->loading && !c->writing && !c->fresh;
}

/* Second chance: who was used since the hand passed last stays once more. */
static uint32_t free_slot(struct recs *r)
{
	for (uint32_t i = 0; i < 2 * r->slots_n; i++) {
		uint32_t at = r->hand;
		struct recs_slot *c = &r->slots[at];

		r->hand = at + 1 == r->slots_n ? 0 : at + 1;
		if (!evictable(c))
			continue;
		if (c->block != RECS_NONE && c->recent) {
			c->recent = false;
			continue;
		}
		if (c->block != RECS_NONE)
			r->slot_of[c->block] = RECS_NONE;
		c->block = RECS_NONE;
		return at;
	}
	return RECS_NONE;
}

static void tell(struct list *waits, int res)
{
	struct list todo, *it;

	list_init(&todo);
	while ((it = list_pop(waits)))
		list_add_tail(&todo, it);
	while ((it = list_pop(&todo))) {
		struct recs_wait *w = CONTAINER_OF(it, struct recs_wait, link);

		w->fn(w, res);
	}
}

static void load_done(struct disk_io *io, int res)
{
	struct recs_slot *c = CONTAINER_OF(io, struct recs_slot, io);
	struct store *s = c->s;
	struct recs *r = &s->recs;
	const struct disk_ckpt_recs want = {
		.index = c->block, .crc = r->crc[c->block], .used = r->used[c->block]};
	const char *why = "reading failed";

	s->ios--;
	c->loading = false;
	if (res == 0)
		res = recs_check(content(r, (uint32_t)(c - r->slots)), s->super.secret, &want,
				 &why);
	if (res) {
		env_logf(s->env, ENV_ERR,
			 "store: record block %u: %s: pages %u to %u have no checksums here",
			 c->block, why, c->block * RECS_PAGES,
			 c->block * RECS_PAGES + RECS_PAGES - 1);
		r->slot_of[c->block] = RECS_NONE;
		c->block = RECS_NONE;
	}
	tell(&c->waits, res);
	store_turn(s);
}

uint32_t recs_peek(const struct store *s, uint32_t block)
{
	uint32_t slot = s->recs.slot_of[block];

	if (slot == RECS_NONE || s->recs.slots[slot].loading)
		return RECS_NONE;
	s->recs.slots[slot].recent = true;
	return slot;
}

uint32_t recs_get(struct store *s, uint32_t block, struct recs_wait *w)
{
	struct recs *r = &s->recs;
	uint32_t slot = r->slot_of[block];
	struct recs_slot *c;

	if (slot != RECS_NONE && !r->slots[slot].loading) {
		r->slots[slot].recent = true;
		r->hits++;
		return slot;
	}
	if (slot == RECS_NONE)
		slot = free_slot(r);
	if (slot == RECS_NONE) {
		list_add_tail(&r->starved, &w->link);
		store_turn(s);
		return RECS_NONE;
	}
	c = &r->slots[slot];
	if (!c->loading) {
		c->block = block;
		c->recent = true;
		r->slot_of[block] = slot;
		if ((r->used[block] & ~RECS_HOME_B) == 0) {
			memset(content(r, slot), 0, BLOCK_BYTES); /* nothing of it counts */
			return slot;
		}
		c->loading = true;
		r->loads++;
		c->io = (struct disk_io){
			.op = DISK_READ,
			.offset_bytes = recs_home_offset(s, block, r->used[block] & RECS_HOME_B),
			.len_bytes = BLOCK_BYTES,
			.data = content(r, slot),
			.done = load_done};
		store_submit(s, &c->io);
	}
	list_add_tail(&c->waits, &w->link);
	return RECS_NONE;
}

void recs_pin(struct store *s, uint32_t slot, int by)
{
	struct recs_slot *c = &s->recs.slots[slot];

	CHECK(by > 0 || c->pins > 0);
	c->pins = (uint16_t)(c->pins + by);
}

void recs_seed(struct store *s, uint32_t block, const void *data)
{
	struct recs *r = &s->recs;

	if (r->hand >= r->slots_n || r->slots[r->hand].block != RECS_NONE)
		return; /* full: what comes first stays */
	r->slots[r->hand].block = block;
	r->slot_of[block] = r->hand;
	memcpy(content(r, r->hand), data, BLOCK_BYTES);
	r->hand++;
	if (r->hand == r->slots_n)
		r->hand = 0;
}

/* ---- records ---- */

struct disk_page_rec *recs_rec(struct store *s, uint32_t slot, uint32_t page)
{
	const struct page *p = &s->pages.v[page];
	struct disk_page_rec *rec = &content(&s->recs, slot)->rec[page % RECS_PAGES];
	uint64_t volume = pages_volume(&s->pages, p);

	CHECK(s->recs.slots[slot].block == page / RECS_PAGES);
	CHECK(p->state == PAGE_OWNED);
	if (rec->chain == 0 || rec->volume != volume || rec->extent != p->extent ||
	    rec->slot != p->slot)
		*rec = (struct disk_page_rec){.volume = volume,
					      .extent = p->extent,
					      .slot = (uint8_t)p->slot,
					      .chain = s->chains[p->chain].id};
	return rec;
}

uint32_t recs_crc(const struct store *s, uint32_t slot, uint32_t page, uint32_t block)
{
	return content(&s->recs, slot)->rec[page % RECS_PAGES].crcs[block];
}

void recs_dirty(struct store *s, uint32_t page)
{
	struct recs *r = &s->recs;
	uint32_t block = page / RECS_PAGES;

	if (page >= s->pages.n || bit(r->dirty, block))
		return;
	r->dirty[block / 64] |= 1ull << block % 64;
	r->dirty_n++;
}

void recs_fresh(struct store *s, uint32_t slot, uint32_t page)
{
	struct recs *r = &s->recs;
	struct recs_slot *c = &r->slots[slot];

	CHECK(c->block == page / RECS_PAGES);
	recs_dirty(s, page);
	if (c->fresh)
		return;
	c->fresh = true;
	r->fresh_n++;
	if (recs_crowded(s, 1))
		store_turn(s); /* recs_pump() */
}

bool recs_crowded(const struct store *s, uint32_t more)
{
	const struct recs *r = &s->recs;
	uint32_t left = MAX(r->slots_n / 8, 1u);

	/* With a slot for every block there is none to be had by waiting. */
	if (r->slots_n >= r->blocks_n)
		return false;
	return r->fresh_n + r->written_n + more + left > MAX(r->slots_n, left + 1);
}

void recs_unuse(struct store *s, uint32_t page)
{
	if (page < s->pages.n)
		s->recs.used[page / RECS_PAGES] &= ~(1ull << page % RECS_PAGES);
}

/* ---- writing out ---- */

static uint32_t next_dirty(const struct recs *r, uint32_t from)
{
	for (uint32_t w = from / 64; w < words_for(r->blocks_n); w++) {
		uint64_t bits = r->dirty[w];

		if (w == from / 64)
			bits &= UINT64_MAX << from % 64;
		if (bits)
			return w * 64 + (uint32_t)__builtin_ctzll(bits);
	}
	return RECS_NONE;
}

bool recs_writing(const struct store *s)
{
	return s->recs.written_n != 0;
}

/* The block as it goes to the disk: checksums from the cache, all else from the pages. */
static void compose(struct store *s, uint32_t slot, struct disk_recs *to)
{
	struct recs *r = &s->recs;
	uint32_t block = r->slots[slot].block;
	uint64_t home = r->used[block] & RECS_HOME_B, used = 0;

	memset(to, 0, sizeof(*to));
	to->magic = RECS_MAGIC;
	to->index = block;
	to->generation = s->super.ckpt_generation + 1;
	for (uint32_t i = 0; i < RECS_PAGES; i++) {
		uint32_t page = block * RECS_PAGES + i;
		struct page *p = &s->pages.v[page];

		if (page >= s->pages.n)
			break;
		if (p->state != PAGE_OWNED || p->present == 0)
			continue;
		to->rec[i] = *recs_rec(s, slot, page);
		to->rec[i].present = (uint16_t)p->present;
		for (uint32_t b = 0; b < PAGE_BLOCKS; b++)
			if (!(p->present >> b & 1))
				to->rec[i].crcs[b] = 0;
		used |= 1ull << i;
	}
	recs_seal(to, s->super.secret);
	if (!bit(r->moved, block)) {
#ifndef CRASH_PLANT_RECS_IN_PLACE
		home ^= RECS_HOME_B;
#endif
		r->moved[block / 64] |= 1ull << block % 64;
	}
	r->used[block] = used | home;
	r->crc[block] = to->crc;
	r->dirty[block / 64] &= ~(1ull << block % 64);
	r->dirty_n--;
	r->fresh_n -= r->slots[slot].fresh;
	r->slots[slot].fresh = false;
}

static void write_done(struct disk_io *io, int res)
{
	struct recs_io *w = CONTAINER_OF(io, struct recs_io, io);
	struct store *s = w->s;
	struct recs *r = &s->recs;

	s->ios--;
	if (res)
		store_fail(s, "page records: write failed", res);
	for (uint32_t i = w->first; i < w->first + w->n; i++)
		r->slots[r->written[i]].writing = false;
	if (--r->ios_n == 0) {
		r->written_n = 0;
		store_turn(s);
	}
}

static void submit(struct store *s, struct recs_io *w)
{
	struct recs *r = &s->recs;
	uint32_t block = r->slots[r->written[w->first]].block;

	w->s = s;
	w->io = (struct disk_io){.op = DISK_WRITE,
				 .offset_bytes =
					 recs_home_offset(s, block, r->used[block] & RECS_HOME_B),
				 .len_bytes = w->n * BLOCK_BYTES,
				 .data = r->stage + (size_t)w->first * BLOCK_BYTES,
				 .done = write_done};
	store_submit(s, &w->io);
}

/* Does @block lie right behind the last one of this round? */
static bool adjacent(const struct recs *r, uint32_t block)
{
	uint32_t last;

	if (r->ios_n == 0)
		return false;
	last = r->slots[r->written[r->written_n - 1]].block;
	return block == last + 1 && ((r->used[block] ^ r->used[last]) & RECS_HOME_B) == 0;
}

static void add(struct store *s, uint32_t slot)
{
	struct recs *r = &s->recs;
	uint32_t block = r->slots[slot].block;

	compose(s, slot, (void *)(r->stage + (size_t)r->written_n * BLOCK_BYTES));
	if (!adjacent(r, block))
		r->ios[r->ios_n++] = (struct recs_io){.first = r->written_n};
	r->ios[r->ios_n - 1].n++;
	r->slots[slot].writing = true;
	r->written[r->written_n++] = slot;
}

bool recs_write(struct store *s, uint32_t *cursor, struct recs_wait *w)
{
	struct recs *r = &s->recs;
	bool all = false;

	CHECK(!recs_writing(s));
	while (r->written_n < RECS_WRITE_BLOCKS && r->ios_n < RECS_WRITE_IOS) {
		uint32_t block = next_dirty(r, *cursor), slot;

		all = block == RECS_NONE;
		if (all)
			break;
		slot = recs_peek(s, block);
		/* One that has to be loaded comes after what is ready. */
		if (slot == RECS_NONE && w && r->written_n == 0)
			slot = recs_get(s, block, w);
		if (slot == RECS_NONE && w)
			break;
		*cursor = block + 1;
		if (slot != RECS_NONE)
			add(s, slot);
	}
	for (uint32_t i = 0, n = r->ios_n; i < n; i++)
		submit(s, &r->ios[i]);
	return all;
}

void recs_committed(struct store *s)
{
	memset(s->recs.moved, 0, words_for(s->recs.blocks_n) * sizeof(uint64_t));
}

void recs_pump(struct store *s)
{
	struct recs *r = &s->recs;
	bool starved = !list_empty(&r->starved);
	uint32_t from;

	if (s->failed) {
		tell(&r->starved, -EIO);
		return;
	}
	if (starved && free_slot(r) != RECS_NONE)
		tell(&r->starved, 0);
	starved = !list_empty(&r->starved);
	if (recs_writing(s) || ckpt_freezes(s))
		return; /* Y3 */
	if (!starved && !recs_crowded(s, 1) && (uint64_t)r->dirty_n * 4 < (uint64_t)r->slots_n * 3)
		return;
	from = r->evict_at;
	if (!recs_write(s, &r->evict_at, NULL))
		return;
	r->evict_at = 0;
	/* A round began in the middle and found nothing: what lies before that is still to come,
	 * and who starves may be the only one there is. */
	if (from && !recs_writing(s))
		store_turn(s);
}

void recs_check_all(const struct store *s)
{
	const struct recs *r = &s->recs;
	uint32_t dirty = 0, fresh = 0;

	for (size_t w = 0; w < words_for(r->blocks_n); w++)
		dirty += (uint32_t)__builtin_popcountll(r->dirty[w]);
	CHECK(dirty == r->dirty_n);
	for (uint32_t i = 0; i < r->slots_n; i++) {
		const struct recs_slot *c = &r->slots[i];

		CHECK(c->block == RECS_NONE || r->slot_of[c->block] == i);
		CHECK(!c->fresh || (c->block != RECS_NONE && bit(r->dirty, c->block)));
		fresh += c->fresh;
	}
	CHECK(fresh == r->fresh_n);
	for (uint32_t page = 0; page < s->pages.n; page++) {
		const struct page *p = &s->pages.v[page];

		if (r->used[page / RECS_PAGES] >> page % RECS_PAGES & 1)
			CHECK(p->state == PAGE_OWNED);
	}
}
