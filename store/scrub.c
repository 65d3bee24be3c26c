/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "lib/crc.h"
#include "store/internal.h"

/* Scrubbing reads every page now and then, so that rot is found while a neighbour still has the
 * block. A page at a time, spread evenly over config.scrub_ns: the next one is due an interval
 * after the last one ended, so time that was lost is not made up for. Where it is goes into the
 * superblock with every checkpoint, now and then by itself, and at the end, so a restart goes on
 * from there even if nobody writes. What is found is repaired like what a read finds (repair.c).
 * Blocks whose newest version is in the log are left out: they are read on their way to the page.
 */

#define EVERY_MIN_NS 10000000ull    /* 6 MiB/s at most */
#define EVERY_MAX_NS 60000000000ull /* a store that holds little is gone over more often */
#define SAVE_NS 600000000000ull     /* what a power cut may cost it */
#define LOOK_PAGES 65536u           /* passed over in one step */

static void arm(struct store *s, uint64_t after_ns)
{
	struct scrub *b = &s->scrub;

	if (!s->failed && !s->closing)
		s->env->timer_arm(s->env, &b->timer, s->env->now_ns(s->env) + after_ns);
}

static uint64_t pace(const struct store *s)
{
	uint64_t every = s->scrub.all_ns / MAX(s->pages.owned_n, 1u);

	return MAX(MIN(every, EVERY_MAX_NS), EVERY_MIN_NS);
}

static struct page_key key_of(const struct store *s, const struct page *p)
{
	return (struct page_key){pages_volume(&s->pages, p), p->extent, p->slot};
}

/* Is block @i of the page under the brush there, and nowhere newer? */
static bool counts(const struct store *s, uint32_t i)
{
	const struct scrub *b = &s->scrub;
	const struct page *p = &s->pages.v[b->page];
	const struct index_key key = {b->key.volume, b->key.extent, b->key.slot * PAGE_BLOCKS + i};

	return (p->present >> i & 1) && index_find(&s->index, &key) == INDEX_NONE;
}

static void leave_page(struct store *s, bool done)
{
	struct scrub *b = &s->scrub;

	s->pages.v[b->page].pins--;
	recs_pin(s, b->slot, -1);
	b->busy = false;
	if (done) {
		s->super.scrub_page = b->page + 1;
		s->stats.scrub_pages++;
	}
	arm(s, pace(s));
	store_turn(s);
}

static bool moved(const struct store *s)
{
	const struct scrub *b = &s->scrub;

	return s->pages.v[b->page].state != PAGE_OWNED ||
	       pages_find(&s->pages, &b->key) != &s->pages.v[b->page] ||
	       destage_has_page(s, &b->key);
}

static void found_bad(struct store *s, uint32_t i)
{
	const struct scrub *b = &s->scrub;
	const struct chain *c = &s->chains[s->pages.v[b->page].chain];
	const struct store_bad bad = {.volume = b->key.volume,
				      .extent = b->key.extent,
				      .seq = c->committed,
				      .chain = c->id,
				      .block = b->key.slot * PAGE_BLOCKS + i,
				      .crc = b->want[i]};

	env_logf(s->env, ENV_ERR,
		 "store: scrub: block %u of extent %llu of volume %llu (chain %u) is bad here: %s",
		 bad.block, (unsigned long long)bad.extent, (unsigned long long)bad.volume, c->id,
		 s->on_bad ? "a neighbour is asked for it"
			   : "nobody can be asked for it yet: write it again, or restore it");
	repair_want(s, &bad);
}

static void read_blocks(struct store *s);

static void check_block(struct store *s, uint32_t i, bool readable)
{
	const struct scrub *b = &s->scrub;
	const struct block_addr at = {b->key.volume, b->key.extent, b->key.slot * PAGE_BLOCKS + i};

	if (!counts(s, i) || recs_crc(s, b->slot, b->page, i) != b->want[i])
		return; /* there is a newer version */
	if (!readable || crc_block(&at, b->buf + (size_t)i * BLOCK_BYTES) != b->want[i])
		found_bad(s, i);
}

static void blocks_read(struct disk_io *io, int res)
{
	struct scrub *b = CONTAINER_OF(io, struct scrub, io);
	struct store *s = CONTAINER_OF(b, struct store, scrub);

	s->ios--;
	/* A page that is being written is looked at again later. */
	if (s->failed || s->closing || moved(s)) {
		leave_page(s, false);
		return;
	}
	if (res && b->n > 1) { /* which block is it? */
		b->at = 0;
		b->n = 1;
		read_blocks(s);
		return;
	}
	for (uint32_t i = b->at; i < b->at + b->n; i++)
		check_block(s, i, res == 0);
	b->at += b->n;
	if (b->at < PAGE_BLOCKS)
		read_blocks(s);
	else
		leave_page(s, true);
}

static void read_blocks(struct store *s)
{
	struct scrub *b = &s->scrub;

	b->io = (struct disk_io){.op = DISK_READ,
				 .offset_bytes =
					 page_offset(s, b->page) + (uint64_t)b->at * BLOCK_BYTES,
				 .len_bytes = b->n * BLOCK_BYTES,
				 .data = b->buf + (size_t)b->at * BLOCK_BYTES,
				 .done = blocks_read};
	store_submit(s, &b->io);
}

static void start_page(struct store *s)
{
	struct scrub *b = &s->scrub;

	b->slot = recs_get(s, recs_block_of(b->page), &b->wait);
	if (b->slot == RECS_NONE)
		return;
	recs_pin(s, b->slot, 1);
	s->pages.v[b->page].pins++;
	for (uint32_t i = 0; i < PAGE_BLOCKS; i++)
		b->want[i] = recs_crc(s, b->slot, b->page, i);
	b->at = 0;
	b->n = PAGE_BLOCKS;
	read_blocks(s);
}

static void record_ready(struct recs_wait *w, int res)
{
	struct scrub *b = CONTAINER_OF(w, struct scrub, wait);
	struct store *s = CONTAINER_OF(b, struct store, scrub);

	if (res == 0 && !s->closing && !moved(s)) {
		start_page(s);
		return;
	}
	b->busy = false; /* not readable: recs.c has said so */
	if (res)
		s->super.scrub_page = b->page + 1;
	arm(s, pace(s));
	store_turn(s);
}

/* ---- where it is ---- */

static void saved(struct super_wait *w, int res)
{
	struct scrub *b = CONTAINER_OF(w, struct scrub, saved);

	(void)res; /* super.c has failed the store */
	b->saving = false;
}

void scrub_save(struct store *s)
{
	struct scrub *b = &s->scrub;

	if (b->all_ns == 0 || b->saving || s->failed || b->saved_page == s->super.scrub_page)
		return;
	b->saved_page = s->super.scrub_page;
	b->saved_ns = s->env->now_ns(s->env);
	b->saved.done = saved;
	b->saving = true;
	super_write(s, &b->saved);
}

/* ---- choosing ---- */

static void fired(struct env_timer *t)
{
	struct scrub *b = CONTAINER_OF(t, struct scrub, timer);
	struct store *s = CONTAINER_OF(b, struct store, scrub);

	if (s->failed || s->closing)
		return;
	if (s->env->now_ns(s->env) - b->saved_ns >= SAVE_NS)
		scrub_save(s);
	for (uint32_t n = 0; n < LOOK_PAGES; n++, s->super.scrub_page++) {
		uint32_t id = (uint32_t)s->super.scrub_page;
		const struct page *p = &s->pages.v[id];
		struct page_key key;

		if (id >= s->pages.n) {
			s->super.scrub_page = 0;
			s->super.scrub_passes++;
			s->stats.scrub_pages = 0;
			break;
		}
		if (p->state != PAGE_OWNED || p->present == 0)
			continue;
		key = key_of(s, p);
		if (destage_has_page(s, &key))
			break;
		b->key = key;
		b->page = id;
		b->busy = true;
		b->wait.fn = record_ready;
		start_page(s);
		return;
	}
	arm(s, pace(s));
}

void scrub_start(struct store *s)
{
	if (s->scrub.all_ns == 0)
		return;
	s->scrub.timer.fn = fired;
	s->scrub.saved_page = s->super.scrub_page;
	s->scrub.saved_ns = s->env->now_ns(s->env);
	arm(s, pace(s));
}

void scrub_init(struct store *s, struct arena *a, uint64_t all_ns)
{
	s->scrub.all_ns = all_ns;
	s->scrub.buf = arena_alloc(a, PAGE_BYTES, BLOCK_BYTES);
}

size_t scrub_bytes(void)
{
	return arena_cost(PAGE_BYTES, BLOCK_BYTES);
}
