/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/crash/cut.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is durable ---- */

void cut_init(struct cut *c, const struct record *rec, struct heap *heap)
{
	c->rec = rec;
	c->heap = heap;
	c->at = c->mark = c->open_n = c->processes = 0;
	image_copy(&c->durable, &rec->start);
	model_copy(&c->model, &rec->start_model);
}

static const uint8_t *block_of(const struct write *w, uint32_t i)
{
	return w->data + (size_t)i * BLOCK_BYTES;
}

/* Sectors @mask of block @i of the open write @o are in place. */
static void put(struct cut *c, const struct open_write *o, struct image *im, uint32_t i,
		uint8_t mask)
{
	const struct write *w = &c->rec->write[o->index];

	if (o->lost)
		mask &= (uint8_t)~o->lost[i];
	if (mask == 0xff)
		image_set(im, w->block + i, block_of(w, i), w->sums[i]);
	else if (mask)
		image_tear(im, c->heap, w->block + i, block_of(w, i), mask);
}

/* C2: @by is durable now. */
static void lose(struct cut *c, struct open_write *o, const struct write *by)
{
	const struct write *w = &c->rec->write[o->index];
	uint32_t from = MAX(w->block, by->block);
	uint32_t to = MIN(w->block + w->blocks, by->block + by->blocks);

	if (from >= to || w->ended > by->began)
		return;
	if (!o->lost) {
		o->lost = heap_blocks(c->heap, 1);
		memset(o->lost, 0, BLOCK_BYTES);
	}
	memset(o->lost + (from - w->block), 0xff, to - from);
}

static void make_durable(struct cut *c, uint32_t k)
{
	const struct open_write o = c->open[k];
	const struct write *w = &c->rec->write[o.index];

	for (uint32_t i = 0; i < w->blocks; i++)
		put(c, &o, &c->durable, i, 0xff);
	memmove(&c->open[k], &c->open[k + 1], (c->open_n - k - 1) * sizeof(c->open[0]));
	c->open_n--;
	for (uint32_t i = 0; i < c->open_n; i++)
		if (c->open[i].index < o.index)
			lose(c, &c->open[i], w);
}

static uint32_t open_at(const struct cut *c, uint32_t index)
{
	uint32_t k = 0;

	while (c->open[k].index != index)
		CHECK(++k < c->open_n);
	return k;
}

static void flushed(struct cut *c, uint32_t began)
{
	for (uint32_t k = 0; k < c->open_n;) {
		const struct write *w = &c->rec->write[c->open[k].index];

		if (w->ended < began && !w->forgotten)
			make_durable(c, k);
		else
			k++;
	}
}

static void happen(struct cut *c, const struct event *e)
{
	uint32_t k;

	switch (e->kind) {
	case EVENT_WRITE:
		CHECK(c->open_n < CUT_OPEN_MAX);
		c->open[c->open_n++] = (struct open_write){.index = e->arg};
		break;
	case EVENT_WRITTEN:
		if (c->rec->write[e->arg].durable)
			make_durable(c, open_at(c, e->arg));
		break;
	case EVENT_DROPPED:
		k = open_at(c, e->arg);
		memmove(&c->open[k], &c->open[k + 1], (c->open_n - k - 1) * sizeof(c->open[0]));
		c->open_n--;
		break;
	case EVENT_FLUSHED:
		flushed(c, e->arg);
		break;
	case EVENT_NEW_PROCESS:
		c->processes++;
		break;
	case EVENT_FLUSH:
	case EVENT_NO_FLUSH:
		break;
	}
}

void cut_advance(struct cut *c, uint32_t at)
{
	CHECK(at >= c->at);
	CHECK(at <= c->rec->events_n);
	while (c->at < at)
		happen(c, &c->rec->event[c->at++]);
	for (; c->mark < c->rec->marks_n && c->rec->mark_at[c->mark] <= at; c->mark++)
		model_apply(&c->model, &c->rec->mark[c->mark]);
}

/* ---- subsets ---- */

static uint64_t random_below(uint64_t *state, uint64_t below)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull; /* splitmix64 */

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return (z ^ z >> 31) % below;
}

/* Sectors [from, to) of the write. */
static void put_range(struct cut *c, const struct open_write *o, struct image *im, uint32_t from,
		      uint32_t to)
{
	for (uint32_t i = from / BLOCK_SECTORS; i * BLOCK_SECTORS < to; i++) {
		uint32_t first = i * BLOCK_SECTORS;
		uint32_t lo = from > first ? from - first : 0;
		uint32_t hi = MIN(to - first, BLOCK_SECTORS);

		put(c, o, im, i, (uint8_t)((0xffu << lo) & (0xffu >> (BLOCK_SECTORS - hi))));
	}
}

static void put_torn(struct cut *c, const struct open_write *o, struct image *im, uint64_t *rng)
{
	uint32_t blocks = c->rec->write[o->index].blocks, sectors = blocks * BLOCK_SECTORS;
	uint32_t how = (uint32_t)random_below(rng, 8);
	uint32_t at = (uint32_t)random_below(rng, sectors);

	if (how == 1 || how == 2)
		put_range(c, o, im, 0, how == 1 ? sectors : at);
	if (how == 3)
		put_range(c, o, im, at, sectors);
	for (uint32_t i = 0; how >= 4 && i < blocks; i++) {
		uint8_t mask = 0xff;

		if (how == 4)
			mask = (uint8_t)random_below(rng, 256);
		else if (how == 5)
			mask = random_below(rng, 2) ? 0xff : 0;
		else if (how == 6 && i == at / BLOCK_SECTORS)
			mask = (uint8_t)random_below(rng, 255);
		else if (how == 7 && i == at / BLOCK_SECTORS)
			mask = (uint8_t) ~(1u << at % BLOCK_SECTORS);
		put(c, o, im, i, mask);
	}
}

void cut_image(struct cut *c, const struct pick *p, struct image *ret)
{
	uint64_t rng = p->n * 0x632be59bd9b4e019ull + c->at;

	image_copy(ret, &c->durable);
	for (uint32_t k = 0; k < c->open_n; k++) {
		const struct open_write *o = &c->open[k];
		uint32_t sectors = c->rec->write[o->index].blocks * BLOCK_SECTORS;

		if (p->kind == PICK_TORN)
			put_torn(c, o, ret, &rng);
		else if (p->kind == PICK_ALL || (p->kind == PICK_ONE && k == p->n) ||
			 (p->kind == PICK_BUT && k != p->n))
			put_range(c, o, ret, 0, sectors);
	}
}

/* ---- names ---- */

static const char *const names[PICK_KIND_END] = {"none", "all", "one", "but", "torn"};

void pick_print(const struct pick *p, char *to, size_t len_bytes)
{
	if (p->kind <= PICK_ALL)
		snprintf(to, len_bytes, "%s", names[p->kind]);
	else
		snprintf(to, len_bytes, "%s%u", names[p->kind], p->n);
}

bool pick_parse(const char **s, struct pick *ret)
{
	for (unsigned k = 0; k < PICK_KIND_END; k++) {
		size_t n = strlen(names[k]);
		char *end;

		if (strncmp(*s, names[k], n) != 0)
			continue;
		*ret = (struct pick){.kind = (enum pick_kind)k};
		*s += n;
		if (k > PICK_ALL) {
			ret->n = (uint32_t)strtoul(*s, &end, 10);
			*s = end;
		}
		return true;
	}
	return false;
}
