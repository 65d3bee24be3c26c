/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* Head-local range lock and read-modify-write (PROTOCOL 2, SCSI mapping).
 *
 * A write of less than whole blocks and a compare-and-write take their blocks at arrival. Whoever
 * comes later for one of those blocks queues behind, unnumbered. The holder reads the newest
 * *sequenced* content, which nobody can change while it holds the blocks, merges or compares, and
 * is numbered in that same step. Replicas see whole blocks only.
 *
 *   rmws of a replica, oldest first:  [holds 0-1, reading] [waits for 1] [holds 7, reading] ...
 *
 * Comparing is done here and not by the replicas because all must come to the same result; that the
 * answer comes from the tail keeps content that may never be committed from being seen. */
#include "chaind/node_priv.h"

#include <errno.h>
#include <string.h>

#include "lib/crc.h"

#define REQ(f) ((const struct wire_request *)(const void *)(f)->meta)

static uint32_t first_block(const struct wire_request *q)
{
	return q->offset_bytes / BLOCK_BYTES;
}

static uint32_t span_blocks(const struct wire_request *q)
{
	return (q->offset_bytes + q->len_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES - first_block(q);
}

static bool needs_merging(const struct wire_request *q)
{
	return q->kind == REQ_CAW || (q->kind == REQ_WRITE && q->crcs_n == 0);
}

static bool overlaps(const struct wire_request *a, const struct wire_request *b)
{
	return a->volume == b->volume && a->extent == b->extent &&
	       first_block(a) < first_block(b) + span_blocks(b) &&
	       first_block(b) < first_block(a) + span_blocks(a);
}

/* Is somebody before @upto (NULL: anybody) on the blocks of @q? */
static bool is_taken(const struct replica *r, const struct wire_request *q, const struct rmw *upto)
{
#ifdef PLANT_NO_RANGE_LOCK
	return false;
#endif
	LIST_FOR_EACH(it, &r->rmws)
	{
		const struct rmw *m = CONTAINER_OF(it, struct rmw, link);

		if (m == upto)
			break;
		if (overlaps(REQ(m->req), q))
			return true;
	}
	return false;
}

static void rmw_done(struct rmw *m)
{
	struct replica *r = m->r;

	CHECK(!m->reading);
	list_del(&m->link);
	r->rmws_n--;
	frame_put(m->req);
	m->req = NULL;
	list_add_head(&r->n->free_rmws, &m->link);
}

/* ---- evaluation ---- */

/* Offset of the first difference, or -1. */
static int64_t first_difference(const uint8_t *a, const uint8_t *b, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		if (a[i] != b[i])
			return i;
	return -1;
}

static void number_merged(struct rmw *m, struct buf *data)
{
	const struct wire_request *q = REQ(m->req);
	uint32_t into = q->offset_bytes % BLOCK_BYTES;
	const uint8_t *from = m->req->data->data;
	struct head_op op = {.kind = OP_WRITE,
			     .block = m->sr.block,
			     .blocks = m->sr.blocks,
			     .crcs = m->sr.crcs,
			     .crcs_n = m->sr.blocks,
			     .data = data};

	if (q->kind == REQ_CAW)
		from += q->len_bytes;
	memcpy(data->data + into, from, q->len_bytes);
	for (uint32_t i = 0; i < m->sr.blocks; i++) {
		const struct block_addr at = {q->volume, q->extent, m->sr.block + i};

		m->sr.crcs[i] = crc_block(&at, data->data + (size_t)i * BLOCK_BYTES);
	}
	head_number(m->r, m->req, &op);
}

/* One step: nothing else of the replica runs between the look at the content and the number. */
static void evaluate(struct rmw *m)
{
	const struct wire_request *q = REQ(m->req);
	uint32_t into = q->offset_bytes % BLOCK_BYTES;
	struct buf *data = m->sr.data;
	struct buf *own = NULL;
	int64_t differs = -1;

	if (q->kind == REQ_CAW)
		differs = first_difference(data->data + into, m->req->data->data, q->len_bytes);
	if (differs >= 0) {
		const struct head_op op = {.kind = OP_MISCOMPARE,
					   .result = -EILSEQ,
					   .offset_bytes = (uint32_t)differs};

		head_number(m->r, m->req, &op);
		return;
	}
	if (data->refs > 1) { /* the store still has it: not ours to change */
		own = buf_get(data->pool, data->len_bytes, BUF_NODE);
		if (!own) {
			head_refuse(m->r->n, m->req, -EAGAIN);
			return;
		}
		memcpy(own->data, data->data, data->len_bytes);
		data = own;
	}
	number_merged(m, data);
	buf_put(own);
}

static void start(struct rmw *m);

/* Somebody let go of blocks: start all that wait for nobody any more. */
static void run(struct replica *r)
{
	bool again = true;

	while (again) {
		again = false;
		LIST_FOR_EACH(it, &r->rmws)
		{
			struct rmw *m = CONTAINER_OF(it, struct rmw, link);

			if (m->reading || is_taken(r, REQ(m->req), m))
				continue;
			if (needs_merging(REQ(m->req))) {
				start(m);
				continue;
			}
			head_number_whole(r, m->req);
			rmw_done(m);
			again = true; /* the list has changed */
			break;
		}
	}
}

/* The old content cannot be had. An answer is only due if the request is still one (X3). */
static void unreadable(struct replica *r, const struct frame *req, int why)
{
	int rc = head_check(r, req);

	if (rc != -EEXIST)
		head_refuse(r->n, req, rc < 0 ? rc : why);
}

static void on_read(struct store_read *sr, int res)
{
	struct rmw *m = CONTAINER_OF(sr, struct rmw, sr);
	struct replica *r = m->r;

	CHECK(m->reading);
	m->reading = false;
	if (r->n->closed)
		m->dropped = true;
	if (m->dropped || res == -ENOBUFS)
		head_refuse(r->n, m->req, -EAGAIN);
	else if (res < 0)
		unreadable(r, m->req, res);
	else
		evaluate(m);
	if (res == 0)
		buf_put(sr->data);
	rmw_done(m);
	if (!r->n->closed)
		run(r);
}

static void start(struct rmw *m)
{
	const struct wire_request *q = REQ(m->req);

	m->reading = true;
	m->sr = (struct store_read){
		.chain = m->r->chain,
		.volume = q->volume,
		.extent = q->extent,
		.block = first_block(q),
		.blocks = span_blocks(q),
		.sequenced = true,
		.done = on_read,
	};
	list_init(&m->sr.link);
	store_read(m->r->n->store, &m->sr);
}

/* ---- arrival ---- */

bool rmw_must_queue(const struct replica *r, const struct frame *f)
{
	return needs_merging(REQ(f)) || is_taken(r, REQ(f), NULL);
}

void rmw_arrive(struct replica *r, struct frame *f)
{
	struct node *n = r->n;
	/* One chain's crowd on one block must not take all places. */
	struct list *item = r->rmws_n < RMW_MAX / 2 ? list_pop(&n->free_rmws) : NULL;
	struct rmw *m;

	if (!item) {
		head_refuse(n, f, -EAGAIN);
		return;
	}
	m = CONTAINER_OF(item, struct rmw, link);
	m->r = r;
	m->req = frame_ref(f);
	m->reading = m->dropped = false;
	list_add_tail(&r->rmws, &m->link);
	r->rmws_n++;
	if (!is_taken(r, REQ(f), m) && needs_merging(REQ(f)))
		start(m);
}

void rmw_drop_all(struct replica *r)
{
	LIST_FOR_EACH_SAFE(it, &r->rmws)
	{
		struct rmw *m = CONTAINER_OF(it, struct rmw, link);

		m->dropped = true; /* a read in flight ends it */
		if (m->reading)
			continue;
		head_refuse(r->n, m->req, -EAGAIN);
		rmw_done(m);
	}
}

void rmw_init(struct node *n)
{
	list_init(&n->free_rmws);
	for (unsigned i = 0; i < RMW_MAX; i++)
		list_add_tail(&n->free_rmws, &n->rmws[i].link);
}
