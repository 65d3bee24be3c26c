/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
/* Reads at the tail and the confirmations that prove them (PROTOCOL 3, R1-R3). */
#include "chaind/node_priv.h"

#include <errno.h>
#include <string.h>

static void answer(struct session *s, struct replica *r, const struct wire_hdr *h,
		   const struct wire_read_reply *rep, const uint32_t *crcs, struct buf *data)
{
	struct node *n = s->n;
	struct frame *f = node_frame(n, WIRE_READ_REPLY, (uint32_t)sizeof(*rep) + 4 * rep->crcs_n);

	if (!f)
		return; /* the reader's time-out asks again */
	memcpy(f->meta, rep, sizeof(*rep));
	if (crcs)
		memcpy(f->meta + sizeof(*rep), crcs, 4 * rep->crcs_n);
	if (data)
		frame_set_data(f, buf_ref(data));
	f->hdr.chain = h->chain;
	f->hdr.epoch = h->epoch;
	f->hdr.tag = h->tag;
	f->hdr.commit = r ? r->repl.commit : 0;
	f->hdr.to = s->peer;
	node_send(n, s->c, f);
}

static void refuse(struct session *s, const struct wire_hdr *h, int status)
{
	const struct wire_read_reply rep = {.status = status};

	if (status == -ESTALE)
		node_send_stale(s->n, s->c, h->chain);
	answer(s, NULL, h, &rep, NULL, NULL);
}

static void on_read(struct store_read *sr, int res)
{
	struct read_ctx *x = CONTAINER_OF(sr, struct read_ctx, sr);
	struct session *s = x->s;
	struct replica *r = x->r;
	const struct wire_hdr h = {.chain = sr->chain, .epoch = x->epoch, .tag = x->tag};
	struct wire_read_reply rep = {
		.block = sr->block, .blocks = sr->blocks, .crcs_n = sr->blocks};

	if (r->n->closed || s->gen != x->s_gen) {
		/* nobody waits */
	} else if (res < 0) {
		refuse(s, &h, res == -ENOBUFS ? -EAGAIN : res);
	} else if (!r->repl.in || r->repl.epoch != x->epoch) {
		refuse(s, &h, -ESTALE); /* R2: the answer would name an epoch that is over */
	} else {
		r->n->reads_blocks += sr->blocks;
		answer(s, r, &h, &rep, sr->crcs, sr->data);
	}
	if (res == 0)
		buf_put(sr->data);
	list_add_head(&x->n->free_reads, &x->link);
}

static int start_read(struct session *s, struct replica *r, const struct frame *f)
{
	const struct wire_read *q = (const struct wire_read *)(const void *)f->meta;
	struct list *item = list_pop(&s->n->free_reads);
	struct read_ctx *x;

	if (!item)
		return -EAGAIN;
	if (s->n->env->send_queue_bytes(s->n->env, s->c) > SEND_QUEUE_MAX) {
		/* It asks faster than it takes: our buffers are not its queue. */
		list_add_head(&s->n->free_reads, item);
		return -EAGAIN;
	}
	x = CONTAINER_OF(item, struct read_ctx, link);
	x->s = s;
	x->s_gen = s->gen;
	x->epoch = f->hdr.epoch;
	x->tag = f->hdr.tag;
	x->r = r;
	x->sr = (struct store_read){
		.chain = r->chain,
		.volume = q->volume,
		.extent = q->extent,
		.block = q->block,
		.blocks = q->blocks,
#ifdef PLANT_TAIL_SERVES_UNCOMMITTED
		.sequenced = true,
#endif
		.done = on_read,
	};
	list_init(&x->sr.link);
	store_read(s->n->store, &x->sr);
	return 0;
}

/* Which blocks of the range are there: bit i is block q->block + i. */
static int answer_present(struct session *s, struct replica *r, const struct frame *f)
{
	const struct wire_read *q = (const struct wire_read *)(const void *)f->meta;
	const struct wire_read_reply rep = {.block = q->block, .blocks = q->blocks};
	struct buf *b = buf_get(&s->n->bufs, (q->blocks + 7) / 8, BUF_NODE);
	uint8_t present[EXTENT_BLOCKS / 8];

	if (!b)
		return -EAGAIN;
	store_present(s->n->store, q->volume, q->extent, present);
	memset(b->data, 0, b->len_bytes);
	for (uint32_t i = 0; i < q->blocks; i++) {
		uint32_t at = q->block + i;

		if (present[at / 8] & (1u << at % 8))
			b->data[i / 8] |= (uint8_t)(1u << i % 8);
	}
	answer(s, r, &f->hdr, &rep, NULL, b);
	buf_put(b);
	return 0;
}

static int check_read(struct node *n, const struct frame *f, struct replica **ret_r)
{
	const struct wire_read *q = (const struct wire_read *)(const void *)f->meta;
	const struct map_volume *v;
	int rc = head_chain(n, &f->hdr, ret_r);

	if (rc < 0)
		return rc;
	if (!(*ret_r)->repl.is_tail)
		return -ESTALE;
	if (!repl_may_read(&(*ret_r)->repl)) /* R3 */
		return -EAGAIN;
	rc = head_volume(n, &f->hdr, q->volume, q->extent, q->generation, &v);
	if (rc < 0)
		return rc;
	if (q->extent * EXTENT_BYTES + (q->block + (uint64_t)q->blocks) * BLOCK_BYTES >
	    (v->size_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES)
		return -EAGAIN; /* a newer record than ours made it longer */
	return 0;
}

void reader_read(struct session *s, struct frame *f)
{
	const struct wire_read *q = (const struct wire_read *)(const void *)f->meta;
	struct replica *r = NULL;
	int rc = check_read(s->n, f, &r);

	if (rc == 0)
		rc = q->kind == READ_PRESENT ? answer_present(s, r, f) : start_read(s, r, f);
	if (rc < 0)
		refuse(s, &f->hdr, rc);
}

void reader_confirm(struct session *s, struct frame *f)
{
	const struct wire_confirm *q = (const struct wire_confirm *)(const void *)f->meta;
	struct frame *out = node_frame(s->n, WIRE_CONFIRMED, f->hdr.meta_bytes);
	struct wire_confirm *c;

	if (!out)
		return;
	c = (struct wire_confirm *)(void *)out->meta;
	for (uint32_t i = 0; i < f->hdr.meta_bytes / sizeof(*c); i++) {
		const struct replica *r = node_replica(s->n, q[i].chain);

		c[i].chain = q[i].chain;
		/* A member in any install confirms nothing. */
		c[i].epoch = r && r->repl.in && !s->n->failed ? r->repl.epoch : 0;
	}
	out->hdr.tag = f->hdr.tag;
	out->hdr.to = s->peer;
	node_send(s->n, s->c, out);
}

void reader_init(struct node *n)
{
	list_init(&n->free_reads);
	for (unsigned i = 0; i < READS_MAX; i++) {
		n->reads[i].n = n;
		list_add_tail(&n->free_reads, &n->reads[i].link);
	}
}
