/* SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "lib/crc.h"
#include "tests/crash/world.h"

#define PATIENCE_NS 4000000000ull /* long enough for everything to come to rest */

/* ---- ops ---- */

static void op_done(struct store_op *op, int res)
{
	struct world_op *o = CONTAINER_OF(op, struct world_op, op);
	const struct mark k = {.kind = MARK_ACK, .chain = op->rec.chain, .seq = op->rec.seq};

	CHECK(res == 0);
	world_note(o->w, &k);
}

static void op_released(struct store_op *op)
{
	struct world_op *o = CONTAINER_OF(op, struct world_op, op);

	CHECK(o->used);
	CHECK(op->rec.seq <= o->w->model.chain[op->rec.chain].committed);
	o->used = false;
}

static struct world_op *free_op(struct world *w)
{
	for (uint32_t i = 0; i < WORLD_OPS; i++) {
		uint32_t at = w->op_next++ % WORLD_OPS;

		w->op_high = MAX(w->op_high, at + 1);
		if (!w->op[at].used)
			return &w->op[at];
	}
	return NULL;
}

static void set_client(struct world *w, struct op_rec *rec, uint32_t i)
{
	const struct model_chain *c = &w->model.chain[rec->chain];
	struct model_client t = model_client_at(c, rec->chain, i, c->appended);

	rec->client = model_client_id(rec->chain, i);
	rec->generation = 1;
	rec->low = t.low;
	if (rec->kind == OP_SESSION) {
		rec->session = t.session + 1;
		return;
	}
	rec->session = t.session;
	rec->req_no = MAX(t.newest + 1, t.low);
	if (rec->req_no - t.low >= REQ_OUTSTANDING_MAX || fake_random(&w->fe, 3) == 0)
		rec->low += fake_random(&w->fe, rec->req_no - t.low + 1);
	if (rec->req_no - rec->low >= REQ_OUTSTANDING_MAX)
		rec->low = rec->req_no;
}

static struct op_rec make_rec(struct world *w, const struct world_want *want)
{
	struct op_rec rec = {.chain = want->chain,
			     .volume = want->chain,
			     .epoch = 1,
			     .seq = w->model.chain[want->chain].appended + 1,
			     .kind = (uint16_t)want->kind};

	if (op_changes_blocks(&rec)) {
		rec.extent = want->extent;
		rec.block = want->block;
		rec.blocks = want->blocks;
		rec.crcs_n = rec.kind == OP_WRITE ? rec.blocks : rec.kind == OP_WRITE_SAME;
		rec.data_bytes = rec.crcs_n * BLOCK_BYTES;
	}
	if (rec.kind == OP_MISCOMPARE) {
		rec.result = -EILSEQ;
		rec.offset_bytes = 17;
	}
	if (want->client != MODEL_NO_CLIENT)
		set_client(w, &rec, want->client);
	return rec;
}

static void fill_payload(struct world_op *o, uint32_t stamp)
{
	const struct op_rec *rec = &o->op.rec;

	for (uint32_t i = 0; i < rec->crcs_n; i++) {
		const struct block_addr at = {rec->volume, rec->extent, rec->block + i};
		uint8_t *to = o->op.data->data + (size_t)i * BLOCK_BYTES;

		model_fill(to, stamp, rec->block + i);
		o->crcs[i] = rec->kind == OP_WRITE ? crc_block(&at, to) : crc_block_anywhere(to);
	}
}

static uint32_t new_stamp(const struct world *w, const struct world_want *want)
{
	uint32_t stamp = w->model.stamps + 1;

	if (want->kind == OP_UNMAP || want->zero)
		return 0;
	return want->kind == OP_WRITE_SAME ? stamp | MODEL_SAME : stamp;
}

int world_append(struct world *w, const struct world_want *want)
{
	struct mark k = {.kind = MARK_APPEND, .chain = want->chain};
	struct world_op *o = free_op(w);
	int res;

	if (!o)
		return -EAGAIN;
	o->w = w;
	o->op = (struct store_op){.rec = make_rec(w, want),
				  .crcs = o->crcs,
				  .done = op_done,
				  .released = op_released};
	k.op = (struct model_op){.rec = o->op.rec, .stamp = new_stamp(w, want)};
	if (o->op.rec.data_bytes) {
		o->op.data = buf_get(&w->bufs, o->op.rec.data_bytes, BUF_NODE);
		if (!o->op.data)
			return -EAGAIN;
		fill_payload(o, k.op.stamp);
	}
	res = store_append(w->s, &o->op);
	if (o->op.data)
		buf_put(o->op.data);
	CHECK(res == 0 || res == -EAGAIN || res == -ENOSPC);
	if (res)
		return res;
	o->used = true;
	world_note(w, &k);
	return 0;
}

bool world_append_patiently(struct world *w, const struct world_want *want)
{
	if (world_append(w, want) == 0)
		return true;
	world_quiet(w);
	if (world_append(w, want) == 0)
		return true;
	world_pass(w, PATIENCE_NS);
	return world_append(w, want) == 0;
}

void world_commit(struct world *w, uint32_t chain, uint64_t seq)
{
	const struct mark k = {.kind = MARK_COMMIT, .chain = chain, .seq = seq};

	world_note(w, &k);
	store_commit(w->s, chain, seq);
}

void world_commit_acked(struct world *w)
{
	for (uint32_t i = 1; i <= MODEL_CHAINS; i++)
		if (w->model.chain[i].acked > w->model.chain[i].committed)
			world_commit(w, i, w->model.chain[i].acked);
}

/* ---- the rest ---- */

static void epoch_done(void *arg, int res)
{
	struct world_epoch *e = arg;
	const struct mark k = {.kind = MARK_EPOCH_ACK,
			       .chain = e->chain,
			       .seq = e->w->model.chain[e->chain].epoch_asked};

	CHECK(res == 0);
	world_note(e->w, &k);
}

bool world_epoch(struct world *w, uint32_t chain)
{
	const struct model_chain *c = &w->model.chain[chain];
	struct mark k = {.kind = MARK_EPOCH_ASK, .chain = chain, .seq = c->epoch_asked + 1};

	if (c->epoch_asked != c->epoch_acked)
		return false;
	w->epoch[chain] = (struct world_epoch){.w = w, .chain = chain};
	world_note(w, &k);
	store_set_epoch(w->s, chain, k.seq, k.seq * 3, epoch_done, &w->epoch[chain]);
	return true;
}

void world_registered(struct world *w)
{
	const struct mark k = {.kind = MARK_REGISTERED, .incarnation = w->incarnation};

	world_note(w, &k);
	store_registered(w->s);
}

static void cluster_done(void *arg, int res)
{
	struct world *w = arg;
	const struct mark k = {.kind = MARK_CLUSTER_ACK};

	CHECK(res == 0);
	world_note(w, &k);
}

void world_set_cluster(struct world *w)
{
	static const struct id128 cluster = {{7, 7, 7}};
	const struct mark k = {.kind = MARK_CLUSTER_ASK};

	if (w->model.cluster_asked)
		return;
	world_note(w, &k);
	store_set_cluster(w->s, &cluster, cluster_done, w);
}
