/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/crash/life.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MIB (1ull << 20)
#define PLACES 12u    /* where a generation is cut */
#define PICKS 4u      /* at each */
#define STUCK_OPS 24u /* a stuck chain has as many pending */

static uint64_t pick(struct life *l, uint64_t below)
{
	uint64_t z = l->rng += 0x9e3779b97f4a7c15ull; /* splitmix64 */

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	z ^= z >> 31;
	return below ? z % below : z;
}

static bool one_in(struct life *l, uint64_t n)
{
	return pick(l, n) == 0;
}

/* ---- start ---- */

static void draw(struct life *l)
{
	static const uint64_t sizes[] = {9 * MIB, 10 * MIB, 12 * MIB, 16 * MIB};

	l->big = one_in(l, 3);
	l->restless = one_in(l, 2);
	l->full = one_in(l, 4);
	l->chains = 1 + (uint32_t)pick(l, MODEL_CHAINS);
	l->stuck = one_in(l, 2) ? (uint32_t)pick(l, MODEL_CHAINS + 1) : 0;
	l->disk = (struct world_disk){.disk_bytes = sizes[l->full ? 0 : pick(l, ARRAY_LEN(sizes))],
				      .log_bytes = MIB,
				      .secret = pick(l, 0),
				      .write_through = one_in(l, 8),
				      .cache_slots = one_in(l, 3) ? 3 : 0,
				      .scrub_ns = one_in(l, 3) ? 20000000000ull : 0};
}

static void format(void *arg)
{
	struct life *l = arg;
	struct world *w = &l->h->w;
	int res = -ENOSPC;

	while (res == -ENOSPC) {
		image_init(&l->image, (uint32_t)(l->disk.disk_bytes / BLOCK_BYTES));
		world_boot(w, &l->image, &l->model, &l->h->level[0].rec, l->seed);
		res = world_format(w, &l->disk);
		l->disk.disk_bytes += MIB;
	}
	CHECK(res == 0);
	image_copy(&l->image, &w->disk.now);
}

bool life_start(struct life *l, struct hunt *h, uint64_t seed)
{
	l->h = h;
	l->seed = l->rng = seed;
	l->generation = 0;
	draw(l);
	model_init(&l->model);
	snprintf(h->run, sizeof(h->run), "life:%llu:format", (unsigned long long)seed);
	h->w.disk.shuffle = true;
	return hunt_record(h, format, l);
}

/* ---- one thing after the other ---- */

static uint32_t choose_blocks(struct life *l)
{
	static const uint32_t large[] = {16, 16, 17, 32, 33, 64, 256};

	if (!one_in(l, l->big ? 2 : 6))
		return 1 + (uint32_t)pick(l, 4);
	if (!one_in(l, l->big ? 6 : 20))
		return large[pick(l, ARRAY_LEN(large) - 1)];
	return one_in(l, 2) ? 256 : 1 + (uint32_t)pick(l, OP_BLOCKS_MAX);
}

static void choose_range(struct life *l, struct world_want *want)
{
	static const uint32_t areas[] = {8, 48, 48, 320, EXTENT_BLOCKS};
	uint32_t area = areas[pick(l, ARRAY_LEN(areas))];

	want->extent = one_in(l, 4);
	want->blocks = choose_blocks(l);
	if (want->kind != OP_WRITE && one_in(l, 8))
		want->blocks = one_in(l, 2) ? EXTENT_BLOCKS : 1 + (uint32_t)pick(l, EXTENT_BLOCKS);
	area = MIN(MAX(area, want->blocks), EXTENT_BLOCKS);
	want->block = (uint32_t)pick(l, area - want->blocks + 1);
	if (one_in(l, 2) && want->block / PAGE_BLOCKS * PAGE_BLOCKS + want->blocks <= area)
		want->block = want->block / PAGE_BLOCKS * PAGE_BLOCKS;
}

static void append(struct life *l)
{
	static const enum op_kind kinds[] = {OP_WRITE, OP_WRITE,      OP_WRITE,      OP_WRITE,
					     OP_WRITE, OP_WRITE,      OP_WRITE,      OP_UNMAP,
					     OP_UNMAP, OP_WRITE_SAME, OP_MISCOMPARE, OP_NOP};
	struct world *w = &l->h->w;
	struct world_want want = {.chain = 1 + (uint32_t)pick(l, l->chains),
				  .kind = kinds[pick(l, ARRAY_LEN(kinds))],
				  .client = (uint32_t)pick(l, MODEL_CLIENTS)};
	const struct model_chain *c = &w->model.chain[want.chain];
	int res;

	if (want.chain == l->stuck && c->appended - c->committed >= STUCK_OPS)
		return;
	if (c->appended - c->base_seq >= MODEL_OPS / 2)
		return;
	if (!model_client_at(c, want.chain, want.client, c->appended).exists || one_in(l, 40))
		want.kind = OP_SESSION;
	if (want.kind == OP_NOP)
		want.client = MODEL_NO_CLIENT;
	if (want.kind == OP_WRITE || want.kind == OP_UNMAP || want.kind == OP_WRITE_SAME)
		choose_range(l, &want);
	if (want.kind == OP_WRITE_SAME)
		want.zero = one_in(l, 3);
	res = world_append(w, &want);
	CHECK(res == 0 || res == -EAGAIN || res == -ENOSPC);
}

static void look(struct life *l)
{
	static struct scope sc;

	scope_init(&sc, 8);
	scope_recent(&sc, &l->h->w.model, NULL);
	check_store(&l->h->w, &sc);
}

static void end_of_process(struct life *l)
{
	struct world *w = &l->h->w;

	if (one_in(l, 2)) {
		world_close(w);
	} else {
		world_kill(w);
	}
	world_open(w);
	look(l);
}

static void commit(struct life *l)
{
	uint32_t chain = 1 + (uint32_t)pick(l, l->chains);
	const struct model_chain *c = &l->h->w.model.chain[chain];

	if (c->acked > c->committed && (chain != l->stuck || one_in(l, 300)))
		world_commit(&l->h->w, chain, c->committed + 1 + pick(l, c->acked - c->committed));
}

static void rare(struct life *l)
{
	struct world *w = &l->h->w;

	switch (pick(l, 8)) {
	case 0:
		look(l);
		break;
	case 1:
		world_epoch(w, 1 + (uint32_t)pick(l, l->chains));
		break;
	case 2:
	case 3:
		if (!l->restless)
			world_pass(w, pick(l, 2) ? 4000000000ull : pick(l, 20000000));
		break;
	case 4:
		if (one_in(l, 4))
			end_of_process(l);
		break;
	case 5:
		if (one_in(l, 2))
			world_registered(w);
		else
			world_set_cluster(w);
		break;
	case 6:
		store_check(w->s);
		break;
	default:
		world_quiet(w);
	}
}

static void act(struct life *l)
{
	switch (pick(l, 32)) {
	case 0:
		rare(l);
		break;
	case 1:
	case 2:
	case 3:
	case 4:
	case 5:
	case 6:
		commit(l);
		break;
	case 7:
	case 8:
	case 9:
	case 10:
	case 11:
	case 12:
	case 13:
		world_step(&l->h->w);
		break;
	default:
		if (pick(l, 3))
			append(l);
		else
			world_step(&l->h->w);
	}
}

static void play(void *arg)
{
	struct life *l = arg;
	struct world *w = &l->h->w;

	world_boot(w, &l->image, &l->model, &l->h->level[0].rec, pick(l, 0));
	world_open(w);
	look(l);
	for (uint64_t n = pick(l, one_in(l, 4) ? 1500 : 400); n > 0; n--)
		act(l);
}

bool life_record(struct life *l)
{
	struct hunt_level *top = &l->h->level[0];

	snprintf(l->h->run, sizeof(l->h->run), "life:%llu:%u", (unsigned long long)l->seed,
		 l->generation);
	l->h->w.disk.shuffle = true;
	if (!hunt_record(l->h, play, l))
		return false;
	scope_init(&top->scope, 8);
	scope_recent(&top->scope, &top->rec.start_model, &top->rec);
	hunt_begin(l->h, 0);
	return true;
}

/* ---- cuts ---- */

static struct pick choose_pick(struct life *l)
{
	struct pick p = {.kind = (enum pick_kind)pick(l, PICK_KIND_END * 2)};
	uint32_t open_n = l->h->level[0].cut.open_n;

	if (p.kind >= PICK_KIND_END)
		p.kind = PICK_TORN;
	p.n = (uint32_t)pick(l, 1u << 20);
	if (p.kind == PICK_ONE || p.kind == PICK_BUT)
		p.n = open_n ? p.n % open_n : 0;
	if (p.kind == PICK_NONE || p.kind == PICK_ALL)
		p.n = 0;
	return p;
}

/* The image is what the next generation opens; the heap then holds nothing else. */
static void move(struct life *l)
{
	struct heap other = l->h->spare[1];

	heap_release(&other, 0);
	image_move(&l->image, &other);
	l->h->spare[1] = l->h->w.heap;
	l->h->w.heap = other;
}

static void choose_places(struct life *l, uint32_t at[PLACES])
{
	for (uint32_t i = 0; i < PLACES; i++) {
		uint32_t place = (uint32_t)pick(l, l->h->level[0].rec.events_n + 1), k = i;

		for (; k > 0 && at[k - 1] > place; k--)
			at[k] = at[k - 1];
		at[k] = place;
	}
}

void life_cut(struct life *l)
{
	uint32_t at[PLACES], next = PLACES / 2 + (uint32_t)pick(l, PLACES / 2);
	struct cut *cut = &l->h->level[0].cut;

	choose_places(l, at);
	for (uint32_t i = 0; i < PLACES && !hunt_enough(l->h); i++) {
		struct pick p;

		cut_advance(cut, at[i]);
		for (uint32_t n = 0; n < PICKS && !hunt_enough(l->h); n++) {
			p = choose_pick(l);
			if (!l->h->replaying)
				hunt_state(l->h, 0, at[i], &p);
		}
		if (i != next)
			continue;
		cut_image(cut, &p, &l->image);
		model_copy(&l->model, &cut->model);
	}
	move(l);
	l->generation++;
}

static void live(struct life *l, struct hunt *h, uint64_t seed)
{
	heap_release(&h->w.heap, 0);
	if (!life_start(l, h, seed))
		return;
	while (l->generation < LIFE_GENERATIONS && !hunt_enough(h) && life_record(l))
		life_cut(l);
}

void life_run(struct life *l, struct hunt *h, uint64_t seed)
{
	struct heap sequences = h->w.heap;

	h->w.heap = h->spare[0];
	live(l, h, seed);
	h->spare[0] = h->w.heap;
	h->w.heap = sequences;
}
