/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include "lib/frame.h"

#include <string.h>

#include "lib/arena.h"

size_t frame_pool_bytes(uint32_t frames_n)
{
	return arena_cost(frames_n * sizeof(struct frame), ARENA_ALIGN);
}

void frame_pool_init(struct frame_pool *p, uint32_t frames_n, struct arena *a)
{
	struct frame *frames = arena_alloc(a, frames_n * sizeof(*frames), ARENA_ALIGN);

	*p = (struct frame_pool){.made_n = frames_n, .free_n = frames_n};
	list_init(&p->free);
	for (uint32_t i = 0; i < frames_n; i++) {
		frames[i].pool = p;
		list_add_tail(&p->free, &frames[i].link);
	}
}

struct frame *frame_new(struct frame_pool *p, enum wire_type type, uint32_t meta_bytes)
{
	struct list *item = list_pop(&p->free);
	struct frame *f;

	CHECK(meta_bytes <= WIRE_META_MAX);
	if (!item)
		return NULL;
	f = CONTAINER_OF(item, struct frame, link);
	CHECK(f->refs == 0);
	p->free_n--;
	f->refs = 1;
	f->flags = 0;
	f->data = NULL;
	memset(&f->hdr, 0, sizeof(f->hdr));
	f->hdr.magic = WIRE_MAGIC;
	f->hdr.version = WIRE_VERSION;
	f->hdr.type = (uint8_t)type;
	f->hdr.meta_bytes = meta_bytes;
	memset(f->meta, 0, meta_bytes);
	return f;
}

struct frame *frame_ref(struct frame *f)
{
	CHECK(f->refs > 0);
	f->refs++;
	return f;
}

void frame_put(struct frame *f)
{
	if (!f)
		return;
	CHECK(f->refs > 0);
	if (--f->refs > 0)
		return;
	buf_put(f->data);
	f->data = NULL;
	list_add_head(&f->pool->free, &f->link);
	f->pool->free_n++;
}

void frame_set_data(struct frame *f, struct buf *data)
{
	CHECK(f->data == NULL);
	f->data = data;
	f->hdr.data_bytes = data->len_bytes;
}
