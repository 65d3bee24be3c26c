/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* frame - one message in memory: header, meta, and a reference to its payload buffer.
 *
 *   F1  refs > 0 for every frame handed out; the last put releases the data buffer too
 *   F2  hdr.data_bytes == data->len_bytes when data is set; a received frame whose payload found no
 *       buffer has data == NULL, FRAME_DROPPED_DATA set and hdr.data_bytes as sent: its payload was
 *       read and thrown away, so that a full pool never stops a connection (W7)
 *   F3  a frame is never changed while it is queued for sending; the same buf may be in many frames
 *
 * One thread. */

#ifndef LIB_FRAME_H
#define LIB_FRAME_H

#include "lib/buf.h"
#include "lib/wire.h"

#define FRAME_DROPPED_DATA 1u

struct frame {
	struct list link; /* free list or a send queue */
	struct frame_pool *pool;
	struct buf *data; /* payload or NULL */
	uint32_t refs;
	uint32_t flags; /* FRAME_* */
	struct wire_hdr hdr;
	uint8_t meta[WIRE_META_MAX] __attribute__((aligned(8)));
};

struct frame_pool {
	struct list free;
	uint32_t made_n, free_n;
};

size_t frame_pool_bytes(uint32_t frames_n);
void frame_pool_init(struct frame_pool *p, uint32_t frames_n, struct arena *a);
/* A frame of @type with @meta_bytes of zeroed meta and no data; NULL when the pool is empty. */
struct frame *frame_new(struct frame_pool *p, enum wire_type type, uint32_t meta_bytes);
struct frame *frame_ref(struct frame *f); /* returns @f */
void frame_put(struct frame *f);          /* NULL allowed */
/* Attach @data (takes over the caller's reference) and set hdr.data_bytes. */
void frame_set_data(struct frame *f, struct buf *data);

/* What a connection end needs to make and receive frames; one per process or simulated node. */
struct frame_source {
	struct frame_pool *frames;
	struct buf_pool *bufs;
};

#endif
