/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "tests/crash/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void record_init(struct record *r)
{
	memset(r, 0, sizeof(*r));
}

void record_fini(struct record *r)
{
	free(r->event);
	free(r->write);
	free(r->mark);
	free(r->mark_at);
	record_init(r);
}

void record_start(struct record *r, const struct image *image, const struct model *model)
{
	image_copy(&r->start, image);
	model_copy(&r->start_model, model);
	r->events_n = r->writes_n = r->marks_n = 0;
}

static void *room(void *array, uint32_t n, uint32_t *max, size_t entry_bytes)
{
	if (n < *max)
		return array;
	*max = *max ? *max * 2 : 256;
	array = realloc(array, *max * entry_bytes);
	CHECK(array != NULL);
	return array;
}

void record_event(struct record *r, enum event_kind kind, uint32_t arg)
{
	r->event = room(r->event, r->events_n, &r->events_max, sizeof(r->event[0]));
	r->event[r->events_n++] = (struct event){.kind = kind, .arg = arg};
}

void record_mark(struct record *r, const struct mark *k)
{
	uint32_t max = r->marks_max;

	r->mark = room(r->mark, r->marks_n, &r->marks_max, sizeof(r->mark[0]));
	r->mark_at = room(r->mark_at, r->marks_n, &max, sizeof(r->mark_at[0]));
	r->mark_at[r->marks_n] = r->events_n;
	r->mark[r->marks_n++] = *k;
}

uint32_t record_write(struct record *r, struct heap *h, const struct write *w, const void *data)
{
	uint32_t sum_blocks =
		(uint32_t)((w->blocks * sizeof(uint64_t) + BLOCK_BYTES - 1) / BLOCK_BYTES);
	uint8_t *to = heap_blocks(h, w->blocks);
	uint64_t *sums = (void *)heap_blocks(h, sum_blocks);
	struct write *at;

	r->write = room(r->write, r->writes_n, &r->writes_max, sizeof(r->write[0]));
	memcpy(to, data, (size_t)w->blocks * BLOCK_BYTES);
	for (uint32_t i = 0; i < w->blocks; i++)
		sums[i] = image_block_sum(w->block + i, to + (size_t)i * BLOCK_BYTES);
	at = &r->write[r->writes_n];
	*at = *w;
	at->data = to;
	at->sums = sums;
	at->ended = RECORD_NEVER;
	at->began = r->events_n;
	record_event(r, EVENT_WRITE, r->writes_n);
	return r->writes_n++;
}

void record_print(const struct record *r)
{
	static const char *const names[] = {"write",   "written",           "dropped", "flush",
					    "flushed", "flush did nothing", "open"};

	for (uint32_t i = 0; i < r->events_n; i++) {
		const struct event *e = &r->event[i];

		fprintf(stderr, "%5u %s", i, names[e->kind]);
		if (e->kind <= EVENT_DROPPED) {
			const struct write *w = &r->write[e->arg];

			fprintf(stderr, " %u: %s, block %u, %u blocks%s", e->arg,
				region_name(w->region), w->block, w->blocks,
				w->durable ? ", durable" : "");
		}
		fputc('\n', stderr);
	}
}
