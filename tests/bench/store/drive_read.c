/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/store/drive_priv.h"

#define BAD_NAMED_MAX 8u

static void bad(struct drive *d, uint64_t entry, const char *why)
{
	if (d->res->bad++ < BAD_NAMED_MAX)
		fprintf(stderr, "store_load: block %llu: %s\n", (unsigned long long)entry, why);
}

static void compare_one(struct drive *d, struct got *g)
{
	uint64_t first = g->range * d->cfg->blocks;

	for (uint32_t i = 0; i < d->cfg->blocks; i++)
		if (!table_verify(d->t, first + i, g->data->data + (size_t)i * BLOCK_BYTES))
			bad(d, first + i, "not what was written");
	buf_put(g->data);
	list_add_tail(&d->gots, &g->link);
}

void drive_read_compare(struct drive *d)
{
	struct list *it;

	while ((it = list_pop(&d->unseen)))
		compare_one(d, CONTAINER_OF(it, struct got, link));
	d->unseen_n = 0;
}

static void start(struct get *g);

static void read_done(struct store_read *r, int res)
{
	struct get *g = CONTAINER_OF(r, struct get, read);
	struct drive *d = g->d;

	drive_took(d, g->range, g->start_ns);
	if (res < 0) {
		bad(d, g->range * d->cfg->blocks, strerror(-res));
	} else {
		struct got *got;

		if (list_empty(&d->gots))
			drive_read_compare(d);
		got = CONTAINER_OF(list_pop(&d->gots), struct got, link);
		got->data = r->data;
		got->range = g->range;
		list_add_tail(&d->unseen, &got->link);
		d->unseen_n++;
	}
	if (drive_more(d))
		start(g);
	if (d->unseen_n >= drive_ahead(d) || d->flying == 0)
		drive_after(d);
}

static void start(struct get *g)
{
	struct drive *d = g->d;
	struct store_read *r = &g->read;
	struct block_addr at;

	g->range = drive_pick(d);
	at = table_addr(d->t, g->range * d->cfg->blocks);
	r->chain = drive_chain_of(d, at.extent);
	r->volume = at.volume;
	r->extent = at.extent;
	r->block = at.block;
	r->blocks = d->cfg->blocks;
	r->sequenced = false;
	r->done = read_done;
	d->flying++;
	g->start_ns = measure_now_ns();
	store_read(d->h->store, r);
}

void drive_read_start(struct drive *d)
{
	for (uint32_t i = 0; i < d->cfg->depth && drive_more(d); i++)
		start(&d->gets[i]);
}

void drive_read_init(struct drive *d)
{
	uint32_t gots_n = drive_ahead(d) + d->cfg->depth;

	d->gets = calloc(d->cfg->depth, sizeof(*d->gets));
	d->all_gots = calloc(gots_n, sizeof(*d->all_gots));
	if (!d->gets || !d->all_gots)
		measure_die("memory", ENOMEM);
	list_init(&d->gots);
	list_init(&d->unseen);
	for (uint32_t i = 0; i < d->cfg->depth; i++)
		d->gets[i].d = d;
	for (uint32_t i = 0; i < gots_n; i++)
		list_add_tail(&d->gots, &d->all_gots[i].link);
}

void drive_read_fini(struct drive *d)
{
	free(d->gets);
	free(d->all_gots);
}
